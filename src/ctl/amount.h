/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sizes, times and pids as people type them. Pure. -EINVAL: the text is not one. */

#include <sys/types.h>

#include "base/util.h"

/* "2G", "512M", "1.5T", "4096": in bytes. Suffixes are powers of 1024. */
int amount_parse_size(const char *text, uint64_t *ret);

/* "30", "1.5", "10min", "2h": in µs. A plain number is seconds. */
int amount_parse_time(const char *text, uint64_t *ret);

/* "123": above 0. */
int amount_parse_pid(const char *text, pid_t *ret);
