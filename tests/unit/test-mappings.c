/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the keeper makes of an address space: lines of QEMU 7.2 (Debian 12, Linux 6.18) with every
 * sort of guest RAM; lines made by the kernel's sources, for devices that no test machine has; then
 * lines that are none.
 */

#include "fds.h"

#include <errno.h>
#include <string.h>

#include "base/task-stat.h"
#include "base/util.h"
#include "lib/mappings.h"

#define SHMEM 0x01

static const char *const kind_names[_MAPPING_KIND_MAX] = {
        [MAPPING_OURS] = "ours",   [MAPPING_ANONYMOUS] = "anonymous", [MAPPING_SHMEM] = "shmem",
        [MAPPING_VCPU] = "vcpu",   [MAPPING_DEVICE] = "device",       [MAPPING_HUGETLB] = "hugetlb",
        [MAPPING_FILE] = "a file", [MAPPING_AIO] = "native AIO",
};

/* mountinfo of the host that the lines are from, in part, and of a guest of libvirt's */
static const char *const mounts[] = {
        "24 23 0:22 / /dev/shm rw,relatime - tmpfs tmpfs rw,size=24683620k\n",
        "29 24 0:26 / /dev/shm rw,relatime shared:5 master:2 - tmpfs tmpfs rw,size=24683620k\n",
        "41 26 0:38 / /tmp/maps/h rw,relatime - hugetlbfs none rw,pagesize=2M\n",
        "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n",
        "30 22 0:44 / /dev rw,nosuid - tmpfs devfs rw,size=64k,mode=755\n", /* libvirt's own */
        "31 22 0:45 / /mnt/tmpfs\\040x rw - ext4 /dev/tmpfs rw\n",
};

struct row {
        const char *line;
        enum mapping_kind kind;
};

