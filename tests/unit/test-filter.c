/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The keeper's seccomp filter, twice. First the program itself: a small interpreter runs it for
 * every system call number and for arguments at the edges of its rules, and an independent list
 * says what must come out. Then the real thing: a child installs it and tries.
 */

#include "fds.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/kvm-pv.h"
#include "base/util.h"
#include "lib/filter.h"

#if defined(__x86_64__)
#define OUR_ARCH   AUDIT_ARCH_X86_64
#define OTHER_ARCH AUDIT_ARCH_I386
#elif defined(__s390x__)
#define OUR_ARCH   AUDIT_ARCH_S390X
#define OTHER_ARCH AUDIT_ARCH_S390
#else
#define OUR_ARCH   AUDIT_ARCH_AARCH64
#define OTHER_ARCH AUDIT_ARCH_ARM
#endif

#define X32_BIT 0x40000000
#define HIGH    (UINT64_C(0xdead) << 32) /* what a C library may leave above a 32-bit argument */
#define DENIED  (SECCOMP_RET_ERRNO | EPERM)

/* ---- the interpreter: the instructions that such a filter needs, and no others ---- */

static uint32_t load(const struct seccomp_data *data, uint32_t at) {
        uint32_t word;

        assert_true(at % 4 == 0 && at + 4 <= sizeof(*data));
        memcpy(&word, (const char *)data + at, sizeof(word));
        return word;
}

static uint32_t run(const struct filter *f, const struct seccomp_data *data) {
        uint32_t a = 0;

        for (unsigned pc = 0; pc < f->n; pc++) {
                const struct sock_filter *i = &f->code[pc];

                switch (i->code) {
                case BPF_LD | BPF_W | BPF_ABS:
                        a = load(data, i->k);
                        break;
                case BPF_ALU | BPF_AND | BPF_K:
                        a &= i->k;
                        break;
                case BPF_JMP | BPF_JEQ | BPF_K:
                        pc += a == i->k ? i->jt : i->jf;
                        break;
                case BPF_RET | BPF_K:
                        return i->k;
                default:
                        fail_msg("instruction %u has the code 0x%x", pc, i->code);
                }
        }
        fail_msg("the program runs out of instructions");
        return 0;
}

/* ---- what must come out ---- */

#define UFFD_API_REQUEST        0xC018AA3F
#define UFFD_REGISTER_REQUEST   0xC020AA00
#define UFFD_UNREGISTER_REQUEST 0x8010AA01

/* Allowed whatever the arguments are. */
static const int free_calls[] = {
#ifdef SYS_poll
        SYS_poll,
#endif
        SYS_ppoll,      SYS_restart_syscall, SYS_clock_gettime, SYS_recvmsg,
        SYS_sendto,     SYS_connect,         SYS_close,         SYS_munmap,
        SYS_read,       SYS_exit_group,      SYS_exit,          SYS_wait4,
        SYS_io_destroy, SYS_lseek,           SYS_statx,         SYS_chdir,
};

static bool expected(int nr, const uint64_t *args) {
        for (size_t i = 0; i < ARRAY_SIZE(free_calls); i++)
                if (free_calls[i] == nr)
                        return true;
        switch (nr) {
        case SYS_socket:
                return (int)args[0] == AF_UNIX;
        case SYS_ioctl:
                return (uint32_t)args[1] == 0xC020AEC5 || (uint32_t)args[1] == UFFD_API_REQUEST ||
                       (uint32_t)args[1] == UFFD_REGISTER_REQUEST ||
                       (uint32_t)args[1] == UFFD_UNREGISTER_REQUEST;
        case SYS_userfaultfd:
                return (int)args[0] == (O_CLOEXEC | 1); /* of faults in user mode only */
        case SYS_madvise:
                return (int)args[2] == MADV_DONTNEED;
        default:
                return false;
        }
}

static const uint64_t arg0[] = {0,    AF_UNIX,   AF_INET,       UINT64_MAX,          HIGH | AF_UNIX,
                                HIGH, O_CLOEXEC, O_CLOEXEC | 1, HIGH | O_CLOEXEC | 1};
static const uint64_t arg1[] = {0,
                                0xC020AEC5,
                                HIGH | 0xC020AEC5,
                                0xC020AEC4,
                                0x4020AEC5,
                                0xAE01,
                                0xAEC5,
                                UINT64_MAX,
                                UFFD_API_REQUEST,
                                UFFD_REGISTER_REQUEST,
                                0x8010AA02,
                                UFFD_UNREGISTER_REQUEST};
