/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The metrics of this daemon, as a text for a client that asks. */

#include "daemon/metrics/text.h"

struct manager;

/* NUL-terminated, malloc()ed, the caller's. -ENOMEM. */
int metrics_text(char **ret, struct manager *manager, enum metrics_format format);
