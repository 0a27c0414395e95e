/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The only list of verbs and options. main.c makes dispatch and --help from it. completion.c makes
 * the shells' completion files from it: that program runs during the build, without the functions.
 */

#include <stdbool.h>
#include <string.h>

/*
 * V(name, minimum and maximum number of arguments, function, what the shell completes, help)
 */
#define VERB_LIST(V)                                                                               \
        V("status", 0, 0, verb_status, NOTHING, "Show what the daemon does and has done")          \
        V("list", 0, 0, verb_list, NOTHING, "List the VMs that the daemon knows")                  \
        V("jobs", 0, 0, verb_jobs, NOTHING, "List finished, running and waiting jobs")             \
        V("show", 1, 1, verb_show, VMS, "Show everything about one VM or JOB")                     \
        V("watch", 0, 0, verb_watch, NOTHING, "Show jobs as they come and go")                     \
        V("metrics", 0, 0, verb_metrics, NOTHING,                                                  \
          "Print the daemon's counters as OpenMetrics text")                                       \
        V("check", 0, 64, verb_check, NOTHING, "Check whether this host has what pv-reaper needs") \
        V("set", 1, 64, verb_set, KEYS, "Change limits (KEY=VALUE...) until the next reload")      \
        V("adopt", 1, 1, verb_adopt, NOTHING, "Adopt PID, the async teardown helper of a QEMU")    \
        V("wait-memory", 1, 1, verb_wait_memory, NOTHING,                                          \
          "Wait until SIZE of memory is available")                                                \
        V("wait-quiet", 0, 1, verb_wait_quiet, VMS,                                                \
          "Wait until a VM and its native AIO have ended")                                         \
        V("hurry", 0, 1, verb_hurry, VMS,                                                          \
          "Start the teardown of a VM or JOB at once; --all: use the boost limits")                \
        V("cancel-hurry", 0, 1, verb_cancel_hurry, VMS, "Undo hurry for jobs that have not begun") \
        V("drain", 0, 0, verb_drain, NOTHING, "Finish the jobs fast, and admit no new VMs")        \
        V("resume", 0, 0, verb_resume, NOTHING, "End the drain")                                   \
        V("reload", 0, 0, verb_reload, NOTHING, "Read the configuration again")

/* Whether a list of an option's verbs, such as "a, b and c", has the verb. */
static inline bool verb_is_listed(const char *list, const char *verb) {
        size_t n;

        for (; *list; list += n + strspn(list + n, ", ")) {
                n = strcspn(list, ", ");
                if (n == strlen(verb) && strncmp(list, verb, n) == 0)
                        return true;
        }
        return false;
}

/*
 * O(name, number of arguments (2: one is optional), id, words that the shell completes with, the
 * verbs that read it ("": all))
 */
#define OPTION_LIST(O)                                                                             \
        O("socket", 1, SOCKET, "@file", "")                                                        \
        O("json", 2, JSON, "short pretty", "")                                                     \
        O("no-legend", 0, NO_LEGEND, "", "")                                                       \
        O("no-pager", 0, NO_PAGER, "", "")                                                         \
        O("quiet", 0, QUIET, "", "")                                                               \
        O("all", 0, ALL, "", "check, hurry and cancel-hurry")                                      \
        O("textfile", 0, TEXTFILE, "", "metrics")                                                  \
        O("root", 1, ROOT, "@file", "check")                                                       \
        O("pid", 1, PID, "", "wait-quiet")                                                         \
        O("timeout", 1, TIMEOUT, "", "wait-memory and wait-quiet")                                 \
        O("help", 0, HELP, "", "")                                                                 \
        O("version", 0, VERSION, "", "")
