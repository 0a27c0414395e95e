/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sandbox/sandbox.h"

/* All that pv-reaperd and its children need once it serves. */
extern const struct sandbox_list daemon_calls;
