/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A configuration as a whole: copied, checked, taken over by a running daemon, printed. Whatever
 * happens to it, value and origin of each key must stay together. The table is walked, so that a
 * key that is added later is tested, too.
 */

#include "fds.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "capture.h"
#include "daemon/config/keys.h"
#include "daemon/config/print.h"

static struct config *config_with_defaults(void) {
        struct config *config = NULL;

        assert_int_equal(config_new(&config), 0);
        return config;
}

static void set(struct config *config, const char *key, const char *value) {
        const char *why;

        if (config_set(config, &(struct config_setting){NULL, key, value, "/x", 3}, &why) < 0)
                fail_msg("%s=%s: %s", key, value, why);
}

/* What --print-config says of it; the caller frees it. */
static char *printed(const struct config *config) {
        char *text = NULL;
        size_t size = 0;
        FILE *file = open_memstream(&text, &size);

        assert_non_null(file);
        config_print(config, file);
        assert_int_equal(fclose(file), 0);
        return text;
}

static void assert_same(const struct config *a, const struct config *b) {
        _cleanup_(freep) char *first = printed(a), *second = printed(b);

        assert_string_equal(first, second);
        assert_int_equal(a->max_concurrent, b->max_concurrent);
        assert_int_equal(a->adopt_qemu, b->adopt_qemu);
        assert_int_equal(a->memory_low, b->memory_low);
        assert_string_equal(a->adopt_emulators, b->adopt_emulators);
        assert_string_equal(a->cgroup, b->cgroup);
}

/* Another right value than the default, for each type and most rules. */
static const char *another(const struct config_key *key) {
        switch (key->rule.type) {
        case VALUE_SOCKET:
        case VALUE_CGROUP:
                return "/other";
        case VALUE_PATTERNS:
                return "/other/* /more";
        case VALUE_BOOL:
                return "yes";
        case VALUE_UNSIGNED:
                return "77";
        case VALUE_PERCENT:
                return "77%";
        case VALUE_SIZE:
                return "77G";
        case VALUE_TIME:
                return key->rule.minimum < USEC_PER_SEC ? "77ms" : "77s";
        case VALUE_RATE:
                return "77/h";
        case VALUE_WORD:
                return "off";
        }
        return "";
}

static void set_all(struct config *config) {
        for (size_t i = 0; i < n_config_keys; i++)
                set(config, config_keys[i].key, another(&config_keys[i]));
}

/* ---- the table ---- */

static void test_store_table(void **state) {
        for (size_t i = 0; i < n_config_keys; i++) {
                const struct config_key *key = &config_keys[i];

                assert_ptr_equal(config_find_key(NULL, key->key), key); /* i.e. names are unique */
                assert_ptr_equal(config_find_key(key->section, key->key), key);
                assert_true(key->offset + key->width <= offsetof(struct config, origins));
                for (size_t j = 0; j < i; j++)
                        assert_true(key->offset >= config_keys[j].offset + config_keys[j].width);
                if (value_is_text(&key->rule))
                        assert_int_equal(key->width, sizeof(char *));
                else if (key->width == sizeof(unsigned))
                        assert_true(key->rule.maximum <= UINT_MAX && !key->rule.or_infinity);
        }
        assert_null(config_find_key("cpu", "max-concurrent"));
        assert_null(config_find_key(NULL, "max-concurren"));
        assert_true(config_is_live("max-concurrent"));
        assert_false(config_is_live("path"));
        assert_false(config_is_live("no-such-key"));
}

/* A message about a wrong value has room for what would be right. */
static void test_store_why(void **state) {
        _cleanup_(config_freep) struct config *config = config_with_defaults();
        char text[4096];
        const char *why;

        for (size_t i = 0; i < n_config_keys; i++) {
                struct config_setting wrong = {NULL, config_keys[i].key, "?", "/x", 1};

                assert_int_equal(config_set(config, &wrong, &why), -EINVAL);
                value_describe(&config_keys[i].rule, text, sizeof(text));
                assert_string_equal(why, text);
        }
        assert_same(config, config);
}

/* ---- copies ---- */

