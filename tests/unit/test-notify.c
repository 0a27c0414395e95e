/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What the daemon says to systemd, read at the other end of NOTIFY_SOCKET: a change of the status
 * is told at once if there was silence for a second, else when the second is over, in fake time;
 * only the last of several is told, and none that comes back to what was told before. What must not
 * wait, does not.
 */

#include "fds.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "daemon/service/notify.h"
#include "loop.h"

/* How much later than promised: time passes as loop.h says, so this is more than enough. */
#define LATE_USEC (40 * USEC_PER_MSEC)

static int systemd = -1;
static sd_event *event;
static struct notify *notify;
static char status[NOTIFY_STATUS_MAX];
static char heard[512];
static uint64_t heard_at;

static void describe(void *userdata, char *buffer, size_t size) {
        assert_ptr_equal(userdata, status);
        (void)snprintf(buffer, size, "%s", status);
}

static void set_status(const char *text) {
        (void)snprintf(status, sizeof(status), "%s", text);
        notify_changed(notify);
}

/* The next message, or "" if there is none within usec. */
static const char *hear(uint64_t usec) {
        uint64_t end = now_usec() + usec, now;

        while ((now = now_usec()) < end) {
                ssize_t n = recv(systemd, heard, sizeof(heard) - 1, MSG_DONTWAIT);

                if (n >= 0) {
                        heard[n] = '\0';
                        heard_at = now_usec();
                        return heard;
                }
                fake_time_pass(event, min_u64(end - now, 10 * USEC_PER_MSEC));
        }
        return "";
}

static void set_up(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        socklen_t length = sizeof(sa_family_t);
        char name[sizeof(address.sun_path) + 1] = "@";

        systemd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        assert_true(systemd >= 0);
        /* The kernel picks an abstract name. */
        assert_int_equal(bind(systemd, (struct sockaddr *)&address, length), 0);
        length = sizeof(address);
        assert_int_equal(getsockname(systemd, (struct sockaddr *)&address, &length), 0);
        memcpy(name + 1, address.sun_path + 1, length - sizeof(sa_family_t) - 1);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
        fake_time_begin();
        assert_true(sd_event_new(&event) >= 0);
        assert_true(notify_new(&notify, event, describe, status) >= 0);
}

static void tear_down(void) {
        notify = notify_free(notify);
        event = sd_event_unref(event);
        fake_time_end();
        close_fd(&systemd);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
}

static void test_notify_status(void **state) {
        uint64_t said_at;

        set_up();
        set_status("early");
        notify_extend(notify, 1);
        assert_string_equal(hear(USEC_PER_SEC / 5), ""); /* systemd wants READY=1 first */
        set_status("one");
        notify_ready(notify);
        assert_string_equal(hear(LATE_USEC), "READY=1\nEXTEND_TIMEOUT_USEC=1\nSTATUS=one\n");
        said_at = heard_at;

        set_status("two");
        set_status("three");
        assert_string_equal(hear(USEC_PER_SEC + LATE_USEC), "STATUS=three\n");
        assert_in_range(heard_at - said_at, USEC_PER_SEC - LATE_USEC / 4, USEC_PER_SEC + LATE_USEC);

        set_status("four");
        set_status("three");
        assert_string_equal(hear(USEC_PER_SEC + LATE_USEC), "");

        set_status("five"); /* after a second of silence: at once */
        said_at = now_usec();
        assert_string_equal(hear(LATE_USEC), "STATUS=five\n");
        assert_in_range(heard_at - said_at, 0, USEC_PER_SEC / 5);
        tear_down();
}

/* A change every millisecond for three seconds. */
static void test_notify_at_most_once_a_second(void **state) {
        const char *text;
        uint64_t start;
        unsigned n = 0;

        set_up();
        notify_ready(notify);
        (void)hear(LATE_USEC);
        start = now_usec();
        for (unsigned i = 0; now_usec() < start + 3 * USEC_PER_SEC; i++) {
                char number[16];

                (void)snprintf(number, sizeof(number), "%u", i);
                set_status(number);
                n += hear(USEC_PER_MSEC)[0] != '\0';
        }
        assert_in_range(n, 2, 3);
        set_status("last");
        text = hear(USEC_PER_SEC + LATE_USEC);
        if (strcmp(text, "STATUS=last\n") != 0) /* one was due just before */
                text = hear(USEC_PER_SEC + LATE_USEC);
        assert_string_equal(text, "STATUS=last\n");
        tear_down();
}

static void test_notify_more_time(void **state) {
        set_up();
        notify_ready(notify);
        assert_string_equal(hear(LATE_USEC), "READY=1\nSTATUS=last\n");
        notify_extend(notify, 30000000);
        notify_extend(notify, 20000000);
        assert_string_equal(hear(USEC_PER_SEC + LATE_USEC), "EXTEND_TIMEOUT_USEC=20000000\n");
        set_status("x");
        assert_string_equal(hear(USEC_PER_SEC + LATE_USEC), "STATUS=x\n");
        notify_extend(notify, 10);
        notify_stopping(notify);
        assert_string_equal(hear(LATE_USEC), "STOPPING=1\nEXTEND_TIMEOUT_USEC=10\n");
        tear_down();
}

