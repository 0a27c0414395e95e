/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The keeper's seccomp allow-list, as BPF by hand: the library depends on libc alone. Built in the
 * VMM before the clone (pure), installed by the keeper.
 */

#include <linux/filter.h>

#define FILTER_MAX 192

struct filter {
        unsigned short n;
        struct sock_filter code[FILTER_MAX];
};

void filter_build(struct filter *ret);

/* Installs it for the calling task, with no_new_privs. 0 or a negative errno; for ever. */
int filter_install(const struct filter *filter);
