/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Sockets from systemd are told apart by their type. They come in blocking mode, which would hang
 * an accept loop.
 *
 * A socket of our own is made beside its path and renamed over it, so that nobody ever finds a path
 * where nobody listens yet. If somebody else listens there we are one too many: two daemons would
 * both write to the same cgroups, and each would see a part of the workers.
 */

#include "daemon/service/listen.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>

#include "daemon/runtime/log.h"

#define BACKLOG 4096

static int set_nonblocking(int fd) {
        int flags = fcntl(fd, F_GETFL);

        if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
                return negative_errno();
        return 0;
}

static int adopt(struct listeners *l, int fd, const char *name) {
        bool handoff = sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) > 0;
        bool control = sd_is_socket_unix(fd, SOCK_STREAM, 1, NULL, 0) > 0;
        int *place = handoff ? &l->handoff : control ? &l->control : NULL;

        if (!place)
                return log_error_errno(-EINVAL,
                                       "systemd passed fd %d (%s), which is neither a listening "
                                       "SOCK_SEQPACKET nor a listening SOCK_STREAM unix socket",
                                       fd, name);
        if (*place >= 0)
                return log_error_errno(-EINVAL,
                                       "systemd passed a second socket of its kind: fd %d (%s)", fd,
                                       name);
        *place = fd;
        return set_nonblocking(fd);
}

static int adopt_all(struct listeners *l) {
        char **names = NULL;
        int n, r = 0;

        n = sd_listen_fds_with_names(1, &names);
        if (n < 0)
                return log_error_errno(n, "cannot take sockets from systemd");
        for (int i = 0; i < n && r >= 0; i++) {
                int fd = SD_LISTEN_FDS_START + i;

                if (l->history < 0 && strcmp(names[i], LISTEN_HISTORY) == 0)
                        l->history = fd; /* what it is, archive.c sees */
                else
                        r = adopt(l, fd, names[i]);
        }
        for (int i = 0; i < n; i++)
                free(names[i]);
        free(names);
        return r;
}

static int bind_and_listen(int fd, const char *path) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct stat st;
        int n;

        n = snprintf(address.sun_path, sizeof(address.sun_path), "%s.new", path);
        if (n < 0 || (size_t)n >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        if (lstat(address.sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
                (void)unlink(address.sun_path); /* of a daemon that was killed right here */
        if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return negative_errno();
        if (chmod(address.sun_path, 0660) < 0 || listen(fd, BACKLOG) < 0 ||
            rename(address.sun_path, path) < 0) {
                int r = negative_errno();

                (void)unlink(address.sun_path);
                return r;
        }
        return 0;
}

/* The pid of the process that called listen(2) there; 0: none; -EAGAIN: its backlog is full. */
static int find_listener(const char *path, int type) {
        _cleanup_(close_fd) int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        struct ucred cred = {};
        socklen_t size = sizeof(cred);

        if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
                return 0;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
        if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
                return errno == EAGAIN ? -EAGAIN : 0;
        return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size) < 0 ? 0 : cred.pid;
}

static int check_free(const char *path, int type) {
        int pid = find_listener(path, type);

        if (pid == 1)
                log_error("systemd listens on %s; start pv-reaper.service, or pass other paths",
                          path);
        else if (pid > 0)
                log_error("already running, pid %d listens on %s; stop it, or pass other paths",
                          pid, path);
        else if (pid < 0)
                log_error("already running, and hanging: nobody accepts on %s; stop it, or pass "
                          "other paths",
                          path);
        return pid == 0 ? 0 : -EADDRINUSE;
}

static int make(int *ret, ino_t *ret_inode, const char *path, int type) {
        _cleanup_(close_fd) int fd = -1;
        struct stat st;
        int r;

        r = check_free(path, type);
        if (r < 0)
                return r;

        if (lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
                return log_error_errno(-EEXIST, "%s is no socket; remove it", path);
        fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        r = fd < 0 ? negative_errno() : bind_and_listen(fd, path);
        if (r < 0)
                return log_error_errno(r, "cannot listen on %s", path);
        *ret_inode = lstat(path, &st) == 0 ? st.st_ino : 0;
        *ret = take_fd(&fd);
        return 0;
}

/* systemd may have chosen another path than the configuration. */
static void find_handoff_path(struct listeners *l, const struct config *config) {
        struct sockaddr_un address = {};
        socklen_t size = sizeof(address) - 1; /* a longer path has no NUL, and is not told */

        if (l->own_handoff)
                (void)snprintf(l->handoff_path, sizeof(l->handoff_path), "%s",
                               config->handoff_socket);
        else if (getsockname(l->handoff, (struct sockaddr *)&address, &size) == 0)
                (void)snprintf(l->handoff_path, sizeof(l->handoff_path), "%s", address.sun_path);
}

int listeners_open(struct listeners *ret, const struct config *config) {
        struct listeners l = {.handoff = -1, .control = -1, .history = -1};
        int r;

        r = adopt_all(&l);
        if (r >= 0 && l.handoff < 0) {
                r = make(&l.handoff, &l.handoff_inode, config->handoff_socket, SOCK_SEQPACKET);
                l.own_handoff = r >= 0;
        }
        if (r >= 0 && l.control < 0 && !l.own_handoff)
                log_warning("systemd passed no control socket: pv-reaperctl gets no answer; see "
                            "systemctl status pv-reaper-control.socket");
        else if (r >= 0 && l.control < 0) {
                r = make(&l.control, &l.control_inode, config->control_socket, SOCK_STREAM);
                l.own_control = r >= 0;
        }
        if (r < 0) {
                listeners_unlink(&l, config);
                close_fd(&l.handoff);
                close_fd(&l.control);
                close_fd(&l.history);
                return r;
        }
        find_handoff_path(&l, config);
        *ret = l;
        return 0;
}

static void unlink_own(const char *path, ino_t inode) {
        struct stat st;

        if (lstat(path, &st) == 0 && st.st_ino == inode)
                (void)unlink(path);
}

void listeners_unlink(const struct listeners *listeners, const struct config *config) {
        if (listeners->own_handoff)
                unlink_own(config->handoff_socket, listeners->handoff_inode);
        if (listeners->own_control)
                unlink_own(config->control_socket, listeners->control_inode);
}
