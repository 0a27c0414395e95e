/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Owns the enforcement, the probe while it runs, and its scratch cgroup, PATH/probe. The probe
 * takes a second or two, so it is begun only when a quota asks for it, at most once per start, and
 * nobody waits for it: the scopes of new VMs wait for our start. Until it is done cpu.max alone
 * holds.
 *
 * Without a cpu controller there are no values to write, and the quota is SCHED_DEADLINE's alone.
 */

#include "daemon/cpu/cap.h"

#include <stdlib.h>

#include "daemon/cgroup/cgroup.h"
#include "daemon/runtime/log.h"

struct cap {
        /* borrowed */
        sd_event *event;
        struct cgroup_root *cgroup; /* NULL: --cgroup none */

        /* owned */
        struct enforce *enforce;
        struct probe *probe; /* while it runs */
        int scratch;

        /* state */
        bool probed; /* or tried to */
        bool purge;  /* the scratch cgroup is still there */
};

static bool has_cpu(const struct cap *cap) {
        return cap->cgroup && (cap->cgroup->controllers & CGROUP_CPU);
}

static int write_into_jobs(void *userdata, const char *file, const char *value) {
        struct cap *cap = userdata;

        return cgroup_root_set(cap->cgroup, file, value);
}

/* ---- the probe ---- */

static void drop_scratch(struct cap *cap) {
        close_fd(&cap->scratch);
        cap->purge = cgroup_root_remove_scratch(cap->cgroup) == -EBUSY;
}

static void on_probe(void *userdata, enum probe_result result, const char *why) {
        struct cap *cap = userdata;

        cap->probe = probe_free(cap->probe);
        enforce_set_probe(cap->enforce, result, why);
        drop_scratch(cap);
}

static int start_probe(struct cap *cap) {
        struct probe_config config = {.done = on_probe, .userdata = cap};

        cap->scratch = cgroup_root_make_scratch(cap->cgroup);
        if (cap->scratch < 0)
                return cap->scratch;
        config.cgroup = cap->scratch;
        return probe_new(&cap->probe, cap->event, &config);
}

static void find_out(struct cap *cap) {
        int r;

        cap->probed = true;
        if (!has_cpu(cap)) {
                enforce_set_probe(cap->enforce, PROBE_UNKNOWN, "no cpu controller");
                return;
        }
        r = start_probe(cap);
        if (r < 0) {
                (void)log_warning_errno(r, "cannot test cpu.max inside system calls");
                enforce_set_probe(cap->enforce, PROBE_UNKNOWN, "the test could not start");
                drop_scratch(cap);
        }
}

/* ---- what is wanted ---- */

void cap_set(struct cap *cap, const struct enforce_policy *policy) {
        enforce_set_policy(cap->enforce, policy);
        if (!cap->probed && policy->mode == ENFORCE_AUTO && policy->quota != SHARE_UNLIMITED)
                find_out(cap);
}

bool cap_tick(struct cap *cap) {
        if (cap->purge)
                drop_scratch(cap);
        if (enforce_get_counts(cap->enforce).n_tasks > 0)
                enforce_tick(cap->enforce);
        return cap->purge;
}

struct enforce *cap_get_enforce(const struct cap *cap) {
        return cap->enforce;
}

/* ---- life and death ---- */

int cap_new(struct cap **ret, sd_event *event, struct cgroup_root *cgroup) {
        struct cap *cap = calloc(1, sizeof(*cap));
        struct enforce_cgroup jobs = {.write = write_into_jobs, .userdata = cap};
        int r;

        if (!cap)
                return -ENOMEM;
        cap->event = event;
        cap->cgroup = cgroup;
        cap->scratch = -1;
        r = enforce_new(&cap->enforce, has_cpu(cap) ? &jobs : NULL);
        if (r < 0) {
                free(cap);
                return r;
        }
        *ret = cap;
        return 0;
}

struct cap *cap_free(struct cap *cap) {
        if (!cap)
                return NULL;
        if (cap->probe) {
                cap->probe = probe_free(cap->probe);
                drop_scratch(cap);
        }
        enforce_free(cap->enforce);
        free(cap);
        return NULL;
}
