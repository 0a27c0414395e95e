/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The connection of "watch", with a daemon in the same loop: what it asks, when it asks again, what
 * it passes on, and the end of the daemon. Nobody waits for a time: the next one that the feed has
 * set is noted by a door before sd-event (the linker's --wrap). And "watch" itself, as a child
 * whose output cannot be written.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>

#include "base/util.h"
#include "ctl/connection-feed.h"
#include "ctl/connection-read.h"
#include "ctl/watch.h"

#define HANGS_SEC 20

static uint64_t next_usec; /* after which the feed acts by itself */

int __real_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec);
int __wrap_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec);

int __wrap_sd_event_source_set_time_relative(sd_event_source *source, uint64_t usec) {
        next_usec = usec;
        return __real_sd_event_source_set_time_relative(source, usec);
}

/* ---- the daemon ---- */

static struct {
        struct sockaddr_un address;
        sd_event *event;
        sd_event_source *source;
        sd_bus *link; /* the last one */
        unsigned n_asked;
        struct feed *refresh; /* by each question for the status, before it is answered */
} host;

static int on_call(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        bool jobs = sd_bus_message_is_method_call(m, NULL, "ListJobs") > 0;

        if (!jobs && sd_bus_message_is_method_call(m, NULL, "GetStatus") <= 0)
                return 0;
        host.n_asked += !jobs;
        if (host.refresh && !jobs)
                feed_refresh(host.refresh);
        assert_true(sd_bus_message_new_method_return(m, &reply) >= 0);
        if (jobs)
                assert_true(sd_bus_message_append(reply, "aa{sv}", 0) >= 0);
        else
                assert_true(sd_bus_message_append(reply, "a{sv}", 1, "State", "s", "running") >= 0);
        assert_true(sd_bus_send(NULL, reply, NULL) >= 0);
        return 1;
}

static void hang_up(void) {
        host.link = sd_bus_close_unref(host.link);
}

static int on_connection(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        int connection = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        hang_up();
        assert_true(connection >= 0);
        assert_true(sd_bus_new(&host.link) >= 0);
        assert_true(sd_bus_set_fd(host.link, connection, connection) >= 0);
        assert_true(sd_bus_set_server(host.link, 1, (sd_id128_t){}) >= 0);
        assert_true(sd_bus_set_anonymous(host.link, 1) >= 0);
        assert_true(sd_bus_add_filter(host.link, NULL, on_call, NULL) >= 0);
        assert_true(sd_bus_start(host.link) >= 0);
        assert_true(sd_bus_attach_event(host.link, host.event, 0) >= 0);
        return 0;
}

static void queue_a_job(void) {
        assert_true(sd_bus_emit_signal(host.link, OBJECT_PATH, OBJECT_INTERFACE, "JobQueued",
                                       "ta{sv}", UINT64_C(7), 1, "VM", "s", "anna") >= 0);
}

static void begin(void) {
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        memset(&host, 0, sizeof(host));
        host.address.sun_family = AF_UNIX;
        (void)snprintf(host.address.sun_path, sizeof(host.address.sun_path), "/tmp/pvr-ctl-feed-%d",
                       (int)getpid());
        (void)unlink(host.address.sun_path);
        assert_int_equal(bind(fd, (struct sockaddr *)&host.address, sizeof(host.address)), 0);
        assert_int_equal(listen(fd, 4), 0);
        assert_true(sd_event_new(&host.event) >= 0);
        assert_true(sd_event_add_io(host.event, &host.source, fd, EPOLLIN, on_connection, NULL) >=
                    0);
        assert_true(sd_event_source_set_io_fd_own(host.source, true) >= 0);
}

static void end(void) {
        hang_up();
        host.source = sd_event_source_disable_unref(host.source);
        host.event = sd_event_unref(host.event);
        (void)unlink(host.address.sun_path);
}

/* ---- who is told ---- */

static struct {
        unsigned n_states, n_jobs;
        char last[64]; /* the name of the signal, and of the VM */
        int reached;   /* 1: nothing was said */
} seen;

