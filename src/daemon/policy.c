/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one place that knows both the configuration's words and the governor's numbers. Owns nothing
 * and remembers nothing, so nothing can be left behind by a reload: the same words on the same host
 * give the same numbers.
 */

#include "daemon/policy.h"

/* Of one unit. A guest's scope needs a few packets per job; a thousand workers may be in one. */
#define PACKETS_PER_SEC 5000
#define PACKETS_BURST   10000

/*
 * Of one unit, without a grant: as many as the history remembers, for a unit full of guests which
 * went ahead while no daemon ran; and no more than a reader of the log can follow.
 */
#define OUTCOMES_PER_SEC 1
#define OUTCOMES_BURST   1000

#define SEC_PER_HOUR 3600U

/* What max-concurrent=auto is: docs/design.md says why. */
#define AUTO_CPUS_PER_JOB 8U
#define AUTO_JOBS_LEAST   4U

/* What cpu-quota=auto is of each CPU where weight does not act: pv-reaper.conf(5) says why. */
#define AUTO_PERCENT_PER_CPU UINT64_C(2)
#define AUTO_PERCENT_MAX     UINT64_C(40)

static unsigned most(const struct config *config, unsigned n_cpus) {
        if (config->max_concurrent != CONFIG_AUTO)
                return config->max_concurrent;
        return n_cpus / AUTO_CPUS_PER_JOB > AUTO_JOBS_LEAST ? n_cpus / AUTO_CPUS_PER_JOB
                                                            : AUTO_JOBS_LEAST;
}

static unsigned most_in_a_boost(const struct config *config, unsigned n_cpus) {
        unsigned normal = most(config, n_cpus), n = config->boost_max_concurrent;

        if (n == CONFIG_AUTO)
                n = n_cpus;
        return n > normal ? n : normal;
}

/* What cannot be told apart from no limit is none. */
static uint32_t rate_of(uint64_t per_hour) {
        return per_hour > UINT32_MAX ? 0 : (uint32_t)per_hour;
}

struct governor_limits policy_limits(const struct config *config, enum governor_mode mode,
                                     unsigned n_cpus) {
        bool normal = mode == GOVERNOR_NORMAL;

        return (struct governor_limits){
                .max_concurrent = normal ? most(config, n_cpus) : most_in_a_boost(config, n_cpus),
                .start_rate = normal ? rate_of(config->start_rate) : 0,
                .start_burst = config->start_burst,
                .overdue_usec = config->overdue,
                .starvation_usec = config->starvation_timeout,
        };
}

struct unit_limits policy_unit_limits(const struct config *config, unsigned max) {
        uint64_t arrivals = config->unit_arrivals;

        if (arrivals != CONFIG_INFINITY) /* a limit below one per second is one */
                arrivals = max_u64(arrivals / SEC_PER_HOUR, 1);
        return (struct unit_limits){
                .pool = {[UNIT_CONNECTIONS] = max, [UNIT_WORKERS] = max},
                .most = {[UNIT_CONNECTIONS] = config->unit_connections,
                         [UNIT_WORKERS] = config->unit_connections},
                .arrivals_per_sec = rate_of(arrivals),
                .arrivals_burst = config->unit_arrivals_burst,
                .packets_per_sec = PACKETS_PER_SEC,
                .packets_burst = PACKETS_BURST,
                .outcomes_per_sec = OUTCOMES_PER_SEC,
                .outcomes_burst = OUTCOMES_BURST,
        };
}

/*
 * Where weight acts workers take what others leave, and on a busy host a part that grows with it: a
 * quota would only waste the rest. Where it does not, a quota is all there is. It is then enforced
 * by SCHED_DEADLINE, which goes before all others on its CPU: so it does not grow without end.
 */
static uint64_t chosen_quota(const struct policy_host *host) {
        if (host->yields)
                return CONFIG_INFINITY;
        return min_u64(AUTO_PERCENT_PER_CPU * host->n_cpus, AUTO_PERCENT_MAX);
}

uint64_t policy_cpu_quota(const struct config *config, enum governor_mode mode,
                          const struct policy_host *host) {
        uint64_t percent = config->cpu_quota;

        if (percent == CONFIG_AUTO)
                percent = chosen_quota(host);
        if (mode != GOVERNOR_NORMAL)
                percent = max_u64(percent, config->boost_cpu_quota);
        return percent == CONFIG_INFINITY ? SHARE_UNLIMITED : percent * USEC_PER_SEC / 100;
}

struct enforce_policy policy_enforce(const struct config *config, uint64_t quota) {
        return (struct enforce_policy){
                .mode = config->cpu_enforce,
                .quota = quota,
                .period_usec = config->cpu_period,
        };
}
