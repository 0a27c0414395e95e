/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Workers that a test owns. The pids of hands are above what Linux gives to any process, so nobody
 * is touched in their name. Their pidfds are eventfds, which become readable as pidfds do. Two
 * calls go through doors in here (the linker's --wrap): worker_cpu_usec(), for a hand's bill is
 * what the test says, and worker_mark(), which is counted.
 */

#include "crew.h"

#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "base/packet.h"
#include "daemon/runtime/loop.h"
#include "daemon/worker/protocol.h"
#include "fds.h"
#include "loop.h"

#define GIB     (UINT64_C(1) << 30)
#define PID_MAX 0x400000 /* PID_MAX_LIMIT of linux/threads.h */

static LIST_HEAD(, hand) hands = LIST_HEAD_INITIALIZER(hands);

int __real_worker_cpu_usec(const struct worker *worker, uint64_t *ret);
int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret);

int __wrap_worker_cpu_usec(const struct worker *worker, uint64_t *ret) {
        const struct hand *hand;

        LIST_FOREACH(hand, &hands, link)
        if (hand->worker == worker) {
                *ret = hand->bill;
                return 0;
        }
        return __real_worker_cpu_usec(worker, ret);
}

void __real_worker_mark(struct worker *worker);
void __wrap_worker_mark(struct worker *worker);

void __wrap_worker_mark(struct worker *worker) {
        struct crew *crew =
                (struct crew *)((char *)worker->workers - offsetof(struct crew, workers));

        crew->n_marks++;
        __real_worker_mark(worker);
}

/* ---- the crew ---- */

static void on_changed(void *userdata) {
        ((struct crew *)userdata)->n_changed++;
}

static void on_quiet(void *userdata) {
        ((struct crew *)userdata)->n_quiet++;
}

static void on_moved(void *userdata, struct job *job) {
        ((struct crew *)userdata)->n_moved++;
}

static uint64_t on_new_job(void *userdata) {
        return ++((struct crew *)userdata)->n_jobs;
}

static void on_ended(void *userdata, struct job *job) {
        struct crew *crew = userdata;

        assert_null(job->worker);
        assert_true(crew->n_marks > 0); /* the mark comes before the report */
        TAILQ_INSERT_TAIL(&crew->ended, job, link);
        crew->n_ended++;
}

void crew_begin(struct crew *crew, unsigned max_concurrent) {
        const struct governor_limits limits = {.max_concurrent = max_concurrent,
                                               .overdue_usec = 60 * USEC_PER_SEC,
                                               .starvation_usec = USEC_INFINITY};
        const struct unit_limits units = {.pool = {1000, 1000}, .most = {1000, 1000}};

        *crew = (struct crew){};
        fake_time_begin();
        assert_int_equal(sd_event_new(&crew->event), 0);
        governor_init(&crew->governor, &limits, &units);
        assert_int_equal(cap_new(&crew->cap, crew->event, NULL), 0);
        crew->workers = (struct workers){.event = crew->event,
                                         .governor = &crew->governor,
                                         .enforce = cap_get_enforce(crew->cap),
                                         .changed = on_changed,
                                         .quiet_changed = on_quiet,
                                         .job_moved = on_moved,
                                         .job_ended = on_ended,
                                         .userdata = crew,
                                         .max = 1000,
                                         .next_job_id = on_new_job};
        TAILQ_INIT(&crew->workers.list);
        TAILQ_INIT(&crew->ended);
        fake_time_pass(crew->event, 0);
}

void crew_end(struct crew *crew) {
        struct worker *w;
        struct job *job;

        while ((w = TAILQ_FIRST(&crew->workers.list)))
                worker_free(w);
        assert_int_equal(crew->workers.n, 0);
        assert_int_equal(crew->governor.n_counted, 0);
        while ((job = TAILQ_FIRST(&crew->ended))) {
                TAILQ_REMOVE(&crew->ended, job, link);
                job_free(job);
        }
        governor_deinit(&crew->governor);
        crew->cap = cap_free(crew->cap);
        crew->event = sd_event_unref(crew->event);
        fake_time_end();
}

void crew_forget(struct crew *crew) {
        crew->n_changed = crew->n_quiet = crew->n_moved = crew->n_marks = 0;
}

void crew_dispatch(struct crew *crew) {
        uint64_t wake_at;
        struct job *job;

        while ((job = governor_next(&crew->governor, loop_now(crew->event), &wake_at)))
                worker_grant(job->worker);
}

const struct job *crew_last(const struct crew *crew) {
        const struct job *job = TAILQ_LAST(&crew->ended, job_list);

        assert_non_null(job);
        return job;
}

unsigned crew_n_capped(const struct crew *crew) {
        return enforce_get_counts(cap_get_enforce(crew->cap)).n_tasks;
}

/* ---- hands ---- */

/* As peer.c does; nobody has sent an fd. */
static void on_end(struct channel *channel) {
        struct hand *hand = (struct hand *)((char *)channel - offsetof(struct hand, channel));

        worker_on_disconnect(hand->worker);
        close_fd(&hand->channel.fd);
}

void hand_new(struct hand *hand, struct crew *crew) {
        static pid_t next = PID_MAX;
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        *hand = (struct hand){.crew = crew,
                              .channel = {.fd = fds[0], .version = WIRE_VERSION, .end = on_end},
                              .end = fds[1]};
        assert_int_equal(worker_alloc(&hand->worker, &crew->workers, next++, 1), 0);
        hand->worker->channel = &hand->channel;
        hand->worker->pidfd = eventfd(0, EFD_CLOEXEC);
        hand->worker->vmm_pidfd = eventfd(0, EFD_CLOEXEC);
        LIST_INSERT_HEAD(&hands, hand, link);
        worker_set_state(hand->worker, WORKER_IDLE);
        crew_forget(crew);
}

void hand_free(struct hand *hand) {
        LIST_REMOVE(hand, link);
        close_fd(&hand->end);
}

void hand_die(struct hand *hand) {
        assert_int_equal(eventfd_write(hand->worker->pidfd, 1), 0);
}

void hand_lose_vmm(struct hand *hand) {
        assert_int_equal(eventfd_write(hand->worker->vmm_pidfd, 1), 0);
}

int hand_read(const struct hand *hand, union wire_message *ret) {
        char packet[WIRE_SIZE_MAX];
        ssize_t n;

        n = packet_recv(hand->end, packet, sizeof(packet));
        if (n == -EAGAIN)
                return 0;
        return n <= 0 ? -1 : wire_decode(ret, WIRE_TO_WORKER, packet, (size_t)n);
}

int hand_request(struct hand *hand, uint32_t kind, uint64_t seq) {
        const struct wire_request request = {.kind = kind, .seq = seq, .mem = 4 * GIB};

        return worker_on_request(hand->worker, &request);
}

void hand_expect(const struct hand *hand, int type, uint64_t seq) {
        union wire_message m = {};

        assert_int_equal(hand_read(hand, &m), type);
        if (type != 0)
                assert_int_equal(type == WIRE_GRANT ? m.grant.seq : m.done_ack.seq, seq);
}

void crew_begin_granted(struct crew *crew, struct hand *hand) {
        crew_begin(crew, 2);
        hand_new(hand, crew);
        assert_int_equal(hand_request(hand, WIRE_KIND_REBOOT, 1), 0);
        crew_dispatch(crew);
        hand_expect(hand, WIRE_GRANT, 1);
        assert_int_equal(hand->worker->job->state, JOB_RUNNING);
        crew_forget(crew);
}
