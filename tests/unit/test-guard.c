/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a keeper makes of the end of its doorbell while the VMM's pidfd is silent. The keeper runs
 * for real, with a file of this test in the place of the VMM's /proc/PID/stat, and the test hangs
 * up: it is then seen whether the keeper leaves at once, as it must at an execve, or stays.
 */

#include "fds.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "lib/keeper.h"
#include "lib/vm.h"

#define STAT_LIVES   "1 (vmm) S 1 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 3 0 1\n"
#define STAT_EXITING "1 (vmm) S 1 1 1 0 -1 4194564 0 0 0 0 0 0 0 0 20 0 3 0 1\n"
#define STAT_EXITED  "1 (vmm) S 1 1 1 0 -1 4194564 0 0 0 0 0 0 0 0 20 0 1 0 1\n"

#define SOON_MSEC 3000 /* a third of what it waits where it cannot tell */
#define LONG_MSEC 1000

static char directory[] = "/tmp/pvr-guard-XXXXXX";

static int make_directory(void **state) {
        return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state) {
        return rmdir(directory);
}

/* In its place whatever the file says, or no file at all (NULL). */
static void set_stat(struct keeper *k, const char *text) {
        FILE *file;

        (void)snprintf(k->vmm_stat, sizeof(k->vmm_stat), "%s/s", directory);
        (void)unlink(k->vmm_stat);
        if (!text)
                return;
        file = fopen(k->vmm_stat, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
}

static enum vmm_life look(const char *text) {
        struct keeper k = {};
        enum vmm_life life;

        set_stat(&k, text);
        life = vmm_look(&k);
        (void)unlink(k.vmm_stat);
        return life;
}

static void test_guard_looks(void **state) {
        assert_int_equal(look(STAT_LIVES), VMM_LIVES);
        assert_int_equal(look(STAT_EXITING), VMM_EXITING);
        assert_int_equal(look(STAT_EXITED), VMM_EXITED);
        assert_int_equal(look("nonsense\n"), VMM_UNKNOWN);
        assert_int_equal(look(""), VMM_UNKNOWN);
        assert_int_equal(look(NULL), VMM_UNKNOWN);
}

/* Whether the keeper has gone that long after its doorbell ended. */
static bool leaves_within(const char *text, int msec) {
        struct pvr_vm *vm = NULL;
        bool gone = false;

        assert_int_equal(pvr_vm_new(&vm, NULL), 0);
        set_stat(vm->keeper, text);
        assert_int_equal(shutdown(vm->bell, SHUT_RDWR), 0);
        for (int waited = 0; waited < msec && !gone; waited += 10) {
                (void)usleep(10 * 1000);
                gone = vm->keeper_gone;
        }
        if (!gone)
                (void)kill(vm->keeper->pid, SIGKILL);
        while (!vm->keeper_gone)
                (void)usleep(1000);
        (void)unlink(vm->keeper->vmm_stat);
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

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_guard_looks),
                checked_test(test_guard_execve),
                checked_test(test_guard_slow_exit),
        };

        return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
