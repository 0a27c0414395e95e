/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Giving an address space away, in a child that has one to lose: what goes at once, what stays,
 * what goes in slices, and what the caller stands on. Which mapping is of which sort is another
 * test's (test-mappings.c); here the kernel says what is left.
 */

#include "fds.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/util.h"
#include "lib/space.h"

#define MIB  ((size_t)1 << 20)
#define SIZE (10 * (size_t)SPACE_SLICE + 5 * MIB)
#define MANY 150

/* Whatever takes that long is told of: after 10 ms at the end of a slice, the last at the latest.
 */
#define TOLD_USEC (15 * USEC_PER_MSEC)

static char *map(size_t size, int flags, int fd) {
        char *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);

        if (p == MAP_FAILED)
                _exit(100);
        return p;
}

static char *map_memory(size_t size) {
        return map(size, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

/* Enough to be seen in numbers that the kernel keeps in batches, and little to touch. */
static void touch(char *p, size_t size) {
        for (size_t at = 0; at < size; at += MIB / 16)
                p[at] = 1;
}

/* -1: nothing is mapped; 0: no page is there; 1: one is */
static int look(const char *p) {
        unsigned char in_core = 0;

        if (mincore((void *)((uintptr_t)p & ~((uintptr_t)getpagesize() - 1)), 1, &in_core) < 0)
                return -1;
        return in_core & 1;
}

static bool is_mapped(const char *p) {
        return look(p) >= 0;
}

/* A userfaultfd on this memory, or -1. */
static int watch(char *memory, size_t size) {
        struct uffdio_api api = {.api = UFFD_API};
        struct uffdio_register request = {.range = {(uintptr_t)memory, size},
                                          .mode = UFFDIO_REGISTER_MODE_MISSING};
        int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | 1);

        if (fd < 0 || ioctl(fd, UFFDIO_API, &api) < 0 || ioctl(fd, UFFDIO_REGISTER, &request) < 0)
                return -1;
        return fd;
}

static bool is_there(const char *p) {
        return look(p) > 0;
}

/* A file without a name on the disk that the test runs on, or of that memory. */
static int make_file(bool on_disk) {
        int fd = on_disk ? open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600)
                         : memfd_create("test", MFD_CLOEXEC);

        if (fd < 0 || ftruncate(fd, (off_t)MIB) < 0)
                _exit(101);
        return fd;
}

/* 1: mapped still, 2: not; for what is private, shared, shared on a disk */
static int give_back(bool maybe_protected) {
        struct space s = {.maybe_protected = maybe_protected};
        char *memory = map_memory(SIZE), *memfd = map(MIB, MAP_SHARED, make_file(false));
        char *file = map(MIB, MAP_SHARED, make_file(true));
        char *copy = map(MIB, MAP_PRIVATE, make_file(true));

        space_init(&s);
        if (space_open(&s) < 0)
                return 3;
        space_give_back(&s);
        if (!is_mapped(memory) || !is_mapped(memfd) || !is_mapped(copy))
                return 1;
        return is_mapped(file) == maybe_protected ? 0 : 2;
}

static void run(int (*function)(void)) {
        pid_t pid = fork();

        if (pid == 0)
                _exit(function());
        assert_int_equal(wait_for_exit(pid), 0);
}

static int give_back_ordinary(void) {
        return give_back(false);
}

static int give_back_protected(void) {
        return give_back(true);
}

static void test_space_give_back(void **state) {
        run(give_back_ordinary);
        run(give_back_protected);
}

static const char *no_disk(void) {
        int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        if (fd < 0)
                return "no unnamed files here";
        (void)close(fd);
        return NULL;
}

/* ---- native AIO ---- */

static bool has_aio(void) {
        unsigned long ring = 0;
        int before = space_has_aio(), during;

        if (syscall(SYS_io_setup, 8, &ring) < 0)
                _exit(102);
        during = space_has_aio();
        return before == 0 && during == 1 && ring != 0;
}

static int fence(void) {
        struct space s = {};

        if (space_open(&s) < 0 || !has_aio())
                return 1;
        return space_fence(&s) == 0 && space_has_aio() == 0 ? 0 : 2;
}

static void test_space_fence(void **state) {
        run(fence);
}

static const char *no_aio(void) {
        unsigned long ring = 0;

        if (syscall(SYS_io_setup, 1, &ring) < 0)
                return "no native AIO here";
        (void)syscall(SYS_io_destroy, ring);
        return NULL;
}

/* ---- slices ---- */

struct seen {
        unsigned n;
        uint64_t left[1000];
};

static void on_progress(void *userdata, uint64_t bytes_left) {
        struct seen *seen = userdata;

        if (seen->n < ARRAY_SIZE(seen->left))
                seen->left[seen->n++] = bytes_left;
}

