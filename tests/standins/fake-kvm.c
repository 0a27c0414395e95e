/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For test-check.py: ioctl(2) on any file as on a /dev/kvm with the async capability or ($FAKE_KVM
 * is "old") without, since most machines that run the tests have neither; $FAKE_KVM unset: none.
 * Nothing else of KVM is here, so it is of use to those who only ask what it can.
 */

#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/kvm-pv.h"

int ioctl(int fd, unsigned long request, ...);

__attribute__((visibility("default"))) int ioctl(int fd, unsigned long request, ...) {
        const char *kind = getenv("FAKE_KVM");
        unsigned long argument;
        va_list ap;

        va_start(ap, request);
        argument = va_arg(ap, unsigned long);
        va_end(ap);
        if (kind && request == KVM_GET_API_VERSION)
                return KVM_API_VERSION;
        if (kind && request == KVM_CHECK_EXTENSION && argument == PV_CAP_ASYNC_DISABLE)
                return strcmp(kind, "old") != 0;
        errno = ENOTTY;
        return -1;
}
