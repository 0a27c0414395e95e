/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one place that knows both the configuration's words and the governor's numbers. Owns nothing.
 * After policy_apply() every limit in force is what manager.config says, for the mode that the
 * governor is in: nothing is remembered here, so nothing can be left behind by a reload.
 *
 * In a hurry (memory is short, or we are on our way out) the boost-* values hold, and jobs start as
 * fast as slots become free: what start-rate spares the host is spent on giving memory back.
 */

#include "daemon/policy.h"

#include "daemon/adopt/adopt.h"
#include "daemon/cpu/cap.h"
#include "daemon/manager.h"

/* Of one unit. A guest's scope needs a few packets per job; a thousand workers may be in one. */
#define PACKETS_PER_SEC 5000
#define PACKETS_BURST   10000

#define SEC_PER_HOUR 3600U

/* What cpu-quota=auto is of each CPU where weight does not act: pv-reaper.conf(5) says why. */
#define AUTO_PERCENT_PER_CPU UINT64_C(2)
#define AUTO_PERCENT_MAX     UINT64_C(40)

static unsigned boosted(const struct config *config) {
        long n = config->boost_max_concurrent;

        if (config->boost_max_concurrent == CONFIG_AUTO)
                n = sysconf(_SC_NPROCESSORS_ONLN);
        return n > (long)config->max_concurrent ? (unsigned)n : config->max_concurrent;
}

/* What cannot be told apart from no limit is none. */
static uint32_t rate_of(uint64_t per_hour) {
        return per_hour > UINT32_MAX ? 0 : (uint32_t)per_hour;
}

static struct governor_limits limits_of(const struct config *config, enum governor_mode mode) {
        bool normal = mode == GOVERNOR_NORMAL;

        return (struct governor_limits){
                .max_concurrent = normal ? config->max_concurrent : boosted(config),
                .start_rate = normal ? rate_of(config->start_rate) : 0,
                .start_burst = config->start_burst,
                .overdue_usec = config->overdue,
        };
}

static struct unit_limits unit_limits_of(const struct config *config, unsigned max_peers) {
        uint64_t arrivals = config->unit_arrivals;

        if (arrivals != CONFIG_INFINITY) /* a limit below one per second is one */
                arrivals = max_u64(arrivals / SEC_PER_HOUR, 1);
        return (struct unit_limits){
                .pool = {[UNIT_CONNECTIONS] = max_peers, [UNIT_WORKERS] = max_peers},
                .most = {[UNIT_CONNECTIONS] = config->unit_connections,
                         [UNIT_WORKERS] = config->unit_connections},
                .arrivals_per_sec = rate_of(arrivals),
                .arrivals_burst = config->unit_arrivals_burst,
                .packets_per_sec = PACKETS_PER_SEC,
                .packets_burst = PACKETS_BURST,
        };
}

/*
 * Where weight acts workers take what others leave, and on a busy host a part that grows with it: a
 * quota would only waste the rest. Where it does not, a quota is all there is. It is then enforced
 * by SCHED_DEADLINE, which goes before all others on its CPU: so it does not grow without end.
 */
static uint64_t chosen_quota(const struct manager *m) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);

        if (m->cgroup && cgroup_root_yields(m->cgroup))
                return CONFIG_INFINITY;
        return min_u64(AUTO_PERCENT_PER_CPU * (n > 0 ? (uint64_t)n : 1), AUTO_PERCENT_MAX);
}

uint64_t policy_cpu_quota(const struct manager *m) {
        uint64_t percent = m->config->cpu_quota;

        if (percent == CONFIG_AUTO)
                percent = chosen_quota(m);
        if (governor_mode(&m->governor) != GOVERNOR_NORMAL)
                percent = max_u64(percent, m->config->boost_cpu_quota);
        return percent == CONFIG_INFINITY ? SHARE_UNLIMITED : percent * USEC_PER_SEC / 100;
}

static void apply_cpu(struct manager *m) {
        static const enum enforce_mode modes[] = {
                [CPU_ENFORCE_AUTO] = ENFORCE_AUTO,
                [CPU_ENFORCE_CGROUP] = ENFORCE_CGROUP,
                [CPU_ENFORCE_DEADLINE] = ENFORCE_DEADLINE,
                [CPU_ENFORCE_OFF] = ENFORCE_OFF,
        };
        const struct config *config = m->config;
        struct enforce_policy policy = {
                .mode = modes[config->cpu_enforce],
                .quota = policy_cpu_quota(m),
                .period_usec = config->cpu_period,
                .weight = config->cpu_weight,
                .idle = config->cpu_idle,
        };

        /* A SCHED_DEADLINE task may not be kept to some CPUs. */
        if (*config->cpus && policy.mode == ENFORCE_AUTO)
                policy.mode = ENFORCE_CGROUP;
        cap_set(m->cap, &policy, config->cpus);
}

void policy_init(struct manager *m, const struct config *config) {
        const struct governor_limits limits = limits_of(config, GOVERNOR_NORMAL);
        const struct unit_limits unit_limits = unit_limits_of(config, m->peers.max);

        governor_init(&m->governor, &limits, &unit_limits);
}

void policy_apply(struct manager *m) {
        const struct unit_limits unit_limits = unit_limits_of(m->config, m->peers.max);
        uint64_t now = manager_now(m);

        for (int mode = GOVERNOR_NORMAL; mode < _GOVERNOR_MODE_MAX; mode++) {
                const struct governor_limits limits = limits_of(m->config, mode);

                governor_set_limits(&m->governor, now, mode, &limits);
        }
        unit_table_set_limits(&m->governor.units, now, &unit_limits);
        apply_cpu(m);
        adopt_apply(m->adopt);
        manager_changed(m);
}

void policy_set_mode(struct manager *m, enum governor_mode mode, bool on) {
        governor_set_mode(&m->governor, manager_now(m), mode, on);
        policy_apply(m);
}
