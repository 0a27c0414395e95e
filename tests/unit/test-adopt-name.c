/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What QEMU calls its helper is known to the letter, and so is nothing else: a number that is one
 * in some other way names another process. Patterns match whole paths, and no more of one than the
 * administrator wrote.
 */

#include "fds.h"

#include "daemon/adopt/adopt.h"
#include "daemon/config/keys.h"

static void test_adopt_names(void **state) {
        static const char *const wrong[] = {
                "",           "cleanup",      "cleanup/",   "cleanup/0",   "cleanup/01",
                "cleanup/-1", "cleanup/+1",   "cleanup/ 1", "cleanup/1 ",  "cleanup/1x",
                "cleanup/0x", "Cleanup/1",    "xcleanup/1", "cleanup//1",  "cleanup/1/1",
                "1",          "cleanup/1\n2", "cleanup-1",  "cleanup/1e1",
        };

        assert_int_equal(adopt_vmm_of_name("cleanup/1"), 1);
        assert_int_equal(adopt_vmm_of_name("cleanup/4194304"), 4194304);
        assert_int_equal(adopt_vmm_of_name("cleanup/2147483647"), INT32_MAX);
        assert_int_equal(adopt_vmm_of_name("cleanup/2147483648"), 0);
        assert_int_equal(adopt_vmm_of_name("cleanup/99999999999999999999"), 0);
        for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
                assert_int_equal(adopt_vmm_of_name(wrong[i]), 0);
        assert_true(adopt_is_name("cleanup/x"));
        assert_false(adopt_is_name("cleanup"));
}

static void test_adopt_patterns(void **state) {
        static const char list[] = " /usr/bin/qemu-system-*\t/opt/qemu /x/[ab]? ";

        assert_true(adopt_is_listed(list, "/usr/bin/qemu-system-x86_64"));
        assert_true(adopt_is_listed(list, "/usr/bin/qemu-system-"));
        assert_true(adopt_is_listed(list, "/opt/qemu"));
        assert_true(adopt_is_listed(list, "/x/bc"));
        assert_false(adopt_is_listed(list, "/usr/bin/qemu-system-x/y"));
        assert_false(adopt_is_listed(list, "/tmp/usr/bin/qemu-system-x86_64"));
        assert_false(adopt_is_listed(list, "/usr/bin/qemu-img"));
        assert_false(adopt_is_listed(list, "/opt/qemu2"));
        assert_false(adopt_is_listed(list, "/opt"));
        assert_false(adopt_is_listed(list, ""));
        assert_false(adopt_is_listed("", "/opt/qemu"));
        assert_false(adopt_is_listed(" ", ""));
}

/* Where Debian and RHEL have it. */
static void test_adopt_defaults(void **state) {
        const char *list = config_find_key("adopt", "emulators")->fallback;

        assert_true(adopt_is_listed(list, "/usr/bin/qemu-system-s390x"));
        assert_true(adopt_is_listed(list, "/usr/libexec/qemu-kvm"));
        assert_false(adopt_is_listed(list, "/usr/bin/python3"));
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_adopt_names),
                checked_test(test_adopt_patterns),
                checked_test(test_adopt_defaults),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
