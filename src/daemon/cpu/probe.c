/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon's side: it starts the judge (probe-judge.c), which reports by its exit status, so that
 * there is no more to do than to wait for a pidfd, with a limit. The judge keeps no fd of the
 * daemon's but the cgroup's directory, or it would hold its peers' connections open.
 */

#include "daemon/cpu/probe.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>

static const struct {
        enum probe_result result;
        const char *why;
} verdicts[_PROBE_VERDICT_MAX] = {
        [PROBE_VERDICT_HOLDS] = {PROBE_HOLDS, "tried"},
        [PROBE_VERDICT_DOES_NOT_HOLD] = {PROBE_DOES_NOT_HOLD, "tried"},
        [PROBE_VERDICT_BUSY] = {PROBE_UNKNOWN, "the host is too busy to tell"},
        [PROBE_VERDICT_NO_ENTRY] = {PROBE_UNKNOWN, "cannot enter a cgroup"},
        [PROBE_VERDICT_NO_QUOTA] = {PROBE_UNKNOWN, "cannot set cpu.max"},
        [PROBE_VERDICT_NO_MEMORY] = {PROBE_UNKNOWN, "out of memory or processes"},
};

struct probe {
        struct probe_config config;

        /* owned */
        pid_t judge; /* 0: reaped */
        int pidfd;

        sd_event_source *exit_source;
        sd_event_source *limit_source;
};

static void finish(struct probe *p, enum probe_result result, const char *why) {
        p->exit_source = sd_event_source_disable_unref(p->exit_source);
        p->limit_source = sd_event_source_disable_unref(p->limit_source);
        p->config.done(p->config.userdata, result, why);
}

static int on_judge_exit(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct probe *p = userdata;
        siginfo_t info = {};

        if (waitid(P_PID, (id_t)p->judge, &info, WEXITED | WNOHANG | __WALL) < 0 ||
            info.si_pid == 0)
                return 0;
        p->judge = 0;
        if (info.si_code != CLD_EXITED)
                finish(p, PROBE_UNKNOWN, "the test took too long");
        else if (info.si_status < 0 || info.si_status >= _PROBE_VERDICT_MAX)
                finish(p, PROBE_UNKNOWN, "the test failed");
        else
                finish(p, verdicts[info.si_status].result, verdicts[info.si_status].why);
        return 0;
}

/* What it holds is given back by its end, which is looked at as any other. */
static int on_limit(sd_event_source *source, uint64_t usec, void *userdata) {
        struct probe *p = userdata;

        (void)kill(p->judge, SIGKILL);
        return 0;
}

static int watch_judge(struct probe *p, sd_event *event) {
        int r;

        p->pidfd = (int)syscall(SYS_pidfd_open, p->judge, 0);
        if (p->pidfd < 0)
                return negative_errno();
        r = sd_event_add_io(event, &p->exit_source, p->pidfd, EPOLLIN, on_judge_exit, p);
        if (r < 0)
                return r;
        return sd_event_add_time_relative(event, &p->limit_source, CLOCK_MONOTONIC,
                                          p->config.limit_usec, 0, on_limit, p);
}

struct probe *probe_free(struct probe *p) {
        if (!p)
                return NULL;
        p->exit_source = sd_event_source_disable_unref(p->exit_source);
        p->limit_source = sd_event_source_disable_unref(p->limit_source);
        if (p->judge > 0) {
                /* It is outside the cgroup, so nothing delays its end. */
                (void)kill(p->judge, SIGKILL);
                (void)waitpid(p->judge, NULL, __WALL);
        }
        close_fd(&p->pidfd);
        free(p);
        return NULL;
}

DEFINE_FREEP(probe)

/*
 * A child whose end sends no SIGCHLD: the daemon ignores that signal (main.c), and the kernel keeps
 * the exit status of such a child only if that is not its signal. All arguments are 0, so their
 * order, which differs, does not matter.
 */
static pid_t fork_silently(void) {
        return (pid_t)syscall(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL);
}

int probe_new(struct probe **ret, sd_event *event, const struct probe_config *config) {
        _cleanup_(probe_freep) struct probe *p = calloc(1, sizeof(*p));
        int r;

        if (!p)
                return -ENOMEM;
        p->config = *config;
        p->pidfd = -1;
        if (p->config.limit_usec == 0)
                p->config.limit_usec = PROBE_LIMIT_USEC;
        p->judge = fork_silently();
        if (p->judge == 0)
                probe_judge_run(p->config);
        if (p->judge < 0)
                return negative_errno();
        r = watch_judge(p, event);
        if (r < 0)
                return r;
        *ret = take_ptr(&p);
        return 0;
}
