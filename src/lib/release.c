/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pvr_release_vm_fd(): a VM fd goes to a closer, for a VMM without keeper. No struct pvr_vm, no
 * state: one connection, which is gone when the call returns.
 *
 * The fd is sent only after the closer said READY. Until then the connection belongs to systemd,
 * and PID 1 would close a VM fd in it if no closer can be started.
 */

#include <fcntl.h>
#include <pvreaper.h>
#include <string.h>
#include <sys/socket.h>

#include "base/environment.h"
#include "base/packet.h"
#include "base/util.h"
#include "base/wire.h"

#define _public_ __attribute__((visibility("default")))

#define TIMEOUT_USEC (10 * USEC_PER_SEC)

static int open_connection(const struct sockaddr_un *address) {
        _cleanup_(close_fd) int fd = -1;
        int r;

        fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return negative_errno();
        r = above_stdio(&fd);
        if (r < 0)
                return r;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
                return negative_errno();
        return take_fd(&fd);
}

/* A message of this type. -ENODATA: the connection ended. */
static int await_message(int fd, uint16_t type, uint64_t deadline, union wire_message *ret) {
        union wire_message packet;
        ssize_t n;
        int r;

        r = packet_await(fd, deadline);
        if (r < 0)
                return r;
        n = packet_recv(fd, &packet, sizeof(packet));
        if (n <= 0)
                return n == 0 || n == -ECONNRESET ? -ENODATA : (int)n;
        r = wire_decode(ret, WIRE_TO_CLIENT, &packet, (size_t)n);
        return r < 0 || r != type ? -EBADMSG : 0;
}

static int send_release(int fd, int vm_fd, const char *name, uint64_t mem_bytes) {
        union wire_message m = {.release.mem = mem_bytes};
        int r;

        if (name)
                memcpy(m.release.name, name, strnlen(name, sizeof(m.release.name)));
        r = wire_encode(&m, WIRE_RELEASE_VERSION, WIRE_RELEASE);
        return packet_send_fd(fd, &m, (size_t)r, vm_fd);
}

_public_ int pvr_release_vm_fd(const char *socket_path, int vm_fd, const char *name,
                               uint64_t mem_bytes) {
        uint64_t deadline = now_usec() + TIMEOUT_USEC;
        _cleanup_(close_fd) int fd = -1;
        struct sockaddr_un address;
        union wire_message m;
        int r;

        if (fcntl(vm_fd, F_GETFD) < 0)
                return negative_errno();
        r = environment_socket(&address, socket_path, "PVREAPER_RELEASE_SOCKET", RELEASE_SOCKET);
        if (r < 0)
                return r;
        fd = open_connection(&address);
        if (fd < 0)
                return fd;
        r = await_message(fd, WIRE_READY, deadline, &m);
        if (r < 0)
                return r == -ENODATA ? -EBUSY : r;
        r = send_release(fd, vm_fd, name, mem_bytes);
        if (r < 0)
                return r == -EPIPE ? -ECONNRESET : r;
        r = await_message(fd, WIRE_HELD, deadline, &m);
        if (r < 0)
                return r == -ENODATA ? -ECONNRESET : r;
        return m.held.error;
}
