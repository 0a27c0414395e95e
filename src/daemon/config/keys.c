/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table: every key of the configuration, in the order in which sections and keys are shown. To
 * add a key, add a row here, a field in struct config and a paragraph in pv-reaper.conf(5), and
 * make conf/pv-reaper.conf anew (pv-reaperd --print-defaults). A test compares page and file with
 * this table. Keys are unique over all sections, since pv-reaperctl names them without a section.
 */

#include "daemon/config/keys.h"

#include <string.h>

#include "daemon/cpu/enforce.h"
#include "sandbox/sandbox.h"

#define FIELD(member)                                                                              \
        .offset = offsetof(struct config, member),                                                 \
        .width = sizeof(((const struct config *)NULL)->member)

#define RULE(type_, ...)                                                                           \
        { .type = VALUE_##type_, __VA_ARGS__ }
#define LIMITS(min, max)              .minimum = (min), .maximum = (max)
#define OR_AUTO                       .or_auto = true
#define OR_INFINITY                   .or_infinity = true
#define NUMBER(min, max)              RULE(UNSIGNED, LIMITS(min, max))
#define NUMBER_OR_AUTO(min, max)      RULE(UNSIGNED, LIMITS(min, max), OR_AUTO)
#define TIME(min, max)                RULE(TIME, LIMITS(min, max))
#define TIME_OR_INFINITY(min, max)    RULE(TIME, LIMITS(min, max), OR_INFINITY)
#define PERCENT_OR_ANY(min, max)      RULE(PERCENT, LIMITS(min, max), OR_AUTO, OR_INFINITY)
#define PERCENT_OR_INFINITY(min, max) RULE(PERCENT, LIMITS(min, max), OR_INFINITY)
#define RATE_OR_INFINITY(plain)                                                                    \
        RULE(RATE, LIMITS(1, UINT64_C(1000000) * VALUE_PER_SECOND), OR_INFINITY, .unit = (plain))
#define SOCKET     RULE(SOCKET)
#define CGROUP     RULE(CGROUP)
#define PATTERNS   RULE(PATTERNS)
#define BOOL       RULE(BOOL)
#define WORD(list) RULE(WORD, .words = (list))
#define SIZE_FROM_0_OR_AUTO                                                                        \
        RULE(SIZE, LIMITS(0, CONFIG_AUTO_SIZE - 1), OR_AUTO, .automatic = CONFIG_AUTO_SIZE)
#define SIZE_OR_AUTO RULE(SIZE, LIMITS(1, UINT64_MAX), OR_AUTO)

#define COUNT_MAX 100000U
#define DAY       (86400 * USEC_PER_SEC)

const struct config_key config_keys[] = {
        {"sockets", "handoff", SOCKET, FIELD(handoff_socket),
         .fallback = "/run/pv-reaper/handoff.sock",
         .help = "Where workers connect, unless systemd passes a socket."},
        {"sockets", "control", SOCKET, FIELD(control_socket),
         .fallback = "/run/pv-reaper/control.sock",
         .help = "Where pv-reaperctl connects, unless systemd passes a socket."},
        {"cgroup", "path", CGROUP, FIELD(cgroup), .fallback = "auto",
         .help = "A cgroup v2 directory that nothing but the daemon uses. none: workers stay where "
                 "they are. auto: the cgroup of pv-reaper-workers.service."},

        {"limits", "max-concurrent", NUMBER_OR_AUTO(1, COUNT_MAX), FIELD(max_concurrent),
         .live = true, .fallback = "auto",
         .help = "How many teardowns run at once. auto: an eighth of the CPUs that are online, at "
                 "least 4."},
        {"limits", "boost-max-concurrent", NUMBER_OR_AUTO(1, COUNT_MAX),
         FIELD(boost_max_concurrent), .live = true, .fallback = "auto",
         .help = "max-concurrent in boost mode: while memory is short, while somebody waits for "
                 "memory, after pv-reaperctl hurry --all, and while the daemon drains "
                 "(pv-reaperctl drain, or pv-reaper.socket or the system is being stopped). "
                 "Not below max-concurrent. auto: as many as CPUs are online, at least "
                 "max-concurrent."},
        {"limits", "start-rate", RATE_OR_INFINITY(VALUE_PER_MINUTE), FIELD(start_rate),
         .live = true, .fallback = "infinity",
         .help = "How often a teardown begins, on average. Does not hold in boost mode, and while "
                 "the daemon drains. infinity or 0: no limit."},
        {"limits", "start-burst", NUMBER(1, COUNT_MAX), FIELD(start_burst), .live = true,
         .fallback = "10",
         .help = "How many teardowns may begin one after the other before start-rate holds them "
                 "back."},
        {"limits", "overdue", TIME_OR_INFINITY(USEC_PER_SEC, 365 * DAY), FIELD(overdue),
         .live = true, .fallback = "12h",
         .help = "After this time a worker no longer counts as running. It is never killed."},
        {"limits", "starvation-timeout", TIME_OR_INFINITY(USEC_PER_SEC, 365 * DAY),
         FIELD(starvation_timeout), .live = true, .fallback = "30s",
         .help = "A systemd unit that has waited for so long, and has no job that counts as "
                 "running, gets one beyond max-concurrent. If n units wait so, the last one waits "
                 "n / max-concurrent times as long, rounded up. infinity: units wait for as long "
                 "as the others run. start-rate holds all the same."},
        {"limits", "drain-time", TIME(0, DAY), FIELD(drain_time), .live = true, .fallback = "30s",
         .help = "How long the stop of pv-reaper.socket may wait for jobs. 0: not at all."},
        {"limits", "unit-connections", NUMBER_OR_AUTO(1, COUNT_MAX), FIELD(unit_connections),
         .live = true, .fallback = "auto",
         .help = "The most connections of one systemd unit (of one VM's scope, for example). auto: "
                 "a share of what the daemon can have open."},
        {"limits", "unit-arrivals", RATE_OR_INFINITY(VALUE_PER_SECOND), FIELD(unit_arrivals),
         .live = true, .fallback = "50",
         .help = "How many connections one unit may make, on average. infinity or 0: no limit."},
        {"limits", "unit-arrivals-burst", NUMBER(1, COUNT_MAX), FIELD(unit_arrivals_burst),
         .live = true, .fallback = "10000",
         .help = "How many connections one unit may make one after the other before unit-arrivals "
                 "holds it back. All VMs without a scope of their own are in one unit, and may "
                 "come at once."},

        {"cpu", "cpu-quota", PERCENT_OR_ANY(1, 1000000), FIELD(cpu_quota), .live = true,
         .fallback = "auto",
         .help = "The CPU time of all workers together; 100% is one CPU. infinity: no limit. auto: "
                 "no limit where weight protects others (CPUWeight= of pvreaper.slice), else 2% of "
                 "each CPU that is online, at most 40%. tests/bench/neighbours shows why."},
        {"cpu", "boost-cpu-quota", PERCENT_OR_INFINITY(1, 1000000), FIELD(boost_cpu_quota),
         .live = true, .fallback = "infinity",
         .help = "cpu-quota in boost mode, see boost-max-concurrent. Not below cpu-quota."},
        {"cpu", "cpu-period", TIME(USEC_PER_MSEC, USEC_PER_SEC), FIELD(cpu_period), .live = true,
         .fallback = "20ms",
         .help = "cpu-quota is a part of this period. A short period disturbs less."},
        {"cpu", "cpu-enforce", WORD(enforce_words), FIELD(cpu_enforce), .live = true,
         .fallback = "auto",
         .help = "What holds workers to cpu-quota: the cgroup's cpu.max, SCHED_DEADLINE, or "
                 "nothing. auto: cpu.max where it holds a task inside the kernel, else deadline."},

        {"memory", "memory-low", SIZE_FROM_0_OR_AUTO, FIELD(memory_low), .live = true,
         .fallback = "auto",
         .help = "Memory is short when less than this is available (MemAvailable), see "
                 "boost-max-concurrent. 0: never. auto: 5% of the memory that is not huge pages, "
                 "at most 16G. A percentage is of all memory, huge pages too."},
        {"memory", "memory-high", SIZE_OR_AUTO, FIELD(memory_high), .live = true,
         .fallback = "auto",
         .help = "Memory is no longer short when more than this is available. Not below "
                 "memory-low. auto: a quarter above memory-low."},

        {"adopt", "qemu", BOOL, FIELD(adopt_qemu), .live = true, .fallback = "no",
         .help = "yes: look for the helpers (cleanup/PID) that QEMUs with async teardown have, and "
                 "move them into the workers' cgroups. no: only pv-reaperctl adopt does so, for "
                 "one helper. The default is no, since this moves processes whose owners did not "
                 "ask for it."},
        {"adopt", "adopt-interval", TIME(USEC_PER_SEC, DAY), FIELD(adopt_interval), .live = true,
         .fallback = "10s",
         .help = "The daemon looks through all processes, then waits for so long. It may miss a "
                 "QEMU that lives for less time."},
        {"adopt", "emulators", PATTERNS, FIELD(adopt_emulators), .live = true,
         .fallback = "/usr/bin/qemu-system-* /usr/bin/qemu-kvm /usr/libexec/qemu-kvm",
         .help = "The programs whose helpers are adopted, by qemu=yes or by pv-reaperctl adopt."},

        {"daemon", "seccomp", WORD(sandbox_words), FIELD(seccomp), .fallback = "enforce",
         .help = "What the kernel does with a system call that is not in the daemon's list. "
                 "enforce: refuse and log it. log: allow and log it. off: there is no such list."},
};

const size_t n_config_keys = ARRAY_SIZE(config_keys);

/* Keys of earlier versions, and what does their work now. They never come back. */
static const struct {
        const char *section, *key, *instead;
} gone[] = {
        {"cpu", "cpu-weight", "CPUWeight= in a drop-in of pvreaper.slice"},
        {"cpu", "cpu-idle", "CPUWeight=idle in a drop-in of pvreaper.slice"},
        {"cpu", "cpus", "AllowedCPUs= in a drop-in of pvreaper.slice"},
        {"metrics", "metrics-file", "systemctl enable --now pv-reaper-metrics.timer"},
        {"metrics", "metrics-interval", "OnCalendar= in a drop-in of pv-reaper-metrics.timer"},
};

const char *config_instead(const char *section, const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
                if ((!section || strcmp(gone[i].section, section) == 0) &&
                    strcmp(gone[i].key, name) == 0)
                        return gone[i].instead;
        return NULL;
}

bool config_has_section(const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(config_keys); i++)
                if (strcmp(config_keys[i].section, name) == 0)
                        return true;
        for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
                if (strcmp(gone[i].section, name) == 0) /* its keys are told, one by one */
                        return true;
        return false;
}

const struct config_key *config_find_key(const char *section, const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(config_keys); i++)
                if ((!section || strcmp(config_keys[i].section, section) == 0) &&
                    strcmp(config_keys[i].key, name) == 0)
                        return &config_keys[i];
        return NULL;
}
