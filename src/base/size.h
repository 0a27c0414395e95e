/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Sizes as people read them: "12.0 GiB". */

#include <stddef.h>
#include <stdint.h>

/* Cut, never rounded up: no size is shown larger than it is. size: the buffer's, in bytes. */
void format_size(char *buffer, size_t size, uint64_t bytes);