static const uint64_t arg2[] = {
        O_RDONLY,           O_RDONLY | O_CLOEXEC, O_WRONLY,           O_RDWR,
        O_ACCMODE,          O_RDONLY | O_CREAT,   O_RDONLY | O_TRUNC, O_WRONLY | O_CREAT | O_TRUNC,
        O_RDWR | O_TMPFILE, HIGH | O_RDONLY,      HIGH | O_WRONLY,    MADV_DONTNEED,
        MADV_FREE,          HIGH | MADV_DONTNEED, UINT64_MAX,
};

static uint32_t decide(const struct filter *f, uint32_t arch, uint32_t nr, const uint64_t args[3]) {
        struct seccomp_data data = {.nr = (int)nr, .arch = arch};

        for (int i = 0; i < 6; i++)
                data.args[i] = i < 3 ? args[i] : UINT64_MAX;
        return run(f, &data);
}

static void check_number(const struct filter *f, uint32_t arch, uint32_t nr) {
        for (size_t i = 0; i < ARRAY_SIZE(arg0); i++)
                for (size_t j = 0; j < ARRAY_SIZE(arg1); j++)
                        for (size_t k = 0; k < ARRAY_SIZE(arg2); k++) {
                                const uint64_t args[] = {arg0[i], arg1[j], arg2[k]};
                                bool ok = arch == OUR_ARCH && expected((int)nr, args);

                                if (decide(f, arch, nr, args) != (ok ? SECCOMP_RET_ALLOW : DENIED))
                                        fail_msg("call %u(0x%llx, 0x%llx, 0x%llx) must be %s", nr,
                                                 (unsigned long long)args[0],
                                                 (unsigned long long)args[1],
                                                 (unsigned long long)args[2],
                                                 ok ? "allowed" : "refused");
                        }
}

static void test_filter_every_call(void **state) {
        struct filter f;

        filter_build(&f);
        for (uint32_t nr = 0; nr <= 1000; nr++)
                check_number(&f, OUR_ARCH, nr);
        check_number(&f, OUR_ARCH, UINT32_MAX);
        check_number(&f, OUR_ARCH, INT32_MAX);
}

/* The numbers of another architecture, and of x32, mean other calls. */
static void test_filter_other_architectures(void **state) {
        static const uint32_t archs[] = {OTHER_ARCH, 0, OUR_ARCH ^ 1, UINT32_MAX};
        static const uint64_t args[3] = {AF_UNIX, 0xC020AEC5, O_RDONLY};
        struct filter f;

        filter_build(&f);
        for (uint32_t nr = 0; nr <= 1000; nr++) {
                for (size_t i = 0; i < ARRAY_SIZE(archs); i++)
                        assert_int_equal(decide(&f, archs[i], nr, args), DENIED);
                assert_int_equal(decide(&f, OUR_ARCH, nr | X32_BIT, args), DENIED);
        }
}

/* As the kernel checks it: known instructions, jumps inside the program, a return at the end. */
static void test_filter_is_well_formed(void **state) {
        struct filter f, again;

        memset(&f, 0xff, sizeof(f));
        filter_build(&f);
        filter_build(&again);
        assert_true(f.n > 0 && f.n <= FILTER_MAX);
        assert_int_equal(f.n, again.n);
        assert_memory_equal(f.code, again.code, f.n * sizeof(f.code[0]));
        for (unsigned pc = 0; pc < f.n; pc++)
                if (BPF_CLASS(f.code[pc].code) == BPF_JMP) {
                        assert_true(pc + 1 + f.code[pc].jt < f.n);
                        assert_true(pc + 1 + f.code[pc].jf < f.n);
                }
        assert_int_equal(f.code[f.n - 1].code, BPF_RET | BPF_K);
        assert_int_equal(f.code[f.n - 1].k, DENIED);
}

/* ---- the real thing ---- */

static const char self_status[] = "/proc/self/status";

/* In the child nothing but raw system calls: libc, or a sanitizer, would want more than is allowed.
 */
static bool refused(long r) {
        return r < 0 && errno == EPERM;
}

static bool allowed(long r) {
        return r >= 0 || errno != EPERM;
}

