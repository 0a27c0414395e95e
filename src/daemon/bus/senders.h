/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How often each client of the system bus may call. All of them share one connection, so that one
 * who calls without end would make all others wait.
 */

#include "base/util.h"

struct senders;

int senders_new(struct senders **ret);
struct senders *senders_free(struct senders *senders);

/* Whether the client of that unique name may call now (now: µs). It counts as a call if so. */
bool senders_may_call(struct senders *senders, const char *name, uint64_t now);

DEFINE_FREEP(senders)
