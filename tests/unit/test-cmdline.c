/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What libpvreaper-preload.so takes from a QEMU's command line: name and UUID as QEMU itself would
 * read them (test-qemu.py asks a real one), and whether there will be a guest and a daemon. And
 * that nothing that may stand there does harm: a long name, an option whose value is missing.
 */

#include "fds.h"

#include <string.h>

#include "base/util.h"
#include "preload/cmdline.h"

#define UUID "01234567-89ab-CDEF-0123-456789abcdef"

/* The command line of these words, up to NULL. */
#define parse(...) parse_words((const char *[]){"qemu-system-s390x", __VA_ARGS__, NULL})

static struct cmdline parse_words(const char *words[]) {
        struct cmdline c;
        char *argv[16] = {};
        int argc = 0;

        memset(&c, 0xff, sizeof(c));
        for (; words[argc]; argc++) {
                assert_true(argc < (int)ARRAY_SIZE(argv));
                argv[argc] = strdup(words[argc]); /* exact, so that a read behind its end is seen */
                assert_non_null(argv[argc]);
        }
        cmdline_parse(&c, argc, argv);
        while (argc > 0)
                free(argv[--argc]);
        return c;
}

static void test_cmdline_programs(void **state) {
        assert_true(cmdline_is_qemu("qemu-system-s390x"));
        assert_true(cmdline_is_qemu("/usr/bin/qemu-system-x86_64"));
        assert_true(cmdline_is_qemu("/usr/libexec/qemu-kvm"));
        assert_true(cmdline_is_qemu("kvm"));
        assert_false(cmdline_is_qemu(""));
        assert_false(cmdline_is_qemu("/"));
        assert_false(cmdline_is_qemu("qemu"));
        assert_false(cmdline_is_qemu("qemu-img"));
        assert_false(cmdline_is_qemu("qemu-bridge-helper"));
        assert_false(cmdline_is_qemu("kvm-spice"));
        assert_false(cmdline_is_qemu("/opt/qemu-system-s390x/swtpm"));
}

