/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The journal's native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL/): fields, one after
 * the other, in one datagram to a well-known socket. "NAME=value\n", or, if the value has a newline
 * in it, "NAME\n", its length in 64 bits, little-endian, the value, "\n".
 *
 * Not sd_journal_sendv(): libsystemd 252 sends with a blocking sendmsg(), so a journald that has
 * stopped reading stops each logger once the socket's queue is full (test-journal.py, Premise);
 * and it calls it success when there is no journal. All guests wait for our loop; a lost line is
 * the smaller evil, and log.c counts it.
 *
 * The one socket belongs to this file. It is not connected: journald may be restarted meanwhile.
 */

#include "daemon/runtime/journal.h"

#include <endian.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#define JOURNAL_SOCKET     "/run/systemd/journal/socket"
#define JOURNAL_SOCKET_ENV "PVREAPER_JOURNAL_SOCKET" /* for tests */

/* ---- an entry ---- */

static char *append(char *p, const void *data, size_t size) {
        memcpy(p, data, size);
        return p + size;
}

void journal_add(struct journal_entry *entry, const char *name, const char *value) {
        size_t name_size = strlen(name), value_size = strlen(value);
        uint64_t size = htole64(value_size);
        char *p = entry->data + entry->size;

        if (name_size + 1 + sizeof(size) + value_size + 1 > sizeof(entry->data) - entry->size)
                return;
        p = append(p, name, name_size);
        if (strchr(value, '\n')) {
                p = append(p, "\n", 1);
                p = append(p, &size, sizeof(size));
        } else {
                p = append(p, "=", 1);
        }
        p = append(p, value, value_size);
        p = append(p, "\n", 1);
        entry->size = (size_t)(p - entry->data);
}

void journal_add_number(struct journal_entry *entry, const char *name, uint64_t number) {
        char text[24];

        (void)snprintf(text, sizeof(text), "%" PRIu64, number);
        journal_add(entry, name, text);
}

/* ---- sending ---- */

static int open_socket(void) {
        static int fd = -1;

        if (fd < 0)
                fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd < 0 ? negative_errno() : fd;
}

int journal_send(const struct journal_entry *entry) {
        const char *path = getenv(JOURNAL_SOCKET_ENV);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = open_socket();

        if (fd < 0)
                return fd;
        path = path ? path : JOURNAL_SOCKET;
        if (strlen(path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, path, strlen(path));
        if (sendto(fd, entry->data, entry->size, MSG_DONTWAIT | MSG_NOSIGNAL,
                   (struct sockaddr *)&address, sizeof(address)) < 0)
                return negative_errno();
        return 0;
}

bool journal_is_stderr(void) {
        static int cached = -1;
        const char *stream = getenv("JOURNAL_STREAM");
        unsigned long long device, inode;
        struct stat st;

        if (cached < 0)
                cached = stream && sscanf(stream, "%llu:%llu", &device, &inode) == 2 &&
                         fstat(STDERR_FILENO, &st) == 0 && st.st_dev == device &&
                         st.st_ino == inode;
        return cached;
}
