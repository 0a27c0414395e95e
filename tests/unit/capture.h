/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Reads what a piece of code says on stderr. Not nested. */

void capture_begin(void);

/* Ends it. Returns what was said, NUL-terminated; static, until the next capture. */
const char *capture_end(void);
