/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The functions of system-bus.c that its users call, as doors: what they do is counted, and
 * dropping a connection loses it as the real one would. Owns both ends.
 * There is one user at a time, so the ends are a variable of the program.
 */

#include "ends.h"

#include <string.h>
#include <sys/socket.h>

#include "fds.h"

struct ends ends;

int __wrap_system_bus_new(struct system_bus **ret, sd_event *event, int64_t priority,
                          const struct system_bus_user *user);
struct system_bus *__wrap_system_bus_free(struct system_bus *s);
sd_bus *__wrap_system_bus_link(const struct system_bus *s);
void __wrap_system_bus_ready(struct system_bus *s);
void __wrap_system_bus_drop(struct system_bus *s, int why);

int __wrap_system_bus_new(struct system_bus **ret, sd_event *event, int64_t priority,
                          const struct system_bus_user *user) {
        ends = (struct ends){.user = *user};
        *ret = (struct system_bus *)&ends;
        return 0;
}

struct system_bus *__wrap_system_bus_free(struct system_bus *s) {
        return NULL;
}

sd_bus *__wrap_system_bus_link(const struct system_bus *s) {
        return ends.link;
}

void __wrap_system_bus_ready(struct system_bus *s) {
        ends.n_ready++;
}

void __wrap_system_bus_drop(struct system_bus *s, int why) {
        ends.n_dropped++;
        ends.why = why;
        ends_lose(why);
}

/* The link is no more the user's when it is told. */
void ends_lose(int why) {
        sd_bus *link = ends.link;

        ends.link = NULL;
        ends.user.lost(ends.user.userdata, link, why);
        sd_bus_close_unref(link);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return ends.user.message(ends.user.userdata, m);
}

static sd_bus *end_new(int fd, sd_event *event, sd_bus_message_handler_t handler) {
        sd_bus *link;

        assert_true(sd_bus_new(&link) >= 0);
        assert_true(sd_bus_set_fd(link, fd, fd) >= 0);
        assert_true(sd_bus_add_filter(link, NULL, handler, NULL) >= 0);
        assert_true(sd_bus_attach_event(link, event, 0) >= 0);
        return link;
}

void ends_connect(sd_event *event, bool hello, sd_bus_message_handler_t handler) {
        const sd_id128_t id = {.bytes = {1}};
        int fds[2];

        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds),
                         0);
        ends_close();
        ends.bus = end_new(fds[0], event, handler);
        assert_true(sd_bus_set_server(ends.bus, true, id) >= 0);
        assert_true(sd_bus_start(ends.bus) >= 0);
        ends.link = end_new(fds[1], event, on_message);
        assert_true(sd_bus_set_bus_client(ends.link, hello) >= 0);
        assert_true(sd_bus_start(ends.link) >= 0);
        assert_true(ends.user.begin(ends.user.userdata, ends.link) >= 0);
}

void ends_close(void) {
        ends.link = sd_bus_close_unref(ends.link);
        ends.bus = sd_bus_close_unref(ends.bus);
}