static int try_allowed(void *page, long fd) {
        struct statx stx;
        struct timespec ts;
        struct pv_cmd cmd = {};
        char c;

        if (syscall(SYS_lseek, fd, 0, SEEK_SET) != 0 || syscall(SYS_read, fd, &c, 1) != 1)
                return 10;
        if (!allowed(syscall(SYS_ioctl, fd, PV_COMMAND, &cmd)))
                return 11;
        if (syscall(SYS_close, fd) != 0)
                return 12;
        if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts) != 0)
                return 13;
        if (syscall(SYS_ppoll, NULL, 0, &(struct timespec){}, NULL, 0) != 0)
                return 14;
        fd = syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || !allowed(syscall(SYS_connect, fd, "", 0)) ||
            !allowed(syscall(SYS_recvmsg, fd, NULL, 0)) ||
            !allowed(syscall(SYS_sendto, fd, "", 1, 0, NULL, 0)))
                return 15;
        if (syscall(SYS_madvise, page, 4096, MADV_DONTNEED) != 0 || *(char *)page != 0)
                return 16;
        if (!allowed(syscall(SYS_io_destroy, 0)) || !allowed(syscall(SYS_wait4, -1, NULL, 0, NULL)))
                return 18;
        if (syscall(SYS_statx, AT_FDCWD, "/", 0, STATX_INO, &stx) != 0)
                return 19;
        if (syscall(SYS_chdir, "/") != 0)
                return 9;
        return syscall(SYS_munmap, page, 4096) != 0 ? 17 : 0;
}

/* All of these would succeed, or fail otherwise, without the filter. */
static int try_refused(void *page) {
        int zero = 0, pid = getpid();

        if (!refused(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_WRONLY, 0)) ||
            !refused(syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0)))
                return 20;
        if (!refused(syscall(SYS_ioctl, 0, FIONREAD, &zero)) ||
            !refused(syscall(SYS_ioctl, 0, 0xAE01 /* KVM_CREATE_VM */, 0)))
                return 21;
        if (!refused(syscall(SYS_socket, AF_INET, SOCK_STREAM, 0)))
                return 22;
        if (!refused(syscall(SYS_madvise, page, 4096, MADV_FREE)) ||
            !refused(syscall(SYS_mmap, NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)))
                return 23;
        if (!refused(syscall(SYS_kill, pid, 0)) || !refused(syscall(SYS_getpid)))
                return 24;
        if (!refused(syscall(SYS_sched_setscheduler, 0, 0, &zero)) ||
            !refused(syscall(SYS_sched_setaffinity, 0, sizeof(zero), &zero)))
                return 25;
        if (!refused(syscall(SYS_prctl, PR_GET_DUMPABLE, 0, 0, 0, 0)))
                return 26;
        if (!refused(syscall(SYS_clone, 0, 0, 0, 0, 0)) || !refused(syscall(SYS_execve, "", 0, 0)))
                return 27;
        if (!refused(syscall(SYS_write, 2, "!", 1)) || !refused(syscall(SYS_dup, 0)))
                return 28;
        return refused(syscall(SYS_ptrace, 0, 0, 0, 0)) ? 0 : 29;
}

/* It cannot be shaken off by a set-uid program either. */
static int look_at_status(long fd) {
        static char text[8192];

        if (syscall(SYS_read, fd, text, sizeof(text) - 1) <= 0)
                return 30;
        if (!strstr(text, "NoNewPrivs:\t1\n"))
                return 31;
        return strstr(text, "Seccomp:\t2\n") ? 0 : 32;
}

static int in_the_child(void) {
        void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        long fd = syscall(SYS_openat, AT_FDCWD, self_status, O_RDONLY, 0);
        struct filter f;
        int r;

        if (fd < 0)
                return 3;
        *(char *)page = 1;
        filter_build(&f);
        if (filter_install(&f) != 0)
                return 2;
        r = try_refused(page);
        if (r == 0)
                r = look_at_status(fd);
        return r ? r : try_allowed(page, fd);
}

static const char *no_filters(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (preload && strstr(preload, "valgrind"))
                return "valgrind's own system calls would be refused too";
        return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ? "no seccomp in this kernel" : NULL;
}

static void test_filter_for_real(void **state) {
        pid_t pid = fork();

        if (pid == 0)
                (void)syscall(SYS_exit_group, in_the_child());
        /* the number of the attempt that went otherwise */
        assert_int_equal(wait_for_exit(pid), 0);
}

static void test_filter_install_fails(void **state) {
        const struct filter empty = {};
        pid_t pid = fork();

        if (pid == 0)
                _exit(filter_install(&empty) == -EINVAL ? 0 : 1);
        assert_int_equal(wait_for_exit(pid), 0);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_filter_every_call),
                checked_test(test_filter_other_architectures),
                checked_test(test_filter_is_well_formed),
                checked_test_unless(no_filters(), test_filter_for_real),
                checked_test_unless(no_filters(), test_filter_install_fails),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
