/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Hosts for the checks of "pv-reaperctl check", made below a directory: one on which all is well,
 * and then each with something else wrong. Each row must be found by its check, which says the word
 * for it; and whoever is to act is told how. KVM's answers are the test's (--wrap=ioctl).
 *
 * Tests run with host_make_root() and host_remove_root() around all of them.
 */

#include <sys/types.h>

#include "ctl/check.h"

#define SYSTEMD   "/usr/lib/systemd/system/"
#define ETC       "/etc/systemd/system/"
#define DROPIN    "machine-.scope.d/50-pv-reaper.conf"
#define WORKERS   "/sys/fs/cgroup/pvreaper.slice/pv-reaper-workers.service/cgroup.controllers"
#define APPARMOR  "/etc/apparmor.d/abstractions/libvirt-qemu"
#define LOCAL     "/etc/apparmor.d/local/abstractions/libvirt-qemu"
#define OURS      " /run/pv-reaper/handoff.sock rw,\n"
#define LIBVIRT   "/etc/libvirt/qemu.conf"
#define QEMU_CONF CTL_SYSCONF_DIR "/qemu.conf"
#define HOOK      "/etc/libvirt/hooks/qemu"
#define QEMU      "/usr/bin/qemu-system-s390x"
#define DRAIN     "PVREAPER_NATIVE_AIO=drain"
#define MODULE    "/var/lib/selinux/targeted/active/modules/400/pv-reaper/cil"
#define RING      "7f2-7f3 rw-s 00000000 00:0f 17                 /[aio] (deleted)\n"
#define SAYS(v)   "#!/bin/sh\necho 'QEMU emulator version " v " (x)'\n"
#define ALL_CAPS  "Name:\tx\nCapEff:\t0000000000880002\n"
#define LIMITS(n) "Limit  Soft\nMax open files   1024   " n "   files\n"

#define STAT(name, ppid) "80 (" name ") S " ppid " 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 123\n"

#define GONE     ((const char *)-1) /* no such file or directory */
#define KVM_GID  4242
#define QEMU_UID 64055

struct file {
        const char *path, *text; /* text that begins with "#!" is executable; LINK: a link */
};

#define LINK "->"

#define NO_SYSTEMD                                                                                 \
        { "/run/systemd/system", GONE }

/* What the daemon says of itself; numbers as text. */
struct status {
        const char *key, *string;
        uint64_t number;
};

struct row {
        void (*run)(const struct check_host *host, struct check_report *ret);
        enum check_result result;
        const char *words; /* in detail or advice */
        struct file changes[4];
        struct status status[4]; /* none: no daemon answers */
};

#define ROW(name, outcome, text, ...)                                                              \
        { .run = check_##name, .result = CHECK_##outcome, .words = (text), ##__VA_ARGS__ }

extern int host_kvm_version, host_kvm_extension;

int host_make_root(void **state);
int host_remove_root(void **state);

/* The host on which all is well. */
void host_put_good(void);

/* A file of it; GONE: none, nor the directories above it that are empty then. */
void host_put(const char *name, const char *text);
void host_put_socket(const char *name, mode_t mode, uid_t uid, gid_t gid);

/* A row on the host as it is, and rows each with its changes on the good one. */
void host_check_row(const struct row *row);
void host_check_rows(const struct row *rows, size_t n);