static void test_notify_reloading(void **state) {
        uint64_t begin, said = 0;

        set_up();
        begin = now_usec();
        notify_reloading(notify);
        assert_int_equal(sscanf(hear(LATE_USEC), "RELOADING=1\nMONOTONIC_USEC=%" SCNu64, &said), 1);
        assert_in_range(said, begin, heard_at);
        notify_ready(notify);
        assert_memory_equal(hear(LATE_USEC), "READY=1\n", 8);
        tear_down();
}

static void test_notify_nobody(void **state) {
        static const char *const names[] = {NULL, "", "@", "vsock:2:1", "relative"};

        set_up();
        for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
                notify = notify_free(notify);
                if (names[i])
                        assert_int_equal(setenv("NOTIFY_SOCKET", names[i], 1), 0);
                else
                        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
                assert_true(notify_new(&notify, event, describe, status) >= 0);
                notify_ready(notify);
                set_status("nobody hears it");
                notify_stopping(notify);
                assert_string_equal(hear(USEC_PER_SEC / 5), "");
        }
        tear_down();
}

/* Others' messages, as many as systemd's queue holds. A socket holds some of its own, too. */
static unsigned fill(void) {
        struct sockaddr_un address;
        socklen_t length = sizeof(address);
        unsigned n = 0, before;

        assert_int_equal(getsockname(systemd, (struct sockaddr *)&address, &length), 0);
        do {
                int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

                assert_true(fd >= 0);
                before = n;
                while (sendto(fd, "x", 1, 0, (struct sockaddr *)&address, length) == 1)
                        n++;
                close_fd(&fd);
        } while (n > before);
        return n;
}

/* It reads again. Returns how many messages there were. */
static unsigned drain(void) {
        unsigned n = 0;

        while (recv(systemd, heard, sizeof(heard), MSG_DONTWAIT) > 0)
                n++;
        return n;
}

/* PID 1 reads nothing: the loop goes on, and what has to be said is said when it reads again. */
static void test_notify_frozen(void **state) {
        unsigned n;

        set_up();
        notify_ready(notify);
        assert_memory_equal(hear(LATE_USEC), "READY=1\n", 8);
        n = fill();
        for (unsigned i = 0; i < 30; i++) {
                set_status(i % 2 ? "odd" : "even");
                fake_time_pass(event, 2 * USEC_PER_SEC);
        }
        set_status("first");
        fake_time_pass(event, 2 * USEC_PER_SEC);
        notify_reloading(notify);
        notify_extend(notify, 5);
        set_status("last");
        notify_ready(notify);
        fake_time_pass(event, 10 * USEC_PER_SEC);
        assert_int_equal(drain(), n);
        assert_memory_equal(hear(USEC_PER_SEC + LATE_USEC), "RELOADING=1\nMONOTONIC_USEC=", 27);
        assert_string_equal(hear(LATE_USEC), "READY=1\nEXTEND_TIMEOUT_USEC=5\nSTATUS=last\n");
        assert_string_equal(hear(3 * USEC_PER_SEC), "");
        tear_down();
}

static void test_notify_watchdog(void **state) {
        uint64_t start;

        assert_int_equal(setenv("WATCHDOG_USEC", "10000000", 1), 0);
        set_up();
        start = now_usec();
        assert_string_equal(hear(LATE_USEC), "WATCHDOG=1\n");
        assert_string_equal(hear(5 * USEC_PER_SEC + LATE_USEC), "WATCHDOG=1\n");
        assert_in_range(heard_at - start, 5 * USEC_PER_SEC, 5 * USEC_PER_SEC + LATE_USEC);
        (void)fill();
        fake_time_pass(event, 200 * USEC_PER_SEC);
        (void)drain();
        assert_string_equal(hear(USEC_PER_SEC + LATE_USEC), "WATCHDOG=1\n"); /* soon */
        assert_int_equal(unsetenv("WATCHDOG_USEC"), 0);
        tear_down();
}

/* An fd that the next daemon gets, by SCM_RIGHTS. */
static void test_notify_stores_an_fd(void **state) {
        union {
                char buffer[CMSG_SPACE(sizeof(int))];
                struct cmsghdr header;
        } control = {};
        struct iovec iov = {.iov_base = heard, .iov_len = sizeof(heard) - 1};
        struct msghdr m = {.msg_iov = &iov,
                           .msg_iovlen = 1,
                           .msg_control = &control,
                           .msg_controllen = sizeof(control)};
        int fds[2], stored;
        ssize_t n;

        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        set_up();
        notify_store(notify, fds[0], "history");
        assert_string_equal(hear(LATE_USEC), "FDSTOREREMOVE=1\nFDNAME=history\n");
        n = recvmsg(systemd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        assert_true(n > 0);
        heard[n] = '\0';
        assert_string_equal(heard, "FDSTORE=1\nFDNAME=history\nFDPOLL=0\n");
        assert_int_equal(control.header.cmsg_type, SCM_RIGHTS);
        memcpy(&stored, CMSG_DATA(&control.header), sizeof(int));
        close_fd(&stored);
        close_fd(&fds[0]);
        close_fd(&fds[1]);
        tear_down();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_notify_status),
                checked_test(test_notify_at_most_once_a_second),
                checked_test(test_notify_more_time),
                checked_test(test_notify_reloading),
                checked_test(test_notify_nobody),
                checked_test(test_notify_frozen),
                checked_test(test_notify_watchdog),
                checked_test(test_notify_stores_an_fd),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
