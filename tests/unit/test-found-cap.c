/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Workers that an earlier daemon left, and the CPU cap: who gets one, and which CPUs it may have
 * afterwards. What the kernel says of the worker, and its card, go through doors in here (the
 * linker's --wrap).
 */

#include "fds.h"

#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "crew.h"
#include "daemon/worker/mark.h"
#include "daemon/worker/protocol.h"
#include "loop.h"

#define SEC USEC_PER_SEC

static bool left_cap;    /* by an earlier daemon */
static const char *cpus; /* where it may run */
static char parsed[64];  /* of which CPUs enforce.c was told */
static char card[CARD_SIZE_MAX];

int __wrap_sched_list_cpus(pid_t pid, char *buffer, size_t size);
int __wrap_sched_parse_cpus(struct sched_cpus **ret, const char *list);
int __wrap_cgroup_leaf_set_card(struct cgroup_leaf *leaf, const char *text);
int __wrap_cgroup_leaf_get_card(struct cgroup_leaf *leaf, char *buffer, size_t size);

int __wrap_sched_list_cpus(pid_t pid, char *buffer, size_t size) {
        if (!cpus)
                return -ESRCH;
        strcpy(buffer, cpus);
        return 0;
}

int __wrap_sched_parse_cpus(struct sched_cpus **ret, const char *list) {
        strcpy(parsed, list);
        return -ENOMEM;
}

int __wrap_cgroup_leaf_set_card(struct cgroup_leaf *leaf, const char *text) {
        strcpy(card, text);
        return 0;
}

int __wrap_cgroup_leaf_get_card(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        if (!*card)
                return -ENODATA;
        assert_true(strlen(card) < size);
        strcpy(buffer, card);
        return 0;
}

int __wrap_sched_look(pid_t pid, struct sched_state *ret);

int __wrap_sched_look(pid_t pid, struct sched_state *ret) {
        *ret = (struct sched_state){.sort = left_cap ? SCHED_SORT_DEADLINE : SCHED_SORT_FAIR};
        return 0;
}

/* A cgroup that is there in name only. */
static struct cgroup_leaf *leaf_new(void) {
        struct cgroup_leaf *leaf = calloc(1, sizeof(*leaf));

        *leaf = (struct cgroup_leaf){.path = strdup("/jobs/vm"), .dir = -1, .foreign = true};
        return leaf;
}

static void look(struct hand *h) {
        capture_begin();
        worker_check_overdue(h->worker);
        (void)capture_end();
}

/* There may be thousands that only come back: no share of the quota for those. */
static void test_a_found_worker_is_capped_if_it_works(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        h.bill = 5 * SEC; /* of jobs that are over */
        worker_set_state(h.worker, WORKER_FOUND);
        h.bill += 9 * USEC_PER_MSEC; /* it tries to connect */
        look(&h);
        assert_int_equal(crew_n_capped(&crew), 0);
        h.bill += 1 * USEC_PER_MSEC;
        look(&h);
        assert_int_equal(crew_n_capped(&crew), 1);
        worker_set_state(h.worker, WORKER_IDLE);
        assert_int_equal(crew_n_capped(&crew), 0);
        left_cap = true;
        worker_set_state(h.worker, WORKER_FOUND);
        assert_int_equal(crew_n_capped(&crew), 1);
        left_cap = false;
        hand_free(&h);
        crew_end(&crew);
}

/* Whatever it might use before it was capped, it is to have again, whichever daemon ends its job.
 */
static void test_the_next_daemon_knows_its_cpus(void **state) {
        struct crew crew;
        struct hand h;

        crew_begin(&crew, 1);
        hand_new(&h, &crew);
        h.worker->cgroup = leaf_new();
        cpus = "0-3";
        assert_int_equal(hand_request(&h, WIRE_KIND_REBOOT, 1), 0);
        crew_dispatch(&crew);
        assert_non_null(strstr(card, " cpus=0-3 "));
        free(h.worker->cpus);
        h.worker->cpus = NULL;
        cpus = ""; /* the cap has taken them away */
        left_cap = true;
        worker_set_state(h.worker, WORKER_IDLE);
        worker_drop_job(h.worker);
        (void)worker_restore(h.worker); /* another daemon */
        worker_set_state(h.worker, WORKER_FOUND);
        assert_string_equal(parsed, "0-3");
        worker_set_state(h.worker, WORKER_IDLE);
        left_cap = false; /* it has them again, and is freed from them: nothing to give back */
        worker_set_state(h.worker, WORKER_RUNNING);
        assert_null(h.worker->cpus);
        assert_non_null(strstr(card, " cpus=- "));
        cpus = NULL;
        hand_free(&h);
        crew_end(&crew);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_a_found_worker_is_capped_if_it_works),
                checked_test(test_the_next_daemon_knows_its_cpus),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
