/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The metrics of this daemon: as a text for a client that asks (GetMetrics), and every
 * metrics-interval in metrics-file, if there is one.
 */

#include "daemon/metrics/text.h"

struct manager;
struct metrics_file;

/* NUL-terminated, malloc()ed, the caller's. -ENOMEM. */
int metrics_text(char **ret, struct manager *manager, enum metrics_format format);

/*
 * The file is first written as soon as the loop runs. It is left behind: how old it is says whether
 * it means anything, and to remove it could block. NULL without metrics-file.
 */
int metrics_file_new(struct metrics_file **ret, struct manager *manager);
struct metrics_file *metrics_file_free(struct metrics_file *file);