static const struct row rows[] = {
        /* native AIO: not to be unmapped, but ended */
        {"7f8c8c0f9000-7f8c8c0fa000 rw-s 00000000 00:13 204854                     "
         "/[aio] (deleted)",
         MAPPING_AIO},
        {"7f8c8c0f9000-7f8c8c0fa000 rw-s 00000000 00:13 204854                     /[aiox",
         MAPPING_FILE},
        /* the program */
        {"55ef10b12000-55ef10f19000 r--p 00000000 fe:00 10977391                   "
         "/usr/bin/qemu-system-x86_64",
         MAPPING_OURS},
        {"55ef10f19000-55ef114b0000 r-xp 00407000 fe:00 10977391                   "
         "/usr/bin/qemu-system-x86_64",
         MAPPING_OURS},
        {"55ef118f6000-55ef11c9f000 rw-p 00de3000 fe:00 10977391                   "
         "/usr/bin/qemu-system-x86_64",
         MAPPING_OURS},
        {"7ffc5b7d4000-7ffc5b7f5000 rw-p 00000000 00:00 0                          [stack]",
         MAPPING_OURS},
        {"7ffc5b7fb000-7ffc5b7ff000 r--p 00000000 00:00 0                          [vvar]",
         MAPPING_OURS},
        {"7ffc5b7ff000-7ffc5b801000 r-xp 00000000 00:00 0                          [vdso]",
         MAPPING_OURS},
        {"ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]",
         MAPPING_OURS},
        {"55ef12ee5000-55ef13df8000 rw-p 00000000 00:00 0                          [heap]",
         MAPPING_OURS},
        {"7f1d28000000-7f1d67fff000 rwxp 00000000 00:00 0 ", MAPPING_OURS}, /* TCG's code */
        {"7f1d68021000-7f1d6c000000 ---p 00000000 00:00 0 ", MAPPING_OURS},
        {"7f1d68021000-7f1d6c000000 r--p 00000000 00:00 0 ", MAPPING_OURS},
        /* guest RAM */
        {"7f1d23e00000-7f1d27e00000 rw-p 00000000 00:00 0 ", MAPPING_ANONYMOUS},
        {"7f1d23e00000-7f1d27e00000 rw-p 00000000 00:00 0                          [anon:ram]",
         MAPPING_ANONYMOUS},
        {"7f1d23e00000-7f1d27e00000 rw-p 00000000 00:05 4                          /dev/zero",
         MAPPING_ANONYMOUS},
        {"7f8e27e00000-7f8e2be00000 rw-s 00000000 00:01 1065                       "
         "/dev/zero (deleted)",
         MAPPING_SHMEM},
        {"7f8e27e00000-7f8e2be00000 rw-s 00000000 00:01 1065                       "
         "[anon_shmem:ram]",
         MAPPING_SHMEM},
        {"7f8a0ffff000-7f8a13fff000 rw-s 00000000 00:01 70                         "
         "/memfd:memory-backend-memfd (deleted)",
         MAPPING_SHMEM},
        {"7f8a0ffff000-7f8a13fff000 rw-p 00000000 00:01 70                         "
         "/memfd:memory-backend-memfd (deleted)",
         MAPPING_SHMEM},
        {"7f712ffff000-7f7133fff000 rw-s 00000000 00:1a 12                         "
         "/dev/shm/qemu_back_mem.r.JQnbUT (deleted)",
         MAPPING_SHMEM},
        {"7f712ffff000-7f7133fff000 rw-s 00000000 00:01 3                          "
         "/SYSV00000000 (deleted)",
         MAPPING_SHMEM},
        {"7f712ffff000-7f7133fff000 rw-s 00000000 00:0f 3                          "
         "anon_inode:[kvm-gmem]",
         MAPPING_SHMEM},
        {"7f712ffff000-7f7133fff000 rw-s 00000000 00:01 3                          "
         "/a driver's name (deleted)",
         MAPPING_SHMEM},
        /* a file system without a line in mountinfo counts as a disk */
        {"7fae7ffff000-7fae83fff000 rw-s 00000000 00:63 12                         "
         "/run/ram (deleted)",
         MAPPING_FILE},
        {"7fae7ffff000-7fae83fff000 rw-s 00000000 fe:00 10960999                   "
         "/tmp/keeper-maps/ram",
         MAPPING_FILE},
        {"7fae7ffff000-7fae83fff000 rw-s 00000000 00:2d 10960999                   "
         "/mnt/tmpfs x/ram",
         MAPPING_FILE},
        {"7fc487fff000-7fc48bfff000 rw-p 00000000 fe:00 10960999                   "
         "/tmp/keeper-maps/ram",
         MAPPING_OURS}, /* share=off: it could as well be a library */
        /* huge pages: private is what libvirt asks for */
        {"7fcc17e00000-7fcc1be00000 rw-p 00000000 00:26 294777                     "
         "/tmp/maps/h/qemu_back_mem.r.97yAlY (deleted)",
         MAPPING_HUGETLB},
        {"7fcc17e00000-7fcc1be00000 rw-s 00000000 00:26 294777                     "
         "/tmp/maps/h/ram",
         MAPPING_HUGETLB},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:11 295319                     "
         "/memfd:memory-backend-memfd (deleted)",
         MAPPING_HUGETLB},
        {"7f32a7e00000-7f32abe00000 rw-p 00000000 00:11 295320                     "
         "/anon_hugepage (deleted)",
         MAPPING_HUGETLB},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:11 3                          "
         "/SYSV00000000 (deleted)",
         MAPPING_HUGETLB},
        {"7f32a7e00000-7f32abe00000 r-xp 00000000 00:26 3                          "
         "/tmp/maps/h/text (deleted)",
         MAPPING_OURS}, /* libhugetlbfs puts programs there */
        /* devices, also on libvirt's /dev */
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:0f 1051                       "
         "anon_inode:kvm-vcpu:0",
         MAPPING_VCPU},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:0f 1051                       "
         "anon_inode:[vfio-device]",
         MAPPING_DEVICE},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:0f 1051                       "
         "anon_inode:[io_uring]",
         MAPPING_DEVICE},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:2c 21                         "
         "/dev/vfio/devices/vfio0",
         MAPPING_DEVICE},
        {"7f32a7e00000-7f32abe00000 r--p fee00000 00:05 21                         /dev/mem",
         MAPPING_DEVICE},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:14 21                         "
         "/sys/devices/pci0000:00/0000:00:02.0/resource0",
         MAPPING_DEVICE},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:08 4711                       "
         "socket:[4711]",
         MAPPING_DEVICE},
        {"7f32a7e00000-7f32abe00000 rw-s 00000000 00:0d 9                          "
         "/dmabuf:",
         MAPPING_FILE}, /* goes at once, too */
};

