/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The protected-VM command of QEMU's target/s390x/kvm/pv.c, for those who play it: they know
 * nothing of pv-reaper and its headers. Source: <linux/kvm.h> for s390, Linux 6.12.
 */

#include <linux/kvm.h>
#include <stdint.h>

struct command {
        uint32_t cmd;
        uint16_t rc, rrc;
        uint64_t data;
        uint32_t flags, reserved[3];
};

#define PV_COMMAND _IOWR(KVMIO, 0xc5, struct command)

enum { ENABLE = 0, DISABLE = 1, PREPARE = 9, PERFORM = 10 };
