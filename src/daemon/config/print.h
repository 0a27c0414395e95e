/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A configuration as text that could be read again as a file. */

#include "daemon/config/config.h"

/* All values, as they were written, each below a remark that says where. */
void config_print(const struct config *config, FILE *out);

/* All keys, commented out, at their defaults, with what they are for: conf/pv-reaper.conf. */
void config_print_defaults(FILE *out);
