/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The worker's end of the hand-off socket. The rules, each of which closed a hole:
 * - at least 100 ms between two tries to connect, doubling until a WELCOME: late in a shutdown
 *   systemd drops each connection at once;
 * - a connection is read to its end before it counts as lost: a GRANT found there is valid;
 * - an outcome is kept until DONE_ACK and repeated in REGISTER;
 * - UNGOVERNED in an older version means that the daemon knows no newer one: the next connection
 *   speaks the older version;
 * - a GRANT is a slot for the current job, whatever number it names. Without a job it goes back. A
 *   GRANT for a job that began without it is ignored: that job had this slot.
 *
 * Raw system calls, as in packet.c: a keeper runs this on thread state that it only borrows.
 */

#include "link/link.h"

#include <string.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "base/util.h"

#define RETRY_MIN_USEC         (100 * USEC_PER_MSEC) /* between two tries to connect, always */
#define RETRY_MAX_WAITING_USEC (1 * USEC_PER_SEC)
#define RETRY_MAX_IDLE_USEC    (10 * USEC_PER_SEC)

void link_init(struct link *l) {
        l->fd = -1;
        l->version = WIRE_VERSION;
        l->retry_delay = RETRY_MIN_USEC;
        l->grant_grace = USEC_INFINITY;
}

void link_down(struct link *l) {
        close_fd(&l->fd);
        if (l->state == LINK_WELCOMED) {
                l->clock_since = now_usec();
                l->version = WIRE_VERSION; /* the next daemon may be a newer one */
        }
        l->state = LINK_DOWN;
        l->requested = false;
}

/*
 * A send failed. If the daemon is gone poll(2) will say so, and link_read() looks for its last
 * words first, since a GRANT among them counts. Anything else (a full queue: it does not read; no
 * memory) leaves it without what we had to say: part, and say it all again in the next REGISTER.
 */
static void link_failed(struct link *l, int error) {
        if (error < 0 && error != -EPIPE && error != -ECONNRESET)
                link_down(l);
}

static int link_send(const struct link *l, union wire_message *m, uint16_t type) {
        int size = wire_encode(m, l->version, type);

        return packet_send(l->fd, m, (size_t)size);
}

/* ---- connecting ---- */

static int send_register(struct link *l) {
        union wire_message m = {};

        m.reg.state = l->kind ? WIRE_STATE_WAITING : WIRE_STATE_IDLE;
        memcpy(m.reg.name, l->name, sizeof(m.reg.name));
        memcpy(m.reg.uuid, l->uuid, sizeof(m.reg.uuid));
        m.reg.mem = l->mem;
        m.reg.last = l->unacked;
        m.reg.unreported = l->unreported;
        m.reg.flags = l->flags; /* in version 1 they are behind the packet's end */
        return link_send(l, &m, WIRE_REGISTER);
}

static int try_connect(struct link *l) {
        union wire_message hello = {};
        int r;

        l->fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (l->fd < 0)
                return negative_errno();
        r = syscall(SYS_connect, l->fd, &l->address, sizeof(l->address)) < 0 ? negative_errno() : 0;
        l->nobody = r < 0 && r != -EAGAIN; /* a full backlog: somebody is there, and busy */
        if (r < 0)
                return r;
        r = link_send(l, &hello, WIRE_HELLO);
        if (r >= 0)
                r = send_register(l);
        return r;
}

static void link_up(struct link *l, uint64_t now) {
        uint64_t limit = l->kind ? RETRY_MAX_WAITING_USEC : RETRY_MAX_IDLE_USEC;

        l->retry_at = now + min_u64(l->retry_delay, limit);
        l->retry_delay = min_u64(l->retry_delay * 2, RETRY_MAX_IDLE_USEC);
        l->state = LINK_CONNECTED;
        l->tried_at = now;
        if (try_connect(l) < 0)
                link_down(l);
}

static void send_request(struct link *l) {
        union wire_message m = {};
        int r;

        m.request.kind = l->kind;
        m.request.seq = l->seq;
        m.request.mem = l->bytes;
        r = link_send(l, &m, WIRE_REQUEST);
        l->requested = r >= 0;
        link_failed(l, r);
}

static bool wants_up(const struct link *l, bool wanted) {
        return l->state == LINK_DOWN && !l->stay_away && (wanted || l->kind);
}

void link_step(struct link *l, uint64_t now, bool wanted) {
        if (wants_up(l, wanted) && now >= l->retry_at)
                link_up(l, now);
        if (l->kind && !l->requested && l->state == LINK_WELCOMED)
                send_request(l);
}

/* ---- the job ---- */

void link_job_begin(struct link *l, uint32_t kind, uint64_t bytes, uint64_t grace) {
        l->kind = kind;
        l->seq++;
        l->bytes = bytes;
        l->grace = grace;
        l->requested = false;
        l->stay_away = false;
        l->job_since = l->clock_since = now_usec();
        l->retry_delay = RETRY_MIN_USEC;
        l->retry_at = min_u64(l->retry_at, max_u64(l->job_since, l->tried_at + RETRY_MIN_USEC));
        if (l->retry_at <= l->job_since)
                l->nobody = false; /* that was before; now it is asked again */
}

