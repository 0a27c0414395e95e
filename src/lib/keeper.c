/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The keeper: a process of its own that shares the VMM's address space and does the teardown there.
 * KVM answers every ioctl from another address space with -EIO.
 *
 * Rules of this file, each with its reason:
 * - System calls and plain arithmetic only: no malloc, no stdio, no lock, no exit handler, ever.
 *   The VMM's threads may die holding any lock, and the keeper shares their memory.
 * - It borrows the TLS of the heir, the thread that it was cloned from. The heir sleeps in
 *   futex(2) while the keeper lives. So the keeper may use errno, but no cancellation point and
 *   nothing that keeps per-thread state.
 * - It has its own fd table, shared with the guard. It closes everything that was open in the VMM
 *   first, or a dead VMM's sockets and disks would stay open. (How it begins is in keeper-start.c.)
 * - All its signals are blocked: the VMM's signals are not for the keeper.
 * - It never touches oom_score_adj and dumpable: they belong to the shared mm.
 *
 * A doorbell says "something is set aside". It is no job number, since the kernel has one unnamed
 * slot. So one PERFORM answers all rings that are read before it, and the keeper empties the
 * doorbell right before PERFORM (model: keeper_drain). One job at a time; job.kind == 0 means idle.
 *
 * At the VMM's end the guard goes first (guard.c). The keeper asks for its shutdown job when the
 * guard is done. The connection to the daemon, its fail-open clock included, is link/link.c.
 */

#include "lib/keeper.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/util.h"
#include "lib/raw.h"
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

/*
 * The VMM keeps its duplicate of the old one as long as ours is open, so this is the last reference
 * only if the VM's own fds were closed before (see pvr_vm_set_fd()).
 */
static void set_fd(struct keeper *k, int *fd) {
        if (*fd < 0)
                return;
        raw_close(&k->vm_fd);
        k->vm_fd = take_fd(fd);
        k->has_vm = true;
}

/*
 * A sender with other rights must not be served: the VMM's have changed, or somebody else rings.
 * Of the VMM's ids the packet has the real user and group. The root directory that keeper and VMM
 * share is looked at here. A root that one thread of the VMM has for itself is seen at SET_FD and
 * PREPARE only.
 */
static bool is_vmm(const struct keeper *k, const struct ucred *sender) {
        return sender->uid == k->identity.uids[0] && sender->gid == k->identity.gids[0] &&
               identity_has_same_root(&k->identity);
}

/* Empties the doorbell. Returns whether somebody rang. Model: keeper_drain. */
static bool drain_bell(struct keeper *k) {
        bool rang = false;

        for (;;) {
                int fd = -1;
                struct bell bell = {};
                struct ucred sender;
                ssize_t n = packet_recv_fd(k->bell, &bell, sizeof(bell), &fd, &sender);

                if (n == -EAGAIN)
                        return rang;
                if (n <= 0) {
                        k->bell_ended = true;
                        return rang;
                }
                if (!is_vmm(k, &sender))
                        k->differs = true;
                /* If the keeper leaves, the heir does what it took and did not begin. */
                if (bell.type == BELL_LEAVE || k->differs)
                        leave();
                if (bell.type == BELL_RING)
                        rang = true;
                else if (bell.type == BELL_HURRY)
                        k->hurry = true;
                else if (bell.type == BELL_SET_FD)
                        set_fd(k, &fd);
                raw_close(&fd);
        }
}

/* Model: keeper_perform. */
static void perform(struct keeper *k, bool governed) {
        struct pvr_outcome outcome = {.job = k->link.seq};
        struct wire_outcome wire = {
                .seq = k->link.seq, .kind = k->link.kind, .ungoverned = !governed};

        (void)drain_bell(k);
        outcome.waited_us = now_usec() - k->link.job_since;
        /* Each ring came after something was set aside: this PERFORM takes it. */
        k->rings_taken = k->rings;
        k->hurry = false;
        k->performing = k->link.seq;
        teardown_perform(k->vm_fd, &wire, &outcome);
        k->ended = outcome;
        k->unreported = true;
        k->performing = 0;

        link_job_end(&k->link, &wire);
        teardown_report(k->outcomes, &k->dropped, &outcome);
        k->unreported = false;
}

static void on_progress(void *userdata, uint64_t bytes_left) {
        const struct keeper *k = userdata;

        link_progress(&k->link, bytes_left);
}

/*
 * exit_mmap() destroys a protected guest's pages. Any other way of unmapping exports them first,
 * which takes longer. The memory of other guests goes in slices, which can be capped and seen.
 * Without a daemon nobody caps or sees them, and one exit is faster.
 * A keeper that began does not listen any more, and does not come back to a new daemon: a second
 * REGISTER would say that it does not run. The new daemon finds it in its cgroup and counts it, and
 * sees the job's end in the keeper's.
 */
static void release(struct keeper *k) {
        if (!k->space.maybe_protected && k->link.ever_welcomed)
                space_release(&k->space, on_progress, k);
        leave();
}

