/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The file for node_exporter's textfile collector. A reader sees one whole text or the one
 * before: it is written beside its place, under a name that the collector (*.prom) passes over, and
 * renamed.
 *
 * Writing a file can block for as long as its disk or server likes, and we may not (G7). So a child
 * does it, one at a time: as long as one is at it there is no other. It says by errno through a
 * pipe how it went, and its end is the pipe's EOF; SIGCHLD is ignored (main.c).
 */

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "daemon/manager.h"
#include "daemon/metrics/metrics.h"
#include "daemon/runtime/log.h"

#define TEMPORARY ".tmp"

struct metrics_file {
        struct manager *manager;

        /* owned */
        int result_fd; /* from the child that writes; -1: there is none */

        /* state */
        bool failing; /* said so already */

        sd_event_source *timer_source;
        sd_event_source *result_source;
};

/* ---- the child ---- */

static int write_beside(const char *path, const char *text) {
        size_t left = strlen(text);
        _cleanup_(close_fd) int fd = -1;

        /* Whatever is there may be somebody's trap: a link, or a FIFO that nobody reads. */
        (void)unlink(path);
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return negative_errno();
        (void)fchmod(fd, 0644); /* for the collector, whatever our umask is */
        while (left > 0) {
                ssize_t n = write(fd, text, left);

                if (n < 0)
                        return negative_errno();
                text += n;
                left -= (size_t)n;
        }
        return 0;
}

static int write_file(const char *path, const char *text) {
        char temporary[PATH_MAX];
        int r;

        if ((size_t)snprintf(temporary, sizeof(temporary), "%s" TEMPORARY, path) >=
            sizeof(temporary))
                return -ENAMETOOLONG;
        r = write_beside(temporary, text);
        if (r >= 0 && rename(temporary, path) < 0)
                r = negative_errno();
        if (r < 0)
                (void)unlink(temporary);
        return r;
}

/* With nothing of the daemon's open: it may be at it for longer than the daemon lives. */
_Noreturn static void be_writer(int result_fd, const char *path, const char *text) {
        int r;

        (void)dup2(result_fd, 0);
        (void)syscall(SYS_close_range, 1U, ~0U, 0U);
        r = write_file(path, text);
        (void)!write(0, &r, sizeof(r));
        _exit(EXIT_SUCCESS);
}

/* ---- the daemon ---- */

static void tell(struct metrics_file *f, int r) {
        const char *path = f->manager->config->metrics_file;

        if (r >= 0 && f->failing)
                log_info("writing %s works again", path);
        if (r < 0 && !f->failing)
                (void)log_warning_errno(
                        r, "cannot write %s (see metrics-file in pv-reaper.conf(5))", path);
        f->failing = r < 0;
}

static int on_result(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct metrics_file *f = userdata;
        int r = 0;

        if (read(fd, &r, sizeof(r)) != sizeof(r))
                r = -ECHILD; /* it was killed */
        f->result_source = sd_event_source_disable_unref(f->result_source);
        close_fd(&f->result_fd);
        tell(f, r);
        return 0;
}

static int start_writer(struct metrics_file *f) {
        _cleanup_(close_fd) int reader = -1, writer = -1;
        _cleanup_(freep) char *text = NULL;
        int fds[2], r;
        pid_t pid;

        r = metrics_text(&text, f->manager, METRICS_TEXTFILE);
        if (r < 0)
                return r;
        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        reader = fds[0];
        writer = fds[1];
        r = sd_event_add_io(f->manager->event, &f->result_source, reader, EPOLLIN, on_result, f);
        if (r < 0)
                return r;
        pid = fork();
        if (pid == 0)
                be_writer(writer, f->manager->config->metrics_file, text);
        if (pid < 0) {
                r = negative_errno();
                f->result_source = sd_event_source_disable_unref(f->result_source);
                return r;
        }
        f->result_fd = take_fd(&reader);
        return 0;
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata) {
        struct metrics_file *f = userdata;
        int r = -EBUSY; /* the last child is still at it: a disk or server that hangs */

        loop_timer_in(source, f->manager->config->metrics_interval);
        if (f->result_fd < 0)
                r = start_writer(f);
        if (r < 0)
                tell(f, r);
        return 0;
}

DEFINE_FREEP(metrics_file)

int metrics_file_new(struct metrics_file **ret, struct manager *manager) {
        _cleanup_(metrics_file_freep) struct metrics_file *f = NULL;
        int r;

        *ret = NULL;
        if (!*manager->config->metrics_file)
                return 0;
        f = calloc(1, sizeof(*f));
        if (!f)
                return -ENOMEM;
        f->manager = manager;
        f->result_fd = -1;
        r = loop_add_timer(&f->timer_source, manager->event, on_timer, f);
        if (r < 0)
                return r;
        loop_timer_in(f->timer_source, 0);
        *ret = take_ptr(&f);
        return 0;
}

struct metrics_file *metrics_file_free(struct metrics_file *f) {
        if (!f)
                return NULL;
        f->timer_source = sd_event_source_disable_unref(f->timer_source);
        f->result_source = sd_event_source_disable_unref(f->result_source);
        close_fd(&f->result_fd);
        free(f);
        return NULL;
}
