/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Stands in for sandbox.c in a build without libseccomp (-Dseccomp=disabled). Then the programs
 * install no filter, whatever the mode. Only the units' SystemCallFilter= holds, if systemd starts
 * the programs.
 */

#include "sandbox/sandbox.h"

int sandbox_install(const struct sandbox_list *list, enum sandbox_mode mode) {
        return 0;
}