static void test_store_copy(void **state) {
        _cleanup_(config_freep) struct config *config = config_with_defaults();
        _cleanup_(config_freep) struct config *copy = NULL;

        set_all(config);
        assert_int_equal(config_copy(&copy, config), 0);
        assert_same(config, copy);
        set(copy, "max-concurrent", "78");
        set(copy, "emulators", "/9");
        assert_int_equal(config->max_concurrent, 77);
        assert_string_equal(config->adopt_emulators, "/other/* /more");
}

static void test_store_failed_set(void **state) {
        _cleanup_(config_freep) struct config *config = config_with_defaults();
        _cleanup_(config_freep) struct config *copy = NULL;
        const char *why;

        set_all(config);
        assert_int_equal(config_copy(&copy, config), 0);
        for (size_t i = 0; i < n_config_keys; i++)
                assert_int_equal(config_set(config,
                                            &(struct config_setting){NULL, config_keys[i].key, "?",
                                                                     "/elsewhere", 9},
                                            &why),
                                 -EINVAL);
        assert_same(config, copy);
}

/* ---- another one over the one in force ---- */

static void test_store_take_live(void **state) {
        _cleanup_(config_freep) struct config *running = config_with_defaults();
        _cleanup_(config_freep) struct config *wanted = config_with_defaults();
        _cleanup_(config_freep) struct config *copy = NULL;

        set_all(wanted);
        assert_int_equal(config_copy(&copy, wanted), 0);
        capture_begin();
        config_take_live(running, wanted, NULL);
        assert_string_equal(
                capture_end(),
                "pv-reaperd: handoff in section [sockets] has changed; a restart applies it\n"
                "pv-reaperd: control in section [sockets] has changed; a restart applies it\n"
                "pv-reaperd: path in section [cgroup] has changed; a restart applies it\n"
                "pv-reaperd: seccomp in section [daemon] has changed; a restart applies it\n");
        set(copy, "handoff", "/run/pv-reaper/handoff.sock");
        set(copy, "control", "/run/pv-reaper/control.sock");
        set(copy, "path", "auto");
        set(copy, "seccomp", "enforce");
        set(running, "handoff", "/run/pv-reaper/handoff.sock");
        set(running, "control", "/run/pv-reaper/control.sock");
        set(running, "path", "auto");
        set(running, "seccomp", "enforce");
        assert_same(running, copy);
        assert_int_equal(wanted->max_concurrent, CONFIG_AUTO);
}

/* What says the same in another place is silently from there. */
static void test_store_take_live_moved(void **state) {
        _cleanup_(config_freep) struct config *running = config_with_defaults();
        _cleanup_(config_freep) struct config *wanted = config_with_defaults();
        _cleanup_(config_freep) struct config *copy = NULL;

        set(wanted, "path", "auto");
        set(wanted, "drain-time", "0.5min");
        assert_int_equal(config_copy(&copy, wanted), 0);
        capture_begin();
        config_take_live(running, wanted, NULL);
        assert_string_equal(capture_end(), "");
        assert_same(running, copy);
}

/* ---- values that do not go together ---- */

struct pair {
        const char *key, *value, *other, *other_value;
        const char *said; /* NULL: they do */
};

static const struct pair pairs[] = {
        {"max-concurrent", "8", "boost-max-concurrent", "8", NULL},
        {"max-concurrent", "8", "boost-max-concurrent", "auto", NULL},
        {"max-concurrent", "8", "boost-max-concurrent", "7",
         "/x:3: boost-max-concurrent=7: must not be below max-concurrent=8 (/x:3)"},
        {"cpu-quota", "50%", "boost-cpu-quota", "50%", NULL},
        {"cpu-quota", "50%", "boost-cpu-quota", "infinity", NULL},
        {"cpu-quota", "50%", "boost-cpu-quota", "49%",
         "/x:3: boost-cpu-quota=49%: must not be below cpu-quota=50% (/x:3)"},
        {"cpu-quota", "auto", "boost-cpu-quota", "1%", NULL},
        {"cpu-quota", "infinity", "boost-cpu-quota", "100%",
         "must not be below cpu-quota=infinity"},
        {"memory-low", "2G", "memory-high", "2G", NULL},
        {"memory-low", "auto", "memory-high", "1K", NULL},
        {"memory-low", "2G", "memory-high", "auto", NULL},
        {"memory-low", "2G", "memory-high", "2047M",
         "/x:3: memory-high=2047M: must not be below memory-low=2G (/x:3)"},
};

