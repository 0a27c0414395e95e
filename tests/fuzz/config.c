/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A configuration file, of any content, through the reader that the daemon has for it. What is
 * taken can be printed, and what is printed is taken again, amounts to the same, and goes
 * together if and only if the first did.
 */

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "daemon/config/config.h"
#include "daemon/config/print.h"
#include "fuzz.h"

#define PRINTED_MAX 65536

static int read_bytes(struct config **ret, const void *data, size_t size) {
        int fd = memfd_create("configuration", MFD_CLOEXEC), r;
        char path[64];

        check(fd >= 0 && write(fd, data, size) == (ssize_t)size);
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        check(config_new(ret) == 0);
        r = config_read_file(*ret, path);
        (void)close(fd);
        return r;
}

/* Without remarks, which tell where a value is from. */
static size_t print(const struct config *config, char *text) {
        char *line = NULL;
        size_t n = 0, size = 0;
        FILE *file = tmpfile();

        check(file);
        config_print(config, file);
        rewind(file);
        while (getline(&line, &size, file) > 0)
                if (line[0] != '#') {
                        check(n + strlen(line) < PRINTED_MAX);
                        strcpy(text + n, line);
                        n += strlen(line);
                }
        free(line);
        (void)fclose(file);
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        static char first[PRINTED_MAX], second[PRINTED_MAX];
        struct config *config, *again;

        if (read_bytes(&config, data, size) >= 0) {
                size_t n = print(config, first);

                check(read_bytes(&again, first, n) == 0);
                check(print(again, second) == n && memcmp(first, second, n) == 0);
                check(config_check(config) == config_check(again));
                config_free(again);
        }
        config_free(config);
        return 0;
}
