/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sizes as people read them: "12.0 GiB". */

#include <stddef.h>
#include <stdint.h>

/* Cut, never rounded up: nothing is said to be larger than it is. size: of the buffer. */
void format_size(char *buffer, size_t size, uint64_t bytes);
