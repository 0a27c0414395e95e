/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How the simulator gets on with the rest of the program: the seccomp filter it widens, the calls
 * it passes on, the stand-in for /dev/kvm. A program that does nothing with protected VMs must not
 * notice that it is there.
 */

#include "harness.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define NO_TIME "PVSIM_NS_PER_PAGE=0"

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#elif defined(__s390x__)
#define ARCH AUDIT_ARCH_S390X
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif

#define LOAD(field)   BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define IF(value)     BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1)
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)

/* Nothing but ioctl(2) and exit_group(2), as strict as a keeper's. */
static void lock_up(void) {
        static struct sock_filter filter[] = {
                LOAD(arch),
                IF(ARCH),
                BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
                RETURN(SECCOMP_RET_KILL_PROCESS),
                LOAD(nr),
                IF(SYS_ioctl),
                RETURN(SECCOMP_RET_ALLOW),
                IF(SYS_exit_group),
                RETURN(SECCOMP_RET_ALLOW),
                RETURN(SECCOMP_RET_KILL_PROCESS),
        };
        struct sock_fprog program = {sizeof(filter) / sizeof(*filter), filter};

        CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
        CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0), 0);
}

static int perform_locked_up(int vm, int sock) {
        lock_up();
        return -pv(vm, PV_ASYNC_CLEANUP_PERFORM);
}

static void filter_lets_simulator_work(void) {
        struct keeper keeper;
        int vm = vm_make(4 * GIB);

        set_aside(vm);
        keeper_start(&keeper, perform_locked_up);
        keeper_send(&keeper, vm);
        CHECK_EQ(keeper_wait(&keeper), 0);
        CHECK_EQ(LOG_COUNT("cmd=PERFORM", "ev=end", "ret=0"), 1);
        close(vm);
}

static int call_getppid(int ignored) {
        lock_up();
        return (int)syscall(SYS_getppid);
}

static int call_set_name(int ignored) {
        lock_up();
        return prctl(PR_SET_NAME, "x");
}

static int call_kill(int ignored) {
        lock_up();
        return (int)syscall(SYS_kill, getpid(), SIGUSR1);
}

/* getpid(2) of x86-64 is allowed; its number in the 32-bit table must not be. */
static int call_foreign(int ignored) {
        lock_up();
#if defined(__x86_64__)
        long r;

        __asm__ volatile("int $0x80" : "=a"(r) : "0"(SYS_getpid), "b"(0) : "memory");
#endif
        return 0;
}

static void filter_still_forbids(void) {
        int r;

        CHECK_EQ(WTERMSIG(in_fork(call_getppid, -1)), SIGSYS);
        CHECK_EQ(WTERMSIG(in_fork(call_set_name, -1)), SIGSYS);
        CHECK_EQ(WTERMSIG(in_fork(call_kill, -1)), SIGSYS);
        r = in_fork(call_foreign, -1);
#if defined(__x86_64__)
        CHECK(WTERMSIG(r) == SIGSYS || WTERMSIG(r) == SIGSEGV); /* no 32-bit calls at all */
#else
        CHECK_EQ(r, 0);
#endif
}

static void other_prctls_pass(void) {
        char name[16] = "";
        struct sock_fprog empty = {};

        CHECK_EQ(prctl(PR_SET_NAME, "simulated"), 0);
        CHECK_EQ(prctl(PR_GET_NAME, name), 0);
        CHECK(!strcmp(name, "simulated"));
        CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &empty) < 0 ? errno : 0, EINVAL);
        CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL) < 0 ? errno : 0, EFAULT);
}

static void other_opens_pass(void) {
        char path[256];
        struct stat st;
        int fd;

        snprintf(path, sizeof(path), "%s.mode", getenv("PVSIM_LOG"));
        umask(0);
        fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0640);
        CHECK(fd >= 0);
        CHECK_EQ(fstat(fd, &st), 0);
        CHECK_EQ(st.st_mode & 07777, 0640);
        CHECK_EQ(unlink(path), 0);
        close(fd);
        CHECK_EQ(open(path, O_RDONLY) < 0 ? errno : 0, ENOENT);
}

static void do_vmm(void) {
        int dev = openat(AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC), vm, vcpu, size;
        struct kvm_userspace_memory_region region = {.memory_size = 4 * GIB};
        void *run;

        CHECK(dev >= 0);
        CHECK_EQ(fcntl(dev, F_GETFD), FD_CLOEXEC);
        CHECK_EQ(ioctl(dev, KVM_GET_API_VERSION, 0), KVM_API_VERSION);
        CHECK_EQ(ioctl(dev, KVM_CHECK_EXTENSION, PV_CAP_ASYNC_DISABLE), 1);
        vm = ioctl(dev, KVM_CREATE_VM, 0);
        CHECK(vm >= 0);
        region.userspace_addr = 4 * GIB; /* KVM does not look at it before it is used */
        CHECK_EQ(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region), 0);
        vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
        CHECK(vcpu >= 0);
        size = ioctl(dev, KVM_GET_VCPU_MMAP_SIZE, 0);
        CHECK(size >= (int)sizeof(struct kvm_run));
        run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
        CHECK(run != MAP_FAILED);
        ((struct kvm_run *)run)->immediate_exit = 1;
        set_aside(vm);
        CHECK_EQ(pv(vm, PV_ASYNC_CLEANUP_PERFORM), 0);
        close(vcpu);
        close(vm);
        close(dev);
}

/* 0600 root is how /dev/kvm is in many places; try as somebody else. */
static int vmm_of_nobody(int ignored) {
        if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
                return EXIT_SKIPPED;
        if (syscall(SYS_openat, AT_FDCWD, "/dev/kvm", O_RDWR | O_CLOEXEC) >= 0)
                return EXIT_SKIPPED;
        do_vmm();
        return 0;
}

static void stands_in_where_needed(void) {
        int status = in_fork(vmm_of_nobody, -1);

        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SKIPPED)
                test_skip("everybody may open /dev/kvm, or nobody may change the user");
        CHECK_EQ(status, 0);
}

static void says_so(void) {
        char text[1024], *p;

        capture_stderr(text, sizeof(text), "a small VMM runs");
        p = strstr(text, "libpvsim: ");
        CHECK_EQ(p != NULL, test_is_standin());
        CHECK(!p || !strstr(p + 1, "libpvsim: "));
}

const struct test_case host_cases[] = {
        {"a seccomp filter is widened", filter_lets_simulator_work, {"PVSIM_NS_PER_PAGE=50"}},
        {"a seccomp filter still forbids", filter_still_forbids, {NO_TIME}},
        {"other prctls pass", other_prctls_pass, {NO_TIME}},
        {"other files open as usual", other_opens_pass, {NO_TIME}},
        {"a small VMM runs", do_vmm, {NO_TIME}},
        {"the stand-in says so, once", says_so, {NO_TIME}},
        {"no access to /dev/kvm", stands_in_where_needed, {NO_TIME}},
        {},
};