static void on_state(void *userdata, struct record_list *status, struct record_list *jobs) {
        const struct value *value = record_find(status->records, "State");

        assert_non_null(value);
        assert_string_equal(value->string, "running");
        assert_int_equal(jobs->n_records, 0);
        seen.n_states++;
}

static void on_job(void *userdata, const char *name, const struct record *job) {
        const struct value *value = record_find(job, "VM");

        assert_non_null(value);
        (void)snprintf(seen.last, sizeof(seen.last), "%s %s", name, value->string);
        seen.n_jobs++;
}

static void on_reached(void *userdata, int error) {
        seen.reached = error;
}

static const struct feed_user user = {.state = on_state, .job = on_job, .reached = on_reached};

#define await(condition)                                                                           \
        do {                                                                                       \
                uint64_t until = now_usec() + HANGS_SEC * USEC_PER_SEC;                            \
                                                                                                   \
                while (!(condition) && now_usec() < until)                                         \
                        assert_true(sd_event_run(host.event, 10 * USEC_PER_MSEC) >= 0);            \
                assert_true(condition);                                                            \
        } while (0)

static struct feed *feed_begin(void) {
        struct feed *feed = NULL;

        memset(&seen, 0, sizeof(seen));
        seen.reached = 1;
        assert_int_equal(feed_new(&feed, host.event, host.address.sun_path, &user), 0);
        await(seen.n_states > 0);
        assert_int_equal(seen.reached, 0);
        return feed;
}

static void test_feed_asks(void **state) {
        struct feed *feed;

        begin();
        feed = feed_begin();
        assert_int_equal(host.n_asked, 1);
        assert_int_equal(next_usec, USEC_PER_SEC);
        feed_refresh(feed); /* as soon as the limits allow, which are this host's */
        assert_int_not_equal(next_usec, USEC_PER_SEC);
        await(seen.n_states > 1);
        assert_int_equal(host.n_asked, 2);
        feed_free(feed);
        end();
}

/* The answer may be older than the news: it is asked once more, and soon. */
static void test_feed_news_before_the_answer(void **state) {
        struct feed *feed;

        begin();
        feed = feed_begin();
        host.refresh = feed;
        feed_refresh(feed);
        await(seen.n_states > 1);
        assert_int_not_equal(next_usec, USEC_PER_SEC);
        host.refresh = NULL;
        feed_free(feed);
        end();
}

static void test_feed_hears(void **state) {
        struct feed *feed;

        begin();
        feed = feed_begin();
        queue_a_job();
        await(seen.n_jobs > 0);
        assert_string_equal(seen.last, "JobQueued anna");
        assert_int_not_equal(next_usec, USEC_PER_SEC); /* and asks */
        hang_up();
        await(seen.reached != 0);
        /* The other one if a call was just about to be sent. */
        assert_true(seen.reached == -ECONNRESET || seen.reached == -ENOTCONN);
        assert_int_equal(next_usec, USEC_PER_SEC); /* then it tries again */
        feed_free(feed);
        end();
}

/* ---- "watch" ---- */

static int watch(int output) {
        const struct options options = {.socket = host.address.sun_path, .root = ""};

        if (dup2(output, STDOUT_FILENO) < 0)
                return 1;
        (void)alarm(HANGS_SEC);
        return verb_watch(&options, stdout) == -EPIPE ? 0 : 2;
}

/* It ends, rather than write the same line for ever. */
static void test_watch_that_cannot_write(void **state) {
        int full = open("/dev/full", O_WRONLY | O_CLOEXEC), status = -1;
        pid_t pid;

        begin();
        (void)fflush(NULL);
        pid = fork();
        if (pid == 0)
                _exit(watch(full));
        await(host.n_asked > 0);
        queue_a_job();
        await(waitpid(pid, &status, WNOHANG) != 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
        assert_int_equal(close(full), 0);
        end();
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_feed_asks),
                checked_test(test_feed_news_before_the_answer),
                checked_test(test_feed_hears),
                checked_test(test_watch_that_cannot_write),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
