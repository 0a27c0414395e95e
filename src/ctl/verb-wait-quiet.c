/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb wait-quiet. It waits until a VM's QEMU is gone and no native AIO of it is in flight:
 *
 * 1. It asks the daemon, which may not run, or not know the VM.
 * 2. As root it looks at /proc, which shows QEMUs and the processes that share their memory.
 *
 * For root, success means that both agree, or that /proc alone shows nothing of the VM. For others,
 * success means that the daemon knew the VM. If neither knows the VM a line on stderr says so. The
 * verb owns its connection and what it remembers of /proc.
 *
 * PVREAPER_PROC names another directory than /proc, for tests.
 */

#include <stdio.h>

#include "ctl/connection.h"
#include "ctl/inflight.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

#define LOOK_USEC      (50 * USEC_PER_MSEC)
#define LOOK_LIMIT_SEC 5 /* beyond the time that there is */

/* Exit statuses besides those of main.c. */
enum { WAIT_TIME_IS_UP = 5, WAIT_CANNOT_TELL = 6 };

/* Which VM, as the daemon's methods take it. NULL: the user was told why. */
static const char *find_what(const struct options *options, char *buffer, size_t size) {
        if ((options->pid != 0) == (options->n_args == 1)) {
                say_usage("wait-quiet: give either a VM or --pid PID");
                return NULL;
        }
        if (options->pid == 0)
                return options->args[0];
        (void)snprintf(buffer, size, "pid=%d", (int)options->pid);
        return buffer;
}

static uint64_t time_left(uint64_t deadline) {
        uint64_t now = now_usec();

        if (deadline == USEC_INFINITY)
                return USEC_INFINITY;
        return deadline > now ? deadline - now : 0;
}

/* Writes the reason of a failure to why. */
static int ask_daemon(const struct options *options, const char *what, uint32_t *ret_known,
                      char *why, size_t size) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        int r;

        say_into(why, size);
        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_wait_quiet(connection, what, options->timeout_usec, ret_known);
        say_into(NULL, 0);
        return r;
}

/*
 * A process's command line is read from that process's memory. So the process can make the reader
 * wait for ever, and only a fatal signal ends such a wait. SIGALRM has no handler for this reason.
 */
static void limit_look(uint64_t left) {
        if (left / USEC_PER_SEC < UINT32_MAX - LOOK_LIMIT_SEC)
                (void)alarm((unsigned)(left / USEC_PER_SEC) + LOOK_LIMIT_SEC);
}

/* Returns 0, or WAIT_TIME_IS_UP or WAIT_CANNOT_TELL after it told the user why. */
static int watch_proc(struct inflight *inflight, const char *what, uint64_t deadline) {
        int r;

        limit_look(time_left(deadline));
        while ((r = inflight_look(inflight)) > 0 && time_left(deadline) > 0)
                (void)usleep(LOOK_USEC);
        if (r == 0)
                return 0;
        if (r > 0) {
                say_error(0, "%s is not quiet yet: %s", what, inflight_why(inflight));
                return WAIT_TIME_IS_UP;
        }
        say_error(r, "cannot tell whether %s is quiet: cannot look at /proc", what);
        return WAIT_CANNOT_TELL;
}

/* This is no error: a QEMU without a keeper leaves nothing. But the name may be mistyped. */
static void say_nobody_knows(const char *what, const char *why_no_daemon) {
        if (*why_no_daemon)
                say_error(0, "/proc does not know %s: it has ended or never existed (%s)", what,
                          why_no_daemon);
        else
                say_error(0, "neither the daemon nor /proc knows %s: it has ended or never existed",
                          what);
}

/* The first look precedes the question to the daemon: later a process may hide whose it is. */
int verb_wait_quiet(const struct options *options, FILE *out) {
        _cleanup_(inflight_freep) struct inflight *inflight = NULL;
        uint64_t deadline = USEC_INFINITY, now = now_usec();
        bool is_root = geteuid() == 0;
        char buffer[32], why[1024] = "";
        uint32_t known = 0;
        const char *what, *proc;
        int r;

        what = find_what(options, buffer, sizeof(buffer));
        if (!what)
                return SAY_USAGE;
        if (options->timeout_usec < USEC_INFINITY - now)
                deadline = now + options->timeout_usec;
        proc = getenv("PVREAPER_PROC");
        r = inflight_new(&inflight, proc && *proc ? proc : "/proc", what);
        if (r < 0)
                return say_error(r, "cannot wait for %s", what);
        if (is_root) {
                limit_look(0);
                (void)inflight_look(inflight);
                (void)alarm(0);
        }
        r = ask_daemon(options, what, &known, why, sizeof(why));
        if (r == CONNECTION_TIME_IS_UP) {
                say_error(0, "%s", why);
                return WAIT_TIME_IS_UP;
        }
        if (is_root) {
                r = watch_proc(inflight, what, deadline);
                if (r == 0 && known == 0 && !inflight_knows(inflight) && !options->quiet)
                        say_nobody_knows(what, why);
                return r;
        }
        if (r >= 0 && known > 0)
                return 0;
        say_error(0, "cannot tell whether %s is quiet: %s; run this as root to look at /proc", what,
                  r < 0 ? why : "the daemon does not know it");
        return WAIT_CANNOT_TELL;
}
