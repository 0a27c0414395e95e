/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The reboot of a protected guest, as a VMM does it, with every stretch of time the guest's owner
 * would wait for measured by itself; and a flood of hand-offs.
 *
 * A reboot sets the old VM aside and has somebody tear it down later (the paths "handed-off" and
 * "thread", and "caller" where no thread can be had), or, where PREPARE is refused, destroys it on
 * the spot ("sync"); then the guest becomes protected again. Exactly one of these has happened when
 * the command was answered with ok. Nothing here outlives a command but the thread
 * own_perform_start() makes.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "pv.h"
#include "timing.h"
#include "vmm.h"

#define FLOOD_MAX 10000000

struct reboot {
        const char *path;
        int error;          /* why it is not handed off, or 0 */
        int64_t prepare_ns; /* this and the next three: -1 if not measured */
        int64_t handoff_ns;
        int64_t disable_ns;
        int64_t enable_ns;
};

static int timed_pv(const struct vmm *vmm, uint32_t id, int64_t *ret_ns) {
        uint64_t start_ns = now_ns();
        int r;

        r = pv_command(vmm->guest.vm_fd, id, NULL);
        if (r >= 0)
                *ret_ns = (int64_t)(now_ns() - start_ns);
        return r;
}

/* After PREPARE there is no way back (a DISABLE would get -EINVAL): somebody has to perform. */
static void perform_ourselves(struct vmm *vmm, struct reboot *reboot) {
        reboot->path = "thread";
        if (own_perform_start(vmm->guest.vm_fd, vmm->own_fds[1]) >= 0)
                return;

        reboot->path = "caller";
        (void)pv_command(vmm->guest.vm_fd, PV_ASYNC_CLEANUP_PERFORM, NULL);
}

/* What QEMU does: PREPARE, then a thread. handoff_ns is what making the thread took. */
static int set_aside_on_thread(struct vmm *vmm, struct reboot *reboot) {
        uint64_t start_ns;
        int r;

        r = timed_pv(vmm, PV_ASYNC_CLEANUP_PREPARE, &reboot->prepare_ns);
        if (r < 0)
                return r;

        start_ns = now_ns();
        perform_ourselves(vmm, reboot);
        reboot->handoff_ns = (int64_t)(now_ns() - start_ns);
        return 0;
}

/* The caller's own PREPARE and a hand-off, each measured; a thread where the hand-off fails. */
static int set_aside_split(struct vmm *vmm, struct reboot *reboot) {
        uint64_t start_ns;
        int r;

        r = timed_pv(vmm, PV_ASYNC_CLEANUP_PREPARE, &reboot->prepare_ns);
        if (r < 0)
                return r;

        start_ns = now_ns();
        r = pvr_vm_handoff(vmm->pvr);
        reboot->handoff_ns = (int64_t)(now_ns() - start_ns);
        reboot->path = "handed-off";
        if (r < 0) {
                reboot->error = r;
                perform_ourselves(vmm, reboot);
        }
        return 0;
}

/* Negative: nothing was set aside. */
static int set_aside(struct vmm *vmm, bool split, struct reboot *reboot) {
        if (!vmm->pvr)
                return set_aside_on_thread(vmm, reboot);
        if (split)
                return set_aside_split(vmm, reboot);

        reboot->path = "handed-off";
        return pvr_vm_disable_async(vmm->pvr);
}

static const char *us(char buffer[24], int64_t ns) {
        if (ns < 0)
                return "-";
        snprintf(buffer, 24, "%" PRId64, ns / 1000);
        return buffer;
}

static void answer(const struct reboot *reboot, uint64_t total_ns) {
        char b[4][24], handoff_ns[24] = "-";

        if (reboot->handoff_ns >= 0)
                snprintf(handoff_ns, sizeof(handoff_ns), "%" PRId64, reboot->handoff_ns);
        say("ok reboot path=%s error=%s%s prepare_us=%s handoff_us=%s handoff_ns=%s disable_us=%s "
            "enable_us=%s total_us=%" PRIu64,
            reboot->path, reboot->error < 0 ? "-" : "", errno_name(reboot->error),
            us(b[0], reboot->prepare_ns), us(b[1], reboot->handoff_ns), handoff_ns,
            us(b[2], reboot->disable_ns), us(b[3], reboot->enable_ns), total_ns / 1000);
}

int command_reboot(struct vmm *vmm, int argc, char **argv) {
        struct reboot reboot = {
                .prepare_ns = -1, .handoff_ns = -1, .disable_ns = -1, .enable_ns = -1};
        uint64_t start_ns = now_ns();
        int r;

        if (argc > 2 || (argc == 2 && strcmp(argv[1], "split") != 0))
                return -EINVAL;

        r = set_aside(vmm, argc == 2, &reboot);
        if (r < 0) {
                reboot.error = r;
                reboot.path = "sync";
                r = timed_pv(vmm, PV_DISABLE, &reboot.disable_ns);
                if (r < 0)
                        return r;
        }

        r = timed_pv(vmm, PV_ENABLE, &reboot.enable_ns);
        if (r < 0)
                return r;

        answer(&reboot, now_ns() - start_ns);
        return 0;
}

int command_flood(struct vmm *vmm, int argc, char **argv) {
        uint64_t n, taken = 0, start_ns, *samples;
        int r, error = 0;

        if (argc != 2 || parse_size(&n, argv[1]) < 0 || n == 0 || n > FLOOD_MAX)
                return -EINVAL;

        samples = calloc(n, sizeof(*samples));
        if (!samples)
                return -ENOMEM;

        for (uint64_t i = 0; i < n; i++) {
                start_ns = now_ns();
                r = pvr_vm_handoff(vmm->pvr);
                samples[i] = now_ns() - start_ns;
                if (r >= 0)
                        taken++;
                else if (error == 0)
                        error = r;
        }

        sort_ns(samples, n);
        say("ok flood n=%" PRIu64 " ok=%" PRIu64 " first_error=%s%s p99_us=%" PRIu64
            " max_us=%" PRIu64 " p50_ns=%" PRIu64 " p99_ns=%" PRIu64 " max_ns=%" PRIu64,
            n, taken, error < 0 ? "-" : "", errno_name(error), percentile_ns(samples, n, 99) / 1000,
            samples[n - 1] / 1000, percentile_ns(samples, n, 50), percentile_ns(samples, n, 99),
            samples[n - 1]);
        free(samples);
        return 0;
}
