/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PVSIM_LOG. A line is put together on the stack and written by one write(2) to a file opened for
 * it with O_APPEND, so that lines of any number of processes never mix and a process that closed
 * all its fds can still log. A line that cannot be written is lost, silently: the task that logs
 * must not behave otherwise than without a log. The format, one blank between the words, is fixed:
 *
 *   t=<CLOCK_MONOTONIC, ns> ev=begin cmd=<ENABLE, ..., or a number> pid= tid= fd= vm=<pid>.<slot>
 *   seq=<incarnation> aside=<incarnation> comm=<task's name>
 *
 * and with ev=end also ret=<0 or -errno> rc= rrc=. vm is the process that made the VM and a number
 * in it ("-" if the caller may not know, because of -EIO). Every successful ENABLE starts a new
 * incarnation, from 1; seq is the one the command is about: for PREPARE the one it sets aside, for
 * PERFORM the one it took, 0 if there is none. aside is the set-aside one that a DISABLE destroyed
 * as well, else 0. Characters of comm that are not printable, and blanks, are shown as "_".
 */

#include "sim.h"
#include <fcntl.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LINE_SIZE  512 /* the longest one is below 300 */
#define DIGITS_MAX 20
#define COMM_SIZE  16
#define NS_PER_SEC UINT64_C(1000000000)

struct line {
        size_t size;
        char text[LINE_SIZE];
};

static const char *const command_names[] = {
        [PV_ENABLE] = "ENABLE",
        [PV_DISABLE] = "DISABLE",
        [PV_SET_SEC_PARMS] = "SET_SEC_PARMS",
        [PV_UNPACK] = "UNPACK",
        [PV_VERIFY] = "VERIFY",
        [PV_PREP_RESET] = "PREP_RESET",
        [PV_UNSHARE_ALL] = "UNSHARE_ALL",
        [PV_INFO] = "INFO",
        [PV_DUMP] = "DUMP",
        [PV_ASYNC_CLEANUP_PREPARE] = "PREPARE",
        [PV_ASYNC_CLEANUP_PERFORM] = "PERFORM",
};

static void put(struct line *line, const char *s) {
        while (*s && line->size < sizeof(line->text))
                line->text[line->size++] = *s++;
}

static void put_u64(struct line *line, const char *key, uint64_t n) {
        char digits[DIGITS_MAX + 1], *p = digits + DIGITS_MAX;

        *p = '\0';
        do
                *--p = (char)('0' + n % 10);
        while (n /= 10);
        put(line, key);
        put(line, p);
}

static void put_comm(struct line *line) {
        char comm[COMM_SIZE + 1] = "";

        syscall(SYS_prctl, PR_GET_NAME, comm);
        for (char *p = comm; *p; p++)
                if (*p <= ' ' || *p > '~')
                        *p = '_';
        put(line, " comm=");
        put(line, comm);
}

static void put_op(struct line *line, const char *event, const struct sim_op *op) {
        struct timespec now = {};

        syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
        put_u64(line, "t=", (uint64_t)now.tv_sec * NS_PER_SEC + (uint64_t)now.tv_nsec);
        put(line, event);
        if (op->cmd < sizeof(command_names) / sizeof(*command_names)) {
                put(line, " cmd=");
                put(line, command_names[op->cmd]);
        } else
                put_u64(line, " cmd=", op->cmd);
        put_u64(line, " pid=", (uint64_t)syscall(SYS_getpid));
        put_u64(line, " tid=", (uint64_t)syscall(SYS_gettid));
        put_u64(line, " fd=", (uint64_t)op->fd);
        if (op->vm_pid) {
                put_u64(line, " vm=", op->vm_pid);
                put_u64(line, ".", op->vm_slot);
        } else
                put(line, " vm=-");
        put_u64(line, " seq=", op->seq);
        put_u64(line, " aside=", op->aside);
        put_comm(line);
}

static void append(struct line *line) {
        int fd;

        line->text[line->size < LINE_SIZE ? line->size++ : LINE_SIZE - 1] = '\n';
        fd = (int)syscall(SYS_openat, AT_FDCWD, sim_config.log,
                          O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0666);
        if (fd < 0)
                return;
        syscall(SYS_write, fd, line->text, line->size);
        syscall(SYS_close, fd);
}

void sim_log_begin(const struct sim_op *op) {
        struct line line;

        if (!*sim_config.log)
                return;
        line.size = 0;
        put_op(&line, " ev=begin", op);
        append(&line);
}

void sim_log_end(const struct sim_op *op, int result, const struct pv_cmd *cmd) {
        struct line line;

        if (!*sim_config.log)
                return;
        line.size = 0;
        put_op(&line, " ev=end", op);
        put_u64(&line, result < 0 ? " ret=-" : " ret=", (uint64_t)(result < 0 ? -result : result));
        put_u64(&line, " rc=", cmd->rc);
        put_u64(&line, " rrc=", cmd->rrc);
        append(&line);
}
