/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Adoption on request and by the scan: one way through, adopt_process(). A client that asks is told
 * each time; the scan comes by again and again, so what it refused is remembered (the last few
 * hundred) and not logged twice. Not worth a line is what comes and goes by itself, such as a
 * helper whose QEMU has ended already, nor that a QEMU has a keeper: both are what was asked for.
 */

#include "daemon/adopt/adopt.h"

#include <stdlib.h>

#include "daemon/config/config.h"
#include "daemon/runtime/log.h"
#include "daemon/runtime/process.h"

#define REFUSED_MAX 256

struct refused {
        pid_t pid;
        uint64_t starttime;
};

struct adopt {
        /* borrowed */
        struct workers *workers;
        const struct config *config;

        /* owned */
        struct adopt_scan *scan;

        /* state */
        struct refused refused[REFUSED_MAX]; /* by the scan; the oldest is overwritten */
        unsigned n_refused;                  /* ever */
};

/* Lines that anybody can cause who names himself so. */
static struct log_limit refused_limit;

static void log_adopted(const struct worker *w) {
        (void)log_event(LOG_EVENT(LOG_INFO, MESSAGE_ADOPTED, 0, LOG_TEXT("PV_UNIT", w->unit),
                                  LOG_NUMBER("PV_PID", (uint64_t)w->pid),
                                  LOG_NUMBER("PV_VMM_PID", (uint64_t)w->vmm_pid)),
                        "adopted %d, the helper of QEMU %d (unit %s)", (int)w->pid, (int)w->vmm_pid,
                        w->unit ? w->unit : "unknown");
}

static void log_refused(pid_t pid, enum adopt_answer answer, const char *text) {
        log_event_limited(&refused_limit,
                          LOG_EVENT(LOG_WARNING, MESSAGE_ADOPT_REFUSED, 0,
                                    LOG_NUMBER("PV_PID", (uint64_t)pid),
                                    LOG_TEXT("PV_REASON", adopt_answer_to_string(answer))),
                          "not adopted: %s", text);
}

/* What went wrong on the way in is an answer, too, if it is about that process. */
static int answer_of(int error, pid_t pid, char *text) {
        switch (error) {
        case -ESRCH:
                return adopt_say(text, ADOPT_GONE, "process %d, or its QEMU, has just ended",
                                 (int)pid);
        case -EUSERS:
                return adopt_say(text, ADOPT_NO_HELPER,
                                 "process %d has more than one thread; a helper has one", (int)pid);
        case -EDQUOT:
        case -EMFILE:
                return adopt_say(text, ADOPT_TOO_MANY,
                                 "cannot adopt %d: there are too many workers%s", (int)pid,
                                 error == -EDQUOT ? " of its unit" : "");
        default:
                return error;
        }
}

static int try(struct adopt *adopt, pid_t pid, char *text) {
        struct helper helper = {.pidfd = -1, .vmm_pidfd = -1};
        struct worker *w;
        int r;

        if (governor_mode(adopt->workers->governor) == GOVERNOR_DRAINING)
                return adopt_say(text, ADOPT_DRAINING,
                                 "cannot adopt %d: the daemon drains and takes in no workers",
                                 (int)pid);
        r = adopt_check(adopt->workers, adopt->config->adopt_emulators, pid, &helper, text);
        if (r != ADOPT_DONE)
                return r;
        r = worker_new_adopted(&w, adopt->workers, &helper);
        if (r < 0)
                return answer_of(r, pid, text);
        log_adopted(w);
        return ADOPT_DONE;
}

int adopt_process(struct adopt *adopt, pid_t pid, enum adopt_answer *ret,
                  char text[static ADOPT_TEXT_MAX]) {
        int r;

        text[0] = '\0';
        r = try(adopt, pid, text);
        if (r < 0)
                return log_warning_errno(r, "cannot adopt %d", (int)pid);
        if (r != ADOPT_DONE)
                log_refused(pid, r, text);
        *ret = r;
        return 0;
}

/* ---- by the scan ---- */

/* Whether it is the first time; notes that it was. */
static bool is_news(struct adopt *adopt, pid_t pid) {
        struct task_stat stat;

        if (process_read_stat(pid, &stat) < 0)
                return false;
        for (unsigned i = 0; i < REFUSED_MAX; i++)
                if (adopt->refused[i].pid == pid && adopt->refused[i].starttime == stat.starttime)
                        return false;
        adopt->refused[adopt->n_refused++ % REFUSED_MAX] = (struct refused){pid, stat.starttime};
        return true;
}

static bool is_worth_a_line(enum adopt_answer answer) {
        return answer == ADOPT_NO_HELPER || answer == ADOPT_NO_CHILD ||
               answer == ADOPT_OTHER_MEMORY || answer == ADOPT_EMULATOR || answer == ADOPT_TOO_MANY;
}

static void on_found(void *userdata, pid_t pid) {
        struct adopt *adopt = userdata;
        char text[ADOPT_TEXT_MAX];
        int r;

        r = try(adopt, pid, text);
        if ((r >= 0 && !is_worth_a_line(r)) || !is_news(adopt, pid))
                return;
        if (r < 0)
                log_warning_limited(&refused_limit, r, "cannot adopt %d", (int)pid);
        else
                log_refused(pid, r, text);
}

void adopt_apply(struct adopt *adopt) {
        const struct config *config = adopt->config;

        adopt_scan_set(adopt->scan, config->adopt_qemu ? config->adopt_interval : USEC_INFINITY);
}

/* ---- life and death ---- */

int adopt_new(struct adopt **ret, struct workers *workers, const struct config *config) {
        struct adopt *adopt = calloc(1, sizeof(*adopt));
        int r;

        if (!adopt)
                return -ENOMEM;
        adopt->workers = workers;
        adopt->config = config;
        r = adopt_scan_new(&adopt->scan, workers->event, on_found, adopt);
        if (r < 0) {
                free(adopt);
                return r;
        }
        *ret = adopt;
        return 0;
}

struct adopt *adopt_free(struct adopt *adopt) {
        if (!adopt)
                return NULL;
        adopt_scan_free(adopt->scan);
        free(adopt);
        return NULL;
}
