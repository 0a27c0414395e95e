/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Capabilities of the calling thread, as sets of bits: CAPABILITY(CAP_SYS_NICE). Nothing here needs
 * a capability. What is given up does not come back. 0 or a negative errno.
 */

#include <stdint.h>

#define CAPABILITY(number) (UINT64_C(1) << (number))

/* Those that it could use. */
int capabilities_get(uint64_t *ret);

/* Uses none for now; capabilities_keep() may use them later. */
int capabilities_rest(void);

/*
 * Keeps and uses those of the set that it has, and gives up all others: permitted, inheritable, and
 * with these the ambient ones. The bounding set stays: to change it takes CAP_SETPCAP, and it only
 * matters to execve(2), which is not in any list of system calls here.
 */
int capabilities_keep(uint64_t set);
