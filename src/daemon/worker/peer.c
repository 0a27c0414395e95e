/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Connections. One packet per wake-up, so that no peer holds the loop; anything malformed ends the
 * connection. A failure of a peer is turned into its disconnection here and nowhere else. A peer
 * owns its socket, and its worker knows the sending end of it, until the peer goes.
 */

#include "daemon/worker/peer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/loop.h"
#include "daemon/runtime/process.h"
#include "daemon/worker/admit.h"
#include "daemon/worker/protocol.h"

#define REGISTER_TIMEOUT_USEC (10 * USEC_PER_SEC)
/* Far above what a worker says (a handful per job), far below what would hold up others. */
#define PACKETS_PER_SEC 1000
/*
 * By edge: thousands of connections may be readable at once, and a kernel that names all of them
 * again in each turn of the loop makes that quadratic.
 */
#define PEER_EVENTS (EPOLLIN | EPOLLET)

/* Lines that any peer can cause. */
static struct log_limit peer_limit;

static void log_refused(const struct peer *peer, int error, const char *what) {
        log_event_limited(&peer_limit,
                          LOG_EVENT(LOG_WARNING, MESSAGE_PEER_REFUSED, error,
                                    LOG_NUMBER("PV_PID", (uint64_t)peer->pid)),
                          "pid %d %s", (int)peer->pid, what);
}

/* ---- disconnecting ---- */

/* If fds came over it the unit pays for it until they are gone. */
static void disconnect(struct peers *peers, int *fd, struct charge *charge) {
        if (channel_close(fd) < 0)
                partings_add(&peers->partings, fd, charge);
}

struct peer *peer_free(struct peer *peer) {
        if (!peer)
                return NULL;
        peer->io_source = sd_event_source_disable_unref(peer->io_source);
        peer->timeout = sd_event_source_disable_unref(peer->timeout);
        peer->pause_timer = sd_event_source_disable_unref(peer->pause_timer);
        if (peer->worker)
                worker_on_disconnect(peer->worker);
        TAILQ_REMOVE(&peer->peers->list, peer, link);
        peer->peers->n--;
        if (peer->channel.fd >= 0)
                disconnect(peer->peers, &peer->channel.fd, &peer->charge);
        charge_give(&peer->charge);
        peer->peers->gone(peer->peers->userdata);
        free(peer);
        return NULL;
}

static void on_channel_end(struct channel *channel) {
        peer_free((struct peer *)((char *)channel - offsetof(struct peer, channel)));
}

int peer_send_away(struct peer *peer) {
        union wire_message m = {};

        return peer->worker ? worker_send_away(peer->worker)
                            : channel_send(&peer->channel, &m, WIRE_UNGOVERNED);
}

/* For a process that we cannot govern. The connection ends with it. */
static int refuse(struct peer *peer, int why) {
        peer->peers->tally->n_threaded += why == -EUSERS;
        if (why == -ESHUTDOWN)
                log_refused(peer, 0,
                            "is not governed: the daemon takes in no new VMs while it drains");
        else if (why == -EDQUOT)
                log_refused(peer, 0,
                            "is not governed: its unit has too many connections or new ones");
        else if (why == -EUSERS)
                log_refused(peer, 0,
                            "is not governed: it has more than one thread, and a worker has one");
        else
                log_refused(peer, why, "is not governed");
        (void)peer_send_away(peer);
        return -ECONNREFUSED; /* not why, of which on_packet() would have its own opinion */
}

/* ---- receiving: one handler per message; a negative return ends the connection ---- */

static int handle_hello(struct peer *peer, const struct wire_hello *hello) {
        if (peer->channel.version)
                return -EPROTO;
        peer->channel.version = hello->header.version;
        return 0;
}

/*
 * Makes a worker also of a newcomer during a drain, which is then sent away: once its VMM is dead
 * it could not prove any more whose it is. So after the drain, or in it, it is welcome as one that
 * comes back. A closer is not kept: it has one job, and does that now.
 */
