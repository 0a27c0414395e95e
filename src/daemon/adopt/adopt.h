/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Adoption: a QEMU that knows nothing of us can have a helper for its own end, cleanup/<pid>
 * (-async-teardown of 7.2 and later, -run-with async-teardown=on, libvirt's <async-teardown/>),
 * which shares QEMU's memory and exits after it, so that it is the helper that pays for the
 * release. We move it into one of our cgroups, account for it, hold it to the CPU quota, and count
 * it while it works. Nothing is asked of it and nothing told: what happens to the guest does not
 * depend on us.
 *
 * A helper is adopted on request, or by a scan of /proc. Which one is a helper is settled while its
 * QEMU lives, see adopt_check().
 */

#include "daemon/worker/adopted.h"

struct adopt;
struct config;

enum adopt_answer {
        ADOPT_DONE,
        /* refused, and why */
        ADOPT_GONE,
        ADOPT_NO_HELPER,
        ADOPT_VMM_GONE,
        ADOPT_NO_CHILD,
        ADOPT_OTHER_MEMORY,
        ADOPT_EMULATOR,
        ADOPT_KEEPER,
        ADOPT_ADOPTED,
        ADOPT_TOO_MANY,
        ADOPT_DRAINING,
        _ADOPT_ANSWER_MAX,
};

/* A word of its own for each refusal: "NoSuchProcess". */
const char *adopt_answer_to_string(enum adopt_answer answer);

#define ADOPT_TEXT_MAX 256

/*
 * Adopts the process, or says in a sentence why not; refusals are logged, too. Negative: it could
 * not be found out, or done.
 */
int adopt_process(struct adopt *adopt, pid_t pid, enum adopt_answer *ret,
                  char text[static ADOPT_TEXT_MAX]);

/* config: borrowed, may change; see adopt_apply(). */
int adopt_new(struct adopt **ret, struct workers *workers, const struct config *config);
struct adopt *adopt_free(struct adopt *adopt);

/* After the configuration has changed. */
void adopt_apply(struct adopt *adopt);

/* ---- between the files of this module ---- */

/* Why not, as a sentence. Returns answer. */
int adopt_say(char text[static ADOPT_TEXT_MAX], enum adopt_answer answer, const char *format, ...)
        _printf_(3, 4);

/*
 * Whether pid is a helper: it is called cleanup/<pid of its parent>, shares the parent's memory,
 * the parent runs one of emulators (patterns, by blanks), and has no keeper. *ret is filled in for
 * ADOPT_DONE only, and its pidfds are the caller's then. text: as of adopt_process(). Negative: it
 * could not be found out.
 */
int adopt_check(struct workers *workers, const char *emulators, pid_t pid, struct helper *ret,
                char text[static ADOPT_TEXT_MAX]);

/* Whether a name looks like a helper's; and of which process, 0 if it is not quite right. */
bool adopt_is_name(const char *name);
pid_t adopt_vmm_of_name(const char *name);

/* Whether program is one of those patterns. A * is no more than a part of a path. */
bool adopt_is_listed(const char *emulators, const char *program);

/*
 * A walk through all processes, in small pieces.
 */
struct adopt_scan;

int adopt_scan_new(struct adopt_scan **ret, sd_event *event,
                   void (*found)(void *userdata, pid_t pid), void *userdata);
struct adopt_scan *adopt_scan_free(struct adopt_scan *scan);

/* From now on each interval; USEC_INFINITY: not at all. */
void adopt_scan_set(struct adopt_scan *scan, uint64_t interval);
