/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Units: one object per name as long as anybody holds it, and as long as forgetting it would renew
 * what it has used up; quotas that leave something for everybody and give themselves back; rates
 * that are the unit's, not its connections'.
 */

#include "fds.h"

#include <stdio.h>
#include <string.h>

#include "daemon/governor/unit.h"
#include "rng.h"

static const struct unit_limits no_limits = {.pool = {1000, 1000}};

static void test_unit_same_name_same_unit(void **state) {
        struct unit_table t;
        struct unit *a, *b, *c;
        char name[] = "machine-a.scope";

        unit_table_init(&t, &no_limits);
        a = unit_get(&t, 0, name);
        name[8] = 'b';
        b = unit_get(&t, 0, name);
        c = unit_get(&t, 0, "machine-a.scope");
        assert_ptr_equal(a, c);
        assert_ptr_not_equal(a, b);
        assert_string_equal(a->name, "machine-a.scope");
        assert_int_equal(t.n_units, 2);
        unit_unref(c);
        unit_unref(b);
        assert_ptr_equal(unit_get(&t, 0, "machine-a.scope"), a);
        assert_int_equal(t.n_units, 1); /* nobody holds b, and there is nothing to remember */
        unit_unref(a);
        assert_null(unit_unref(a));
        unit_table_deinit(&t);
}

static void test_unit_unknown_is_shared(void **state) {
        struct unit *shared, *odd;
        struct unit_table t;

        unit_table_init(&t, &no_limits);
        shared = unit_get(&t, 0, NULL);
        odd = unit_get(&t, 0, ""); /* a name, if an odd one */
        assert_ptr_equal(unit_get(&t, 0, NULL), shared);
        assert_ptr_not_equal(shared, odd);
        assert_null(shared->name);
        assert_int_equal(t.n_units, 1);
        unit_unref(odd);
        unit_unref(shared);
        unit_unref(shared);
        assert_ptr_equal(unit_get(&t, 0, NULL), shared);
        unit_unref(shared);
        unit_table_deinit(&t);
}

/* ---- quotas ---- */

static unsigned take_all(struct charge *charges, unsigned n, struct unit *u) {
        unsigned taken = 0;

        while (taken < n && charge_take(&charges[taken], u, UNIT_CONNECTIONS) >= 0)
                taken++;
        return taken;
}

static void give_all(struct charge *charges, unsigned n) {
        for (unsigned i = 0; i < n; i++) {
                charge_give(&charges[i]);
                charge_give(&charges[i]); /* once is enough */
        }
}

static void test_unit_quota_leaves_room(void **state) {
        struct charge greedy[64] = {}, second[64] = {}, last[64] = {}, worker = {};
        const struct unit_limits limits = {.pool = {64, 1}};
        struct unit *units[3];
        struct unit_table t;

        unit_table_init(&t, &limits);
        for (int i = 0; i < 3; i++)
                units[i] = unit_get(&t, 0, (const char *[]){"a", "b", "c"}[i]);
        assert_int_equal(take_all(greedy, 64, units[0]), 32);
        assert_int_equal(take_all(second, 64, units[1]), 16);
        assert_int_equal(take_all(last, 64, units[2]), 8);
        assert_int_equal(charge_take(&last[8], units[2], UNIT_CONNECTIONS), -EDQUOT);
        assert_null(last[8].unit);
        assert_int_equal(t.used[UNIT_CONNECTIONS], 56);
        assert_int_equal(charge_take(&worker, units[0], UNIT_WORKERS), 0); /* another pool */
        give_all(greedy, 64);
        give_all(second, 64);
        give_all(last, 64);
        charge_give(&worker);
        assert_int_equal(t.used[UNIT_CONNECTIONS], 0);
        assert_int_equal(t.used[UNIT_WORKERS], 0);
        for (int i = 0; i < 3; i++) {
                assert_int_equal(units[i]->used[UNIT_CONNECTIONS], 0);
                assert_int_equal(units[i]->n_refs, 1);
                unit_unref(units[i]);
        }
        unit_table_deinit(&t);
}

