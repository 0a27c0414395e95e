/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * harmless CASE [ARGUMENT]: VMMs for which a keeper could be worse than none, for test-harmless.py.
 * Each case exits 0 if it was not, 1 after saying what was, 77 if this machine cannot tell.
 * Cases that change who the process is, or what it may do, are the last thing that it does.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "pv.h"

#define NOBODY     65534
#define EXEC_MSEC  2000 /* far below the 10 s for which a keeper once waited */
#define SPIN_MSEC  2000
#define UNLOADINGS 50

static void sleep_msec(int msec) {
        (void)poll(NULL, 0, msec);
}

static double cpu_seconds(void) {
        struct timespec ts;

        check(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == 0);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void await_no_keeper(void) {
        for (int i = 0; i < 1000 && find_keeper() != 0; i++)
                sleep_msec(10);
        check(find_keeper() == 0);
}

/* ---- the library is unloaded while its thread and its processes run in it ---- */

static void unload(const char *path) {
        void *library = dlopen(path, RTLD_NOW);
        int (*make)(struct pvr_vm **, const struct pvr_vm_options *);
        struct pvr_vm *(*release)(struct pvr_vm *);
        struct pvr_vm *vm;

        check(library);
        *(void **)&make = dlsym(library, "pvr_vm_new");
        *(void **)&release = dlsym(library, "pvr_vm_free");
        check(make && release && make(&vm, NULL) == 0);
        check(release(vm) == NULL && dlclose(library) == 0);
}

static void test_dlclose(const char *path) {
        for (int i = 0; i < UNLOADINGS; i++)
                unload(path);
        await_threads(1);
}

/* ---- a sandbox that does not let the heir wait ---- */

static void refuse_waiting(void) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_waitid, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

        check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program) ==
              0);
}

/* SIGSTOP and SIGCONT make the heir wait anew: it may not, must not spin, and the keeper works. */
static void test_spin(const char *argument) {
        struct helper helper = {};
        pid_t self = getpid(), child;
        double before;

        helper_start(&helper, "spin");
        refuse_waiting();
        child = fork();
        if (child == 0) {
                sleep_msec(100);
                (void)kill(self, SIGSTOP);
                sleep_msec(100);
                (void)kill(self, SIGCONT);
                _exit(EXIT_SUCCESS);
        }
        sleep_msec(500);
        before = cpu_seconds();
        sleep_msec(SPIN_MSEC);
        check(cpu_seconds() - before < SPIN_MSEC / 1e3 / 20);
        helper_reboot(&helper);
        (void)helper_await(&helper, PVR_RESULT_UNGOVERNED);
        _exit(EXIT_SUCCESS);
}

/* ---- execve(2), as in QEMU's live update: eventfds are kept, KVM's fds are not ---- */

static int assign_irqfd(int vm_fd, int event) {
        struct kvm_irqfd request = {.fd = (uint32_t)event, .gsi = 5};

        return ioctl(vm_fd, KVM_IRQFD, &request);
}

static int make_vm(void) {
        int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

        if (kvm < 0)
                exit(EXIT_SKIP);
        vm = ioctl(kvm, KVM_CREATE_VM, 0);
        if (vm < 0 || ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0)
                exit(EXIT_SKIP); /* this /dev/kvm has no interrupts */
        return vm;
}

static void after_exec(int event) {
        int vm = make_vm(), r, waited;

        for (waited = 0; waited < EXEC_MSEC; waited += 10) {
                r = assign_irqfd(vm, event);
                if (r == 0 || errno != EBUSY)
                        break;
                sleep_msec(10);
        }
        check(r == 0);
        printf("KVM_IRQFD after %d ms\n", waited);
}

static void test_exec(const char *event) {
        struct pvr_vm *vm;
        char number[16];
        int vm_fd, fd;

        if (event) {
                after_exec(atoi(event));
                return;
        }
        fd = eventfd(0, EFD_NONBLOCK);
        vm_fd = make_vm();
        check(fd >= 0 && new_vm(&vm, "exec") == 0 && pvr_vm_set_fd(vm, vm_fd, 1 << 20) == 0);
        check(assign_irqfd(vm_fd, fd) == 0);
        sleep_msec(100); /* for the keeper to have it */
        (void)snprintf(number, sizeof(number), "%d", fd);
        check(fflush(stdout) == 0);
        execl("/proc/self/exe", "harmless", "exec", number, NULL);
        check(!"execl");
}

