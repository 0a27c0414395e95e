/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The keeper: a process of its own that shares the VMM's address space, because KVM answers every
 * ioctl from another address space with -EIO, and does the teardown there.
 *
 * Rules of this file, each with its reason:
 * - System calls and plain arithmetic only: no malloc, no stdio, no lock, no exit handler, ever.
 *   The VMM's threads may die holding any lock, and their memory is ours.
 * - It borrows the TLS of the thread it was cloned from, the heir, which sleeps in waitid(2)
 *   while the keeper lives. So errno may be used, but nothing that is a cancellation point or
 *   keeps per-thread state.
 * - Own fd table: everything that was open in the VMM is closed first, or a dead VMM's sockets
 *   and disks would stay open. All signals are blocked: those of the VMM are not for us.
 * - oom_score_adj and dumpable belong to the shared mm: never touched.
 *
 * A doorbell says "something is set aside", it is no job number: the kernel has one unnamed slot.
 * So rings that are read before PERFORM are all answered by that one PERFORM, and the doorbell is
 * emptied right before it (model: keeper_drain). One job at a time; job.kind == 0 means idle.
 *
 * The connection to the daemon, its fail-open clock included, is base/link.c.
 */

#include "lib/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/util.h"
#include "lib/teardown.h"

#define POLL_MAX_MSEC (3600 * UINT64_C(1000))
#define LINGER_USEC   (10 * USEC_PER_SEC)

/*
 * Does not return, and does not say so to the compiler: before a call that is known not to return
 * the address sanitizer calls its runtime, which takes locks.
 */
static void leave(void) {
        (void)syscall(SYS_exit_group, 0);
}

/* ---- the job ---- */

static void set_fd(struct keeper *k, int *fd, const struct bell *bell) {
        if (*fd < 0)
                return;
        close_fd(&k->vm_fd); /* the VMM still holds it, so this is never the last reference */
        k->vm_fd = take_fd(fd);
        k->space.maybe_protected |= bell->protectable;
}

/* Empties the doorbell. Returns whether somebody rang. Model: keeper_drain. */
static bool drain_bell(struct keeper *k) {
        bool rang = false;

        for (;;) {
                _cleanup_(close_fd) int fd = -1;
                struct bell bell = {};
                ssize_t n = packet_recv_fd(k->bell, &bell, sizeof(bell), &fd);

                if (n == -EAGAIN)
                        return rang;
                if (n <= 0) {
                        if (k->bell_eof_at == 0)
                                k->bell_eof_at = now_usec();
                        return rang;
                }
                if (bell.type == BELL_RING)
                        rang = k->space.maybe_protected = true;
                else if (bell.type == BELL_SET_FD)
                        set_fd(k, &fd, &bell);
                else if (bell.type == BELL_LEAVE)
                        leave(); /* what we took and did not begin is the heir's now */
        }
}

/* Model: keeper_perform. */
static void perform(struct keeper *k, bool governed) {
        struct pvr_outcome outcome = {.job = k->link.seq};
        struct wire_outcome wire = {
                .seq = k->link.seq, .kind = k->link.kind, .ungoverned = !governed};

        (void)drain_bell(k);
        outcome.waited_us = now_usec() - k->link.job_since;
        k->performing = k->link.seq;
        teardown_perform(k->vm_fd, governed, &outcome);
        k->performing = 0;

        wire.error = outcome.error;
        wire.rc = outcome.rc;
        wire.rrc = outcome.rrc;
        link_job_end(&k->link, &wire);
        teardown_report(k->outcomes, &k->dropped, &outcome);
}

static void on_progress(void *userdata, uint64_t bytes_left) {
        const struct keeper *k = userdata;

        link_progress(&k->link, bytes_left);
}

/*
 * Of a protected guest exit_mmap() destroys the pages, where any other way of unmapping exports
 * them first, which takes longer. Others go in slices, which can be capped and seen.
 * Whoever began does not listen any more, and does not come back to a new daemon, who finds it in
 * its cgroup and counts it: a second REGISTER would say that it does not run. The daemon sees the
 * job's end in ours.
 */
static void release(struct keeper *k) {
        if (!k->space.maybe_protected)
                space_release(&k->space, on_progress, k);
        leave();
}

static void run_job(struct keeper *k, bool governed) {
        if (k->link.kind == WIRE_KIND_SHUTDOWN)
                release(k);
        perform(k, governed);
}

static void read_daemon(struct keeper *k) {
        enum link_event event;

        while ((event = link_read(&k->link)) != LINK_NOTHING)
                if (k->link.kind)
                        run_job(k, event == LINK_GRANT);
}

/* ---- the VMM's end ---- */

/* What we run on. Our text, libc's and their data are files, which are never touched anyway. */
static void protect_own(struct keeper *k) {
        const char *start = (const char *)k - KEEPER_STACK_SIZE - KEEPER_GUARD_SIZE;

        space_add_own(&k->space, start, (size_t)((const char *)(k + 1) - start));
        /* The TLS that we borrow: errno, and what the compiler keeps at the thread pointer. */
        space_add_own(&k->space, &errno, sizeof(errno));
        space_add_own(&k->space, __builtin_thread_pointer(), 4096);
}

