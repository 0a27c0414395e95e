/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A test as a VMM with a real keeper: one at a time. The test also plays the kernel (kernel.h) and
 * the daemon (daemon.h). For a program that is linked with --wrap=ioctl.
 */

#include "daemon.h"
#include "fds.h"
#include "kernel.h"

#include "base/util.h"
#include "lib/vm.h"

#define VMM_MEM (UINT64_C(1) << 32)

extern struct sockaddr_un address; /* of the daemon */
extern struct pvr_vm *vm;          /* one reference is the test's, to see the heir's end */
extern int null_fd;                /* for the VM's fd */

/* Up to 10 s for something that another process or thread does. */
#define await(condition)                                                                           \
        do {                                                                                       \
                uint64_t until = now_usec() + 10 * USEC_PER_SEC;                                   \
                bool met;                                                                          \
                                                                                                   \
                while (!(met = (condition)) && now_usec() < until)                                 \
                        (void)usleep(200);                                                         \
                assert_true(met);                                                                  \
        } while (0)

/* pvr_vm_new(). */
void make_vm(void);

/* Nothing yet; with a keeper that has a VM, where nobody listens; and welcomed by a daemon. */
void set_up(void);
void set_up_alone(void);
void set_up_welcomed(void);

/* The keeper and the heir have gone when this returns. */
void tear_down(void);

/* Waits for the next one, of a reboot. */
struct pvr_outcome next_outcome(void);

/* There is none now. */
void no_outcome(void);

/* Returns when the heir has taken over. */
void kill_keeper(void);

/* Why this machine has no keepers, or NULL. */
const char *no_keeper(void);
