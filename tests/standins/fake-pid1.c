/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What service/pid1.c sees of PID 1, on a bus of the test's own: org.freedesktop.systemd1 with
 * Subscribe, ListJobs and the signals JobNew and JobRemoved, which are sent to subscribers only, as
 * the real one does. The test says on stdin, a line each, what happens:
 *
 *     new UNIT TYPE    a job is queued
 *     removed UNIT     it is done, or was cancelled
 *     hang             from here on nothing is answered
 *
 * Each is answered with "ok" on stdout when it has happened, each ListJobs with "asked". Ends at
 * EOF. There is at most one job per unit.
 */

#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-bus.h>

#define MANAGER "org.freedesktop.systemd1.Manager"
#define PATH    "/org/freedesktop/systemd1"

struct job {
        unsigned id; /* 0: none */
        char unit[64], type[16];
};

static struct job jobs[8];
static unsigned last_id;
static bool subscribed, hanging;

static void check(int r, const char *what) {
        if (r >= 0)
                return;
        (void)fprintf(stderr, "fake-pid1: %s: %s\n", what, strerror(-r));
        exit(EXIT_FAILURE);
}

static void say(const char *word) {
        (void)puts(word);
        (void)fflush(stdout);
}

static int on_subscribe(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        subscribed = true;
        return sd_bus_reply_method_return(m, "");
}

static int on_list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        sd_bus_message *reply = NULL;

        say("asked");
        check(sd_bus_message_new_method_return(m, &reply), "reply");
        check(sd_bus_message_open_container(reply, 'a', "(usssoo)"), "reply");
        for (unsigned i = 0; i < 8; i++)
                if (jobs[i].id)
                        check(sd_bus_message_append(reply, "(usssoo)", jobs[i].id, jobs[i].unit,
                                                    jobs[i].type, "waiting", PATH "/job", PATH),
                              "reply");
        check(sd_bus_message_close_container(reply), "reply");
        check(sd_bus_send(NULL, reply, NULL), "reply");
        sd_bus_message_unref(reply);
        return 1;
}

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("Subscribe", "", "", on_subscribe, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("ListJobs", "", "a(usssoo)", on_list_jobs, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static struct job *find(const char *unit) {
        struct job *job = NULL;

        for (unsigned i = 0; i < 8; i++)
                if (jobs[i].id && strcmp(jobs[i].unit, unit) == 0)
                        return &jobs[i];
                else if (!jobs[i].id)
                        job = &jobs[i];
        return job;
}

static void obey(sd_bus *bus, const char *line) {
        char verb[16] = "", unit[64] = "", type[16] = "";
        struct job *job;

        if (sscanf(line, "%15s %63s %15s", verb, unit, type) < 1)
                return;
        job = find(unit);
        if (strcmp(verb, "hang") == 0) {
                hanging = true;
        } else if (strcmp(verb, "new") == 0 && job) {
                job->id = ++last_id;
                (void)snprintf(job->unit, sizeof(job->unit), "%s", unit);
                (void)snprintf(job->type, sizeof(job->type), "%s", type);
                if (subscribed)
                        check(sd_bus_emit_signal(bus, PATH, MANAGER, "JobNew", "uos", job->id,
                                                 PATH "/job", unit),
                              verb);
        } else if (strcmp(verb, "removed") == 0 && job) {
                if (subscribed)
                        check(sd_bus_emit_signal(bus, PATH, MANAGER, "JobRemoved", "uoss", job->id,
                                                 PATH "/job", unit, "canceled"),
                              verb);
                job->id = 0;
        }
        check(sd_bus_flush(bus), "flush");
        say("ok");
}

int main(void) {
        sd_bus *bus = NULL;
        char line[128];

        check(sd_bus_open_system(&bus), "cannot connect");
        check(sd_bus_add_object_vtable(bus, NULL, PATH, MANAGER, vtable, NULL), "object");
        check(sd_bus_request_name(bus, "org.freedesktop.systemd1", 0), "name");
        (void)setvbuf(stdin, NULL, _IONBF, 0);
        say("ok");
        for (;;) {
                struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                                       {.fd = sd_bus_get_fd(bus), .events = POLLIN}};
                int r = 0;

                if (!hanging) {
                        do {
                                r = sd_bus_process(bus, NULL);
                                check(r, "bus");
                        } while (r > 0);
                }
                if (poll(fds, hanging ? 1 : 2, -1) < 0)
                        return EXIT_FAILURE;
                if (fds[0].revents && !fgets(line, sizeof(line), stdin))
                        return EXIT_SUCCESS;
                if (fds[0].revents)
                        obey(bus, line);
        }
}
