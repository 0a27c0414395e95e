/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * PERFORM on a detached thread of the VMM: what stock QEMU does at a reset, and what a VMM with
 * libpvreaper does when a hand-off fails after PREPARE.
 *
 * The thread owns its struct own_perform; the fds in it are the VMM's and live as long as the
 * process. Unlike QEMU, which calls exit(1) when PERFORM fails, the thread reports what happened,
 * as an outcome of job 0, by one write to a pipe (smaller than PIPE_BUF, so it never mixes with
 * another thread's).
 */

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "pv.h"
#include "timing.h"
#include "vmm.h"

struct own_perform {
        int vm_fd;
        int report_fd;
};

static uint32_t judge(int error, const struct pv_cmd *cmd) {
        switch (error) {
        case 0:
                if (cmd->rc == PV_RC_INTERRUPTED && cmd->rrc == PV_RRC_INTERRUPTED)
                        return PVR_RESULT_INTERRUPTED;
                return PVR_RESULT_UNGOVERNED;
        case -EINVAL:
                return PVR_RESULT_SUPERSEDED;
        case -EIO:
                return PVR_RESULT_FOREIGN;
        default:
                return PVR_RESULT_FAILED;
        }
}

static void *own_perform_thread(void *data) {
        struct own_perform *own = data;
        struct pvr_outcome outcome = {.kind = PVR_KIND_REBOOT};
        struct pv_cmd cmd;
        uint64_t start_ns = now_ns();
        ssize_t n;

        outcome.error = pv_command(own->vm_fd, PV_ASYNC_CLEANUP_PERFORM, &cmd);
        outcome.ran_us = (now_ns() - start_ns) / 1000;
        outcome.result = judge(outcome.error, &cmd);
        outcome.rc = cmd.rc;
        outcome.rrc = cmd.rrc;
        do
                n = write(own->report_fd, &outcome, sizeof(outcome));
        while (n < 0 && errno == EINTR);
        free(own);
        return NULL;
}

int own_perform_start(int vm_fd, int report_fd) {
        struct own_perform *own;
        pthread_attr_t attr;
        pthread_t thread;
        int r;

        own = malloc(sizeof(*own));
        if (!own)
                return -ENOMEM;

        *own = (struct own_perform){.vm_fd = vm_fd, .report_fd = report_fd};
        pthread_attr_init(&attr);
        pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &attr, own_perform_thread, own);
        pthread_attr_destroy(&attr);
        if (r != 0)
                free(own);
        return -r;
}