static int make_worker(struct peer *peer, struct worker **ret, const struct task_stat *stat,
                       int *pidfd) {
        struct workers *workers = peer->peers->workers;
        int r;

        r = worker_new(ret, workers, peer->pid, stat, pidfd);
        if (r < 0 || governor_mode(workers->governor) != GOVERNOR_DRAINING)
                return r;
        if ((*ret)->sort == WORKER_CLOSER) {
                *ret = worker_free(*ret);
                return -ESHUTDOWN;
        }
        return 1;
}

/* 1: it is to be sent away. */
static int find_or_make_worker(struct peer *peer, struct worker **ret) {
        struct workers *workers = peer->peers->workers;
        _cleanup_(close_fd) int pidfd = -1;
        struct task_stat stat;
        int r;

        r = process_of_peer(peer->channel.fd, &pidfd, &peer->pid);
        if (r < 0)
                return r;
        r = process_read_stat(peer->pid, &stat);
        if (r < 0)
                return r;
        if (process_alive(pidfd) <= 0)
                return -ESRCH;
        *ret = worker_find(workers, peer->pid, stat.starttime);
        return *ret ? 0 : make_worker(peer, ret, &stat, &pidfd);
}

static int handle_register(struct peer *peer, const struct wire_register *reg) {
        union wire_message welcome = {};
        struct worker *w = NULL;
        bool drains;
        int r;

        if (peer->worker)
                return -EPROTO;
        r = find_or_make_worker(peer, &w);
        if (r < 0)
                return refuse(peer, r);
        drains = r > 0;
        if (w->channel) /* it came back before we saw its old connection end */
                w->channel->end(w->channel);
        w->channel = &peer->channel;
        peer->worker = w;
        peer->timeout = sd_event_source_disable_unref(peer->timeout);
        r = worker_on_register(w, reg);
        if (r >= 0 && drains)
                return refuse(peer, -ESHUTDOWN);
        return r < 0 ? r : channel_send(&peer->channel, &welcome, WIRE_WELCOME);
}

static int handle_message(struct peer *peer, const union wire_message *m) {
        if (m->header.type == WIRE_HELLO)
                return handle_hello(peer, &m->hello);
        if (m->header.version != peer->channel.version)
                return -EPROTO;
        if (m->header.type == WIRE_REGISTER)
                return handle_register(peer, &m->reg);
        if (!peer->worker)
                return -EPROTO;
        switch (m->header.type) {
        case WIRE_REQUEST:
                return worker_on_request(peer->worker, &m->request);
        case WIRE_QUIET:
                return worker_on_quiet(peer->worker);
        case WIRE_PROGRESS:
                worker_on_progress(peer->worker, m->progress.bytes_left);
                return 0;
        case WIRE_BEGUN:
                return worker_on_begun(peer->worker, &m->begun);
        case WIRE_DONE:
                return worker_on_done(peer->worker, &m->done.outcome);
        default:
                return -EPROTO;
        }
}

static int receive(struct peer *peer) {
        char packet[WIRE_SIZE_MAX];
        union wire_message m;
        ssize_t n;
        int r;

        n = packet_recv(peer->channel.fd, packet, sizeof(packet));
        if (n == -EAGAIN)
                return 0;
        if (n <= 0)
                return n == 0 ? -ECONNRESET : (int)n;
        r = wire_decode(&m, WIRE_TO_DAEMON, packet, (size_t)n);
        if (r == -EPROTONOSUPPORT)
                return refuse(peer, r);
        return r < 0 ? r : handle_message(peer, &m);
}

/* ---- what its unit may say ---- */

static int on_pause_end(sd_event_source *source, uint64_t usec, void *userdata) {
        struct peer *peer = userdata;

        return sd_event_source_set_enabled(peer->io_source, SD_EVENT_ON);
}

static int pause_until(struct peer *peer, uint64_t usec) {
        int r = 0;

        if (!peer->pause_timer)
                r = loop_add_timer(&peer->pause_timer, peer->peers->event, on_pause_end, peer);
        if (r < 0)
                return r;
        loop_timer_at(peer->pause_timer, usec);
        return sd_event_source_set_enabled(peer->io_source, SD_EVENT_OFF);
}

