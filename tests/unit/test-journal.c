/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Entries for the journal, byte by byte, and what becomes of them when the journal does not take
 * them. The test's own socket stands in for the journal's, a memfd for the stream that is stderr.
 * Both can be made to refuse; then nothing may block, and every line is accounted for.
 *
 * A process finds out once whether stderr is the journal, so main() does it before any test.
 */

#include "fds.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "capture.h"
#include "daemon/runtime/journal.h"
#include "daemon/runtime/log.h"

static char directory[] = "/tmp/pvr-unit-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};

/* ---- the stand-in ---- */

static int journal_start(void) {
        int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        assert_true(fd >= 0);
        assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
        return fd;
}

static void journal_stop(int fd) {
        assert_int_equal(unlink(address.sun_path), 0);
        assert_int_equal(close(fd), 0);
}

/* The next entry, NUL-terminated; "" if there is none. */
static const char *entry_of(int fd) {
        static char entry[JOURNAL_ENTRY_SIZE + 1];
        ssize_t n = recv(fd, entry, sizeof(entry) - 1, MSG_TRUNC);

        assert_true(n < (ssize_t)sizeof(entry));
        entry[n > 0 ? n : 0] = '\0';
        return entry;
}

/* Until it takes no more; returns how many entries it took. */
static unsigned fill(void) {
        struct journal_entry entry = {};
        unsigned n = 0;

        journal_add(&entry, "FILL", "x");
        while (journal_send(&entry) == 0)
                n++;
        assert_int_equal(journal_send(&entry), -EAGAIN);
        return n;
}

static void drain(int fd) {
        while (strcmp(entry_of(fd), "FILL=x\n") == 0)
                ;
}

/* ---- the form of an entry ---- */

static void test_journal_plain_fields(void **state) {
        struct journal_entry entry = {};

        journal_add(&entry, "PV_VM", "guest=1");
        journal_add(&entry, "PV_UNIT", "");
        journal_add_number(&entry, "PV_BYTES", UINT64_MAX);
        journal_add_number(&entry, "PV_RC", 0);
        assert_int_equal(entry.size, strlen("PV_VM=guest=1\nPV_UNIT=\n"
                                            "PV_BYTES=18446744073709551615\nPV_RC=0\n"));
        assert_memory_equal(entry.data,
                            "PV_VM=guest=1\nPV_UNIT=\n"
                            "PV_BYTES=18446744073709551615\nPV_RC=0\n",
                            entry.size);
}

/* A newline would begin another field: such a value goes by its length. */
static void test_journal_value_with_newline(void **state) {
        static const char value[] = "a\nMESSAGE_ID=forged\n";
        const uint64_t size = htole64(strlen(value));
        struct journal_entry entry = {};
        char expected[64] = "PV_VM\n";
        size_t n = strlen(expected);

        memcpy(expected + n, &size, sizeof(size));
        memcpy(expected + n + sizeof(size), value, strlen(value));
        n += sizeof(size) + strlen(value);
        expected[n++] = '\n';
        journal_add(&entry, "PV_VM", value);
        assert_int_equal(entry.size, n);
        assert_memory_equal(entry.data, expected, n);
}

/* No room: left out, as a whole; what fits, to the last byte, still goes in. */
static void test_journal_full_entry(void **state) {
        struct journal_entry entry = {};
        char value[JOURNAL_ENTRY_SIZE + 1] = "";

        memset(value, '\n', sizeof(value) - 1);
        value[JOURNAL_ENTRY_SIZE - strlen("A\n12345678\n") + 1] = '\0';
        journal_add(&entry, "A", value);
        assert_int_equal(entry.size, 0);
        value[strlen(value) - 1] = '\0';
        journal_add(&entry, "A", value);
        assert_int_equal(entry.size, JOURNAL_ENTRY_SIZE);
        journal_add(&entry, "B", "");
        assert_int_equal(entry.size, JOURNAL_ENTRY_SIZE);

        entry.size = JOURNAL_ENTRY_SIZE - 20;
        journal_add(&entry, "TOO_LONG_BY", "seven...");
        assert_int_equal(entry.size, JOURNAL_ENTRY_SIZE - 20);
        journal_add(&entry, "C", "c");
        assert_memory_equal(entry.data + JOURNAL_ENTRY_SIZE - 20, "C=c\n", 4);
}

/* ---- what is sent ---- */

static void test_journal_event(void **state) {
        int fd = journal_start();
        int r = log_event(LOG_EVENT(LOG_WARNING, MESSAGE_READY, -ENOMEM, LOG_TEXT("PV_VM", "guest"),
                                    LOG_TEXT("PV_UNIT", NULL), LOG_NUMBER("PV_JOB", 0),
                                    LOG_NUMBER("PV_RC", USEC_INFINITY), LOG_NUMBER("PV_PID", 42)),
                          "no %s", "good");

        assert_int_equal(r, -ENOMEM);
        assert_string_equal(entry_of(fd), "MESSAGE=no good: Cannot allocate memory\n"
                                          "PRIORITY=4\n"
                                          "SYSLOG_IDENTIFIER=pv-reaperd\n"
                                          "MESSAGE_ID=" MESSAGE_READY "\n"
                                          "ERRNO=12\n"
                                          "PV_VM=guest\n"
                                          "PV_JOB=0\n"
                                          "PV_PID=42\n");
        assert_string_equal(entry_of(fd), "");
        journal_stop(fd);
}