void link_job_drop(struct link *l) {
        l->kind = WIRE_KIND_NONE;
}

void link_begun(struct link *l) {
        union wire_message m = {.begun.seq = l->seq};

        l->begun = l->seq;
        if (l->state != LINK_WELCOMED || l->version < 2)
                return;
        if (!l->requested)
                send_request(l);
        if (l->requested)
                link_failed(l, link_send(l, &m, WIRE_BEGUN));
}

void link_quiet(struct link *l) {
        union wire_message m = {};

        l->flags |= WIRE_FLAG_QUIET;
        if (l->state == LINK_WELCOMED && l->version >= 2)
                link_failed(l, link_send(l, &m, WIRE_QUIET));
}

void link_progress(const struct link *l, uint64_t bytes_left) {
        union wire_message m = {.progress = {.bytes_left = bytes_left}};

        if (l->state == LINK_WELCOMED)
                (void)link_send(l, &m, WIRE_PROGRESS);
}

static void outcome_send(struct link *l) {
        union wire_message m = {};

        if (l->state != LINK_WELCOMED || l->unacked.seq == 0)
                return; /* the next WELCOME is answered with it */
        m.done.outcome = l->unacked;
        link_failed(l, link_send(l, &m, WIRE_DONE));
}

void link_job_end(struct link *l, const struct wire_outcome *outcome) {
        l->kind = WIRE_KIND_NONE;
        if (l->unacked.seq != 0)
                l->unreported++;
        l->unacked = *outcome;
        outcome_send(l);
}

static uint64_t fail_open_at(const struct link *l) {
        if (l->nobody && !l->ever_welcomed)
                return 0;
        return max_u64(l->job_since, l->clock_since) + l->grace;
}

/* USEC_INFINITY: it waits for its GRANT. */
static uint64_t go_ahead_at(const struct link *l) {
        uint64_t at = l->grant_grace > USEC_INFINITY - l->job_since ? USEC_INFINITY
                                                                    : l->job_since + l->grant_grace;

        return l->state == LINK_WELCOMED ? at : min_u64(at, fail_open_at(l));
}

bool link_must_go_ahead(const struct link *l, uint64_t now) {
        return l->kind && now >= go_ahead_at(l);
}

uint64_t link_wakeup(const struct link *l, bool wanted) {
        uint64_t at = USEC_INFINITY;

        if (wants_up(l, wanted))
                at = min_u64(at, l->retry_at);
        if (l->kind)
                at = min_u64(at, go_ahead_at(l));
        return at;
}

/* ---- what the daemon says ---- */

/* A grant for a worker without a job: give the slot back. Any kind will do, as there is no job. */
static void grant_return(struct link *l, uint64_t seq) {
        union wire_message m = {};

        m.done.outcome.seq = seq;
        m.done.outcome.kind = WIRE_KIND_REBOOT;
        m.done.outcome.error = -ECANCELED;
        link_failed(l, link_send(l, &m, WIRE_DONE));
}

static enum link_event on_message(struct link *l, const union wire_message *m) {
        bool older;

        switch (m->header.type) {
        case WIRE_WELCOME:
                l->state = LINK_WELCOMED;
                l->ever_welcomed = true;
                l->retry_delay = RETRY_MIN_USEC;
                /* An outcome since REGISTER was sent (the fail-open clock ran out), or a repeat. */
                outcome_send(l);
                return LINK_NOTHING;
        case WIRE_GRANT:
                /* It crossed our BEGUN: that job's slot, which is over. */
                if (m->grant.seq <= l->begun)
                        return LINK_NOTHING;
                /* A slot for the current job, whatever number it names. Model: keeper_grant. */
                if (l->kind)
                        return LINK_GRANT;
                grant_return(l, m->grant.seq);
                return LINK_NOTHING;
        case WIRE_DONE_ACK:
                if (m->done_ack.seq == l->unacked.seq) {
                        l->unacked = (struct wire_outcome){};
                        l->unreported = 0;
                }
                return LINK_NOTHING;
        case WIRE_UNGOVERNED:
                older = m->header.version < l->version;
                link_down(l);
                if (older) {
                        l->version = m->header.version;
                        return LINK_NOTHING;
                }
                l->stay_away = true;
                return LINK_UNGOVERNED;
        default:
                return LINK_NOTHING;
        }
}

enum link_event link_read(struct link *l) {
        enum link_event event = LINK_NOTHING;

        while (event == LINK_NOTHING && l->fd >= 0) {
                union wire_message packet, m;
                ssize_t n = packet_recv(l->fd, &packet, sizeof(packet));

                if (n == -EAGAIN)
                        break;
                if (n <= 0 || (size_t)n > sizeof(packet) ||
                    wire_decode(&m, WIRE_TO_WORKER, &packet, (size_t)n) < 0)
                        link_down(l);
                else
                        event = on_message(l, &m);
        }
        return event;
}
