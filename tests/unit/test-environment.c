/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Settings from the environment: which of argument, variable and default wins, and that nothing
 * that stands there can do harm: nonsense counts as not set, and a path that is too long is
 * refused. The jitter is at random, so only its bounds are looked at.
 */

#include "fds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/environment.h"
#include "base/util.h"

#define VARIABLE "PVR_TEST_SOCKET"

static const char *chosen(const char *path) {
        static struct sockaddr_un address;

        memset(&address, 0xff, sizeof(address));
        assert_int_equal(environment_socket(&address, path, VARIABLE, "/default"), 0);
        assert_int_equal(address.sun_family, AF_UNIX);
        return address.sun_path;
}

static void test_environment_socket(void **state) {
        (void)unsetenv(VARIABLE);
        assert_string_equal(chosen(NULL), "/default");
        assert_string_equal(chosen("/argument"), "/argument");
        (void)setenv(VARIABLE, "/variable", 1);
        assert_string_equal(chosen(NULL), "/variable");
        assert_string_equal(chosen("/argument"), "/argument");
        (void)setenv(VARIABLE, "", 1);
        assert_string_equal(chosen(NULL), "/default");
        assert_string_equal(chosen(""), "/default");
}

static void test_environment_socket_length(void **state) {
        struct sockaddr_un address = {.sun_family = 77};
        char path[sizeof(address.sun_path) + 1];

        memset(path, 'x', sizeof(path));
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(environment_socket(&address, path, VARIABLE, "/"), -ENAMETOOLONG);
        assert_int_equal(address.sun_family, 77);
        path[sizeof(path) - 2] = '\0';
        assert_int_equal(environment_socket(&address, path, VARIABLE, "/"), 0);
        assert_string_equal(address.sun_path, path);
}

static void check_grace(const char *text, uint64_t expected) {
        (void)setenv("PVREAPER_GRACE_MSEC", text, 1);
        for (int i = 0; i < 100; i++) {
                uint64_t usec = environment_grace(GRACE, 5 * USEC_PER_SEC);

                assert_in_range(usec, expected, expected + expected / 4);
        }
}

static void test_environment_grace(void **state) {
        static const char *const nonsense[] = {
                "",    " 5",  "-1", "+1",       "0x10",
                "1e3", "7 s", "x",  "86400001", "99999999999999999999999"};

        (void)unsetenv("PVREAPER_GRACE_MSEC");
        assert_in_range(environment_grace(GRACE, 8), 8, 10);
        for (size_t i = 0; i < ARRAY_SIZE(nonsense); i++)
                check_grace(nonsense[i], 5 * USEC_PER_SEC);
        check_grace("0", 0);
        check_grace("300", 300 * USEC_PER_MSEC);
        check_grace("86400000", 86400 * USEC_PER_SEC);
        assert_in_range(environment_grace(GRANT_GRACE, 8), 8, 10); /* another variable */
        (void)unsetenv("PVREAPER_GRACE_MSEC");
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_environment_socket),
                checked_test(test_environment_socket_length),
                checked_test(test_environment_grace),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
