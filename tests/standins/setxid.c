/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A VMM with a pool of threads that calls setuid(2). glibc makes every thread of the process do it,
 * by a signal, and waits for all: the heir must answer, though it waits for the keeper with its
 * signals blocked, and must not take the interruption for the keeper's end. SIGALRM ends a helper
 * that hangs.
 */

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "helper.h"

#define POOL    8
#define CALLS   200
#define SECONDS 60

static void set_ids(void) {
        for (int i = 0; i < CALLS; i++)
                check(setuid(getuid()) == 0 && setgid(getgid()) == 0);
}

static void *on_pool_thread(void *data) {
        set_ids();
        return NULL;
}

static void run_pool(void) {
        pthread_t threads[POOL];

        for (int i = 0; i < POOL; i++)
                check(pthread_create(&threads[i], NULL, on_pool_thread, NULL) == 0);
        set_ids();
        for (int i = 0; i < POOL; i++)
                check(pthread_join(threads[i], NULL) == 0);
}

int main(void) {
        struct helper helper = {};
        unsigned before;

        alarm(SECONDS);
        helper_start(&helper, "setxid");
        before = count_numbers("/proc/self/task");
        run_pool(); /* beside an idle keeper */
        helper_reboot(&helper);
        run_pool(); /* beside one that works */
        helper_await(&helper, PVR_RESULT_UNGOVERNED);

        await_threads(before); /* with the heir: it still waits */
        check(find_keeper() > 0);
        helper_reboot(&helper);
        helper_await(&helper, PVR_RESULT_UNGOVERNED);
        pvr_vm_free(helper.vm);
        return EXIT_SUCCESS;
}