/* ---- who the VMM is ---- */

static void need_root(void) {
        if (geteuid() != 0)
                exit(EXIT_SKIP);
}

static void expect_parting(struct helper *helper) {
        int r = pvr_vm_handoff(helper->vm);

        check(r == -EPERM || r == -EPIPE); /* the heir may have been faster */
        await_no_keeper();
        check(pvr_vm_set_fd(helper->vm, helper->guest.vm_fd, 1) < 0);
}

/* glibc lets the heir call it as well: the keeper leaves without being told anything. */
static void test_setuid(const char *argument) {
        struct helper helper = {};

        need_root();
        helper_start(&helper, "setuid");
        check(find_keeper() > 0);
        check(setresuid(NOBODY, NOBODY, NOBODY) == 0);
        await_no_keeper();
        expect_parting(&helper);
}

static void test_setgroups(const char *argument) {
        const gid_t groups[] = {NOBODY, NOBODY - 1};
        struct helper helper = {};

        need_root();
        helper_start(&helper, "setgroups");
        check(setgroups(2, groups) == 0);
        await_no_keeper();
        expect_parting(&helper);
}

/* The keeper does not take any more what is set aside now: it leaves, and the heir does that. */
static void expect_own_perform(struct helper *helper) {
        check(helper_await(helper, PVR_RESULT_UNGOVERNED).job == 0);
}

static void set_aside(struct helper *helper) {
        check(pv_command(helper->guest.vm_fd, PV_ENABLE, NULL) == 0);
        check(pv_command(helper->guest.vm_fd, PV_ASYNC_CLEANUP_PREPARE, NULL) == 0);
}

/* A ring does not ask who the VMM is: the keeper does, and leaves without having obeyed. */
static void expect_parting_at_ring(struct helper *helper) {
        set_aside(helper);
        check(pvr_vm_handoff(helper->vm) == 0);
        expect_own_perform(helper);
        check(pvr_vm_handoff(helper->vm) == -EPERM);
        check(pvr_vm_set_fd(helper->vm, helper->guest.vm_fd, 1) == -EPERM);
        check(pvr_vm_handoff(helper->vm) == -ENOTCONN);
}

/* Of this thread alone, without libc: nobody hears of it before the next ring. */
static void test_raw_setgid(const char *argument) {
        struct helper helper = {};

        need_root();
        helper_start(&helper, "setgid");
        check(syscall(SYS_setresgid, NOBODY, NOBODY, NOBODY) == 0);
        sleep_msec(200);
        check(find_keeper() > 0);
        expect_parting_at_ring(&helper);
        await_no_keeper();
}

static void test_chroot(const char *directory) {
        struct helper helper = {};

        need_root();
        helper_start(&helper, "chroot");
        sleep_msec(200); /* for the keeper to have the VM: it asks at that, too */
        check(chroot(directory) == 0);
        expect_parting_at_ring(&helper);
        _exit(EXIT_SUCCESS); /* a sanitizer's exit handler would want /proc */
}

static void test_chroot_before_set_fd(const char *directory) {
        struct helper helper = {};

        need_root();
        helper_start(&helper, "chroot");
        check(chroot(directory) == 0);
        check(pvr_vm_set_fd(helper.vm, helper.guest.vm_fd, 1) == -EPERM);
        check(pvr_vm_handoff(helper.vm) == -ENOTCONN);
        _exit(EXIT_SUCCESS);
}

/* Where PREPARE is the library's, the VMM itself asks. */
static void test_chroot_before_prepare(const char *directory) {
        struct helper helper = {};

        need_root();
        helper_start(&helper, "chroot");
        check(chroot(directory) == 0);
        helper_reboot(&helper);
        check(pvr_vm_handoff(helper.vm) == -ENOTCONN);
        expect_own_perform(&helper);
        _exit(EXIT_SUCCESS);
}

/* Groups of one thread are in no packet: they are found where the VMM asks. */
static void test_raw_setgroups(const char *argument) {
        const gid_t groups[] = {NOBODY, NOBODY - 1};
        struct helper helper = {};

        need_root();
        helper_start(&helper, "setgroups");
        check(syscall(SYS_setgroups, 2, groups) == 0);
        helper_reboot(&helper);
        check(pvr_vm_handoff(helper.vm) == -ENOTCONN);
        expect_own_perform(&helper);
        await_no_keeper();
}

