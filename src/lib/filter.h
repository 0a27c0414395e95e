/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The keeper's seccomp allow-list, as BPF by hand, since the library depends on libc alone. The VMM
 * builds it before the clone (pure); the keeper installs it.
 */

#include <linux/filter.h>

#define FILTER_MAX 192

struct filter {
        unsigned short n;
        struct sock_filter code[FILTER_MAX];
};

void filter_build(struct filter *ret);

/* Installs it for the calling task, for ever, with no_new_privs. 0 or a negative errno. */
int filter_install(const struct filter *filter);