/* What it has sent besides waits in the socket. */
static int charge_packet(struct peer *peer) {
        uint64_t now = loop_now(peer->peers->event);
        uint64_t at = unit_packet(peer->charge.unit, now);

        if (at == USEC_INFINITY)
                return refuse(peer, -EDQUOT);
        return at > now ? pause_until(peer, at) : 0;
}

/* Setting the events again makes an edge of what is still to be read. */
static int look_again(struct peer *peer) {
        return sd_event_source_set_io_events(peer->io_source, PEER_EVENTS);
}

static int on_packet(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct peer *peer = userdata;
        int r;

        r = receive(peer);
        if (r >= 0)
                r = look_again(peer);
        if (r >= 0)
                r = charge_packet(peer);
        if (r >= 0)
                return 0;
        if (r == -EPERM)
                log_refused(peer, 0, "sent file descriptors: disconnected");
        else if (r == -EBADMSG || r == -EPROTO)
                log_refused(peer, 0, "sent an unknown or misplaced message: disconnected");
        peer_free(peer);
        return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata) {
        struct peer *peer = userdata;

        log_refused(peer, 0, "connected and did not register in time: disconnected");
        peer_free(peer);
        return 0;
}

/* ---- making one ---- */

DEFINE_FREEP(peer)

/*
 * By number only, so it is right unless the process has just gone and its number is another's: then
 * that one's unit has a connection too many for a moment. Unknown: all of that sort share a unit.
 *
 * A known worker is in our own cgroups, and its unit is that of its VMM. It is not charged for
 * coming: after a restart they all come at once, and all that could be done is to let them go on
 * ungoverned.
 */
static int charge_arrival(struct peer *peer) {
        struct workers *workers = peer->peers->workers;
        uint64_t now = loop_now(peer->peers->event);
        struct worker *w = NULL;
        _cleanup_(freep) char *name = NULL;
        struct task_stat stat;
        struct unit *unit;
        int r = 0;

        if (process_read_stat(peer->pid, &stat) >= 0)
                w = worker_find(workers, peer->pid, stat.starttime);
        if (!w)
                (void)process_unit(peer->pid, &name);
        unit = unit_get(&workers->governor->units, now, w ? w->unit : name);
        if (!w && !unit_arrives(unit, now))
                r = -EDQUOT;
        if (r >= 0)
                r = charge_take(&peer->charge, unit, UNIT_CONNECTIONS);
        if (r < 0) /* until it is gone: it may have brought fds */
                charge_take_anyway(&peer->charge, unit, UNIT_CONNECTIONS);
        unit_unref(unit);
        return r < 0 ? refuse(peer, r) : 0;
}

static pid_t peer_pid(int fd) {
        struct ucred cred = {};
        socklen_t size = sizeof(cred);

        (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size);
        return cred.pid;
}

int peer_new(struct peer **ret, struct peers *peers, int *fd) {
        _cleanup_(peer_freep) struct peer *peer = calloc(1, sizeof(*peer));
        int r;

        if (!peer) {
                disconnect(peers, fd, &(struct charge){});
                return -ENOMEM;
        }
        peer->peers = peers;
        peer->channel = (struct channel){.fd = take_fd(fd), .end = on_channel_end};
        peer->pid =
                peer_pid(peer->channel.fd); /* until it registers: for messages and its unit only */
        TAILQ_INSERT_TAIL(&peers->list, peer, link);
        peers->n++;
        (void)packet_refuse_fds(peer->channel.fd);
        r = charge_arrival(peer);
        if (r < 0)
                return r;
        r = sd_event_add_io(peers->event, &peer->io_source, peer->channel.fd, PEER_EVENTS,
                            on_packet, peer);
        if (r < 0)
                return r;
        r = sd_event_source_set_ratelimit(peer->io_source, USEC_PER_SEC, PACKETS_PER_SEC);
        if (r < 0)
                return r;
        r = loop_add_timer(&peer->timeout, peers->event, on_timeout, peer);
        if (r < 0)
                return r;
        loop_timer_in(peer->timeout, REGISTER_TIMEOUT_USEC);
        *ret = take_ptr(&peer);
        return 0;
}
