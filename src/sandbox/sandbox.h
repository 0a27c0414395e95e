/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A program's list of system calls, as a seccomp filter. The lists stand with the programs
 * (system-calls.c in each), the reason beside each call; what turns one into a filter is here.
 * Built without libseccomp there is no filter (sandbox-none.c), and only SystemCallFilter= in the
 * units is left.
 */

#include <stddef.h>
#include <stdint.h>

enum sandbox_mode {
        SANDBOX_ENFORCE, /* what is not in the list does not happen, and is logged by the kernel */
        SANDBOX_LOG,     /* it happens, and is logged */
        SANDBOX_OFF,     /* no filter */
};

/* What enforcing does with a call that is not in the list. */
enum sandbox_refusal {
        /* EPERM, or ENOSYS if the library has not heard of the call: callers have a way without */
        SANDBOX_ERROR,
        SANDBOX_KILL, /* the process is killed (SIGSYS) */
};

/* In the place of an argument's number. */
#define SANDBOX_ANY         (-1) /* whatever the arguments are */
#define SANDBOX_CLONE_FLAGS (-2) /* where clone(2) has its flags, which differs */
#define SANDBOX_ABSENT      (-3) /* always ENOSYS: libc then does it in another way */
#define SANDBOX_S390X       (-4) /* as SANDBOX_ANY, where this is the architecture */

struct sandbox_call {
        const char *name;
        int argument; /* from 0, or one of the above: allowed if (argument & mask) == value */
        uint32_t mask, value;
};

struct sandbox_list {
        enum sandbox_refusal refusal;
        size_t n_calls;
        const struct sandbox_call *calls;
};

/*
 * For this process (its first thread) and all its children, for ever; with no_new_privs. 0 or a
 * negative errno, and then nothing has changed.
 */
int sandbox_install(const struct sandbox_list *list, enum sandbox_mode mode);

/* The words for enum sandbox_mode, in its order, NULL at the end. */
extern const char *const sandbox_words[];

/*
 * For programs without a configuration: the mode that PVREAPER_SECCOMP names, if the environment
 * may be trusted; SANDBOX_ENFORCE if it is not set. -EINVAL: no such word.
 */
int sandbox_mode_from_environment(enum sandbox_mode *ret);
