/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How the daemon stops, as a state machine of three inputs: what PID 1 says is being stopped, our
 * SIGTERM, and how the work gets on. It owns nothing.
 *
 * SIGTERM alone is a restart as far as we know, and a restart must be quick: exit, everybody comes
 * back. Only if the socket goes too, or the system, is there no next daemon to come back to, and
 * what is queued had better run now. The stop of the socket has a limit, since somebody waits for
 * systemctl; that of the system has none as long as there is progress: what we do not clear is
 * cleared by exit_mmap() of a killed worker, which takes as long, unseen and ungoverned.
 */

#include "daemon/service/drain.h"

static enum drain_step begin(struct drain *d, enum drain_reason reason, uint64_t now) {
        d->reason = reason;
        d->began_at = d->moved_at = now;
        return DRAIN_BEGIN;
}

enum drain_step drain_told(struct drain *d, enum drain_reason reason, uint64_t now) {
        bool asked = d->asking;

        d->asking = false;
        if (d->reason == DRAIN_NOTHING && reason != DRAIN_NOTHING)
                return begin(d, reason, now);
        if (d->reason == DRAIN_NOTHING)
                return asked ? DRAIN_EXIT : DRAIN_STAY;
        /* After our SIGTERM there is no way back, only from the socket's limit to none. */
        if (reason > d->reason || !d->terminated)
                d->reason = reason;
        return d->reason == DRAIN_NOTHING ? DRAIN_RESUME : DRAIN_STAY;
}

enum drain_step drain_terminate(struct drain *d, bool can_ask, uint64_t now) {
        bool again = d->terminated;

        d->terminated = true;
        d->moved_at = now;
        if (d->reason != DRAIN_NOTHING)
                return again ? DRAIN_END : DRAIN_EXTEND;
        if (again || !can_ask)
                return DRAIN_EXIT;
        d->asking = true;
        return DRAIN_ASK;
}

enum drain_step drain_look(struct drain *d, const struct drain_work *work, uint64_t now) {
        bool moved = work->progress != d->progress;

        d->progress = work->progress;
        if (moved)
                d->moved_at = now;
        if (d->reason == DRAIN_NOTHING || !d->terminated)
                return DRAIN_STAY;
        if (work->n_left == 0)
                return DRAIN_END;
        if (d->reason == DRAIN_SOCKET && now - d->began_at >= work->limit)
                return DRAIN_END;
        if (now - d->moved_at >= DRAIN_STALL_USEC)
                return DRAIN_END;
        return moved ? DRAIN_EXTEND : DRAIN_STAY;
}