/* However many greedy units there are, the next one still gets its first. */
static void test_unit_quota_first_one(void **state) {
        const struct unit_limits limits = {.pool = {1 << 16, 0}};
        static struct charge charges[1 << 16];
        struct unit_table t;
        unsigned n = 0, got = 1;
        char name[16];

        unit_table_init(&t, &limits);
        for (int i = 0; i < 16; i++) {
                struct unit *u;

                (void)snprintf(name, sizeof(name), "greedy-%d", i);
                u = unit_get(&t, 0, name);
                got = take_all(charges + n, (1 << 16) - n, u);
                assert_true(got > 0);
                n += got;
                unit_unref(u);
        }
        assert_int_equal(charge_take(&charges[0], &t.shared, UNIT_WORKERS), -EDQUOT); /* none */
        give_all(charges, n);
        unit_table_deinit(&t);
}

static void test_unit_quota_most(void **state) {
        struct unit_limits limits = {.pool = {1000, 1000}, .most = {3, 0}};
        struct charge charges[1000] = {};
        struct unit_table t;
        struct unit *u;

        unit_table_init(&t, &limits);
        u = unit_get(&t, 0, NULL);
        assert_int_equal(take_all(charges, 1000, u), 3);
        limits.most[0] = 5;
        unit_table_set_limits(&t, 0, &limits);
        assert_int_equal(take_all(charges + 3, 1000 - 3, u), 2);
        limits.most[0] = 900; /* said so, it may leave little for others */
        unit_table_set_limits(&t, 0, &limits);
        assert_int_equal(take_all(charges + 5, 1000 - 5, u), 895);
        for (unsigned i = 5; i < 900; i++)
                charge_give(&charges[i]);
        limits.pool[0] = 2; /* what they have they keep */
        limits.most[0] = 0;
        unit_table_set_limits(&t, 0, &limits);
        assert_int_equal(charge_take(&charges[5], u, UNIT_CONNECTIONS), -EDQUOT);
        give_all(charges, 5);
        assert_int_equal(take_all(charges, 1000, u), 1);
        give_all(charges, 1);
        unit_unref(u);
        unit_table_deinit(&t);
}

/* ---- rates ---- */

static void test_unit_rates_survive_its_connections(void **state) {
        const struct unit_limits limits = {.arrivals_per_sec = 2, .arrivals_burst = 4};
        struct unit_table t;
        struct unit *u;
        unsigned arrived = 0;

        unit_table_init(&t, &limits);
        for (int i = 0; i < 1000; i++) { /* each time the only one to hold it */
                u = unit_get(&t, 1000, "a");
                arrived += unit_arrives(u, 1000);
                unit_unref(u);
        }
        assert_int_equal(arrived, 4);
        unit_unref(unit_get(&t, 2 * USEC_PER_SEC + 999, "b"));
        assert_int_equal(t.n_units, 2); /* one is missing yet */
        u = unit_get(&t, 2 * USEC_PER_SEC + 1000, "b");
        assert_int_equal(t.n_units, 1);
        unit_unref(u);
        unit_table_deinit(&t);
}

static void test_unit_packets_per_unit(void **state) {
        const struct unit_limits limits = {.packets_per_sec = 100, .packets_burst = 10};
        struct unit_table t;
        struct unit *a, *b;

        unit_table_init(&t, &limits);
        a = unit_get(&t, 0, "a");
        b = unit_get(&t, 0, "b");
        for (unsigned i = 0; i < 10; i++)
                assert_int_equal(unit_packet(a, 0), 0);
        for (unsigned i = 1; i < 10; i++)
                assert_int_equal(unit_packet(a, 0), i * 10000);
        assert_int_equal(unit_packet(b, 0), 0);
        assert_int_equal(unit_packet(a, USEC_PER_SEC), USEC_PER_SEC);
        unit_unref(a);
        unit_unref(b);
        unit_table_deinit(&t);
}