static void test_journal_plain_line(void **state) {
        int fd = journal_start();

        log_error("100%%s");
        assert_string_equal(entry_of(fd),
                            "MESSAGE=100%s\nPRIORITY=3\nSYSLOG_IDENTIFIER=pv-reaperd\n");
        journal_stop(fd);
}

/* What others call themselves makes no line of its own, and no colours. */
static void test_journal_is_printable(void **state) {
        const char *said;
        int fd;

        capture_begin();
        log_info("runs %s", "/tmp/\033[31m\xff\npv-reaperd: ready");
        said = capture_end();
        assert_string_equal(said, "<6>runs /tmp/?[31m??pv-reaperd: ready\n");
        fd = journal_start();
        log_info("a\nPRIORITY=0");
        (void)entry_of(fd); /* about the line before */
        assert_non_null(strstr(entry_of(fd), "MESSAGE=a?PRIORITY=0\nPRIORITY=6\n"));
        journal_stop(fd);
}

/* ---- when it cannot be taken ---- */

/* No journal, then a full one: bare lines on the stream, told once there is room. */
static void test_journal_falls_back(void **state) {
        const char *said;
        int fd;

        capture_begin();
        log_info("nobody there");
        fd = journal_start();
        assert_true(fill() > 0);
        log_warning("full");
        said = capture_end();
        assert_string_equal(said, "<6>nobody there\n<4>full\n");
        drain(fd);
        log_info("back");
        assert_string_equal(entry_of(fd), "MESSAGE=0 lines could not be written, 2 went without "
                                          "their fields\n"
                                          "PRIORITY=4\n"
                                          "SYSLOG_IDENTIFIER=pv-reaperd\n"
                                          "MESSAGE_ID=" MESSAGE_LOG_LOST "\n"
                                          "PV_LOST=0\n"
                                          "PV_BARE=2\n");
        assert_string_equal(entry_of(fd),
                            "MESSAGE=back\nPRIORITY=6\nSYSLOG_IDENTIFIER=pv-reaperd\n");
        log_info("again");
        assert_non_null(strstr(entry_of(fd), "MESSAGE=again\n"));
        assert_string_equal(entry_of(fd), "");
        journal_stop(fd);
}

/* stderr becomes a pipe that is full; what it was is returned. */
static int stderr_stuck(int pipe_fds[2]) {
        char page[4096] = {};
        int saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);

        assert_true(saved >= 0);
        assert_int_equal(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK), 0);
        while (write(pipe_fds[1], page, sizeof(page)) > 0)
                ;
        assert_int_equal(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
        return saved;
}

/* Both full: nothing blocks, each line is counted, and their number is told by whoever is first. */
static void test_journal_counts_lost_lines(void **state) {
        int fd = journal_start(), pipe_fds[2], saved;

        assert_true(fill() > 0);
        saved = stderr_stuck(pipe_fds);
        for (unsigned i = 0; i < 3; i++)
                log_info("lost");
        (void)dup2(saved, STDERR_FILENO);
        assert_int_equal(close(saved), 0);
        assert_int_equal(close(pipe_fds[0]), 0);
        assert_int_equal(close(pipe_fds[1]), 0);

        capture_begin();
        log_info("on the stream");
        assert_string_equal(capture_end(), "<4>3 lines could not be written\n<6>on the stream\n");

        drain(fd);
        log_info("whole");
        assert_non_null(strstr(entry_of(fd), "PV_LOST=0\nPV_BARE=1\n"));
        assert_non_null(strstr(entry_of(fd), "MESSAGE=whole\n"));
        assert_string_equal(entry_of(fd), "");
        journal_stop(fd);
}

/* A path that fits no address: an error, and the journal's own socket hears nothing. */
static void test_journal_path_too_long(void **state) {
        struct journal_entry entry = {};
        char path[sizeof(address.sun_path) + 1];

        memset(path, 'x', sizeof(path) - 1);
        path[sizeof(path) - 1] = '\0';
        assert_int_equal(setenv("PVREAPER_JOURNAL_SOCKET", path, 1), 0);
        assert_int_equal(journal_send(&entry), -ENAMETOOLONG);
        assert_int_equal(setenv("PVREAPER_JOURNAL_SOCKET", address.sun_path, 1), 0);
}

/* ---- the whole ---- */

static int teardown(void **state) {
        return rmdir(directory);
}

/* As systemd does it; and the socket, which is kept, is opened here and not in a test. */
static int setup(void **state) {
        struct journal_entry entry = {};
        char stream[64];
        struct stat st;

        if (!mkdtemp(directory) || fstat(STDERR_FILENO, &st) < 0)
                return -1;
        (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/journal", directory);
        (void)setenv("PVREAPER_JOURNAL_SOCKET", address.sun_path, 1);
        (void)snprintf(stream, sizeof(stream), "%llu:%llu", (unsigned long long)st.st_dev,
                       (unsigned long long)st.st_ino);
        (void)setenv("JOURNAL_STREAM", stream, 1);
        return journal_is_stderr() && journal_send(&entry) == -ENOENT ? 0 : -1;
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_journal_plain_fields),
                checked_test(test_journal_value_with_newline),
                checked_test(test_journal_full_entry),
                checked_test(test_journal_event),
                checked_test(test_journal_plain_line),
                checked_test(test_journal_is_printable),
                checked_test(test_journal_falls_back),
                checked_test(test_journal_counts_lost_lines),
                checked_test(test_journal_path_too_long),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}