/* All of it but the slices of what is ours, and nothing else. */
static int release(void) {
        static struct seen seen;
        struct space s = {};
        char *memory = map_memory(SIZE), *small = map_memory(SPACE_SLICE - MIB);
        char *shared = map(SIZE, MAP_SHARED | MAP_ANONYMOUS, -1);
        const size_t own = 3 * SPACE_SLICE;
        uint64_t before, took;

        /* not to be merged with what is beside it */
        (void)mprotect(small, (size_t)getpagesize(), PROT_READ);
        (void)mprotect(small + SPACE_SLICE - 2 * MIB, MIB, PROT_READ);
        (void)madvise(memory, SIZE, MADV_NOHUGEPAGE);
        for (size_t at = 0; at < SIZE; at += 4096)
                memory[at] = 1; /* each page, so that it takes a while */
        touch(small + 2 * MIB, MIB);
        touch(shared, SIZE);
        space_init(&s);
        if (space_open(&s) < 0)
                return 6;
        before = space_resident(&s);
        space_add_own(&s, memory + own, 1);
        took = now_usec();
        space_release(&s, on_progress, &seen);
        took = now_usec() - took;
        if (is_there(memory) || is_there(memory + SIZE - MIB) || !is_there(memory + own))
                return 1;
        if (is_there(memory + own - SPACE_SLICE) || is_there(memory + own + SPACE_SLICE))
                return 2;
        if (!is_there(small + 2 * MIB) || !is_there(shared) || !is_there(shared + SIZE - MIB))
                return 3;
        if (took > TOLD_USEC && (seen.n == 0 || seen.left[0] >= before))
                return 4;
        for (unsigned i = 1; i < seen.n; i++)
                if (seen.left[i] > seen.left[i - 1])
                        return 5;
        return 0;
}

static void test_space_release(void **state) {
        run(release);
}

/* However many mappings there are, none is forgotten. */
static int release_many(void) {
        static struct seen seen;
        const size_t size = (size_t)SPACE_SLICE + MIB;
        struct space s = {};
        char *memory = map_memory(MANY * size);

        for (size_t i = 0; i < MANY; i++) {
                memory[i * size] = memory[i * size + SPACE_SLICE / 2] = 1;
                (void)mprotect(memory + i * size + SPACE_SLICE, MIB, PROT_READ);
        }
        if (space_open(&s) < 0)
                return 2;
        space_release(&s, on_progress, &seen);
        for (size_t i = 0; i < MANY; i++)
                if (is_there(memory + i * size) || is_there(memory + i * size + SPACE_SLICE / 2))
                        return 1;
        return 0;
}

static void test_space_release_many(void **state) {
        run(release_many);
}

/* Locked memory, which MADV_DONTNEED refuses, is unmapped. */
static int release_locked(void) {
        static struct seen seen;
        struct space s = {};
        char *memory = map_memory(2 * SPACE_SLICE);

        if (syscall(SYS_mlock2, memory, 2 * SPACE_SLICE, 1 /* MLOCK_ONFAULT */) < 0)
                return 0; /* not allowed here */
        touch(memory, 2 * SPACE_SLICE);
        if (space_open(&s) < 0)
                return 2;
        space_release(&s, on_progress, &seen);
        return is_mapped(memory) || is_mapped(memory + 2 * SPACE_SLICE - 1) ? 1 : 0;
}

static void test_space_release_locked(void **state) {
        run(release_locked);
}

static int resident(void) {
        char *memory = map_memory(64 * MIB);
        struct space s = {};
        uint64_t before, after;

        if (space_open(&s) < 0)
                return 2;
        before = space_resident(&s);
        for (size_t at = 0; at < 64 * MIB; at += 4096)
                memory[at] = 1;
        after = space_resident(&s);
        /* the kernel counts in batches */
        return before > 0 && after > before + 60 * MIB && after < before + 70 * MIB ? 0 : 1;
}

static void test_space_resident(void **state) {
        run(resident);
}

/* The kernel's own tmpfs, by which a memfd of huge pages is known. */
static void test_space_init(void **state) {
        struct space s = {};
        struct stat st;
        int fd = make_file(false);

        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(close(fd), 0);
        space_init(&s);
        assert_true(s.shmem != 0);
        assert_true(s.shmem == DEVICE_NUMBER(major(st.st_dev), minor(st.st_dev)));
}

static void test_space_too_much_of_its_own(void **state) {
        struct space s = {};

        for (int i = 0; i < 10; i++)
                space_add_own(&s, &s, sizeof(s));
        assert_int_equal(s.n_own, SPACE_OWN_MAX);
}

/*
 * What somebody's userfaultfd watches stays until the exit: had it asked for events, and not read
 * them, each call on it would hang. This one did not ask, so that a failure is one.
 */
static int release_watched(void) {
        struct space s = {};
        struct seen seen = {};
        char *watched = map_memory(SIZE), *other = map_memory(SIZE);
        int fd;

        touch(watched, SIZE);
        touch(other, SIZE);
        fd = watch(watched, SIZE);
        if (fd < 0)
                return 1;
        space_init(&s);
        if (space_open(&s) < 0)
                return 3;
        space_release(&s, on_progress, &seen);
        return is_there(watched) && !is_there(other) ? 0 : 2;
}

static void test_space_watched(void **state) {
        run(release_watched);
}

static const char *no_watch(void) {
        int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | 1);

        if (fd < 0)
                return "no userfaultfd here";
        (void)close(fd);
        return NULL;
}

/* There in a program of the address sanitizer only. */
extern void __asan_init(void) __attribute__((weak));

/* In the address spaces of valgrind and the sanitizer there is more than the program. */
static const char *not_alone(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (__asan_init)
                return "the sanitizer's own memory would go, too";
        return preload && strstr(preload, "valgrind") ? "valgrind's own memory would go, too"
                                                      : NULL;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test_unless(not_alone() ? not_alone() : no_disk(), test_space_give_back),
                checked_test_unless(not_alone(), test_space_release),
                checked_test_unless(not_alone(), test_space_release_many),
                checked_test_unless(not_alone(), test_space_release_locked),
                checked_test_unless(not_alone(), test_space_resident),
                checked_test_unless(not_alone() ? not_alone() : no_aio(), test_space_fence),
                checked_test_unless(not_alone() ? not_alone() : no_watch(), test_space_watched),
                checked_test(test_space_init),
                checked_test(test_space_too_much_of_its_own),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
