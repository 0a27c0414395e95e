/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The filters of daemon, closer and hold, twice. First as text, libseccomp's pseudo code, for both
 * architectures: what is allowed is held against tests/unit/pfc/PROGRAM.ARCH, which
 * `test-sandbox --write DIRECTORY` makes anew. Then for real: a child installs one and tries.
 */

#include "fds.h"

#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/kvm-pv.h"
#include "closer/system-calls.h"
#include "daemon/system-calls.h"
#include "hold/system-calls.h"
/* The program itself: what it builds can be looked at only from inside. */
#include "sandbox/sandbox.c"

#define TEXT_MAX 65536

static const struct {
        const char *name;
        const struct sandbox_list *list;
} programs[] = {
        {"daemon", &daemon_calls},
        {"closer", &closer_calls},
        {"sleeper", &sleeper_calls},
};

static const char *const archs[] = {"x86_64", "s390x"};

/* ---- as text ---- */

/* Its rules that allow, and how many there are that refuse. */
static unsigned take_allowed(FILE *pfc, char *text) {
        char line[256], call[256] = "";
        unsigned n_refused = 0;

        *text = '\0';
        while (fgets(line, sizeof(line), pfc)) {
                if (strstr(line, "# filter for syscall"))
                        strcpy(call, line);
                else if (strstr(line, "action ERRNO(1)"))
                        call[0] = '\0', n_refused++;
                else if (strstr(line, "if ($syscall == ") && call[0])
                        strcat(call, line);
                else {
                        strcat(text, call);
                        strcat(text, line);
                        call[0] = '\0';
                }
                assert_true(strlen(text) < TEXT_MAX - 1024);
        }
        return n_refused;
}

static unsigned describe(const struct sandbox_list *list, const char *arch, char *text) {
        scmp_filter_ctx filter = NULL;
        FILE *pfc = tmpfile();
        unsigned n_refused;

        assert_non_null(pfc);
        assert_int_equal(build(&filter, list, SANDBOX_ENFORCE, seccomp_arch_resolve_name(arch)), 0);
        /* Plain order: the tree would depend on the library's idea of what there is to refuse. */
        assert_int_equal(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 1), 0);
        assert_int_equal(seccomp_export_pfc(filter, fileno(pfc)), 0);
        seccomp_release(filter);
        rewind(pfc);
        n_refused = take_allowed(pfc, text);
        (void)fclose(pfc);
        return n_refused;
}

