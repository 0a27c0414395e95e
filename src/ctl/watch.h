/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/verbs.h"

/* "pv-reaperctl watch": until q, a signal, or the end of its reader. It prints by itself. */
int verb_watch(const struct options *options, FILE *out);