static void test_cmdline_names(void **state) {
        static const struct {
                const char *value, *name;
        } cases[] = {
                {"anna", "anna"},
                {"guest=anna", "anna"},
                {"guest=anna,debug-threads=on", "anna"},
                {"anna,process=qemu:anna,debug-threads=on", "anna"},
                {"process=other,guest=anna", "anna"},
                {"debug-threads=on", ""},
                {"process=other", ""},
                {"a,,b", "a,b"},
                {"a,,,debug-threads=on", "a,"},
                {",,", ","},
                {"guest=a,,b=c,process=x,,y", "a,b=c"},
                {"guest=a=b", "a=b"},
                {"process=x,,guest=wrong,guest=right", "right"},
                {"guest=one,guest=two", "two"},
                {"guest=anna,other", "anna"}, /* "other" is a flag, as it is not the first */
                {"guests=x", ""},
                {"gues=x", ""},
                {"guest=", ""},
                {"", ""},
                {",guest=anna", "anna"},
                {",", ""},
                {"=", ""},
                {"guest=anna,", "anna"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct cmdline c = parse("-S", "-name", cases[i].value, "-daemonize");

                assert_string_equal(c.name, cases[i].name);
                assert_true(c.daemonize);
        }
        assert_string_equal(parse("-name", "one", "--name", "debug-threads=on").name, "one");
        assert_string_equal(parse("-name", "one", "--name", "two").name, "two");
}

static void test_cmdline_long_name(void **state) {
        char value[300], expected[CMDLINE_NAME_SIZE];
        struct cmdline c;

        memset(value, 'x', sizeof(value) - 1);
        value[sizeof(value) - 1] = '\0';
        memset(expected, 'x', sizeof(expected) - 1);
        expected[sizeof(expected) - 1] = '\0';
        c = parse("-name", value);
        assert_string_equal(c.name, expected);
        memcpy(value, "guest=", 6);
        c = parse("-name", value, "-uuid", UUID);
        assert_string_equal(c.name, expected);
        assert_int_equal(c.uuid[0], 0x01);
}

static void test_cmdline_uuids(void **state) {
        static const uint8_t uuid[16] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef,
                                         0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
        static const uint8_t none[16];
        static const char *const bad[] = {"",
                                          "-",
                                          "0",
                                          "01234567",
                                          "0123456789abcdef0123456789abcdef",
                                          "01234567-89ab-cdef-0123-456789abcde",
                                          "01234567-89ab-cdef-0123-456789abcdefa",
                                          "01234567-89ab-cdef-0123_456789abcdef",
                                          "g1234567-89ab-cdef-0123-456789abcdef",
                                          "01234567-89ab-cdef-0123-456789abcde@",
                                          "01234567-89ab-cdef-0123-456789abcde "};

        assert_memory_equal(parse("-uuid", UUID).uuid, uuid, 16);
        assert_memory_equal(parse("--uuid", UUID).uuid, uuid, 16);
        assert_memory_equal(parse("-S").uuid, none, 16);
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_memory_equal(parse("-uuid", bad[i]).uuid, none, 16);
}

static void test_cmdline_guest(void **state) {
        assert_false(parse("-S").no_guest);
        assert_true(parse("-help").no_guest);
        assert_true(parse("-h").no_guest);
        assert_true(parse("--version").no_guest);
        assert_true(parse("-machine", "none").no_guest);
        assert_true(parse("-machine", "none,accel=kvm:tcg").no_guest);
        assert_true(parse("-M", "type=none").no_guest);
        assert_true(parse("-M", "accel=tcg,type=none").no_guest);
        assert_false(parse("-M", "none-such").no_guest);
        assert_false(parse("-M", "non").no_guest);
        assert_false(parse("-machine", "pc,x=none").no_guest);
        assert_false(parse("-machine", "none", "-machine", "pc").no_guest);
        assert_true(parse("-machine", "none", "-machine", "accel=kvm").no_guest);
}

/* A value is a value, whatever it looks like. */
static void test_cmdline_values(void **state) {
        struct cmdline c;

        assert_false(parse("-append", "-daemonize").daemonize);
        assert_false(parse("-append", "--daemonize").daemonize);
        assert_false(parse("-unheard-of", "-daemonize").daemonize);
        assert_true(parse("-nodefaults", "-daemonize").daemonize);
        assert_true(parse("disk.img", "--daemonize").daemonize);
        assert_false(parse("daemonize").daemonize);
        assert_false(parse("---daemonize").daemonize);
        c = parse("-kernel", "-name", "-append", "-name", "-name", "-uuid", "-S");
        assert_string_equal(c.name, "-uuid");
        assert_string_equal(parse("-S", "-name").name, "");
        assert_string_equal(parse("-", "-name", "--").name, "");
        assert_string_equal(parse("", "-name", "anna").name, "anna");
}

static void test_cmdline_native_aio(void **state) {
        static const struct {
                const char *option, *value;
                bool native;
        } cases[] = {
                {"-drive", "file=x,cache=none,aio=native", true},
                {"-drive", "aio=native", true},
                {"--drive", "if=none,file.aio=native,id=d", true},
                {"-drive", "file=x,cache=none,aio=threads", false},
                {"-drive", "file=x,cache=none,aio=io_uring", false},
                {"-drive", "file=x,,aio=native,cache=none", false}, /* a name with a comma */
                {"-drive", "file=x,,,aio=native", true},
                {"-drive", "file=aio=native", false},
                {"-drive", "aio=nativ", false},
                {"-drive", "aio=natives", false},
                {"-drive", "xaio=native,ai=native,aio.x=native,a.aiox=native", false},
                {"-drive", "native,aio", false},
                {"-drive", "file=json:{\"driver\":\"file\",,\"aio\":\"native\"}", true},
                {"-blockdev", "driver=file,node-name=x,filename=y,aio=native", true},
                {"-blockdev", "driver=raw,node-name=x,file.driver=file,file.aio=native", true},
                {"-blockdev", "driver=qcow2,backing.file.aio=native,node-name=x", true},
                {"-blockdev", "driver=file,aio=threads", false},
                {"-blockdev", "{\"driver\":\"file\",\"aio\":\"native\"}", true},
                {"-blockdev", "{\"file\": { \"aio\" :\n\t\"native\" }}", true},
                {"-blockdev", "{'driver': 'file', 'aio': 'native'}", true},
                {"-blockdev", "{\"driver\":\"file\",\"aio\":\"threads\"}", false},
                {"-blockdev", "{\"node-name\":\"aio\",\"x\":\"native\"}", false},
                {"-blockdev", "{\"filename\":\"\\\"aio\\\":\\\"native\\\"\"}", false},
                {"-blockdev", "{\"aio\"", false},
                {"-blockdev", "{\"aio\":", false},
                {"-blockdev", "{\"aio\":\"native", false},
                {"-set", "drive.d0.aio=native", true},
                {"-set", "drive.d0.aio=threads", false},
                {"-name", "aio=native", false},
                {"-append", "aio=native", false},
                {"-drive", "", false},
                {"-drive", "aio=", false},
                {"-drive", ".aio=native", true},
        };

        for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
                struct cmdline c = parse("-S", cases[i].option, cases[i].value, "-daemonize");

                if (c.native_aio != cases[i].native)
                        fail_msg("%s %s", cases[i].option, cases[i].value);
                assert_true(c.daemonize);
        }
        assert_true(parse("-drive", "aio=native", "-drive", "aio=threads").native_aio);
        assert_false(parse("-S", "aio=native").native_aio);
}

static void test_cmdline_rights(void **state) {
        assert_true(parse("-runas", "nobody").gives_up_rights);
        assert_true(parse("--runas", "65534:65534").gives_up_rights);
        assert_true(parse("-chroot", "/var/empty").gives_up_rights);
        assert_true(parse("-run-with", "user=nobody").gives_up_rights);
        assert_true(parse("-run-with", "async-teardown=on,user=nobody").gives_up_rights);
        assert_true(parse("-run-with", "chroot=/var/empty,async-teardown=off").gives_up_rights);
        assert_true(parse("-run-with", "user=", "-run-with", "async-teardown=on").gives_up_rights);
        assert_false(parse("-run-with", "async-teardown=on").gives_up_rights);
        assert_false(parse("-run-with", "exit-with-parent=on,users=x").gives_up_rights);
        assert_false(parse("-append", "-runas", "-S").gives_up_rights);
        assert_false(parse("-name", "user=nobody").gives_up_rights);
        assert_false(parse("-S").gives_up_rights);
}

static void test_cmdline_nothing(void **state) {
        struct cmdline c;

        cmdline_parse(&c, 0, NULL);
        assert_string_equal(c.name, "");
        assert_false(c.daemonize || c.no_guest);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_cmdline_programs),   checked_test(test_cmdline_names),
                checked_test(test_cmdline_long_name),  checked_test(test_cmdline_uuids),
                checked_test(test_cmdline_guest),      checked_test(test_cmdline_values),
                checked_test(test_cmdline_native_aio), checked_test(test_cmdline_rights),
                checked_test(test_cmdline_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