static void test_sandbox_golden(void **state) {
        static char text[TEXT_MAX], golden[TEXT_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
                for (size_t k = 0; k < ARRAY_SIZE(archs); k++) {
                        char path[4096];
                        FILE *file;

                        (void)snprintf(path, sizeof(path), "%s/%s.%s", PFC_DIRECTORY,
                                       programs[i].name, archs[k]);
                        file = fopen(path, "re");
                        assert_non_null(file);
                        golden[fread(golden, 1, sizeof(golden) - 1, file)] = '\0';
                        (void)fclose(file);
                        (void)describe(programs[i].list, archs[k], text);
                        if (strcmp(text, golden) != 0)
                                fail_msg("%s is not what is allowed now:\n%s", path, text);
                }
}

/* All others are refused one by one with EPERM, so that ENOSYS is for what is unknown. */
static void test_sandbox_refuses_the_rest(void **state) {
        static char text[TEXT_MAX];

        for (size_t k = 0; k < ARRAY_SIZE(archs); k++) {
                assert_true(describe(&daemon_calls, archs[k], text) > 200);
                assert_int_equal(describe(&closer_calls, archs[k], text), 0);
        }
}

static void test_sandbox_names(void **state) {
        for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
                for (size_t k = 0; k < programs[i].list->n_calls; k++) {
                        const struct sandbox_call *call = &programs[i].list->calls[k];

                        if (number_of(call) == -ENOENT)
                                fail_msg("%s: no call is named %s", programs[i].name, call->name);
                        for (size_t m = 0; m < k; m++)
                                assert_string_not_equal(call->name,
                                                        programs[i].list->calls[m].name);
                }
}

/* ---- for real ---- */

/* In the child nothing but raw system calls, lest libc ask for more than is allowed. */
static bool fails(long r, int error) {
        return r < 0 && errno == error;
}

static int try_as_daemon(void) {
        int zero = 0;
        long fd, pid;

        if (!fails(syscall(SYS_execve, "/bin/true", NULL, NULL), EPERM) ||
            !fails(syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0), EPERM))
                return 10;
        if (!fails(syscall(SYS_ptrace, 0, 0, 0, 0), EPERM) ||
            !fails(syscall(SYS_process_vm_writev, 1, NULL, 0, NULL, 0, 0), EPERM))
                return 11;
        if (!fails(syscall(SYS_setuid, 0), EPERM) || !fails(syscall(SYS_capset, 0, 0), EPERM) ||
            !fails(syscall(SYS_chmod, "/", 0), EPERM))
                return 12;
        if (!fails(syscall(SYS_unshare, 0), EPERM) || !fails(syscall(SYS_setns, 0, 0), EPERM) ||
            !fails(syscall(SYS_mount, 0, 0, 0, 0, 0), EPERM))
                return 13;
        if (!fails(syscall(SYS_bpf, 0, 0, 0), EPERM) ||
            !fails(syscall(SYS_init_module, 0, 0, 0), EPERM) ||
            !fails(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM) ||
            !fails(syscall(SYS_io_uring_setup, 0, 0), EPERM))
                return 14;
        if (!fails(syscall(SYS_listen, 0, 0), EPERM) || !fails(syscall(SYS_bind, 0, 0, 0), EPERM))
                return 15;
        if (!fails(syscall(SYS_clone3, NULL, 0), ENOSYS) || !fails(syscall(999), ENOSYS) ||
            !fails(syscall(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0), ENOSYS) ||
            !fails(syscall(SYS_kcmp, 0, 0, 0 /* KCMP_FILE */, 0, 0), ENOSYS))
                return 16;
#ifdef __x86_64__
        if (!fails(syscall(SYS_clone, CLONE_NEWUSER, 0, 0, 0, 0), ENOSYS) ||
            !fails(syscall(SYS_clone, CLONE_VM, 0, 0, 0, 0), ENOSYS))
                return 17;
#endif
        fd = syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC, 0);
        if (fd < 0 || syscall(SYS_write, fd, "!", 1) != 1 || syscall(SYS_close, fd) != 0)
                return 18;
        pid = syscall(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL);
        if (pid == 0)
                (void)syscall(SYS_exit_group, 5);
        if (pid < 0 || syscall(SYS_wait4, pid, &zero, __WALL, NULL) != pid ||
            WEXITSTATUS(zero) != 5)
                return 19;
        return 0;
}

static int try_as_closer(void) {
        struct pv_cmd cmd = {};
        long fd;
        char c;

        if (syscall(SYS_ioctl, 0, PV_COMMAND, &cmd) >= 0 || errno == EPERM || errno == ENOSYS)
                return 10;
        fd = syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET, 0);
        if (fd < 0 || !fails(syscall(SYS_read, fd, &c, 1), ENOTCONN) || syscall(SYS_close, fd) != 0)
                return 11;
        return 0;
}

/* Installs a list and exits with what try says, or dies. */
static int status_of(const struct sandbox_list *list, enum sandbox_mode mode, int try(void)) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                int r = sandbox_install(list, mode);

                (void)syscall(SYS_exit_group, r < 0 ? 2 : try());
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

static void test_sandbox_of_the_daemon(void **state) {
        /* the number of the attempt that went otherwise */
        assert_int_equal(status_of(&daemon_calls, SANDBOX_ENFORCE, try_as_daemon), 0);
}

static void test_sandbox_of_the_closer(void **state) {
        assert_int_equal(status_of(&closer_calls, SANDBOX_ENFORCE, try_as_closer), 0);
}

static int call_execve(void) {
        return (int)syscall(SYS_execve, "/bin/true", NULL, NULL);
}

static int call_openat(void) {
        return (int)syscall(SYS_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0);
}

static int call_create_vm(void) {
        return (int)syscall(SYS_ioctl, 0, 0xAE01, 0);
}

static int call_fionread(void) {
        int n;

        return (int)syscall(SYS_ioctl, 0, FIONREAD, &n);
}

static int call_clone(void) {
        return (int)syscall(SYS_clone, 0UL, 0UL, 0UL, 0UL, 0UL);
}

static int call_kill(void) {
        return (int)syscall(SYS_kill, 1, 0);
}

static int call_setuid(void) {
        return (int)syscall(SYS_setuid, 0);
}

