/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the small VMMs of test-library.py share. Each uses the public API alone and exits 0 if all
 * was as it should be, 1 after saying on check_fd what was not, 77 where there is no /dev/kvm. The
 * commands of protected virtualization are the simulator's.
 */

#include <pvreaper.h>
#include <stdbool.h>
#include <sys/types.h>

#include "guest.h"

#define EXIT_SKIP    77
#define HELPER_BYTES (4ULL << 30)

struct helper {
        struct pvr_vm *vm;
        struct guest guest;
};

extern int check_fd; /* stderr unless somebody changes it */

#define check(condition)                                                                           \
        do {                                                                                       \
                if (!(condition))                                                                  \
                        check_failed(__FILE__, __LINE__, #condition);                              \
        } while (0)

_Noreturn void check_failed(const char *file, int line, const char *condition);

/* Keeper, guest, pvr_vm_set_fd(), in this order. */
void helper_start(struct helper *helper, const char *name);

/* pvr_vm_new() for a guest of this name, which may be NULL. */
int new_vm(struct pvr_vm **ret, const char *name);

/* Opens /dev/kvm and makes the guest; exits with 77 where it cannot be opened. */
void helper_make_guest(struct helper *helper);

/* The guest, not protected now, becomes a protected one, and is set aside and handed off. */
void helper_reboot(struct helper *helper);

/* Waits for the next outcome, which must be this one; returns it. */
struct pvr_outcome helper_await(struct helper *helper, enum pvr_result result);

/* The entries of a directory in /proc that are numbers: fds, threads. */
unsigned count_numbers(const char *directory);

/* Until there are n threads in this process. */
void await_threads(unsigned n);

/* The one child of this process that is called pvr-keeper; 0: none, a dead one included. */
pid_t find_keeper(void);

void stop_process(pid_t pid);
