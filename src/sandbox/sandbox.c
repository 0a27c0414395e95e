/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Makes a filter from a list, by libseccomp. The library knows the numbers of the calls, and that
 * on s390x the calls about sockets have two ways in. The kernel's audit logs each refused call as
 * well (type=1326, with program, pid and number of the call), also where the program goes on with
 * an error.
 *
 * A list names the allowed calls. With SANDBOX_ERROR each other call that the library knows gets a
 * rule of its own. A filter has one default, and for calls that nobody knows yet that must be
 * ENOSYS, or libc would not fall back to an older call. A call that is allowed for some arguments
 * gets the default for all other arguments, since a call has rules of one kind.
 */

#include "sandbox/sandbox.h"

#include <seccomp.h>
#include <stdbool.h>
#include <string.h>

#include "base/util.h"

#define NUMBERS_MAX 1000 /* no architecture that we build for has more */

static void release(scmp_filter_ctx *filter) {
        if (*filter)
                seccomp_release(*filter);
}

static int number_of(const struct sandbox_call *call) {
        int number = seccomp_syscall_resolve_name(call->name);

        return number == __NR_SCMP_ERROR ? -ENOENT : number;
}

static int allow(scmp_filter_ctx filter, const struct sandbox_call *call, uint32_t arch) {
        unsigned argument = (unsigned)call->argument;
        int number = number_of(call);

        if (number == -ENOENT)
                return -ENOENT;
        if (call->argument == SANDBOX_ABSENT ||
            (call->argument == SANDBOX_S390X && arch != SCMP_ARCH_S390X))
                return 0;
        if (call->argument == SANDBOX_ANY || call->argument == SANDBOX_S390X)
                return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0);
        if (call->argument == SANDBOX_CLONE_FLAGS)
                argument = arch == SCMP_ARCH_S390X ? 1 : 0;
        /* The kernel looks at 32 bits of these, and so do we: libc may leave anything above. */
        return seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 1,
                                SCMP_CMP64(argument, SCMP_CMP_MASKED_EQ, call->mask, call->value));
}

static bool is_listed(const struct sandbox_list *list, const char *name) {
        for (size_t i = 0; i < list->n_calls; i++)
                if (strcmp(list->calls[i].name, name) == 0)
                        return true;
        return false;
}

static bool is_refused(const struct sandbox_list *list, const char *name) {
        /* Ways in for others, which have rules of their own there. */
        return strcmp(name, "socketcall") != 0 && strcmp(name, "ipc") != 0 &&
               !is_listed(list, name);
}

static int refuse_others(scmp_filter_ctx filter, const struct sandbox_list *list, uint32_t arch) {
        int r = 0;

        for (int n = 0; n < NUMBERS_MAX && r >= 0; n++) {
                char *name = seccomp_syscall_resolve_num_arch(arch, n);

                if (name && is_refused(list, name))
                        r = seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM),
                                             seccomp_syscall_resolve_name(name), 0);
                free(name);
        }
        return r;
}

static uint32_t default_action(const struct sandbox_list *list, enum sandbox_mode mode) {
        if (mode == SANDBOX_LOG)
                return SCMP_ACT_LOG;
        return list->refusal == SANDBOX_KILL ? SCMP_ACT_KILL_PROCESS : SCMP_ACT_ERRNO(ENOSYS);
}

static int set_up(scmp_filter_ctx filter, enum sandbox_mode mode, uint32_t arch) {
        int r = 0;

        if (arch != seccomp_arch_native()) {
                r = seccomp_arch_remove(filter, SCMP_ARCH_NATIVE);
                if (r >= 0)
                        r = seccomp_arch_add(filter, arch);
        }
        if (r >= 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH,
                                     mode == SANDBOX_LOG ? SCMP_ACT_LOG : SCMP_ACT_KILL_PROCESS);
        if (r >= 0)
                r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_LOG, 1);
        /* A search rather than a walk through hundreds of rules at each call. */
        return r < 0 ? r : seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);
}

/* *ret is the caller's to release. */
static int build(scmp_filter_ctx *ret, const struct sandbox_list *list, enum sandbox_mode mode,
                 uint32_t arch) {
        _cleanup_(release) scmp_filter_ctx filter = seccomp_init(default_action(list, mode));
        int r;

        if (!filter)
                return -ENOMEM;
        r = set_up(filter, mode, arch);
        for (size_t i = 0; i < list->n_calls && r >= 0; i++)
                r = allow(filter, &list->calls[i], arch);
        if (r >= 0 && list->refusal == SANDBOX_ERROR && mode == SANDBOX_ENFORCE)
                r = refuse_others(filter, list, arch);
        if (r < 0)
                return r;
        *ret = filter;
        filter = NULL;
        return 0;
}

int sandbox_install(const struct sandbox_list *list, enum sandbox_mode mode) {
        _cleanup_(release) scmp_filter_ctx filter = NULL;
        int r;

        if (mode == SANDBOX_OFF)
                return 0;
        r = build(&filter, list, mode, seccomp_arch_native());
        return r < 0 ? r : seccomp_load(filter);
}
