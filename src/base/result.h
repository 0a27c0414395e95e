/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * How a teardown ended: the words that a VMM, the log and pv-reaperctl show, and the word for each
 * answer of PERFORM. Pure.
 */

#include <stdbool.h>
#include <stdint.h>

enum result { /* = enum pvr_result */
              RESULT_DONE = 1,
              RESULT_UNGOVERNED = 2,
              RESULT_INTERRUPTED = 3,
              RESULT_SUPERSEDED = 4,
              RESULT_FAILED = 5,
              RESULT_FOREIGN = 6,
              RESULT_LOST = 7,
};

/*
 * error: 0 or a negative errno. rc, rrc: as PERFORM left them; zero before the call. governed: the
 * daemon had granted the job. Never returns RESULT_LOST.
 */
enum result result_of_perform(int error, uint16_t rc, uint16_t rrc, bool governed);

/* "done", "ungoverned", ...: a static string; NULL for a number that is no enum result. */
const char *result_to_string(uint32_t result);
