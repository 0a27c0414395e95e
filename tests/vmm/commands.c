/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verbs of pvr-vmm. One table drives dispatch, --help and `help`, so a verb cannot be missing
 * from either.
 *
 * A command says ok itself, or returns a negative errno and the dispatcher says error: one answer
 * per line, whatever happens in between. `wait` alone is answered later, by the loop.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pv.h"
#include "timing.h"
#include "vmm.h"

#define ARGUMENTS_MAX     4
#define WAIT_DEFAULT_MSEC 30000

static int command_touch(struct vmm *vmm, int argc, char **argv) {
        uint64_t size, start_ns = now_ns();
        int r;

        r = argc == 2 ? parse_size(&size, argv[1]) : -EINVAL;
        if (r < 0)
                return r;

        r = guest_touch(&vmm->guest, size);
        if (r < 0)
                return r;

        say("ok touch bytes=%" PRIu64 " us=%" PRIu64, size, (now_ns() - start_ns) / 1000);
        return 0;
}

static int run_pv(struct vmm *vmm, const char *verb, uint32_t id) {
        uint64_t start_ns = now_ns();
        struct pv_cmd cmd;
        int r;

        r = pv_command(vmm->guest.vm_fd, id, &cmd);
        if (r < 0)
                return r;

        say("ok %s us=%" PRIu64 " rc=%u rrc=%u", verb, (now_ns() - start_ns) / 1000, cmd.rc,
            cmd.rrc);
        return 0;
}

static int command_protect(struct vmm *vmm, int argc, char **argv) {
        return run_pv(vmm, argv[0], PV_ENABLE);
}

static int command_disable(struct vmm *vmm, int argc, char **argv) {
        return run_pv(vmm, argv[0], PV_DISABLE);
}

static int command_prepare(struct vmm *vmm, int argc, char **argv) {
        return run_pv(vmm, argv[0], PV_ASYNC_CLEANUP_PREPARE);
}

static int command_perform(struct vmm *vmm, int argc, char **argv) {
        return run_pv(vmm, argv[0], PV_ASYNC_CLEANUP_PERFORM);
}

static int command_handoff(struct vmm *vmm, int argc, char **argv) {
        uint64_t start_ns = now_ns(), took_ns;
        int r;

        r = pvr_vm_handoff(vmm->pvr);
        took_ns = now_ns() - start_ns;
        if (r < 0)
                return r;

        say("ok handoff us=%" PRIu64 " ns=%" PRIu64, took_ns / 1000, took_ns);
        return 0;
}

static int command_set_fd(struct vmm *vmm, int argc, char **argv) {
        int r;

        r = pvr_vm_set_fd(vmm->pvr, vmm->guest.vm_fd, vmm->guest.memory_size);
        if (r < 0)
                return r;

        say("ok set-fd vm_fd=%d", vmm->guest.vm_fd);
        return 0;
}

static int command_outcomes(struct vmm *vmm, int argc, char **argv) {
        int n;

        n = vmm_drain_outcomes(vmm);
        if (n < 0)
                return n;

        say("ok outcomes n=%d total=%" PRIu64, n, vmm->n_outcomes);
        return 0;
}

static int command_wait(struct vmm *vmm, int argc, char **argv) {
        uint64_t n, msec = WAIT_DEFAULT_MSEC;

        if (argc < 2 || argc > 3 || parse_size(&n, argv[1]) < 0 ||
            (argc == 3 && parse_size(&msec, argv[2]) < 0) || msec > UINT32_MAX)
                return -EINVAL;

        vmm->waiting = true;
        vmm->wait_for = n;
        vmm->deadline_ns = now_ns() + msec * 1000000;
        return 0;
}

_Noreturn static int command_hang(struct vmm *vmm, int argc, char **argv) {
        say("ok hang pid=%d", getpid());
        for (;;)
                pause();
}

_Noreturn static int command_spin(struct vmm *vmm, int argc, char **argv) {
        volatile uint64_t turns = 0;

        say("ok spin pid=%d", getpid());
        for (;;)
                turns++;
}

_Noreturn static int command_abort(struct vmm *vmm, int argc, char **argv) {
        say("ok abort pid=%d", getpid());
        abort();
}

static int command_free(struct vmm *vmm, int argc, char **argv) {
        uint64_t start_ns = now_ns();

        vmm->pvr = pvr_vm_free(vmm->pvr);
        say("ok free us=%" PRIu64, (now_ns() - start_ns) / 1000);
        return 0;
}

