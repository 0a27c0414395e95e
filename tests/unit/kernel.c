/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The door before ioctl(2). A keeper comes here, too, so nothing here asserts or makes a system
 * call: an assertion would jump into the test from another process, and a keeper's filter refuses
 * even getpid(2). Its stack tells that it is one.
 */

#include "kernel.h"

#include <errno.h>
#include <string.h>

#include "base/kvm-pv.h"

struct kernel kernel;

int __real_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument);

void kernel_reset(void) {
        memset(&kernel, 0, sizeof(kernel));
}

/* There in a program of the address sanitizer only. */
extern void __asan_unpoison_memory_region(const volatile void *start, size_t size)
        __attribute__((weak));

void forget_keeper(const struct pvr_vm *vm) {
        if (__asan_unpoison_memory_region)
                __asan_unpoison_memory_region((const char *)vm->keeper - KEEPER_BELOW,
                                              KEEPER_BELOW + sizeof(*vm->keeper));
}

static int answer(int error) {
        errno = error;
        return error ? -1 : 0;
}

static bool is_keeper(void) {
        const char *frame = __builtin_frame_address(0), *end;

        if (!kernel.vm)
                return false;
        end = (const char *)kernel.vm->keeper;
        return end - KEEPER_BELOW < frame && frame < end;
}

static int on_perform(int fd, struct pv_cmd *cmd) {
        kernel.perform_fd = fd;
        kernel.by_keeper = is_keeper();
        kernel.is_full = false;
        kernel.n_performs++;
        while (kernel.slow)
                ;
        cmd->rc = 1;
        cmd->rrc = 2;
        return answer(kernel.perform_error);
}

int __wrap_ioctl(int fd, unsigned long request, void *argument) {
        struct pv_cmd *cmd = argument;

        if (request == PV_CHECK_EXTENSION)
                return 0;
        if (request != PV_COMMAND)
                return __real_ioctl(fd, request, argument);
        if (cmd->cmd == PV_ASYNC_CLEANUP_PERFORM)
                return on_perform(fd, cmd);
        kernel.n_prepares++;
        return answer(kernel.is_full ? EINVAL : kernel.prepare_error);
}
