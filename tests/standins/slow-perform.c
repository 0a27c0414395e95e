/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Put in front of a closer by LD_PRELOAD: a kernel that lets it try PERFORM, for SLOW_PERFORM_MSEC
 * ms of CPU time inside the kernel, and then answers with errno SLOW_PERFORM_ERROR, or success if
 * that is 0. Like the real thing it heeds no signal but a fatal one meanwhile. With
 * SLOW_PERFORM_STANDIN set the simulator's stand-in for a VM fd has the name of a real one.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/kvm-pv.h"

static long setting(const char *name) {
        const char *text = getenv(name);

        return text ? strtol(text, NULL, 10) : 0;
}

static long cpu_msec(void) {
        struct timespec ts;

        (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
        return (long)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
        long until = cpu_msec() + setting("SLOW_PERFORM_MSEC");
        static char bytes[1 << 20];
        va_list ap;
        void *arg;

        va_start(ap, request);
        arg = va_arg(ap, void *);
        va_end(ap);
        if ((uint32_t)request != PV_COMMAND)
                return (int)syscall(SYS_ioctl, fd, request, arg);
        while (cpu_msec() < until)
                (void)!getrandom(bytes, sizeof(bytes), 0);
        errno = (int)setting("SLOW_PERFORM_ERROR");
        return errno ? -1 : 0;
}

__attribute__((visibility("default"))) ssize_t readlink(const char *path, char *name, size_t size) {
        static const char standin[] = "/memfd:kvm-vm (deleted)", vm[] = "anon_inode:kvm-vm";
        ssize_t n = syscall(SYS_readlinkat, AT_FDCWD, path, name, size);

        if (n != sizeof(standin) - 1 || memcmp(name, standin, sizeof(standin) - 1) != 0 ||
            !getenv("SLOW_PERFORM_STANDIN"))
                return n;
        memcpy(name, vm, sizeof(vm) - 1);
        return sizeof(vm) - 1;
}
