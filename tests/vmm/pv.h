/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "base/kvm-pv.h"

/*
 * One protected-VM command (enum pv_cmd_id), through libc's ioctl() so that a simulator may
 * answer. ret, may be NULL, holds rc and rrc afterwards, also on failure; both are zeroed before,
 * since a completed PERFORM need not write them. 0 or negative errno.
 */
int pv_command(int vm_fd, uint32_t id, struct pv_cmd *ret);
