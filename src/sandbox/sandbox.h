/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A program's list of system calls, as a seccomp filter. Each program has its list in
 * system-calls.c, with the reason beside each call. This module turns a list into a filter. A build
 * without libseccomp has no filter (sandbox-none.c); only SystemCallFilter= in the units is left.
 */

#include <stddef.h>
#include <stdint.h>

enum sandbox_mode {
        SANDBOX_ENFORCE, /* a call that is not in the list fails or kills, and the kernel logs it */
        SANDBOX_LOG,     /* such a call works, and the kernel logs it */
        SANDBOX_OFF,     /* no filter */
};

/* The answer of SANDBOX_ENFORCE to a call that is not in the list. */
enum sandbox_refusal {
        /* EPERM, or ENOSYS if the library does not know the call: callers can do without it */
        SANDBOX_ERROR,
        SANDBOX_KILL, /* the process is killed (SIGSYS) */
};

/* In the place of an argument's number. */
#define SANDBOX_ANY         (-1) /* whatever the arguments are */
#define SANDBOX_CLONE_FLAGS (-2) /* the flags of clone(2): their place differs by architecture */
#define SANDBOX_ABSENT      (-3) /* always ENOSYS: libc then does it in another way */
#define SANDBOX_S390X       (-4) /* as SANDBOX_ANY, on s390x only */

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
 * Installs the list for this process (its first thread) and all its children, for ever, with
 * no_new_privs. 0, or a negative errno: then nothing has changed.
 */
int sandbox_install(const struct sandbox_list *list, enum sandbox_mode mode);

/* The words for enum sandbox_mode, in its order, NULL at the end. */
extern const char *const sandbox_words[];

/*
 * For programs without a configuration: the mode that PVREAPER_SECCOMP names, if the environment
 * may be trusted (secure_getenv(3)); SANDBOX_ENFORCE if it is not set. -EINVAL: no such word.
 */
int sandbox_mode_from_environment(enum sandbox_mode *ret);
