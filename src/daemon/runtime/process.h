/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What /proc and kcmp(2) say of a process. Everything here takes a pid, which is only a number:
 * a caller with a pidfd asks process_alive() *afterwards*, and only then believes the answer.
 * Errors are negative errnos; a process that is gone gives -ESRCH. Nothing here blocks.
 */

#include <sys/types.h>

#include "base/task-stat.h"

int process_read_stat(pid_t pid, struct task_stat *ret);

/* Who is at the other end of a socket: pidfd and pid. *ret_pidfd is the caller's. */
int process_of_peer(int socket, int *ret_pidfd, pid_t *ret_pid);

/* Its pidfd, which is the caller's. -ESRCH also for a thread that is no process. */
int process_open(pid_t pid);

/* 1: the process behind pidfd has not exited; 0: it has; or a negative errno. */
int process_alive(int pidfd);

/* 1: both share one address space; 0: they do not (a zombie has none); or a negative errno. */
int process_same_mm(pid_t a, pid_t b);

/* CPU time of its first thread in µs (schedstat): exact to the ns, unlike stat's ticks. */
int process_cpu_usec(pid_t pid, uint64_t *ret);

/* Its name as it calls itself: a claim. */
#define PROCESS_NAME_SIZE 16
int process_name(pid_t pid, char ret[static PROCESS_NAME_SIZE]);

/* The path of its program, in its own mount namespace, malloc()ed, the caller's. */
int process_program(pid_t pid, char **ret);

/* Resident memory in bytes; 0: it has none (any more). */
int process_rss(pid_t pid, uint64_t *ret);

/*
 * The memory nodes it may use, a list as the kernel writes it ("0-1,4"). -ENODATA: there are no
 * cpusets in this kernel.
 */
int process_nodes(pid_t pid, char *ret, size_t size);

/* Its cgroup v2 path ("/..."), malloc()ed, the caller's. */
int process_cgroup(pid_t pid, char **ret);

/* Its systemd unit, or its cgroup path outside systemd; printable, malloc()ed, the caller's. */
int process_unit(pid_t pid, char **ret);

/* A whole small file, NUL-terminated. Returns its length; -EFBIG if it is larger. */
ssize_t read_file_at(int dir, const char *path, char *buffer, size_t size);