static void test_unit_new_rates_for_all(void **state) {
        struct unit_limits limits = {.arrivals_per_sec = 1, .arrivals_burst = 1};
        struct unit *units[20];
        struct unit_table t;
        char name[16];

        unit_table_init(&t, &limits);
        for (int i = 0; i < 20; i++) {
                (void)snprintf(name, sizeof(name), "%d", i);
                units[i] = unit_get(&t, 0, i > 0 ? name : NULL);
                assert_true(unit_arrives(units[i], 0));
        }
        limits.arrivals_per_sec = 1000;
        unit_table_set_limits(&t, 0, &limits);
        for (int i = 0; i < 20; i++) {
                assert_false(unit_arrives(units[i], 999));
                assert_true(unit_arrives(units[i], 1000));
                unit_unref(units[i]);
        }
        unit_table_deinit(&t);
}

/* Many names, in and out: none is lost, none is mixed up, and none stays. */
static void test_unit_many(void **state) {
        const struct unit_limits limits = {.arrivals_per_sec = 1000, .arrivals_burst = 1};
        static struct unit *held[4000];
        struct rng rng = {31};
        struct unit_table t;
        unsigned n_held = 0;
        char name[64];

        unit_table_init(&t, &limits);
        for (uint64_t now = 0; now < 40000; now++) {
                unsigned i = rng_below(&rng, 4000);

                (void)snprintf(name, sizeof(name), "machine-qemu\\x2d%u.scope", i);
                if (held[i]) {
                        assert_string_equal(held[i]->name, name);
                        held[i] = unit_unref(held[i]);
                        n_held--;
                        continue;
                }
                held[i] = unit_get(&t, now, name);
                (void)unit_arrives(held[i], now);
                n_held++;
                assert_in_range(t.n_units, n_held, n_held + 1000);
        }
        for (unsigned i = 0; i < 4000; i++)
                unit_unref(held[i]);
        unit_unref(unit_get(&t, USEC_INFINITY, NULL));
        assert_int_equal(t.n_units, 0);
        unit_table_deinit(&t);
}

/* What is not told is a sum, which is told even if nothing else is left of the unit. */
static void test_unit_outcomes_are_summed(void **state) {
        const struct unit_limits limits = {
                .pool = {1000, 1000}, .outcomes_per_sec = 1, .outcomes_burst = 10};
        struct unit_table t;
        struct unit *u;
        unsigned n = 0;

        unit_table_init(&t, &limits);
        assert_null(unit_take_untold(&t, &n));
        u = unit_get(&t, 0, "a");
        for (unsigned i = 0; i < 15; i++)
                n += unit_tells(u, 0);
        assert_int_equal(n, 10);
        assert_true(unit_tells(u, USEC_PER_SEC));
        assert_false(unit_tells(u, USEC_PER_SEC));
        unit_unref(u);
        unit_unref(unit_get(&t, 1000 * USEC_PER_SEC, "b")); /* looks whom to forget */
        u = unit_take_untold(&t, &n);
        assert_string_equal(u->name, "a");
        assert_int_equal(n, 6);
        assert_null(unit_take_untold(&t, &n));
        assert_false(unit_tells(u, USEC_PER_SEC));
        unit_unref(u);
        unit_table_deinit(&t); /* and nothing of it is left */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_unit_same_name_same_unit),
                checked_test(test_unit_unknown_is_shared),
                checked_test(test_unit_quota_leaves_room),
                checked_test(test_unit_quota_first_one),
                checked_test(test_unit_quota_most),
                checked_test(test_unit_rates_survive_its_connections),
                checked_test(test_unit_packets_per_unit),
                checked_test(test_unit_new_rates_for_all),
                checked_test(test_unit_many),
                checked_test(test_unit_outcomes_are_summed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
