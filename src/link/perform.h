/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The one place that issues PERFORM: for keeper, heir and closer. Safe in the keeper. */

#include "base/result.h"
#include "base/wire.h"

/*
 * Tears down what is set aside in vm_fd's VM, and fills in error, rc and rrc of *outcome; the rest
 * of it is the caller's. Blocks for minutes; only a fatal signal ends it. Returns what came of it.
 */
enum result perform_vm(int vm_fd, struct wire_outcome *outcome);
