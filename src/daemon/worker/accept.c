/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Accepting. Owns the listener. When it is full, or out of something, nothing is accepted until a
 * peer goes or a second has passed: what connects meanwhile waits in the backlog, and its grace
 * time runs.
 *
 * Accepting comes after all else: each connection costs several looks into /proc before it can be
 * refused, so one unit that connects again and again could keep the loop from the ends of workers
 * and from pv-reaperctl. The others' share of the loop is limited elsewhere, by packets per unit.
 */

#include "daemon/worker/accept.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"

#define PAUSE_USEC   (1 * USEC_PER_SEC)
#define FDS_PER_PEER 4 /* socket, pidfds of worker and VMM, cgroup directory */
#define FDS_RESERVED 128
#define ACCEPT_BATCH 16 /* connections per wake-up: a flood of them must not hold the loop */
#define PRIORITY     (SD_EVENT_PRIORITY_NORMAL + 20) /* the bus, before us, is at + 10 */

struct acceptor {
        struct peers *peers;

        /* owned */
        int fd;

        sd_event_source *source;
        sd_event_source *pause_timer;
};

static struct log_limit accept_limit;

/* Those that are on their way out have their fds still. */
static bool is_full(const struct acceptor *a) {
        return a->peers->n + a->peers->partings.n >= a->peers->max;
}

static int pause_accepting(struct acceptor *a) {
        loop_timer_in(a->pause_timer, PAUSE_USEC);
        return sd_event_source_set_enabled(a->source, SD_EVENT_OFF);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct acceptor *a = userdata;

        for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
                struct peer *peer;
                int connection, r;

                if (is_full(a)) {
                        log_warning_limited(
                                &accept_limit, 0,
                                "%u connections, the most that fit: accepting no more for now",
                                a->peers->n + a->peers->partings.n);
                        return pause_accepting(a);
                }
                connection = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (connection < 0 && errno == EAGAIN)
                        return 0; /* none left */
                if (connection < 0) {
                        /* Out of fds or memory: going on would spin. */
                        log_warning_limited(&accept_limit, negative_errno(),
                                            "cannot accept a connection");
                        return pause_accepting(a);
                }
                r = peer_new(&peer, a->peers, &connection);
                if (r < 0 && r != -ECONNREFUSED)
                        log_warning_limited(&accept_limit, r, "cannot serve a connection");
        }
        return 0;
}

static int on_pause_end(sd_event_source *source, uint64_t usec, void *userdata) {
        acceptor_look_again(userdata);
        return 0;
}

void acceptor_look_again(struct acceptor *a) {
        if (a && !is_full(a))
                (void)sd_event_source_set_enabled(a->source, SD_EVENT_ON);
}

unsigned acceptor_max_peers(void) {
        struct rlimit limit;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return 256;
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
        if (limit.rlim_cur > 1000000)
                limit.rlim_cur = 1000000;
        if (limit.rlim_cur < FDS_RESERVED + FDS_PER_PEER)
                return 1;
        return (unsigned)((limit.rlim_cur - FDS_RESERVED) / FDS_PER_PEER);
}

/* ---- life and death ---- */

DEFINE_FREEP(acceptor)

int acceptor_new(struct acceptor **ret, struct peers *peers, int *fd) {
        _cleanup_(acceptor_freep) struct acceptor *a = calloc(1, sizeof(*a));
        int r;

        if (!a) {
                close_fd(fd);
                return -ENOMEM;
        }
        a->peers = peers;
        a->fd = take_fd(fd);
        (void)packet_refuse_fds(a->fd);
        r = sd_event_add_io(peers->event, &a->source, a->fd, EPOLLIN, on_connection, a);
        if (r >= 0)
                r = sd_event_source_set_priority(a->source, PRIORITY);
        if (r >= 0)
                r = loop_add_timer(&a->pause_timer, peers->event, on_pause_end, a);
        if (r < 0)
                return r;
        *ret = take_ptr(&a);
        return 0;
}

struct acceptor *acceptor_free(struct acceptor *a) {
        if (!a)
                return NULL;
        a->source = sd_event_source_disable_unref(a->source);
        a->pause_timer = sd_event_source_disable_unref(a->pause_timer);
        close_fd(&a->fd);
        free(a);
        return NULL;
}
