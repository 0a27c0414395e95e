/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The columns of the daemon's answers. */

#include "ctl/table.h"

extern const struct column status_columns[];
extern const struct column vm_columns[];
extern const struct column job_columns[];
extern const struct column limit_columns[];
extern const struct column change_columns[]; /* of what SetLimits and Reload changed */
