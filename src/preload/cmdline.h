/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What QEMU's command line says about the guest: as much of QEMU's own reading of it as that takes.
 * Pure: memory in, memory out; nothing is allocated, and any bytes may be given.
 */

#include <stdbool.h>
#include <stdint.h>

#define CMDLINE_NAME_SIZE 65 /* what pvr_vm_new() takes of a name, and the end */

struct cmdline {
        char name[CMDLINE_NAME_SIZE]; /* -name guest=; cut; "": none was given */
        uint8_t uuid[16];             /* -uuid; zeroes if none, or none that QEMU would accept */
        bool daemonize;               /* -daemonize */
        bool no_guest;                /* -machine none, -help, -version: there will be no guest */
        bool native_aio;              /* some disk has aio=native */
        bool gives_up_rights;         /* -runas, -chroot, -run-with user= or chroot= */
};

/* Whether a program of this path and name is a QEMU: qemu-system-*, qemu-kvm, kvm. */
bool cmdline_is_qemu(const char *argv0);

/*
 * Reads argv[1] to argv[argc - 1]. Where an option is repeated the later one counts, as in QEMU.
 * Configuration files (-readconfig) are not looked into.
 */
void cmdline_parse(struct cmdline *ret, int argc, char *const argv[]);
