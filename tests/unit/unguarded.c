/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * In place of the warden's client, for a program that is privileged itself: it does to any process
 * what a warden does to workers only. So the CPU cap can be measured on processes that are no
 * workers.
 */

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "daemon/warden/capabilities.h"
#include "daemon/warden/schedule.h"

bool __wrap_warden_has(int capability);
int __wrap_warden_set_fair(pid_t pid, int policy);
int __wrap_warden_set_deadline(pid_t pid, uint64_t runtime_nsec, uint64_t period_nsec);
int __wrap_warden_set_cpus(pid_t pid, const struct warden_cpus *cpus);
int __wrap_warden_use_in_child(int fd);
int __wrap_warden_move_probe(pid_t pid);
int __wrap_warden_hurry_probe(pid_t pid);

bool __wrap_warden_has(int capability) {
        uint64_t set;

        return capabilities_get(&set) >= 0 && (set & CAPABILITY(capability));
}

int __wrap_warden_set_fair(pid_t pid, int policy) {
        return schedule_fair(pid, policy);
}

int __wrap_warden_set_deadline(pid_t pid, uint64_t runtime_nsec, uint64_t period_nsec) {
        return schedule_deadline(pid, runtime_nsec, period_nsec);
}

int __wrap_warden_set_cpus(pid_t pid, const struct warden_cpus *cpus) {
        return schedule_cpus(pid, cpus);
}

int __wrap_warden_use_in_child(int fd) {
        return dup2(STDIN_FILENO, fd) < 0 ? negative_errno() : 0;
}

/* The judge's fd 0 is the cgroup. */
int __wrap_warden_move_probe(pid_t pid) {
        _cleanup_(close_fd) int fd = openat(STDIN_FILENO, "cgroup.procs", O_WRONLY | O_CLOEXEC);
        char text[16];
        int n = snprintf(text, sizeof(text), "%d", (int)pid);

        return fd < 0 || write(fd, text, (size_t)n) < 0 ? negative_errno() : 0;
}

int __wrap_warden_hurry_probe(pid_t pid) {
        return setpriority(PRIO_PROCESS, (id_t)pid, -20) < 0 ? negative_errno() : 0;
}
