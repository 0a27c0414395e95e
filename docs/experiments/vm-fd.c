/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F5: what can be told of a VM fd from outside KVM. Told are what /proc/self/fd says of two VMs,
 * whether they share an inode, whether kcmp(KCMP_FILE) tells them apart and knows a duplicate, and
 * what epoll says.
 *
 *   vm-fd      /dev/kvm
 */

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static long compare(int a, int b) {
        return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);
}

int main(void) {
        struct epoll_event event = {.events = EPOLLIN};
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), a, b;
        char path[64], name[64] = "";
        struct stat sa, sb;

        if (kvm < 0)
                err(77, "/dev/kvm");
        a = ioctl(kvm, KVM_CREATE_VM, 0UL);
        b = ioctl(kvm, KVM_CREATE_VM, 0UL);
        if (a < 0 || b < 0 || fstat(a, &sa) < 0 || fstat(b, &sb) < 0)
                err(1, "KVM_CREATE_VM");
        (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", a);
        (void)!readlink(path, name, sizeof(name) - 1);
        printf("name: %s; inodes of two VMs: %s\n", name,
               sa.st_ino == sb.st_ino ? "the same" : "different");
        printf("kcmp(KCMP_FILE): two VMs %s, a duplicate %s\n",
               compare(a, b) == 0 ? "the same" : "different",
               compare(a, dup(a)) == 0 ? "the same" : "different");
        printf("epoll: %s\n", epoll_ctl(epoll_create1(EPOLL_CLOEXEC), EPOLL_CTL_ADD, a, &event) < 0
                                      ? strerrorname_np(errno)
                                      : "takes it");
        return 0;
}