static int call_unknown(void) {
        return (int)syscall(999);
}

static int call_read(void) {
        char c;

        return (int)syscall(SYS_read, 0, &c, 1);
}

static void assert_killed(const struct sandbox_list *list, int try(void)) {
        int status = status_of(list, SANDBOX_ENFORCE, try);

        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGSYS);
}

static void test_sandbox_kills(void **state) {
        int (*const forbidden[])(void) = {call_execve, call_openat, call_create_vm, call_fionread,
                                          call_clone,  call_kill,   call_setuid,    call_unknown};

        for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++) {
                assert_killed(&closer_calls, forbidden[i]);
                assert_killed(&sleeper_calls, forbidden[i]);
        }
        assert_killed(&sleeper_calls, call_read);
}

static int call_two_that_are_not_listed(void) {
        int n = 0;

        return syscall(SYS_ioctl, 1, TIOCGWINSZ, &n) < 0 && errno == EPERM ? 1
               : syscall(SYS_getppid) <= 0                                 ? 2
                                                                           : 0;
}

static void test_sandbox_modes(void **state) {
        assert_int_equal(status_of(&daemon_calls, SANDBOX_LOG, call_two_that_are_not_listed), 0);
        assert_int_equal(status_of(&closer_calls, SANDBOX_LOG, call_two_that_are_not_listed), 0);
        assert_int_equal(status_of(&closer_calls, SANDBOX_OFF, call_two_that_are_not_listed), 0);
}

static void test_sandbox_environment(void **state) {
        enum sandbox_mode mode = SANDBOX_OFF;

        assert_int_equal(unsetenv("PVREAPER_SECCOMP"), 0);
        assert_int_equal(sandbox_mode_from_environment(&mode), 0);
        assert_int_equal(mode, SANDBOX_ENFORCE);
        assert_int_equal(setenv("PVREAPER_SECCOMP", "log", 1), 0);
        assert_int_equal(sandbox_mode_from_environment(&mode), 0);
        assert_int_equal(mode, SANDBOX_LOG);
        assert_int_equal(setenv("PVREAPER_SECCOMP", "lgo", 1), 0);
        assert_int_equal(sandbox_mode_from_environment(&mode), -EINVAL);
        assert_int_equal(mode, SANDBOX_LOG);
        assert_int_equal(unsetenv("PVREAPER_SECCOMP"), 0);
}

static int write_golden(const char *directory) {
        static char text[TEXT_MAX];

        for (size_t i = 0; i < ARRAY_SIZE(programs); i++)
                for (size_t k = 0; k < ARRAY_SIZE(archs); k++) {
                        char path[4096];
                        FILE *file;

                        (void)snprintf(path, sizeof(path), "%s/%s.%s", directory, programs[i].name,
                                       archs[k]);
                        (void)describe(programs[i].list, archs[k], text);
                        file = fopen(path, "we");
                        if (!file || fputs(text, file) < 0 || fclose(file) < 0)
                                return perror(path), EXIT_FAILURE;
                }
        return EXIT_SUCCESS;
}

static const char *no_filters(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (preload && strstr(preload, "valgrind"))
                return "valgrind's own system calls would be refused too";
        return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ? "no seccomp in this kernel" : NULL;
}

/* In a machine of tests/system the source is somewhere else; it was compared where it was built. */
static const char *no_files(void) {
        return access(PFC_DIRECTORY, F_OK) < 0 ? "the source tree is not here" : NULL;
}

int main(int argc, char *argv[]) {
        const struct CMUnitTest tests[] = {
                checked_test_unless(no_files(), test_sandbox_golden),
                checked_test(test_sandbox_refuses_the_rest),
                checked_test(test_sandbox_names),
                checked_test(test_sandbox_environment),
                checked_test_unless(no_filters(), test_sandbox_of_the_daemon),
                checked_test_unless(no_filters(), test_sandbox_of_the_closer),
                checked_test_unless(no_filters(), test_sandbox_kills),
                checked_test_unless(no_filters(), test_sandbox_modes),
        };

        /* Also where the kernel has none of it (qemu-user), filters can be written down. */
        if (seccomp_api_get() < 3)
                (void)seccomp_api_set(3);
        if (argc == 3 && strcmp(argv[1], "--write") == 0)
                return write_golden(argv[2]);
        return cmocka_run_group_tests(tests, NULL, NULL);
}
