/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The closer's messages, on stderr: few, since the daemon logs how a job ended. */

#include <syslog.h>

#include "base/util.h"

/* One line; error: a negative errno, appended as text, or 0. Returns error. */
int say(int level, int error, const char *format, ...) _printf_(3, 4);