/* ---- native AIO ---- */

static unsigned long make_ring(void) {
        unsigned long ring = 0;

        if (syscall(SYS_io_setup, 8, &ring) < 0)
                exit(EXIT_SKIP);
        return ring;
}

static void test_aio(const char *argument) {
        const struct pvr_vm_options drain = {.size = sizeof(drain),
                                             .flags = PVR_FLAG_DRAIN_NATIVE_AIO};
        struct helper helper = {};
        unsigned long ring;

        helper_start(&helper, "aio");
        ring = make_ring();
        check(pvr_vm_set_fd(helper.vm, helper.guest.vm_fd, 1) == -EBUSY);
        await_no_keeper();
        check(pvr_vm_handoff(helper.vm) < 0);
        helper.vm = pvr_vm_free(helper.vm);

        check(new_vm(&helper.vm, "aio") == -EBUSY);
        check(pvr_vm_new(&helper.vm, &drain) == 0);
        check(pvr_vm_set_fd(helper.vm, helper.guest.vm_fd, 1) == 0);
        check(pvr_vm_handoff(helper.vm) == 0);
        (void)helper_await(&helper, PVR_RESULT_SUPERSEDED);
        helper.vm = pvr_vm_free(helper.vm);
        await_no_keeper();
        check(syscall(SYS_io_destroy, ring) == 0); /* the VMM lives: nobody else ended it */
}

/* ---- fds and pids that mean something else by now ---- */

#define PAIRS 8

/* The numbers of the library's own are given to others, and its processes end. */
static void test_closed(const char *argument) {
        struct helper helper = {};
        int pairs[PAIRS][2];

        helper_start(&helper, "closed");
        check(close_range(3, ~0U, 0) == 0);
        for (int i = 0; i < PAIRS; i++)
                check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]) == 0);
        await_no_keeper();
        await_threads(1);
        for (int i = 0; i < PAIRS; i++)
                for (int end = 0; end < 2; end++) {
                        char c = 0;

                        check(send(pairs[i][end], "x", 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1);
                        check(recv(pairs[i][!end], &c, 1, MSG_DONTWAIT) == 1 && c == 'x');
                }
}

static pid_t fork_into_pid_namespace(void) {
#ifdef __s390x__
        return (pid_t)syscall(SYS_clone, 0UL, CLONE_NEWPID | SIGCHLD, NULL, NULL, NULL);
#else
        return (pid_t)syscall(SYS_clone, CLONE_NEWPID | SIGCHLD, 0UL, NULL, NULL, NULL);
#endif
}

/* A VMM that is pid 1 of a container makes a child that is pid 1 of another one. */
static int be_pid_1(void) {
        struct helper helper = {};
        int status;
        pid_t pid;

        check(syscall(SYS_getpid) == 1);
        check(new_vm(&helper.vm, "pid 1") == 0);
        pid = fork_into_pid_namespace();
        if (pid == 0) {
                check(syscall(SYS_getpid) == 1);
                check(pvr_vm_handoff(helper.vm) == -ECHILD);
                check(pvr_vm_free(helper.vm) == NULL);
                _exit(EXIT_SUCCESS);
        }
        check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
        check(pvr_vm_handoff(helper.vm) == -ENOTCONN); /* its keeper is there, without a VM */
        return EXIT_SUCCESS;
}

static void test_pid_1(const char *argument) {
        int status;
        pid_t pid;

        need_root();
        pid = fork_into_pid_namespace();
        if (pid == 0)
                _exit(be_pid_1());
        check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0);
}

static const struct {
        const char *name;
        void (*run)(const char *argument);
} cases[] = {
        {"dlclose", test_dlclose},
        {"spin", test_spin},
        {"exec", test_exec},
        {"setuid", test_setuid},
        {"setgroups", test_setgroups},
        {"raw-setgid", test_raw_setgid},
        {"chroot", test_chroot},
        {"aio", test_aio},
        {"chroot-set-fd", test_chroot_before_set_fd},
        {"chroot-prepare", test_chroot_before_prepare},
        {"raw-setgroups", test_raw_setgroups},
        {"closed", test_closed},
        {"pid-1", test_pid_1},
};

int main(int argc, char **argv) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
                if (argc > 1 && strcmp(argv[1], cases[i].name) == 0) {
                        cases[i].run(argc > 2 ? argv[2] : NULL);
                        return EXIT_SUCCESS;
                }
        return 2;
}
