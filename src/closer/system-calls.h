/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sandbox/sandbox.h"

/* All that the closer needs from the moment it has its connection. */
extern const struct sandbox_list closer_calls;
