/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sandbox/sandbox.h"

/* All that the process in hold/ needs to fall asleep and to wake up. */
extern const struct sandbox_list sleeper_calls;
