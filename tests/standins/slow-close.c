/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * slow-close SOCKET: releases, to the closers behind SOCKET, an fd whose close hangs: that of a
 * file on a FUSE file system whose server, this program, does not answer FLUSH until its stdin
 * ends. Not even SIGKILL ends such a close. Says "released RESULT" (what pvr_release_vm_fd()
 * returned) and "flushes N" for each close that hangs.
 *
 * The mount is in a mount namespace of our own, so nothing of it stays, however this ends; then
 * every hanging close returns. The child opens the file, since the server cannot wait for itself.
 *
 * Exit status: 0; 1 after an error; 77 where there is no FUSE for us.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pvreaper.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define EXIT_SKIP   77
#define MOUNTPOINT  "/mnt"
#define FILE_NODE   2
#define MAX_PENDING 64

struct server {
        int fd;
        bool patient; /* FLUSHes wait */
        uint64_t pending[MAX_PENDING];
        unsigned n_pending;
};

static int skip(const char *what) {
        fprintf(stderr, "slow-close: %s: %s\n", what, strerror(errno));
        return EXIT_SKIP;
}

/* ---- the server ---- */

static void reply(struct server *s, uint64_t unique, int error, const void *data, size_t size) {
        struct fuse_out_header out = {
                .len = (uint32_t)(sizeof(out) + size), .error = -error, .unique = unique};
        struct iovec iov[2] = {{&out, sizeof(out)}, {(void *)(uintptr_t)data, size}};

        (void)!writev(s->fd, iov, size > 0 ? 2 : 1);
}

static struct fuse_attr attributes(uint64_t node) {
        return (struct fuse_attr){.ino = node,
                                  .mode = node == FILE_NODE ? S_IFREG | 0600 : S_IFDIR | 0700,
                                  .nlink = 1};
}

static void on_init(struct server *s, const struct fuse_in_header *in, const void *arg) {
        const struct fuse_init_in *init = arg;
        struct fuse_init_out out = {.major = FUSE_KERNEL_VERSION,
                                    .minor = FUSE_KERNEL_MINOR_VERSION,
                                    .max_readahead = init->max_readahead,
                                    .max_write = 4096,
                                    .time_gran = 1};

        reply(s, in->unique, 0, &out, sizeof(out));
}

static void on_flush(struct server *s, const struct fuse_in_header *in) {
        if (!s->patient || s->n_pending == MAX_PENDING) {
                reply(s, in->unique, 0, NULL, 0);
                return;
        }
        s->pending[s->n_pending++] = in->unique;
        printf("flushes %u\n", s->n_pending);
}

static void on_request(struct server *s, const struct fuse_in_header *in) {
        struct fuse_entry_out entry = {.nodeid = FILE_NODE, .attr = attributes(FILE_NODE)};
        struct fuse_attr_out attr = {.attr = attributes(in->nodeid)};
        struct fuse_open_out open_out = {.fh = 1};

        switch (in->opcode) {
        case FUSE_INIT:
                on_init(s, in, in + 1);
                break;
        case FUSE_LOOKUP:
                reply(s, in->unique, 0, &entry, sizeof(entry));
                break;
        case FUSE_GETATTR:
                reply(s, in->unique, 0, &attr, sizeof(attr));
                break;
        case FUSE_OPEN:
                reply(s, in->unique, 0, &open_out, sizeof(open_out));
                break;
        case FUSE_FLUSH:
                on_flush(s, in);
                break;
        case FUSE_RELEASE:
                reply(s, in->unique, 0, NULL, 0);
                break;
        case FUSE_FORGET:
        case FUSE_BATCH_FORGET:
        case FUSE_INTERRUPT:
                break;
        default:
                reply(s, in->unique, ENOSYS, NULL, 0);
        }
}

/* Until the file system is gone, or, once nobody needs to be patient, until all was answered. */
static int serve(struct server *s) {
        static union {
                struct fuse_in_header header;
                char bytes[1 << 17];
        } request;

        for (;;) {
                struct pollfd fds[] = {{.fd = s->patient ? STDIN_FILENO : -1, .events = POLLIN},
                                       {.fd = s->fd, .events = POLLIN}};

                if (poll(fds, 2, -1) < 0 && errno != EINTR)
                        return -errno;
                if (fds[0].revents) {
                        s->patient = false;
                        while (s->n_pending > 0)
                                reply(s, s->pending[--s->n_pending], 0, NULL, 0);
                        (void)umount2(MOUNTPOINT, MNT_DETACH);
                }
                if (fds[1].revents && read(s->fd, &request, sizeof(request)) < 0) {
                        if (errno != EINTR && errno != EAGAIN && errno != ENOENT)
                                return errno == ENODEV ? 0 : -errno;
                } else if (fds[1].revents) {
                        on_request(s, &request.header);
                }
        }
}

/* ---- the client ---- */

_Noreturn static void release(const char *socket_path) {
        int fd, r;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        fd = open(MOUNTPOINT "/slow", O_RDWR | O_CLOEXEC);
        r = fd < 0 ? -errno : pvr_release_vm_fd(socket_path, fd, "slow", 0);
        printf("released %d\n", r);
        _exit(EXIT_SUCCESS); /* hangs, too */
}

int main(int argc, char *argv[]) {
        struct server server = {.patient = true};
        char options[128];
        int r;

        if (argc != 2)
                return EXIT_FAILURE;
        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        server.fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
        if (server.fd < 0)
                return skip("/dev/fuse");
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return skip("a mount namespace");
        (void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=%u,group_id=%u",
                       server.fd, getuid(), getgid());
        if (mount("fuse", MOUNTPOINT, "fuse", MS_NOSUID | MS_NODEV, options) < 0)
                return skip("mounting on " MOUNTPOINT);
        if (fork() == 0)
                release(argv[1]);
        r = serve(&server);
        while (wait(NULL) > 0)
                ;
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
