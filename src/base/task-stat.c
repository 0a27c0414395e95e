/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "7 (a name) S PPID 3 4 5 6 FLAGS ...": words with one blank between them. The name may hold
 * anything, closing parentheses included: the last one ends it. Words that nobody needs are not
 * looked at.
 */

#include "base/task-stat.h"

#include <string.h>

#define TASK_EXITING 0x4 /* PF_EXITING of the kernel's sched.h, the same since 2.6 */

/* By their places behind the name. */
enum { STATE, PPID, FLAGS = 6, THREADS = 17, STARTTIME = 19, N_WORDS };

/* The first one of a word, digits to its end. */
static bool read_number(const char *word, const char *end, uint64_t *ret) {
        uint64_t number = 0;

        for (; word < end && *word >= '0' && *word <= '9'; word++)
                if (__builtin_mul_overflow(number, 10, &number) ||
                    __builtin_add_overflow(number, *word - '0', &number))
                        return false;
        *ret = number;
        return word == end;
}

int task_stat_parse(struct task_stat *ret, const char *text, size_t size) {
        const char *at = memrchr(text, ')', size), *end = text + size;
        uint64_t numbers[N_WORDS] = {};
        char state = 0;

        if (!at)
                return -EBADMSG;
        at++;
        for (int i = STATE; i < N_WORDS; i++) {
                const char *word = at + 1;

                if (at == end || *at != ' ')
                        return -EBADMSG;
                for (at = word; at < end && *at != ' ' && *at != '\n'; at++)
                        ;
                if (at == word)
                        return -EBADMSG;
                if (i == STATE)
                        state = *word;
                else if ((i == PPID || i == FLAGS || i == THREADS || i == STARTTIME) &&
                         !read_number(word, at, &numbers[i]))
                        return -EBADMSG;
        }
        *ret = (struct task_stat){
                .state = state,
                .ppid = (pid_t)numbers[PPID],
                .exiting = numbers[FLAGS] & TASK_EXITING,
                .n_threads = (unsigned)numbers[THREADS],
                .starttime = numbers[STARTTIME],
        };
        return 0;
}