static void run_job(struct keeper *k, bool governed) {
        if (k->link.kind == WIRE_KIND_SHUTDOWN)
                release(k);
        perform(k, governed);
}

/* Without a grant. If a daemon is there a reboot counts from now on; it takes BEGUN of no other. */
static void go_ahead(struct keeper *k) {
        if (k->link.kind == WIRE_KIND_REBOOT)
                link_begun(&k->link);
        run_job(k, false);
}

static void read_daemon(struct keeper *k) {
        enum link_event event;

        while ((event = link_read(&k->link)) != LINK_NOTHING)
                if (k->link.kind)
                        run_job(k, event == LINK_GRANT);
}

/* ---- the VMM's end ---- */

/*
 * The kernel destroys a VM that was set aside with the rest of the VM, so a queued job is no job
 * any more. The VM fd goes, since a held VM file keeps its irqfds alive. This is not the VM's end:
 * the mappings of the vCPUs keep the VM itself. Model: keeper_vmm_died.
 */
static void let_vm_go(struct keeper *k) {
        raw_close(&k->vm_fd);
        link_job_drop(&k->link);
}

static void on_vmm_gone(struct keeper *k) {
        (void)drain_bell(k); /* its last words tell of a VM */
        k->vmm_gone = true;
        raw_close(&k->bell);
        let_vm_go(k);
}

/* The guard has done its work, or the keeper does it now. Then it asks for the rest. */
static void begin_shutdown(struct keeper *k) {
        guard_finish(k);
        if (!k->has_vm)
                leave(); /* nothing needs to be governed */
        k->released = true;
        if (k->quiet)
                link_quiet(&k->link);
        link_job_begin(&k->link, WIRE_KIND_SHUTDOWN, space_resident(&k->space),
                       k->grace_shutdown_usec);
}

/*
 * The doorbell has ended and the pidfd is silent. Either the VMM is on its way out: that may take
 * as long as the flush of its last file. Or it executes another program, or has closed all its fds:
 * then the memory may be in use, and nobody can ring any more.
 */
static void on_bell_end(struct keeper *k) {
        enum vmm_life life = vmm_look(k->vmm_stat_fd);

        if (life == VMM_LIVES)
                leave();
        if (life == VMM_UNKNOWN)
                k->linger_until = now_usec() + LINGER_USEC;
        else
                let_vm_go(k);
        raw_close(&k->bell);
}

/* ---- the loop ---- */

/* A VMM without a VM has nothing to be governed. */
static bool wants_link(const struct keeper *k) {
        return k->has_vm;
}

static int poll_timeout(const struct keeper *k, uint64_t now) {
        uint64_t at = link_wakeup(&k->link, wants_link(k));

        if (k->linger_until && !k->vmm_gone)
                at = min_u64(at, k->linger_until);
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

static void on_bell(struct keeper *k) {
        bool rang = drain_bell(k);

        if (rang && !k->link.kind && k->vm_fd >= 0)
                link_job_begin(&k->link, WIRE_KIND_REBOOT, k->link.mem, k->grace_reboot_usec);
        if (k->hurry && k->link.kind == WIRE_KIND_REBOOT)
                go_ahead(k);
        k->hurry = false; /* nothing waits any more */
}

static void wait_for_events(struct keeper *k) {
        struct pollfd fds[] = {
                {.fd = k->bell, .events = POLLIN},
                {.fd = k->vmm_gone ? -1 : k->vmm, .events = POLLIN},
                {.fd = k->link.fd, .events = POLLIN},
                {.fd = k->guard, .events = POLLIN},
        };

        if (raw_poll(fds, ARRAY_SIZE(fds), poll_timeout(k, now_usec())) < 0)
                return;
        /* The daemon first: a GRANT in its last words is used. */
        if (fds[2].revents)
                read_daemon(k);
        if (fds[1].revents)
                on_vmm_gone(k);
        else if (fds[0].revents)
                on_bell(k);
        if (fds[3].revents)
                guard_reap(k);
}

static void step(struct keeper *k) {
        uint64_t now = now_usec();

        if (k->bell_ended && k->bell >= 0 && !k->vmm_gone)
                on_bell_end(k);
        if (k->vmm_gone && k->guard < 0 && !k->released)
                begin_shutdown(k);
        link_step(&k->link, now, wants_link(k));
        if (link_must_go_ahead(&k->link, now))
                go_ahead(k); /* model: keeper_fail_open */
        if (k->linger_until && !k->vmm_gone && now >= k->linger_until)
                leave();
        wait_for_events(k);
}

int keeper_main(void *arg) {
        struct keeper *k = arg;
        struct bell ready = {.type = BELL_READY};

        ready.error = keeper_start(k);
        if (packet_send(k->bell, &ready, sizeof(ready)) < 0 || ready.error < 0)
                return 0;
        for (;;)
                step(k);
}