/* "keep": without letting go of the VM, as a VMM that has no mind to */
static int command_release(struct vmm *vmm, int argc, char **argv) {
        uint64_t start_ns = now_ns(), took_ns;
        int r;

        r = pvr_release_vm_fd(NULL, vmm->guest.vm_fd, vmm->name, vmm->guest.memory_size);
        took_ns = now_ns() - start_ns;
        if (r < 0)
                return r;

        if (argc < 2)
                guest_deinit(&vmm->guest);
        say("ok release us=%" PRIu64, took_ns / 1000);
        return 0;
}

/* As QEMU leaves: by exit(), without a word to the library. */
_Noreturn static int command_quit(struct vmm *vmm, int argc, char **argv) {
        say("ok quit pid=%d", getpid());
        exit(EXIT_SUCCESS);
}

static int command_help(struct vmm *vmm, int argc, char **argv) {
        char verbs[512] = "";
        size_t n = 0;

        for (const struct command *c = commands; c->verb && n < sizeof(verbs); c++)
                n += (size_t)snprintf(verbs + n, sizeof(verbs) - n, "%s%s", n > 0 ? "," : "",
                                      c->verb);
        say("ok help verbs=%s", verbs);
        return 0;
}

const struct command commands[] = {
        {"touch", command_touch, "SIZE", "write to every page of the first SIZE bytes", false},
        {"map", command_map, "KIND SIZE [PATH]",
         "map and touch more memory: anonymous, thp, shared, memfd, hugetlb, hugememfd; file, "
         "private or device, of PATH; ring: of a driver",
         false},
        {"protect", command_protect, "", "make the guest a protected one (PV_ENABLE)", false},
        {"reboot", command_reboot, "[split]",
         "set the guest aside, hand it off and protect it anew; split: PREPARE and hand-off apart",
         false},
        {"prepare", command_prepare, "", "set the guest aside (PREPARE)", false},
        {"handoff", command_handoff, "", "ring the keeper's doorbell", true},
        {"disable", command_disable, "", "destroy the guest here and now (PV_DISABLE)", false},
        {"perform", command_perform, "", "PERFORM, here and now", false},
        {"set-fd", command_set_fd, "", "tell the keeper the VM fd once more", true},
        {"flood", command_flood, "N", "N hand-offs in a row", true},
        {"outcomes", command_outcomes, "", "read the outcomes there are now", false},
        {"wait", command_wait, "N [MSEC]", "until N outcomes in all were read (30000 ms)", false},
        {"pids", command_pids, "", "our pid and the keeper's", false},
        {"hang", command_hang, "", "sleep for ever, deaf to stdin", false},
        {"spin", command_spin, "", "compute for ever, deaf to stdin", false},
        {"fork", command_fork, "", "try a hand-off in a child of fork(2)", true},
        {"exec", command_exec, "[SECONDS]", "become /bin/sleep", false},
        {"abort", command_abort, "", "abort(3)", false},
        {"free", command_free, "", "let the keeper go; the VM lives on", true},
        {"release", command_release, "[keep]",
         "hand the VM fd to a closer, and let go of the VM; keep: do not let go", false},
        {"help", command_help, "", "the verbs", false},
        {"quit", command_quit, "", "exit(0), as at end of file", false},
        {NULL, NULL, NULL, NULL, false},
};

static int run_command(struct vmm *vmm, int argc, char **argv) {
        for (const struct command *c = commands; c->verb; c++) {
                if (strcmp(c->verb, argv[0]) != 0)
                        continue;
                if (c->needs_keeper && !vmm->pvr)
                        return -ENODEV;
                return c->run(vmm, argc, argv);
        }
        return -EOPNOTSUPP;
}

void vmm_dispatch(struct vmm *vmm, char *line) {
        char *argv[ARGUMENTS_MAX + 1], *save = NULL, *word;
        int r, argc = 0;

        for (word = strtok_r(line, " \t\r", &save); word && argc < ARGUMENTS_MAX;
             word = strtok_r(NULL, " \t\r", &save))
                argv[argc++] = word;
        argv[argc] = NULL;
        if (argc == 0)
                return;

        r = word ? -E2BIG : run_command(vmm, argc, argv);
        if (r < 0)
                say("error %.64s errno=%s %s", argv[0], errno_name(r), strerror(-r));
}