static struct filesystems make_filesystems(uint64_t shmem) {
        struct filesystems f = {.shmem = shmem};

        for (size_t i = 0; i < ARRAY_SIZE(mounts); i++) {
                enum filesystem_type type;
                uint64_t device;

                assert_int_equal(mount_parse(&device, &type, mounts[i], strlen(mounts[i])), 0);
                filesystems_add(&f, device, type);
        }
        return f;
}

static enum mapping_kind classify(const char *line, const struct filesystems *f) {
        struct mapping m;

        assert_int_equal(mapping_parse(&m, line, strlen(line)), 0);
        return mapping_classify(&m, f);
}

static void test_mappings_kinds(void **state) {
        struct filesystems f = make_filesystems(SHMEM);

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                enum mapping_kind kind = classify(rows[i].line, &f);

                if (kind != rows[i].kind)
                        fail_msg("%s is %s, not %s", rows[i].line, kind_names[rows[i].kind],
                                 kind_names[kind]);
        }
}

/* If nobody knows which device shmem is, a memfd is memory that stays, not a pool to be refilled.
 */
static void test_mappings_shmem_unknown(void **state) {
        struct filesystems f = make_filesystems(0);

        assert_int_equal(classify("1000-2000 rw-s 0 00:11 1 /memfd:x (deleted)", &f),
                         MAPPING_SHMEM);
        assert_int_equal(classify("1000-2000 rw-s 0 00:11 1 /dev/zero (deleted)", &f),
                         MAPPING_SHMEM);
        assert_int_equal(classify("1000-2000 rw-s 0 00:00 1 /x", &f), MAPPING_FILE);
        assert_int_equal(classify("1000-2000 rw-s 0 00:11 1 /anon_hugepage (deleted)", &f),
                         MAPPING_HUGETLB);
}

static void test_mappings_fields(void **state) {
        static const char line[] =
                "7fcc17e00000-7fcc1be00000 r-xs 0000f000 fe:0a 294777     /a b\\012c (deleted)\n";
        struct mapping m;

        assert_int_equal(mapping_parse(&m, line, sizeof(line) - 1), 0);
        assert_true(m.range.start == 0x7fcc17e00000 && m.range.end == 0x7fcc1be00000);
        assert_false(m.writable);
        assert_true(m.executable && m.shared);
        assert_true(m.device == DEVICE_NUMBER(0xfe, 0x0a));
        assert_int_equal(m.name_size, strlen("/a b\\012c (deleted)"));
        assert_memory_equal(m.name, "/a b\\012c (deleted)", m.name_size);
        /* cut off in the name */
        assert_int_equal(mapping_parse(&m, line, sizeof(line) - 17), 0);
        assert_memory_equal(m.name, "/a b", m.name_size);
        /* without one, with and without the blank that the kernel puts there */
        assert_int_equal(mapping_parse(&m, "1-2 rw-p 0 00:00 0", 18), 0);
        assert_int_equal(m.name_size, 0);
        assert_int_equal(mapping_parse(&m, "1-2 rw-p 0 00:00 0 \n", 20), 0);
        assert_int_equal(m.name_size, 0);
        assert_int_equal(mapping_parse(&m, "0-ffffffffffffffff ---p 0 0:0 0", 31), 0);
}

