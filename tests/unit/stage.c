/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The manager's parts are the real ones. Its configuration has nothing in it that would look at, or
 * change, the machine that the test runs on. The stage owns the manager and systemd's socket; the
 * test owns what it adds, and frees that first.
 */

#include "stage.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fds.h"

static void set(struct config *config, const char *key, const char *value) {
        const struct config_setting setting = {.key = key, .value = value, .file = "test"};
        const char *why;

        assert_int_equal(config_set(config, &setting, &why), 0);
}

static int load(struct config **ret, void *userdata) {
        const struct stage *stage = userdata;

        if (!stage->reload_key)
                return -EINVAL;
        assert_int_equal(config_new(ret), 0);
        set(*ret, "path", "none");
        set(*ret, "cpu-quota", "infinity");
        set(*ret, "cpu-enforce", "off");
        set(*ret, "memory-low", "0");
        set(*ret, "max-concurrent", "4"); /* whatever the host has */
        set(*ret, "boost-max-concurrent", "9");
        set(*ret, stage->reload_key, stage->reload_value);
        return 0;
}

/* The kernel picks an abstract name. */
static void listen_as_systemd(struct stage *stage) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        socklen_t length = sizeof(sa_family_t);
        char name[sizeof(address.sun_path) + 1] = "@";

        stage->systemd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_true(stage->systemd >= 0);
        assert_int_equal(bind(stage->systemd, (struct sockaddr *)&address, length), 0);
        length = sizeof(address);
        assert_int_equal(getsockname(stage->systemd, (struct sockaddr *)&address, &length), 0);
        memcpy(name + 1, address.sun_path + 1, length - sizeof(sa_family_t) - 1);
        assert_int_equal(setenv("NOTIFY_SOCKET", name, 1), 0);
}

static void hear(struct stage *stage) {
        size_t n = strlen(stage->heard);
        ssize_t r;

        while ((r = recv(stage->systemd, stage->heard + n, sizeof(stage->heard) - 1 - n, 0)) > 0)
                n += (size_t)r;
        stage->heard[n] = '\0';
        assert_true(n < sizeof(stage->heard) - 1);
}

/* What is not read is said again, a second later: see notify.h. */
static int on_said(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        hear(userdata);
        return 0;
}

static void block_signals(void) {
        sigset_t signals;

        (void)sigemptyset(&signals);
        (void)sigaddset(&signals, SIGTERM);
        (void)sigaddset(&signals, SIGINT);
        (void)sigaddset(&signals, SIGHUP);
        assert_int_equal(sigprocmask(SIG_BLOCK, &signals, NULL), 0);
}

void stage_begin(struct stage *stage) {
        const struct config_source source = {load, stage};
        struct config *config = NULL;

        *stage = (struct stage){.reload_key = "max-concurrent", .reload_value = "4"};
        block_signals();
        listen_as_systemd(stage);
        assert_int_equal(setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere/bus", 1), 0);
        fake_time_begin();
        assert_int_equal(load(&config, stage), 0);
        assert_int_equal(manager_new(&stage->manager, config, &source), 0);
        assert_true(sd_event_add_io(stage->manager->event, &stage->heard_source, stage->systemd,
                                    EPOLLIN, on_said, stage) >= 0);
}

void stage_end(struct stage *stage) {
        stage->heard_source = sd_event_source_disable_unref(stage->heard_source);
        stage->manager = manager_free(stage->manager);
        close_fd(&stage->systemd);
        assert_int_equal(unsetenv("NOTIFY_SOCKET"), 0);
        fake_time_end();
}

const char *stage_said(struct stage *stage) {
        hear(stage);
        memcpy(stage->said, stage->heard, sizeof(stage->said));
        stage->heard[0] = '\0';
        return stage->said;
}

struct worker *stage_add_running(struct stage *stage) {
        struct manager *m = stage->manager;
        struct worker *w;

        assert_int_equal(worker_alloc(&w, &m->workers, (1 << 30) + (pid_t)m->workers.n, 1), 0);
        slot_take_found(&w->slot, &m->governor, loop_now(m->event), "test.scope", USEC_INFINITY);
        worker_set_state(w, WORKER_FOUND);
        return w;
}

uint64_t all_memory(void) {
        return (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
}
