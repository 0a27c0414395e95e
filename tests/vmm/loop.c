/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pvr-vmm's one loop: commands on stdin, outcomes from the keeper, outcomes from threads of our
 * own. All of it single-threaded, so a command and an event never run at the same time.
 *
 * struct input owns the bytes read and not yet run. While a `wait` is unanswered neither stdin nor
 * what is buffered of it is touched, so answers come in the order of the commands.
 * End of file on stdin ends the VMM, so none outlives the test that started it (but for `hang`,
 * `spin` and `exec`, which do what they say).
 */

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "timing.h"
#include "vmm.h"

struct input {
        char buffer[4096];
        size_t size;
};

static const char *kind_name(uint32_t kind) {
        static const char *const names[] = {
                [PVR_KIND_REBOOT] = "reboot",
                [PVR_KIND_SHUTDOWN] = "shutdown",
                [PVR_KIND_CLOSE] = "close",
        };

        return kind < sizeof(names) / sizeof(names[0]) && names[kind] ? names[kind] : "?";
}

static void on_outcome(struct vmm *vmm, const struct pvr_outcome *o) {
        const char *result = pvr_result_to_string(o->result);

        vmm->n_outcomes++;
        say("outcome job=%" PRIu64 " kind=%s result=%s error=%s%s rc=%u rrc=%u waited_us=%" PRIu64
            " ran_us=%" PRIu64 " dropped=%" PRIu64,
            o->job, kind_name(o->kind), result ? result : "?", o->error < 0 ? "-" : "",
            errno_name(o->error), o->rc, o->rrc, o->waited_us, o->ran_us, o->dropped);
}

int vmm_drain_outcomes(struct vmm *vmm) {
        struct pvr_outcome outcome;
        int r, n = 0;

        while (read(vmm->own_fds[0], &outcome, sizeof(outcome)) == sizeof(outcome)) {
                on_outcome(vmm, &outcome);
                n++;
        }
        while (vmm->pvr) {
                r = pvr_vm_next_outcome(vmm->pvr, &outcome, sizeof(outcome));
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                on_outcome(vmm, &outcome);
                n++;
        }
        return n;
}

static void check_wait(struct vmm *vmm) {
        if (!vmm->waiting)
                return;
        if (vmm->n_outcomes >= vmm->wait_for)
                say("ok wait n=%" PRIu64, vmm->n_outcomes);
        else if (now_ns() >= vmm->deadline_ns)
                say("error wait errno=ETIMEDOUT n=%" PRIu64, vmm->n_outcomes);
        else
                return;
        vmm->waiting = false;
}

/* Runs the complete lines there are, up to a `wait`. A line without an end is no line. */
static int input_run(struct input *input, struct vmm *vmm) {
        char *end;

        while (!vmm->waiting && (end = memchr(input->buffer, '\n', input->size))) {
                size_t length = (size_t)(end - input->buffer) + 1;
                char line[sizeof(input->buffer)];

                *end = '\0';
                memcpy(line, input->buffer, length);
                input->size -= length;
                memmove(input->buffer, input->buffer + length, input->size);
                vmm_dispatch(vmm, line);
                check_wait(vmm);
        }
        return input->size < sizeof(input->buffer) || vmm->waiting ? 0 : -E2BIG;
}

/* 1: go on; 0: end of file */
static int input_fill(struct input *input) {
        ssize_t n;

        n = read(STDIN_FILENO, input->buffer + input->size, sizeof(input->buffer) - input->size);
        if (n < 0)
                return errno == EINTR || errno == EAGAIN ? 1 : -errno;
        input->size += (size_t)n;
        return n > 0;
}

static int wait_timeout(const struct vmm *vmm) {
        uint64_t now = now_ns(), ms;

        if (!vmm->waiting)
                return -1;
        if (now >= vmm->deadline_ns)
                return 0;
        ms = (vmm->deadline_ns - now + 999999) / 1000000;
        return ms < INT_MAX ? (int)ms : INT_MAX;
}

int vmm_run(struct vmm *vmm) {
        struct input input = {.size = 0};
        int r;

        for (;;) {
                struct pollfd fds[] = {
                        {.fd = vmm->waiting ? -1 : STDIN_FILENO, .events = POLLIN},
                        {.fd = vmm->own_fds[0], .events = POLLIN},
                        {.fd = vmm->pvr ? pvr_vm_get_fd(vmm->pvr) : -1, .events = POLLIN},
                };

                if (poll(fds, sizeof(fds) / sizeof(fds[0]), wait_timeout(vmm)) < 0 &&
                    errno != EINTR)
                        return -errno;
                if (fds[0].revents) {
                        r = input_fill(&input);
                        if (r <= 0)
                                return r;
                }
                r = vmm_drain_outcomes(vmm);
                if (r < 0)
                        return r;
                check_wait(vmm);
                r = input_run(&input, vmm);
                if (r < 0)
                        return r;
        }
}
