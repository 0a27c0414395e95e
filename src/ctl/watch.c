/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "pv-reaperctl watch". On a terminal it draws a screen, and draws it again when something happens.
 * Elsewhere it prints a line per event. A struct watch owns the loop, the feed and the last
 * answers. So it can draw again without asking, for example while it is paused or when the
 * terminal's size changes.
 */

#include "ctl/watch.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "ctl/columns.h"
#include "ctl/connection-feed.h"
#include "ctl/connection.h"
#include "ctl/output.h"
#include "ctl/say.h"
#include "ctl/screen.h"
#include "ctl/terminal.h"

struct watch {
        const struct options *options;

        /* owned */
        sd_event *event;
        struct feed *feed;
        struct record_list status, jobs; /* as last shown */

        /* state */
        bool on_screen;
        bool ever_reached;
        struct screen screen;
        char notice[128];
};

static void leave(struct watch *w, int r) {
        (void)sd_event_exit(w->event, r);
}

/* ---- on a screen ---- */

static void put(struct watch *w, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = write(STDOUT_FILENO, text, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0) {
                        leave(w, -EPIPE); /* nobody looks any more */
                        return;
                }
                text += n;
                size -= (size_t)n;
        }
}

static void draw(struct watch *w) {
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *out;
        int r;

        out = open_memstream(&text, &size);
        if (!out)
                return;
        r = screen_draw(out, &w->screen, w->status.records, &w->jobs);
        if (fclose(out) == 0 && r >= 0)
                put(w, text, size);
}

static void move_list(struct record_list *to, struct record_list *from) {
        record_list_deinit(to);
        *to = *from;
        *from = (struct record_list){};
}

static void on_state(void *userdata, struct record_list *status, struct record_list *jobs) {
        struct watch *w = userdata;

        if (w->screen.paused)
                return;
        move_list(&w->status, status);
        move_list(&w->jobs, jobs);
        draw(w);
}

static int on_keys(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct watch *w = userdata;
        char buffer[64];
        const char *text = buffer;
        ssize_t n = read(fd, buffer, sizeof(buffer));
        size_t left = n > 0 ? (size_t)n : 0;
        int key;

        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN))
                leave(w, 0); /* the terminal is gone */
        while ((key = terminal_next_key(&text, &left)) != KEY_NONE) {
                if (key == 'q' || key == 'Q')
                        leave(w, 0);
                else if (screen_key(&w->screen, key, w->jobs.n_records) || key == '\f')
                        draw(w);
        }
        return 0;
}

static int on_resize(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        struct watch *w = userdata;

        terminal_get_size(&w->screen.rows, &w->screen.columns);
        draw(w);
        return 0;
}

/* ^Z: the shell gets its terminal back as it was, and we ours when we go on. */
static int on_stop(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        terminal_leave();
        (void)raise(SIGSTOP);
        if (terminal_enter() < 0)
                leave(userdata, 0);
        return on_resize(source, si, userdata);
}

/* ---- lines ---- */

static void print_time(FILE *out) {
        time_t now = time(NULL);
        struct tm tm;
        char text[32];

        if (localtime_r(&now, &tm) && strftime(text, sizeof(text), "%F %T", &tm) > 0)
                (void)fprintf(out, "%s ", text);
}

static int print_cell(FILE *out, const struct record *record, const char *key, enum format format) {
        _cleanup_(freep) char *text = format_value(format, record_find(record, key));

        return text ? fprintf(out, "%s", text) : -ENOMEM;
}

static void print_event(FILE *out, const char *name, const struct record *job) {
        print_time(out);
        (void)fprintf(out, "%-11s job ", name);
        (void)print_cell(out, job, "Id", FORMAT_NUMBER);
        (void)fputs(", ", out);
        (void)print_cell(out, job, "Kind", FORMAT_TEXT);
        (void)fputs(" of ", out);
        (void)print_cell(out, job, "VM", FORMAT_TEXT);
        (void)fputs(", ", out);
        (void)print_cell(out, job, "Bytes", FORMAT_SIZE);
        (void)fputs(", ", out);
        (void)print_cell(out, job, "State", FORMAT_TEXT);
        if (record_find(job, "RanUSec") && strcmp(name, "JobFinished") == 0) {
                (void)fputs(" in ", out);
                (void)print_cell(out, job, "RanUSec", FORMAT_USEC);
        }
        (void)fputc('\n', out);
}

static int json_event(FILE *out, const char *name, const struct record *job, enum json_mode mode) {
        static const struct column event_column[] = {{"Event", "event", NULL, FORMAT_TEXT, 0, NULL},
                                                     {}};
        const struct record_list jobs = {(struct record *)(uintptr_t)job, 1};
        const struct json_part parts[] = {{"jobs", job_columns, &jobs}, {}};
        _cleanup_(record_list_deinit) struct record_list list = {};
        struct record *event;
        int r;

        r = record_list_add(&list, &event);
        if (r >= 0)
                r = record_add(event, "Event", &(struct value){VALUE_STRING, {.string = name}});
        return r < 0 ? r : json_print_with_parts(out, event_column, event, parts, mode);
}

