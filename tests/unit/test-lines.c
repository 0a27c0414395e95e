/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reading /proc line by line through a small buffer: the lines of a file must come out whole, or,
 * if they are longer than the buffer, as much of them as fits, wherever the reads happen to end,
 * and also if what they are about changes meanwhile.
 */

#include "fds.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "lib/lines.h"
#include "lib/raw.h"

/* A pipe gives out what was written, packet by packet (O_DIRECT): reads end where the test says. */
static int make_pieces(const char *text, size_t size, size_t piece) {
        int fds[2];

        assert_int_equal(pipe2(fds, O_CLOEXEC | O_DIRECT), 0);
        assert_true(fcntl(fds[1], F_SETPIPE_SZ, 1 << 20) >= 0); /* a page for each packet */
        for (size_t at = 0; at < size; at += piece) {
                size_t n = min_u64(piece, size - at);

                assert_int_equal(write(fds[1], text + at, n), n);
        }
        assert_int_equal(close(fds[1]), 0);
        return fds[0];
}

static int make_file(const char *text, size_t size) {
        int fd = memfd_create("lines", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(pwrite(fd, text, size, 0), size);
        return fd;
}

/* The lines of a text, cut to the buffer, must come out; piece: of what size reads are, 0: any. */
static void check(const char *text, size_t size, size_t piece) {
        int fd = piece > 0 ? make_pieces(text, size, piece) : make_file(text, size);
        const char *line, *at = text;
        struct lines lines;
        size_t n;

        lines_begin(&lines, fd);
        while (at < text + size) {
                const char *newline = memchr(at, '\n', (size_t)(text + size - at));
                size_t whole = newline ? (size_t)(newline - at) + 1 : (size_t)(text + size - at);

                assert_int_equal(lines_next(&lines, &line, &n), 1);
                assert_int_equal(n, min_u64(whole, LINES_BUFFER));
                assert_memory_equal(line, at, n);
                at += whole;
        }
        assert_int_equal(lines_next(&lines, &line, &n), 0);
        assert_int_equal(lines_next(&lines, &line, &n), 0);
        assert_int_equal(close(fd), 0);
}

/* Far from filling the buffer: of a packet that is larger than a read the rest would be lost. */
static void test_lines_in_pieces(void **state) {
        static const char text[] = "one\n\ntwo two\nthree\n\n\nand no newline at the end";

        for (size_t piece = 1; piece <= sizeof(text); piece++)
                check(text, sizeof(text) - 1, piece);
        check(text, 4, 1); /* one whole line */
        check(text, 0, 1);
        check("\n", 1, 1);
}

/* Lines around the size of the buffer, and several times that. */
static void test_lines_too_long(void **state) {
        static const size_t sizes[] = {LINES_BUFFER - 2, LINES_BUFFER - 1,     LINES_BUFFER,
                                       LINES_BUFFER + 1, 2 * LINES_BUFFER + 5, 1};
        static char text[8 * LINES_BUFFER];
        size_t size = 0;

        for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
                memset(text + size, 'a' + (int)i, sizes[i]);
                size += sizes[i];
                text[size++] = '\n';
        }
        check(text, size, 0);
        check(text, size - 1, 0);
        check(text, size - 2, 0);
}

static void test_lines_no_file(void **state) {
        struct lines lines;
        const char *line;
        size_t size;

        int fd = raw_open("/nonexistent/maps");

        assert_int_equal(fd, -ENOENT);
        lines_begin(&lines, fd);
        assert_int_equal(lines_next(&lines, &line, &size), -EBADF);
        fd = raw_open("/proc/self");
        assert_true(fd >= 0);
        lines_begin(&lines, fd);
        assert_int_equal(lines_next(&lines, &line, &size), -EISDIR);
        assert_int_equal(close(fd), 0);
}

/* However far it was read before. */
static void test_lines_begin_again(void **state) {
        int fd = make_file("one\ntwo\n", 8);
        struct lines lines;
        const char *line;
        size_t size;

        for (int i = 0; i < 3; i++) {
                lines_begin(&lines, fd);
                for (int n = 0; n < i; n++)
                        assert_int_equal(lines_next(&lines, &line, &size), 1);
        }
        lines_begin(&lines, fd);
        assert_int_equal(lines_next(&lines, &line, &size), 1);
        assert_memory_equal(line, "one\n", 4);
        assert_int_equal(close(fd), 0);
}

static size_t count_mappings(bool unmap, char *pages, size_t page) {
        struct lines lines;
        const char *line;
        size_t size, n = 0;
        int fd = raw_open("/proc/self/maps");

        assert_true(fd >= 0);
        lines_begin(&lines, fd);
        while (lines_next(&lines, &line, &size) > 0) {
                if (unmap && n < 500)
                        assert_int_equal(munmap(pages + 2 * n * page, page), 0);
                n++;
        }
        assert_int_equal(close(fd), 0);
        return n;
}

/* The file changes under the reader, and he still gets to its end. */
static void test_lines_of_what_is_unmapped(void **state) {
        size_t page = (size_t)getpagesize(), n;
        char *pages =
                mmap(NULL, 1000 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

        assert_ptr_not_equal(pages, MAP_FAILED);
        for (size_t i = 0; i < 500; i++)
                assert_int_equal(mprotect(pages + 2 * i * page, page, PROT_READ), 0);
        n = count_mappings(false, pages, page);
        assert_true(n > 1000);
        assert_true(count_mappings(true, pages, page) >= n - 500);
        assert_int_equal(munmap(pages, 1000 * page), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_lines_in_pieces),
                checked_test(test_lines_too_long),
                checked_test(test_lines_no_file),
                checked_test(test_lines_begin_again),
                checked_test(test_lines_of_what_is_unmapped),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
