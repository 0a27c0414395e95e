/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The system calls that the sleeper may make, and why. It stays for as long as the system runs, in
 * the one cgroup tree that the daemon writes to, so it must be of no use to an attacker. Any other
 * call kills it: systemd then sees its unit end, and says so.
 */

#include "hold/system-calls.h"

#include "base/util.h"

#define ANY SANDBOX_ANY, 0, 0

static const struct sandbox_call calls[] = {
        {"munmap", ANY}, /* what the filter was made with */
        {"brk", ANY},
        {"write", ANY}, /* "I sleep", to its parent */
        {"close", ANY},
        {"rt_sigtimedwait", ANY}, /* for SIGTERM */
        {"restart_syscall", ANY}, /* after SIGSTOP and SIGCONT */
        {"exit_group", ANY},
};

const struct sandbox_list sleeper_calls = {SANDBOX_KILL, ARRAY_SIZE(calls), calls};
