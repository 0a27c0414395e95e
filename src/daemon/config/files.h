/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Which configuration files there are, and which of them count. */

#include "daemon/config/config.h"

#define CONFIG_FILE "pv-reaper.conf"

/* Drop-ins that count, over all directories. */
#define CONFIG_DROP_INS_MAX 256

/*
 * Reads the host's configuration over what is there: the file from the highest directory that has
 * one, then the drop-ins in the order of their names, of two with the same name the one from the
 * higher directory. root: put before each path, "" or that of a test. Every error in any file is
 * logged; the first one is returned.
 */
int config_read_host(struct config *config, const char *root);
