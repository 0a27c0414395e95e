/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl/verbs.h"

/* "pv-reaperctl watch": until q, a signal, or until nobody reads it any more. Prints by itself. */
int verb_watch(const struct options *options, FILE *out);
