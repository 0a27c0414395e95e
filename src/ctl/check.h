/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * "pv-reaperctl check": one function for each need of the service. A check looks, and changes
 * nothing. It runs in a process of its own with a time limit. So it may use what can hang: name
 * services, a device, a program's --version.
 */

#include <stdio.h>

#include "ctl/record.h"

enum check_result {
        CHECK_PASS,
        CHECK_NONE, /* it does not apply here: shown if it is asked for; detail says why */
        CHECK_SKIP, /* nobody can tell; detail says why */
        CHECK_WARN, /* it works, but not as well as it could */
        CHECK_FAIL, /* it does not work */
};

struct check_report {
        enum check_result result;
        char detail[320]; /* what was found */
        char advice[320]; /* WARN, FAIL: what to do */
};

struct check_host {
        const char *root;            /* "", or the directory below which files are looked for */
        const char *socket;          /* of the daemon */
        const struct record *status; /* the daemon's answer, or NULL */
        const char *why;             /* why there is no answer */
};

struct check {
        const char *name;
        void (*run)(const struct check_host *host, struct check_report *ret);
        const char *help; /* "Checking for" ... */
};

/* ---- to report ---- */

void check_say(struct check_report *ret, enum check_result result, const char *format, ...)
        _printf_(3, 4);
void check_advise(struct check_report *ret, const char *format, ...) _printf_(2, 3);

/* What to do where systemd runs the service, and elsewhere. Neither is a format. */
void check_advise_by(const struct check_host *host, struct check_report *ret, const char *systemd,
                     const char *other);

/* ---- to look ---- */

#define CHECK_PATH_MAX 4096

/* The path below the root. Returns buffer, which has CHECK_PATH_MAX bytes. */
const char *check_path(const struct check_host *host, char *buffer, const char *format, ...)
        _printf_(3, 4);

bool check_exists(const struct check_host *host, const char *path);

/* Reads the file's text, as far as it fits, without the last newline. Negative: no such text. */
int check_read(const struct check_host *host, const char *path, char *buffer, size_t size);

/* The text of a small file that is one word; "" if there is none. */
#define CHECK_WORD_MAX 128
const char *check_word(const struct check_host *host, const char *path,
                       char buffer[CHECK_WORD_MAX]);

/* Whether systemd runs this host. */
bool check_has_systemd(const struct check_host *host);

/* The architecture, such as "s390x", as uname -m prints it. */
const char *check_machine(const struct check_host *host, char buffer[CHECK_WORD_MAX]);
bool check_is_s390x(const struct check_host *host);

/* major * 1000 + minor; 0: unknown. */
unsigned check_kernel_version(const struct check_host *host);

/*
 * Whether a line of the file, except remarks, contains the text. Negative: cannot read the file.
 */
int check_grep(const struct check_host *host, const char *path, const char *text);

/* Reads a value of qemu.conf, without quotes. 1: it is set; 0: it is not. */
int check_qemu_conf(const struct check_host *host, const char *key, char buffer[CHECK_WORD_MAX]);

/* A number or a text of the daemon's status; 0 or "" if there is none. */
uint64_t check_status_number(const struct check_host *host, const char *key);
const char *check_status_text(const struct check_host *host, const char *key);

/* ---- the checks ---- */

void check_architecture(const struct check_host *host, struct check_report *ret);
void check_kernel(const struct check_host *host, struct check_report *ret);
void check_secure_execution(const struct check_host *host, struct check_report *ret);
void check_async_destroy(const struct check_host *host, struct check_report *ret);
void check_kvm(const struct check_host *host, struct check_report *ret);
void check_capability_224(const struct check_host *host, struct check_report *ret);
void check_cgroup_v2(const struct check_host *host, struct check_report *ret);
void check_controllers(const struct check_host *host, struct check_report *ret);
void check_backlog(const struct check_host *host, struct check_report *ret);

void check_units(const struct check_host *host, struct check_report *ret);
void check_shutdown_order(const struct check_host *host, struct check_report *ret);
void check_daemon(const struct check_host *host, struct check_report *ret);
void check_capabilities(const struct check_host *host, struct check_report *ret);
void check_cpu_cap(const struct check_host *host, struct check_report *ret);
void check_fds(const struct check_host *host, struct check_report *ret);

void check_handoff_socket(const struct check_host *host, struct check_report *ret);
void check_release_socket(const struct check_host *host, struct check_report *ret);
void check_control_socket(const struct check_host *host, struct check_report *ret);
void check_qemu_user(const struct check_host *host, struct check_report *ret);

void check_apparmor(const struct check_host *host, struct check_report *ret);
void check_selinux(const struct check_host *host, struct check_report *ret);
void check_qemu(const struct check_host *host, struct check_report *ret);
void check_libvirt(const struct check_host *host, struct check_report *ret);

void check_fencing(const struct check_host *host, struct check_report *ret);
