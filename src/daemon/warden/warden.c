/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The warden's life. It is a fork of the daemon, made before the daemon has spoken to anybody, and
 * keeps nothing of it but two sockets: its own, and one for the probe. It ends with the daemon: by
 * a signal, and by the end of its socket.
 *
 * An attacker who takes it over has its capabilities, but
 * - no file outside of our cgroups: its root directory is there;
 * - no fd of others, since packets are read by read(2);
 * - no system call that is not in its list.
 */

#include "daemon/warden/warden.h"

#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "daemon/warden/capabilities.h"
#include "daemon/warden/question.h"

/*
 * CAP_DAC_OVERRIDE: to move a worker out of its VM's cgroup.
 * CAP_SYS_NICE: to schedule it, and to move one that has capabilities itself.
 * CAP_SYS_PTRACE: for kcmp(2) and /proc/PID/exe.
 */
#define KEPT (CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_SYS_NICE) | CAPABILITY(CAP_SYS_PTRACE))

#define EVENTS_MAX 16

static pid_t warden_pid;
static uint64_t warden_capabilities; /* that it was given */

/* ---- the warden ---- */

static void answer_packet(int fd) {
        struct question question;
        struct answer answer;
        ssize_t n;

        n = read(fd, &question, sizeof(question));
        if (n <= 0) {
                if (fd == WARDEN_LINK)
                        _exit(EXIT_SUCCESS);
                (void)epoll_ctl(WARDEN_EPOLL, EPOLL_CTL_DEL, fd, NULL);
                return;
        }
        if (n != sizeof(question))
                _exit(EXIT_FAILURE);
        answer_question(&answer, &question);
        (void)!write(fd, &answer, offsetof(struct answer, program) + answer.size);
}

_Noreturn static void serve(void) {
        struct epoll_event events[EVENTS_MAX];

        for (;;) {
                int n = epoll_wait(WARDEN_EPOLL, events, EVENTS_MAX, -1);

                if (n < 0 && errno != EINTR)
                        _exit(EXIT_FAILURE);
                /* Deaths first: a question may be about another process of that number. */
                for (int i = 0; i < n; i++)
                        if (events[i].data.fd < 0)
                                answer_forget(-events[i].data.fd);
                for (int i = 0; i < n; i++)
                        if (events[i].data.fd > 0)
                                answer_packet(events[i].data.fd);
        }
}

/* ---- its confinement ---- */

/* Where there are no cgroups: a directory without directories. */
static int enter_directory(int root) {
        return (root >= 0 ? fchdir(root) : chdir("/proc/self/fdinfo")) < 0 ? negative_errno() : 0;
}

/* Each to the number that answer.c and the list know it by, and no fd besides. */
static int arrange_fds(const int fds[static WARDEN_N_FDS]) {
        int copies[WARDEN_N_FDS];

        for (int i = 0; i < WARDEN_N_FDS; i++)
                copies[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, WARDEN_N_FDS);
        for (int i = 0; i < WARDEN_N_FDS; i++)
                if (copies[i] < 0 || dup2(copies[i], i) < 0)
                        return negative_errno();
        return syscall(SYS_close_range, (unsigned)WARDEN_N_FDS, ~0U, 0U) < 0 ? negative_errno() : 0;
}

/* A pidfd for each worker. */
static void raise_limit(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int take_fds(int root, int link, int child_link) {
        int proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        /* Nothing comes by 0 to 2, and nothing else may have these numbers. */
        const int fds[WARDEN_N_FDS] = {proc,
                                       proc,
                                       proc,
                                       [WARDEN_LINK] = link,
                                       [WARDEN_CHILD_LINK] = child_link,
                                       [WARDEN_PROC] = proc,
                                       [WARDEN_EPOLL] = epoll};
        int r;

        r = enter_directory(root);
        return r < 0 ? r : arrange_fds(fds);
}

/* A caller without capabilities, which cannot do this, has no right to lose by its warden. */
static int leave_files(void) {
        uint64_t had;
        int r;

        r = capabilities_get(&had);
        if (r < 0)
                return r;
        r = capabilities_keep(KEPT | CAPABILITY(CAP_SYS_CHROOT));
        if (r < 0)
                return r;
        if (chroot(".") < 0 && (errno != EPERM || (had & KEPT)))
                return negative_errno();
        return capabilities_keep(KEPT);
}

static int add_link(int fd) {
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};

        return epoll_ctl(WARDEN_EPOLL, EPOLL_CTL_ADD, fd, &event) < 0 ? negative_errno() : 0;
}

int warden_confine(const struct warden_config *config, int link, int child_link) {
        int r;

        raise_limit();
        r = take_fds(config->root, link, child_link);
        if (r >= 0)
                r = add_link(WARDEN_LINK);
        if (r >= 0)
                r = add_link(WARDEN_CHILD_LINK);
        if (r >= 0)
                r = leave_files();
        if (r >= 0)
                r = answer_prepare(config->root >= 0 ? config->jobs : NULL);
        return r < 0 ? r : sandbox_install(&warden_calls, config->seccomp);
}

/* ---- its start and its end ---- */

_Noreturn static void run(const struct warden_config *config, pid_t parent, int link,
                          int child_link) {
        struct answer answer = {};

        (void)prctl(PR_SET_NAME, "reaperd-warden");
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE);
        answer.result = warden_confine(config, link, child_link);
        (void)!write(answer.result < 0 ? link : WARDEN_LINK, &answer,
                     offsetof(struct answer, program));
        if (answer.result < 0)
                _exit(EXIT_FAILURE);
        serve();
}

static int fork_warden(const struct warden_config *config) {
        int link[2], child_link[2];
        pid_t parent = getpid();

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, link) < 0)
                return negative_errno();
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, child_link) < 0) {
                close_fd(&link[0]);
                close_fd(&link[1]);
                return negative_errno();
        }
        warden_pid = fork();
        if (warden_pid == 0)
                run(config, parent, link[1], child_link[1]);
        close_fd(&link[1]);
        close_fd(&child_link[1]);
        warden_connect(link[0], child_link[0]);
        return warden_pid < 0 ? negative_errno() : 0;
}

int warden_start(const struct warden_config *config) {
        int r;

        r = capabilities_get(&warden_capabilities);
        if (r >= 0)
                r = fork_warden(config);
        if (r >= 0)
                r = capabilities_keep(0);
        if (r >= 0)
                r = warden_await_start();
        if (r < 0)
                warden_stop();
        return r;
}

bool warden_has(int capability) {
        return warden_capabilities & KEPT & CAPABILITY(capability);
}

void warden_stop(void) {
        warden_disconnect();
        if (warden_pid <= 0)
                return;
        (void)kill(warden_pid, SIGKILL);
        (void)waitpid(warden_pid, NULL, 0);
        warden_pid = 0;
}
