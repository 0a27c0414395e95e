/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The guest's properties on QEMU's command line. It reads the line as QEMU does, as far as that is
 * needed. Pure: memory in, memory out, no allocation. The arguments may have any bytes.
 */

#include <stdbool.h>
#include <stdint.h>

#define CMDLINE_NAME_SIZE 65 /* the 64 bytes that pvr_vm_new() takes of a name, and the NUL */

struct cmdline {
        char name[CMDLINE_NAME_SIZE]; /* -name guest=; cut; "": none was given */
        uint8_t uuid[16];             /* -uuid; zeroes if none, or none that QEMU would accept */
        bool daemonize;               /* -daemonize */
        bool no_guest;                /* -machine none, -help, -version: there will be no guest */
        bool native_aio;              /* a disk has aio=native */
        bool gives_up_rights;         /* -runas, -chroot, -run-with user= or chroot= */
};

/* Whether a program of this path and name is a QEMU: qemu-system-*, qemu-kvm, kvm. */
bool cmdline_is_qemu(const char *argv0);

/*
 * Reads argv[1] to argv[argc - 1]. Of a repeated option the later one counts, as in QEMU. Does not
 * look into configuration files (-readconfig).
 */
void cmdline_parse(struct cmdline *ret, int argc, char *const argv[]);
