/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The protected-VM commands of KVM, for headers that lack them. Debian 12's <linux/kvm.h> has no
 * KVM_PV_ASYNC_CLEANUP_*. Those of other architectures have no KVM_PV_* at all, but the simulator
 * and the tests run there, too.
 * Source: include/uapi/linux/kvm.h and Documentation/virt/kvm/api.rst (KVM_S390_PV_COMMAND) of
 * Linux 6.12. The v11 series named the last two commands KVM_PV_ASYNC_DISABLE_PREPARE and
 * KVM_PV_ASYNC_DISABLE.
 */

#include <linux/ioctl.h>
#include <stdint.h>

/* struct kvm_pv_cmd under another name, so that it never meets the kernel's. 32 bytes. */
struct pv_cmd {
        uint32_t cmd;
        uint16_t rc;  /* out: Ultravisor return code */
        uint16_t rrc; /* out: Ultravisor reason code */
        uint64_t data;
        uint32_t flags; /* must be 0 */
        uint32_t reserved[3];
};

#define PV_COMMAND                                                                                 \
        _IOWR(0xAE, 0xc5, struct pv_cmd) /* KVM_S390_PV_COMMAND, 0xC020AEC5 on x86 and s390x */

enum pv_command_id {
        PV_ENABLE = 0,
        PV_DISABLE = 1,
        PV_SET_SEC_PARMS = 2,
        PV_UNPACK = 3,
        PV_VERIFY = 4,
        PV_PREP_RESET = 5,
        PV_UNSHARE_ALL = 6,
        PV_INFO = 7,
        PV_DUMP = 8,
        PV_ASYNC_CLEANUP_PREPARE = 9,
        PV_ASYNC_CLEANUP_PERFORM = 10,
};

#define PV_CAP_PROTECTED     180 /* KVM_CAP_S390_PROTECTED: guests can become protected here */
#define PV_CAP_ASYNC_DISABLE 224 /* KVM_CAP_S390_PROTECTED_ASYNC_DISABLE */

#define PV_CHECK_EXTENSION _IO(0xAE, 0x03) /* KVM_CHECK_EXTENSION */

/*
 * PREPARE reports these on success. PERFORM leaves them behind when a fatal signal interrupted it;
 * it returns 0 all the same. On machines with fast destroy a completed PERFORM does not write rc
 * and rrc: zero both before the call.
 */
#define PV_RC_PREPARED     1
#define PV_RRC_PREPARED    42
#define PV_RC_INTERRUPTED  1
#define PV_RRC_INTERRUPTED 42

_Static_assert(sizeof(struct pv_cmd) == 32, "struct kvm_pv_cmd is 32 bytes");
_Static_assert(PV_COMMAND == 0xC020AEC5, "KVM_S390_PV_COMMAND");