static void test_mappings_malformed(void **state) {
        static const char *const lines[] = {
                "",
                "\n",
                "x",
                "-",
                "1000",
                "1000-",
                "1000-2000",
                "1000-2000 ",
                "2000-1000 rw-p 0 00:00 0",
                "1000-1000 rw-p 0 00:00 0",
                "1000-2000rw-p 0 00:00 0",
                " 1000-2000 rw-p 0 00:00 0",
                "1000-2000 rw- 0 00:00 0",
                "1000-2000 rw-x 0 00:00 0",
                "1000-2000 rw-pp 0 00:00 0",
                "1000-2000 rw-p  00:00 0",
                "1000-2000 rw-p 0",
                "1000-2000 rw-p 0 ",
                "1000-2000 rw-p 0 0000 0",
                "1000-2000 rw-p 0 :00 0",
                "1000-2000 rw-p 0 00: 0",
                "1000-2000 rw-p 0 00:00",
                "1000-2000 rw-p 0 00:00 ",
                "1000-2000 rw-p 0 100000000:00 0",
                "1000-2000 rw-p 0 0:100000000 0",
                "1000-2000 rw-p 0 00:00 x",
                "10000000000000000-20000000000000000 rw-p 0 00:00 0",
                "1000-20000000000000000 rw-p 0 00:00 0",
                "1000-2000 rw-p 0 00:00 99999999999999999999",
                "1000-2000 rw-p 0 00:\n00 0",
        };
        struct mapping m = {.device = 17};

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
                if (mapping_parse(&m, lines[i], strlen(lines[i])) != -EBADMSG)
                        fail_msg("\"%s\" was taken for a mapping", lines[i]);
        assert_int_equal(m.device, 17);
}

/* Whatever stands in memory behind a line is not read: the sanitizers and valgrind watch. */
static void parse_prefix(const char *line, size_t size) {
        struct filesystems f = {.shmem = SHMEM};
        char *copy = malloc(size);
        enum filesystem_type type;
        struct mapping m;
        uint64_t n;

        assert_non_null(copy);
        memcpy(copy, line, size);
        if (mapping_parse(&m, copy, size) == 0) {
                assert_true(m.name >= copy && m.name + m.name_size <= copy + size);
                (void)mapping_classify(&m, &f);
        }
        (void)mount_parse(&n, &type, copy, size);
        (void)statm_parse(&n, copy, size);
        free(copy);
}

static void test_mappings_every_prefix(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                for (size_t size = 1; size <= strlen(rows[i].line); size++)
                        parse_prefix(rows[i].line, size);
        for (size_t i = 0; i < ARRAY_SIZE(mounts); i++)
                for (size_t size = 1; size <= strlen(mounts[i]); size++)
                        parse_prefix(mounts[i], size);
}

static void test_mappings_at_once(void **state) {
        static const bool table[_MAPPING_KIND_MAX][2] = {
                [MAPPING_DEVICE] = {true, true},
                [MAPPING_HUGETLB] = {true, true},
                [MAPPING_FILE] = {true, false}, /* it may be RAM of a protected guest */
        };

        for (int kind = 0; kind < _MAPPING_KIND_MAX; kind++)
                for (int protected = 0; protected <= 1; protected ++)
                        assert_int_equal(mapping_goes_at_once((enum mapping_kind)kind, protected),
                                         table[kind][protected]);
}

static void test_mappings_mounts(void **state) {
        static const char *const lines[] = {
                "",
                "\n",
                "1",
                "1 2",
                "1 2 3:4",
                "1 2 3:4 /",
                "1 2 3:4 / /x rw",
                "1 2 3:4 / /x rw ",
                "1 2 3:4 / /x rw -",
                "1 2 34 / /x rw - tmpfs x rw",
                "1 2 :4 / /x rw - tmpfs x rw",
                "1 2 3:x / /x rw - tmpfs x rw",
                "1 2 3:4294967296 / /x rw - tmpfs x rw",
        };
        enum filesystem_type type = _FILESYSTEM_TYPE_MAX;
        uint64_t device = 17;

        for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
                if (mount_parse(&device, &type, lines[i], strlen(lines[i])) != -EBADMSG)
                        fail_msg("\"%s\" was taken for a mount", lines[i]);
        assert_int_equal(device, 17);
        assert_int_equal(mount_parse(&device, &type, "1 2 3:4 / /- rw a - tmpfs x", 27), 0);
        assert_int_equal(type, FILESYSTEM_TMPFS);
        assert_true(device == DEVICE_NUMBER(3, 4));
        assert_int_equal(mount_parse(&device, &type, "1 2 3:4 / /x rw - tmpfsx x", 26), 0);
        assert_int_equal(type, FILESYSTEM_OTHER);
        assert_int_equal(mount_parse(&device, &type, "1 2 3:4 / /x rw - tmpfs", 23), 0);
        assert_int_equal(type, FILESYSTEM_OTHER);
}

