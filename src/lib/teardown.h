/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A teardown in the words of pvreaper.h, for the keeper, the heir, a thread of
 * pvr_vm_disable_async(), or its caller. Safe in the keeper: system calls only.
 */

#include <pvreaper.h>
#include <stdint.h>

#include "base/wire.h"

/* perform_vm(), told to both: also fills in result, error, rc, rrc, ran_us and kind of *ret. */
void teardown_perform(int vm_fd, struct wire_outcome *wire, struct pvr_outcome *ret);

/*
 * Sends an outcome to the reader of pvr_vm_get_fd(), without waiting. An outcome that does not fit
 * is counted in *dropped; the next one that fits tells the number (outcome->dropped).
 */
void teardown_report(int fd, _Atomic uint64_t *dropped, struct pvr_outcome *outcome);