/*
 * Whatever was set aside is destroyed by the kernel with the rest of the VM, so a queued job is
 * replaced. First goes, ungoverned, what somebody else may be waiting for: the VM fd (a held VM
 * file keeps its irqfds alive), devices, huge pages, files. The mappings of the vCPUs keep the VM
 * itself, so this is not its end. Model: keeper_vmm_died.
 */
static void on_vmm_gone(struct keeper *k) {
        (void)drain_bell(k); /* its last words tell of a VM, or that the guest was protected */
        if (k->vm_fd < 0)
                leave(); /* it never had a VM */
        k->vmm_gone = true;
        close_fd(&k->vmm);
        close_fd(&k->vm_fd);
        protect_own(k);
        space_give_back(&k->space);
        link_job_begin(&k->link, WIRE_KIND_SHUTDOWN, space_resident(), k->grace_shutdown_usec);
}

/* ---- the loop ---- */

/* A VMM without a VM has nothing to be governed. */
static bool wants_link(const struct keeper *k) {
        return k->vm_fd >= 0;
}

static int poll_timeout(const struct keeper *k, uint64_t now) {
        uint64_t at = link_wakeup(&k->link, wants_link(k));

        if (k->bell_eof_at && !k->vmm_gone)
                at = min_u64(at, k->bell_eof_at + LINGER_USEC);
        if (at == USEC_INFINITY)
                return -1;
        return at <= now ? 0 : (int)min_u64((at - now) / USEC_PER_MSEC + 1, POLL_MAX_MSEC);
}

static int raw_poll(struct pollfd *fds, unsigned n, int timeout_ms) {
#ifdef SYS_poll
        return (int)syscall(SYS_poll, fds, n, timeout_ms);
#else
        struct timespec ts = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L};

        return (int)syscall(SYS_ppoll, fds, n, timeout_ms < 0 ? NULL : &ts, NULL, 0);
#endif
}

static void wait_for_events(struct keeper *k) {
        struct pollfd fds[] = {
                {.fd = k->bell_eof_at ? -1 : k->bell, .events = POLLIN},
                {.fd = k->vmm, .events = POLLIN},
                {.fd = k->link.fd, .events = POLLIN},
        };

        if (raw_poll(fds, ARRAY_SIZE(fds), poll_timeout(k, now_usec())) < 0)
                return;
        /* The daemon first: a GRANT in its last words is used. */
        if (fds[2].revents)
                read_daemon(k);
        if (fds[1].revents)
                on_vmm_gone(k);
        if (fds[0].revents && drain_bell(k) && !k->link.kind && k->vm_fd >= 0)
                link_job_begin(&k->link, WIRE_KIND_REBOOT, k->link.mem, k->grace_reboot_usec);
}

static void step(struct keeper *k) {
        uint64_t now = now_usec();

        link_step(&k->link, now, wants_link(k));
        if (link_must_go_ahead(&k->link, now))
                run_job(k, false); /* model: keeper_fail_open */
        if (k->bell_eof_at && !k->vmm_gone && now >= k->bell_eof_at + LINGER_USEC)
                leave(); /* execve(2): the VMM's pid lives on with another address space */
        wait_for_events(k);
}

/* ---- the start ---- */

/* Our fds go to 3, 4, 5; all others are closed. In two steps, for an old number may be in use. */
static int keep_fds(struct keeper *k) {
        int *keep[] = {&k->bell, &k->outcomes, &k->vmm};

        for (int i = 0; i < 3; i++)
                if (syscall(SYS_dup3, *keep[i], i, O_CLOEXEC) < 0)
                        return negative_errno();
        if (syscall(SYS_close_range, 3U, ~0U, 0U) < 0)
                return negative_errno();
        for (int i = 0; i < 3; i++) {
                *keep[i] = (int)syscall(SYS_fcntl, i, F_DUPFD_CLOEXEC, 3);
                if (*keep[i] < 0)
                        return negative_errno();
        }
        return syscall(SYS_close_range, 0U, 2U, 0U) < 0 ? negative_errno() : 0;
}

static int start(struct keeper *k) {
        struct sched_param batch = {};
        uint64_t all = ~UINT64_C(0);
        int pidfd, r;

        (void)syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, NULL, sizeof(all));
        (void)prctl(PR_SET_NAME, "pvr-keeper");
        /*
         * Or our waking up preempts the VMM inside its send(2), and the hand-off pays for it (half
         * of it, by tests/bench/handoff).
         */
        (void)syscall(SYS_sched_setscheduler, 0, SCHED_BATCH, &batch);
        pidfd = (int)syscall(SYS_pidfd_open, k->vmm_pid, 0);
        if (pidfd < 0)
                return negative_errno();
        /* keep_fds() overwrites 0 to 2, which are free if the VMM has closed its own. */
        k->vmm = (int)syscall(SYS_fcntl, pidfd, F_DUPFD_CLOEXEC, 3);
        if (k->vmm < 0)
                return negative_errno();
        /* Our parent is the VMM, or after its death somebody else: then the pid is not ours. */
        if (syscall(SYS_getppid) != k->vmm_pid)
                return -ESRCH;
        r = keep_fds(k);
        return r < 0 ? r : filter_install(&k->filter);
}

int keeper_main(void *arg) {
        struct keeper *k = arg;
        struct bell ready = {.type = BELL_READY};

        ready.error = start(k);
        if (packet_send(k->bell, &ready, sizeof(ready)) < 0 || ready.error < 0)
                return 0;
        for (;;)
                step(k);
}