static void test_mappings_many_mounts(void **state) {
        struct filesystems f = {};

        for (unsigned i = 0; i < 3 * FILESYSTEMS_MAX; i++) {
                filesystems_add(&f, DEVICE_NUMBER(0, i / 2 + 1), FILESYSTEM_TMPFS);
                filesystems_add(&f, DEVICE_NUMBER(0, i / 2 + 1), FILESYSTEM_OTHER);
        }
        assert_int_equal(f.n_mounted[FILESYSTEM_TMPFS], FILESYSTEMS_MAX);
        assert_int_equal(f.n_mounted[FILESYSTEM_OTHER], 0);
        assert_int_equal(classify("1-2 rw-s 0 00:20 1 /x", &f), MAPPING_SHMEM);
        assert_int_equal(classify("1-2 rw-s 0 00:21 1 /x", &f), MAPPING_FILE);
}

/* /proc/PID/stat of a name that tries to be more than one */
static void test_mappings_task_stat(void **state) {
        static const char *const bad[] = {
                "",
                "7 name S 1 2 3 4 5 4 7 8 9 10 11 12 13 14 15 16 2",
                "7 (a) S 1 2 3 4 5",
                "7 (a) S 1 2 3 4 5 x 7 8 9 10 11 12 13 14 15 16 2",
                "7 (a) S 1 2 3 4 5 4 7 8 9 10 11 12 13 14 15 16 ",
                "7 (a)",
        };
        static const char lives[] =
                "7 (a) R (4 4) S 1 2 3 4 -1 1077936384 7 8 9 10 11 12 13 14 15 16 2 0 99\n";
        static const char exits[] =
                "7 (pvr) Z 1 2 3 4 5 4228108 7 8 9 10 11 12 13 14 15 16 1 0 99\n";
        struct task_stat stat = {.n_threads = 77};

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(task_stat_parse(&stat, bad[i], strlen(bad[i])), -EBADMSG);
        assert_int_equal(stat.n_threads, 77);
        assert_int_equal(task_stat_parse(&stat, lives, sizeof(lives) - 1), 0);
        assert_false(stat.exiting);
        assert_int_equal(stat.n_threads, 2);
        assert_int_equal(task_stat_parse(&stat, exits, sizeof(exits) - 1), 0);
        assert_true(stat.exiting);
        assert_int_equal(stat.n_threads, 1);
}

static void test_mappings_statm(void **state) {
        static const char *const bad[] = {"", " ", "1", "1 ", "x 2", "1 x", "1\n2"};
        uint64_t n = 17;

        for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
                assert_int_equal(statm_parse(&n, bad[i], strlen(bad[i])), -EBADMSG);
        assert_int_equal(n, 17);
        assert_int_equal(statm_parse(&n, "1049 221 183 5 0 96 0\n", 22), 0);
        assert_int_equal(n, 221);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_mappings_kinds),        checked_test(test_mappings_shmem_unknown),
                checked_test(test_mappings_fields),       checked_test(test_mappings_malformed),
                checked_test(test_mappings_every_prefix), checked_test(test_mappings_at_once),
                checked_test(test_mappings_mounts),       checked_test(test_mappings_many_mounts),
                checked_test(test_mappings_statm),        checked_test(test_mappings_task_stat),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