static void on_job(void *userdata, const char *name, const struct record *job) {
        struct watch *w = userdata;
        _cleanup_(freep) char *text = NULL;
        size_t size;
        FILE *out;
        int r = 0;

        if (w->on_screen)
                return; /* the state follows */
        out = open_memstream(&text, &size);
        if (!out)
                return;
        if (w->options->json != JSON_OFF)
                r = json_event(out, name, job, w->options->json);
        else
                print_event(out, name, job);
        if (fclose(out) == 0 && r >= 0 && !w->options->quiet)
                put(w, text, size);
}

/* ---- the daemon comes and goes ---- */

static void on_reached(void *userdata, int error) {
        struct watch *w = userdata;

        if (error < 0 && !w->ever_reached) {
                terminal_leave();
                if (error == -EACCES)
                        say_error(0,
                                  "you may not connect to %s; run this as root or in the "
                                  "socket's group",
                                  w->options->socket);
                else
                        say_error(error, "no daemon answers on %s", w->options->socket);
                leave(w, CONNECTION_NOBODY);
                return;
        }
        w->ever_reached = true;
        if (!w->on_screen) {
                if (error < 0)
                        say_error(error, "the daemon does not answer; waiting for it");
                return;
        }
        if (error < 0)
                (void)snprintf(w->notice, sizeof(w->notice),
                               "The daemon does not answer (%s); waiting for it. q quit",
                               strerror(-error));
        w->screen.notice = error < 0 ? w->notice : NULL;
        draw(w);
}

/* ---- the loop ---- */

static int on_end(sd_event_source *source, const struct signalfd_siginfo *si, void *userdata) {
        leave(userdata, 0);
        return 0;
}

/* Only what has gone wrong is reported: a reader such as head(1) has seen enough. */
static int on_hangup(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        leave(userdata, -EPIPE);
        return 0;
}

static int add_signals(struct watch *w) {
        static const struct {
                sd_event_signal_handler_t handler;
                int number;
                bool on_screen;
        } rows[] = {{on_end, SIGINT, false},     {on_end, SIGTERM, false},
                    {on_end, SIGHUP, false},     {on_end, SIGQUIT, false},
                    {on_resize, SIGWINCH, true}, {on_stop, SIGTSTP, true}};
        sigset_t set;
        int r;

        (void)sigemptyset(&set);
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (w->on_screen || !rows[i].on_screen)
                        (void)sigaddset(&set, rows[i].number);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return negative_errno();
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
                if (!w->on_screen && rows[i].on_screen)
                        continue;
                r = sd_event_add_signal(w->event, NULL, rows[i].number, rows[i].handler, w);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int set_up(struct watch *w) {
        int r;

        r = add_signals(w);
        if (r < 0)
                return r;
        if (!w->on_screen) {
                /* Without events: an error is always told. A file has none, and refuses. */
                r = sd_event_add_io(w->event, NULL, STDOUT_FILENO, 0, on_hangup, w);
                return r == -EPERM ? 0 : r;
        }
        r = sd_event_add_io(w->event, NULL, STDIN_FILENO, EPOLLIN, on_keys, w);
        if (r < 0)
                return r;
        w->screen.paint = paint_of(w->options->colour);
        terminal_get_size(&w->screen.rows, &w->screen.columns);
        return terminal_enter();
}

static void eventp_unref(sd_event **event) {
        sd_event_unref(*event);
}

static int run(struct watch *w, const struct feed_user *user) {
        int r;

        r = set_up(w);
        if (r >= 0)
                r = feed_new(&w->feed, w->event, w->options->socket, user);
        if (r >= 0)
                r = sd_event_loop(w->event);
        terminal_leave();
        w->feed = feed_free(w->feed);
        record_list_deinit(&w->status);
        record_list_deinit(&w->jobs);
        return r;
}

int verb_watch(const struct options *options, FILE *out) {
        _cleanup_(eventp_unref) sd_event *event = NULL;
        struct watch w = {.options = options};
        struct feed_user user = {.userdata = &w, .job = on_job, .reached = on_reached};
        int r;

        w.on_screen = options->terminal && options->json == JSON_OFF && isatty(STDIN_FILENO);
        if (w.on_screen)
                user.state = on_state;
        r = sd_event_new(&event);
        if (r < 0)
                return say_error(r, "cannot watch");
        w.event = event;
        r = run(&w, &user);
        if (r < 0 && r != -EPIPE && r != CONNECTION_NOBODY)
                return say_error(r, "cannot watch");
        return r;
}