static void test_store_check(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
                _cleanup_(config_freep) struct config *config = config_with_defaults();
                const char *said;
                int r;

                set(config, pairs[i].key, pairs[i].value);
                set(config, pairs[i].other, pairs[i].other_value);
                capture_begin();
                r = config_check(config);
                said = capture_end();
                if (r != (pairs[i].said ? -EINVAL : 0) || !strstr(said, pairs[i].said ?: ""))
                        fail_msg("%s=%s and %s=%s: %d, %s", pairs[i].key, pairs[i].value,
                                 pairs[i].other, pairs[i].other_value, r, said);
                assert_true(pairs[i].said || *said == '\0');
        }
}

/* All that is wrong is told. */
static void test_store_check_tells_all(void **state) {
        _cleanup_(config_freep) struct config *config = config_with_defaults();
        const char *said;
        int r;

        set(config, "max-concurrent", "4");
        set(config, "boost-max-concurrent", "3");
        set(config, "cpu-quota", "4%");
        set(config, "boost-cpu-quota", "3%");
        capture_begin();
        r = config_check(config);
        said = capture_end();
        assert_int_equal(r, -EINVAL);
        assert_non_null(strstr(said, "boost-max-concurrent=3: must not be below max-concurrent=4 "
                                     "(/x:3)\n"));
        assert_non_null(strstr(said, "boost-cpu-quota=3%: must not be below"));
}

static void test_store_memory_high(void **state) {
        struct config config = {};

        assert_int_equal(config_memory_high(&config, 1000), 1250);
        config.memory_high = 7;
        assert_int_equal(config_memory_high(&config, 1000), 7);
        config = (struct config){};
        assert_int_equal(config_memory_high(&config, UINT64_MAX - 10), UINT64_MAX);
}

/* ---- as text ---- */

static void test_store_print(void **state) {
        _cleanup_(config_freep) struct config *config = config_with_defaults();
        _cleanup_(freep) char *text = NULL;
        const char *why;

        set(config, "max-concurrent", "007");
        assert_int_equal(
                config_set(config,
                           &(struct config_setting){"cpu", "cpu-quota", "7%", "command line", 0},
                           &why),
                0);
        text = printed(config);
        assert_int_equal(strncmp(text, "[sockets]\n# default\nhandoff=", 28), 0);
        assert_non_null(strstr(text, "\n[limits]\n# /x:3\nmax-concurrent=007\n# default\n"));
        assert_non_null(strstr(text, "\n# command line\ncpu-quota=7%\n"));
        assert_non_null(strstr(text, "\n\n[memory]\n# default\nmemory-low=auto\n"));
}

/* conf/pv-reaper.conf: every key once, as a remark, and no long lines. */
static void test_store_print_defaults(void **state) {
        _cleanup_(freep) char *text = NULL;
        size_t size, n = 0;
        FILE *file = open_memstream(&text, &size);
        char line[256];

        assert_non_null(file);
        config_print_defaults(file);
        assert_int_equal(fclose(file), 0);
        for (size_t i = 0; i < n_config_keys; i++) {
                (void)snprintf(line, sizeof(line), "\n#%s=%s\n", config_keys[i].key,
                               config_keys[i].fallback);
                assert_non_null(strstr(text, line));
        }
        for (const char *at = text; *at; at += strcspn(at, "\n") + 1) {
                assert_true(*at == '#' || *at == '[' || *at == '\n');
                assert_true(strcspn(at, "\n") <= 84);
                assert_null(memmem(at, strcspn(at, "\n"), "  ", 2));
                n += *at == '[';
        }
        assert_int_equal(n, 7); /* sections */
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_store_table),          checked_test(test_store_why),
                checked_test(test_store_copy),           checked_test(test_store_failed_set),
                checked_test(test_store_take_live),      checked_test(test_store_take_live_moved),
                checked_test(test_store_check),          checked_test(test_store_check_tells_all),
                checked_test(test_store_memory_high),    checked_test(test_store_print),
                checked_test(test_store_print_defaults),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
