/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For a QEMU that is not s390x's: makes its guest a protected one and reboots it, with the calls of
 * qemu-pv.c, or makes it another program, when told to. Preloaded behind libpvreaper-preload.so,
 * whose ioctl(2) it calls, and in front of libpvsim.so.
 *
 * PV_IN_QEMU names a FIFO. A thread waits there for a byte, once: r reboots, x is an execve. The VM
 * is the one that was last given memory. PERFORM has a detached thread of its own; if a call fails,
 * _exit(98).
 */

#include <dlfcn.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "qemu-calls.h"

static _Atomic int vm_fd = -1;

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
        int (*next)(int, unsigned long, ...) = dlsym(RTLD_NEXT, "ioctl");
        va_list ap;
        void *arg;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);
        if (request == KVM_SET_USER_MEMORY_REGION)
                vm_fd = fd;
        return next(fd, request, arg);
}

static void must(uint32_t id) {
        struct command command = {.cmd = id};

        if (ioctl(vm_fd, PV_COMMAND, &command) < 0)
                _exit(98);
}

static void detach(void *(*run)(void *), void *userdata) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, run, userdata) != 0 || pthread_detach(thread) != 0)
                _exit(98);
}

static void *async_cleanup(void *unused) {
        must(PERFORM);
        return NULL;
}

static void reboot(void) {
        must(ENABLE);
        must(PREPARE);
        detach(async_cleanup, NULL);
}

static void *do_when_told(void *path) {
        int fifo = open(path, O_RDONLY | O_CLOEXEC);
        char what = 0;

        if (read(fifo, &what, 1) != 1)
                _exit(98);
        close(fifo);
        if (what == 'x')
                execl("/bin/sleep", "sleep", "600", NULL);
        if (what != 'r')
                _exit(98);
        reboot();
        return NULL;
}

__attribute__((constructor)) static void begin(void) {
        char *path = getenv("PV_IN_QEMU"); // NOLINT(concurrency-mt-unsafe): before main()

        if (path)
                detach(do_when_told, path);
}
