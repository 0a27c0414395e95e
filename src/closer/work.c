/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One VM fd. To close it is the job: if nobody else holds the VM any more, the last close destroys
 * it, in the task that closes. PERFORM comes before the close only because a kernel may permit it
 * one day. Today the kernel answers -EIO to everybody outside the VMM's address space, and the job
 * ends as "foreign" with the CPU time of the close in its bill.
 *
 * Nothing can stop a close that has begun. So SIGTERM means: begin now if not begun, since the exit
 * would do the same work, unreported; and do not linger afterwards.
 */

#include "closer/work.h"

#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>

#include "base/environment.h"
#include "base/util.h"
#include "closer/say.h"
#include "link/link.h"
#include "link/perform.h"

#define GRACE_USEC        (5 * USEC_PER_SEC)
#define LINGER_USEC       (10 * USEC_PER_SEC) /* for a daemon that is just being restarted */
#define LINGER_SHORT_USEC (1 * USEC_PER_SEC)  /* after SIGTERM */
#define POLL_MAX_MSEC     (3600 * UINT64_C(1000))

struct worker {
        struct link link;
        int vm_fd;
        int signals;
        uint64_t linger;
        uint64_t leave_at; /* once the job is over */
};

static void do_job(struct worker *w, bool governed) {
        struct wire_outcome outcome = {
                .seq = w->link.seq, .kind = w->link.kind, .ungoverned = !governed};
        enum result result = perform_vm(w->vm_fd, &outcome);

        close_fd(&w->vm_fd);
        w->leave_at = now_usec() + w->linger;
        link_job_end(&w->link, &outcome);
        if (result == RESULT_FAILED || result == RESULT_INTERRUPTED)
                (void)say(LOG_WARNING, outcome.error,
                          "closed the VM; the result of PERFORM before that: %s",
                          result_to_string(result));
        if (!governed)
                (void)say(LOG_NOTICE, 0, "closed the VM without a grant from pv-reaperd");
}

/* There may be both, a GRANT and the end behind it. */
static void on_daemon(struct worker *w) {
        enum link_event event;

        while ((event = link_read(&w->link)) != LINK_NOTHING)
                if (w->link.kind)
                        do_job(w, event == LINK_GRANT);
}

static void on_signal(struct worker *w) {
        struct signalfd_siginfo si;

        (void)!read(w->signals, &si, sizeof(si));
        w->linger = LINGER_SHORT_USEC;
        w->leave_at = min_u64(w->leave_at, now_usec() + w->linger);
        if (w->link.kind)
                do_job(w, false);
}

static bool is_over(const struct worker *w, uint64_t now) {
        return !w->link.kind &&
               (w->link.unacked.seq == 0 || w->link.stay_away || now >= w->leave_at);
}

static void wait_for_events(struct worker *w, uint64_t now) {
        struct pollfd fds[] = {
                {.fd = w->link.fd, .events = POLLIN},
                {.fd = w->signals, .events = POLLIN},
        };
        uint64_t at = link_wakeup(&w->link, true), msec = POLL_MAX_MSEC;

        if (!w->link.kind)
                at = min_u64(at, w->leave_at);
        if (at != USEC_INFINITY)
                msec = at <= now ? 0 : min_u64((at - now) / USEC_PER_MSEC + 1, POLL_MAX_MSEC);
        if (poll(fds, ARRAY_SIZE(fds), (int)msec) < 0)
                return;
        if (fds[0].revents)
                on_daemon(w);
        if (fds[1].revents)
                on_signal(w);
}

int work_open_signals(void) {
        sigset_t set;
        int fd;

        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return negative_errno();
        fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
        return fd < 0 ? negative_errno() : fd;
}

int work(struct release *release, int signals) {
        struct worker w = {
                .linger = LINGER_USEC, .leave_at = USEC_INFINITY, .vm_fd = -1, .signals = signals};
        int r;

        link_init(&w.link);
        memcpy(w.link.name, release->name, sizeof(w.link.name));
        w.link.mem = release->mem;
        r = environment_socket(&w.link.address, NULL, "PVREAPER_SOCKET", HANDOFF_SOCKET);
        if (r < 0)
                return r;
        w.vm_fd = take_fd(&release->vm_fd);
        w.link.grant_grace = environment_grace(GRANT_GRACE, GRANT_GRACE_USEC);
        link_job_begin(&w.link, WIRE_KIND_CLOSE, w.link.mem, environment_grace(GRACE, GRACE_USEC));
        for (uint64_t now = now_usec(); !is_over(&w, now); now = now_usec()) {
                link_step(&w.link, now, true);
                if (link_must_go_ahead(&w.link, now))
                        do_job(&w, false);
                else
                        wait_for_events(&w, now);
        }
        link_down(&w.link);
        return 0;
}
