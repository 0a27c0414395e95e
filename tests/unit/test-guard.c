/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a keeper makes of the end of its doorbell while the VMM's pidfd is silent. The keeper runs
 * for real, with a file of this test in the place of the VMM's /proc/PID/stat, and the test hangs
 * up: it is then seen whether the keeper leaves at once, as it must at an execve, or stays. The
 * file comes to the keeper as if it were a VM.
 */

#include "fds.h"
#include "kernel.h"

#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "lib/keeper.h"
#include "lib/vm.h"

#define STAT_LIVES   "1 (vmm) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 1\n"
#define STAT_EXITING "1 (vmm) S 1 1 1 0 -1 4194564 0 0 0 0 0 0 0 0 20 0 3 0 1\n"
#define STAT_EXITED  "1 (vmm) S 1 1 1 0 -1 4194564 0 0 0 0 0 0 0 0 20 0 1 0 1\n"

#define SOON_MSEC 3000 /* a third of what it waits where it cannot tell */
#define LONG_MSEC 1000

static int make_file(const char *text) {
        int fd = memfd_create("stat", MFD_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        return fd;
}

static enum vmm_life look(const char *text) {
        int fd = make_file(text);
        enum vmm_life life = vmm_look(fd);

        assert_int_equal(vmm_look(fd), life); /* each time anew */
        assert_int_equal(close(fd), 0);
        return life;
}

static void test_guard_looks(void **state) {
        assert_int_equal(look(STAT_LIVES), VMM_LIVES);
        assert_int_equal(look(STAT_EXITING), VMM_EXITING);
        assert_int_equal(look(STAT_EXITED), VMM_EXITED);
        assert_int_equal(look("nonsense\n"), VMM_UNKNOWN);
        assert_int_equal(look(""), VMM_UNKNOWN);
        assert_int_equal(vmm_look(-1), VMM_UNKNOWN);
}

/* In its place whatever the file says, or no file at all (NULL). */
static void set_stat(struct pvr_vm *vm, const char *text) {
        int fd;

        vm->keeper->vmm_stat_fd = -1;
        if (!text)
                return;
        fd = make_file(text);
        assert_int_equal(pvr_vm_set_fd(vm, fd, 0), 0);
        assert_int_equal(close(fd), 0);
        while (vm->keeper->vm_fd < 0)
                (void)usleep(1000);
        vm->keeper->vmm_stat_fd = vm->keeper->vm_fd;
}

/* In the keeper nobody could ask the kernel for it. */
static void test_guard_knows_memfds(void **state) {
        struct pvr_vm *vm = NULL;
        struct space s = {};

        space_init(&s);
        assert_int_equal(pvr_vm_new(&vm, NULL), 0);
        assert_true(s.shmem != 0 && vm->keeper->space.shmem == s.shmem);
        pvr_vm_free(vm);
        (void)usleep(100 * 1000); /* the heir's last steps */
}

/* Whether the keeper has gone that long after its doorbell ended. */
static bool leaves_within(const char *text, int msec) {
        struct pvr_vm *vm = NULL;
        bool gone = false;

        assert_int_equal(pvr_vm_new(&vm, NULL), 0);
        set_stat(vm, text);
        assert_int_equal(shutdown(vm->bell, SHUT_RDWR), 0);
        for (int waited = 0; waited < msec && !gone; waited += 10) {
                (void)usleep(10 * 1000);
                gone = vm->keeper_gone;
        }
        if (!gone)
                (void)kill(vm->keeper->pid, SIGKILL);
        while (!vm->keeper_gone)
                (void)usleep(1000);
        forget_keeper(vm);
        pvr_vm_free(vm);
        (void)usleep(100 * 1000); /* the heir's last steps */
        return gone;
}

/* It executes another program, or closes all it has: the memory may be in use. */
static void test_guard_execve(void **state) {
        assert_true(leaves_within(STAT_LIVES, SOON_MSEC));
}

/* A VMM that flushes its last file for minutes is none that lives on. */
static void test_guard_slow_exit(void **state) {
        assert_false(leaves_within(STAT_EXITING, LONG_MSEC));
        assert_false(leaves_within(NULL, LONG_MSEC));
}

/* ---- the heir ---- */

/* What it tells when the keeper is killed in this state. */
static struct pvr_outcome told_by_heir(uint64_t performing, bool unreported) {
        struct pvr_outcome outcome = {};
        struct pvr_vm *vm = NULL;

        assert_int_equal(pvr_vm_new(&vm, NULL), 0);
        vm->keeper->performing = performing;
        vm->keeper->ended = (struct pvr_outcome){.job = 7, .result = PVR_RESULT_DONE, .rc = 1};
        vm->keeper->unreported = unreported;
        assert_int_equal(kill(vm->keeper->pid, SIGKILL), 0);
        while (!vm->keeper_gone)
                (void)usleep(1000);
        (void)usleep(100 * 1000); /* the heir's last steps */
        (void)pvr_vm_next_outcome(vm, &outcome, sizeof(outcome));
        pvr_vm_free(vm);
        return outcome;
}

static void test_guard_heir_tells_the_last_outcome(void **state) {
        assert_int_equal(told_by_heir(0, false).job, 0);
        assert_int_equal(told_by_heir(8, false).job, 8);
        assert_int_equal(told_by_heir(8, false).result, PVR_RESULT_LOST);
        assert_int_equal(told_by_heir(0, true).job, 7);
        assert_int_equal(told_by_heir(0, true).result, PVR_RESULT_DONE);
        assert_int_equal(told_by_heir(7, true).rc, 1);
}

#define NOBODY 65534

static void check_child(int (*function)(void)) {
        pid_t pid = fork();
        int status;

        if (pid == 0)
                _exit(function());
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void await_gone(const struct pvr_vm *vm, int msec) {
        for (int waited = 0; waited < msec && !vm->keeper_gone; waited += 10)
                (void)usleep(10 * 1000);
}

/* The heir's wait ends now and then by itself, and it must go on as before. */
static int give_up_rights_later(void) {
        struct pvr_vm *vm = NULL;

        if (pvr_vm_new(&vm, NULL) < 0)
                return 1;
        vm->heir_look_sec = 1;
        if (setuid(getuid()) < 0) /* which wakes it: it waits for a second from now on */
                return 2;
        (void)usleep(2200 * 1000);
        if (vm->keeper_gone)
                return 3;
        if (setresuid(NOBODY, NOBODY, NOBODY) < 0)
                return 4;
        await_gone(vm, SOON_MSEC);
        return vm->keeper_gone ? 0 : 5;
}

static void test_guard_heir_goes_on(void **state) {
        check_child(give_up_rights_later);
}

/* Not under qemu-user, nor valgrind, which have no clone(2) of our sort either. */
static const char *no_keeper(void) {
        const char *preload = getenv("LD_PRELOAD");

        if (preload && strstr(preload, "valgrind"))
                return "valgrind knows no process that shares memory";
        return prctl(PR_GET_SECCOMP, 0, 0, 0, 0) < 0 ? "no seccomp in this kernel" : NULL;
}

static const char *not_root(void) {
        return geteuid() == 0 ? no_keeper() : "needs root";
}

/* From now on this process is refused one call, with EACCES. */
static bool refuse(uint32_t nr) {
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EACCES),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {.len = ARRAY_SIZE(code), .filter = code};

        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
               prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* Where native AIO cannot be looked for there is no keeper, and a fence that cannot act says so. */
static int look_without_maps(void) {
        struct space s = {};
        struct pvr_vm *vm = NULL;

        if (!refuse(SYS_openat))
                return 1;
        if (space_has_aio() != -EACCES || space_open(&s) != -EACCES)
                return 2;
        s.maps = -1;
        if (space_fence(&s) != -EBADF)
                return 4;
        return pvr_vm_new(&vm, NULL) == -EACCES ? 0 : 3;
}

/* The call that ends a ring is refused: what was in flight may still be. */
static int fence_without_io_destroy(void) {
        unsigned long ring = 0;
        struct space s = {};

        if (syscall(SYS_io_setup, 8, &ring) < 0)
                return 0; /* no native AIO here */
        if (space_open(&s) < 0 || !refuse(SYS_io_destroy))
                return 1;
        return space_fence(&s) == -EACCES ? 0 : 2;
}

static void test_guard_no_false_fence(void **state) {
        check_child(look_without_maps);
        check_child(fence_without_io_destroy);
}

/* What was given back once is not looked for again: what is mapped since then stays. */
static int give_back_once(void) {
        static struct keeper k;
        int fd = open(".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        char *before, *since;

        if (fd < 0)
                return 0; /* no unnamed files here */
        if (ftruncate(fd, getpagesize()) < 0)
                return 1;
        k.guard_stat = -1;
        space_init(&k.space);
        if (space_open(&k.space) < 0)
                return 2;
        before = mmap(NULL, (size_t)getpagesize(), PROT_READ, MAP_SHARED, fd, 0);
        guard_finish(&k);
        if (msync(before, (size_t)getpagesize(), MS_ASYNC) == 0 || !k.fenced || !k.quiet)
                return 3;
        since = mmap(NULL, (size_t)getpagesize(), PROT_READ, MAP_SHARED, fd, 0);
        guard_finish(&k);
        return msync(since, (size_t)getpagesize(), MS_ASYNC) == 0 ? 0 : 4;
}

static void test_guard_gives_back_once(void **state) {
        check_child(give_back_once);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_guard_looks),
                checked_test_unless(no_keeper(), test_guard_knows_memfds),
                checked_test_unless(no_keeper(), test_guard_execve),
                checked_test_unless(no_keeper(), test_guard_slow_exit),
                checked_test_unless(no_keeper(), test_guard_heir_tells_the_last_outcome),
                checked_test_unless(not_root(), test_guard_heir_goes_on),
                checked_test_unless(no_keeper(), test_guard_no_false_fence),
                checked_test_unless(no_keeper(), test_guard_gives_back_once),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
