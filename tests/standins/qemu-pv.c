/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A stand-in for a stock QEMU on s390x: it makes the calls that target/s390x/kvm/pv.c of QEMU 8.0
 * and later makes at a guest's reboot, in the same threads, and knows nothing of pv-reaper:
 *
 *   reset of a protected guest: PREPARE, if the guest has more than 2 GiB and KVM the capability;
 *   then PERFORM, on a detached thread called async_cleanup; without PREPARE, DISABLE. A command is
 *   repeated while it is interrupted; if PERFORM or DISABLE fails, exit(1).
 *
 *   qemu-pv [-m MIB] [anything else that QEMU would understand]
 *
 * Reads commands from stdin, a line each, and answers each with a line "ok COMMAND ..." (or exits,
 * as QEMU would): protect (ENABLE), reboot, plug MIB, unplug (memory, a slot of its own), aio N (so
 * many threads that each set a native AIO ring up), spin MSEC (burns CPU time), exec (itself, from
 * the beginning), quit. "cleaned" is said by each async_cleanup thread whose PERFORM returned 0,
 * "ring R" by each thread whose io_setup() returned R.
 */

#include <dlfcn.h>
#include <errno.h>
#include <grp.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"
#include "qemu-calls.h"

#ifndef KVM_CAP_S390_PROTECTED_ASYNC_DISABLE
#define KVM_CAP_S390_PROTECTED_ASYNC_DISABLE 224
#endif

#define MIB 1048576ULL
#define GIB (1024 * MIB)

static struct guest guest;

static int pv_command(uint32_t id, const char *name) {
        struct command command = {.cmd = id};
        int r;

        do
                r = ioctl(guest.vm_fd, PV_COMMAND, &command) < 0 ? -errno : 0;
        while (r == -EINTR);
        if (r < 0)
                fprintf(stderr, "KVM PV command %u (%s) failed: rc %x rrc %x: %d\n", id, name,
                        command.rc, command.rrc, r);
        return r;
}

static void must(uint32_t id, const char *name) {
        if (pv_command(id, name) < 0)
                exit(1); // NOLINT(concurrency-mt-unsafe): as QEMU does
}

static void *async_cleanup(void *unused) {
        pthread_setname_np(pthread_self(), "async_cleanup");
        must(PERFORM, "PERFORM");
        puts("cleaned");
        return NULL;
}

static void detach(void *(*run)(void *)) {
        pthread_attr_t attr;
        pthread_t thread;

        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        if (pthread_create(&thread, &attr, run, NULL) != 0)
                abort();
        pthread_attr_destroy(&attr);
}

static bool try_async(void) {
        if (guest.memory_size <= 2 * GIB ||
            ioctl(guest.vm_fd, KVM_CHECK_EXTENSION, KVM_CAP_S390_PROTECTED_ASYNC_DISABLE) <= 0 ||
            pv_command(PREPARE, "PREPARE") < 0)
                return false;
        detach(async_cleanup);
        return true;
}

static void reboot_guest(void) {
        bool async = try_async();

        if (!async)
                must(DISABLE, "DISABLE");
        printf("ok reboot %s\n", async ? "async" : "sync");
}

static void set_slot(uint64_t bytes) {
        struct kvm_userspace_memory_region region = {
                .slot = 1,
                .guest_phys_addr = guest.memory_size,
                .memory_size = bytes,
                .userspace_addr = (uintptr_t)guest.memory,
        };

        if (ioctl(guest.vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
                exit(2);
}

/*
 * A slot above the guest's memory; it lies on the same addresses, which nobody minds. KVM changes
 * no slot's size: it goes, and another one comes, as with QEMU.
 */
static void plug(uint64_t bytes) {
        static uint64_t plugged;

        if (plugged > 0)
                set_slot(0);
        if (bytes > 0)
                set_slot(bytes);
        plugged = bytes;
}

/* libaio's call, or whose it is; here is no libaio. */
static void *set_ring_up(void *unused) {
        int (*setup)(int, void *) = (int (*)(int, void *))dlsym(RTLD_DEFAULT, "io_setup");
        void *context = NULL;
        int r;

        if (setup)
                r = setup(1, &context);
        else
                r = syscall(SYS_io_setup, 1, &context) < 0 ? -errno : 0;
        printf("ring %d\n", r);
        return NULL;
}

static void drop(void) {
        const gid_t nobody = 65534;

        if (setgroups(0, NULL) < 0 || setresgid(nobody, nobody, nobody) < 0 ||
            setresuid(nobody, nobody, nobody) < 0)
                exit(2);
}

static void spin(unsigned msec) {
        clock_t end = clock() + (clock_t)(msec * (CLOCKS_PER_SEC / 1000));

        while (clock() < end)
                ;
}

static void obey(const char *line, char **argv) {
        unsigned long n = strtoul(line + strcspn(line, " "), NULL, 10);

        if (strcmp(line, "quit") == 0)
                exit(0);
        if (strcmp(line, "exec") == 0)
                execv("/proc/self/exe", argv);
        if (strcmp(line, "reboot") == 0) {
                reboot_guest();
                return;
        }
        if (strcmp(line, "protect") == 0)
                must(ENABLE, "ENABLE");
        else if (strncmp(line, "plug ", 5) == 0 || strcmp(line, "unplug") == 0)
                plug(n * MIB);
        else if (strncmp(line, "spin ", 5) == 0)
                spin((unsigned)n);
        else if (strcmp(line, "drop") == 0)
                drop();
        else if (strncmp(line, "aio ", 4) == 0)
                while (n-- > 0)
                        detach(set_ring_up);
        else
                exit(2);
        printf("ok %s\n", line);
}

int main(int argc, char **argv) {
        uint64_t mib = 4096;
        char line[64];

        for (int i = 1; i + 1 < argc; i++)
                if (strcmp(argv[i], "-m") == 0)
                        mib = strtoull(argv[i + 1], NULL, 10);
        setvbuf(stdout, NULL, _IOLBF, 0);
        if (guest_init(&guest, mib * MIB) < 0) {
                fprintf(stderr, "no /dev/kvm\n");
                return 77;
        }
        puts("ready");
        while (fgets(line, sizeof(line), stdin)) {
                line[strcspn(line, "\n")] = '\0';
                obey(line, argv);
        }
        return 0;
}
