/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * pvr-vmm: what its parts share. One thread runs everything here but own_perform_start()'s.
 *
 * The protocol: one command per line on stdin, each answered by exactly one line on stdout,
 *   ok COMMAND key=value...      or      error COMMAND errno=NAME text
 * and events, at any time, as lines of their own:
 *   ready pid=PID vm_fd=FD       (first line, once)
 *   outcome job=N kind=KIND result=RESULT error=0|-NAME rc=N rrc=N waited_us=N ran_us=N dropped=N
 * Times are whole microseconds of CLOCK_MONOTONIC in *_us, nanoseconds in *_ns; "-" is "not
 * measured" or "none". End of file on stdin is `quit`.
 */

#include <pvreaper.h>
#include <stdbool.h>
#include <stdint.h>

#include "guest.h"

struct vmm {
        const char *name;
        struct guest guest;
        struct pvr_vm *pvr; /* NULL: --no-keeper, or after `free` */
        int own_fds[2];     /* pipe: outcomes of PERFORMs on threads of our own; 0 read, 1 write */

        uint64_t n_outcomes;  /* read so far */
        bool waiting;         /* a `wait` is to be answered; stdin is left alone until then */
        uint64_t wait_for;    /* outcomes in all */
        uint64_t deadline_ns; /* of that wait */
};

struct command {
        const char *verb;
        /*
         * Answers with ok() and returns 0, or returns a negative errno and the dispatcher answers.
         * argc >= 1, argv[0] is the verb, argv[argc] is NULL.
         */
        int (*run)(struct vmm *vmm, int argc, char **argv);
        const char *arguments;
        const char *help;
        bool needs_keeper; /* refused with -ENODEV where there is none */
};

extern const struct command commands[]; /* ends with a verb of NULL */

/* commands.c: runs one line (changed on the way) and answers it. Empty lines are no command. */
void vmm_dispatch(struct vmm *vmm, char *line);

/* loop.c: reads commands and outcomes until stdin ends. 0 or negative errno. */
int vmm_run(struct vmm *vmm);

/* loop.c: reads and prints the outcomes there are now; how many, or negative errno. */
int vmm_drain_outcomes(struct vmm *vmm);

/* map.c, reboot.c and process.c: commands that are more than a few lines. */
int command_map(struct vmm *vmm, int argc, char **argv);
int command_reboot(struct vmm *vmm, int argc, char **argv);
int command_flood(struct vmm *vmm, int argc, char **argv);
int command_pids(struct vmm *vmm, int argc, char **argv);
int command_fork(struct vmm *vmm, int argc, char **argv);
int command_exec(struct vmm *vmm, int argc, char **argv);

/*
 * own.c: PERFORM on a detached thread, as stock QEMU does. vm_fd must stay open. When it is over
 * the thread writes a struct pvr_outcome (job 0) to report_fd. 0 or negative errno.
 */
int own_perform_start(int vm_fd, int report_fd);

/* text.c: one whole line with a single write(2), so that lines never mix. */
void say(const char *format, ...) __attribute__((__format__(printf, 1, 2)));

/* text.c: "EINVAL" for -EINVAL or EINVAL; "0" for 0. A static string. */
const char *errno_name(int error);

/* text.c: "4G" and the like (K, M, G, T of 1024), or a decimal number. 0, -EINVAL or -ERANGE. */
int parse_size(uint64_t *ret, const char *text);

/* text.c: 32 hexadecimal digits, dashes anywhere. 0 or -EINVAL. */
int parse_uuid(uint8_t ret[16], const char *text);
