/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * sched_setattr(2) and its family by number: Debian 12's libc has neither the calls nor struct
 * sched_attr, later ones have both, so what is here has names of its own, this file's included: a
 * sched.h would hide libc's. The kernel takes every size of the structure that it ever had; ours is
 * the first.
 *
 * A task's nice value is kept in the kernel while its policy has none, and getpriority(2) tells it:
 * so it is not noted here, and a daemon that was restarted meanwhile restores it as well. The
 * policy it had before cannot be asked; a caller that knows the sort of worker knows that.
 *
 * SCHED_FLAG_RESET_ON_FORK is not set: a deadline task that cannot fork leaves its cap to nobody.
 */

#include "daemon/cpu/scheduling.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "daemon/runtime/process.h"

#define POLICY_DEADLINE 6    /* linux/sched.h; libc's sched.h lacks it */
#define CPUS_MAX        8192 /* the kernel's largest NR_CPUS */
#define NSEC_PER_SEC    UINT64_C(1000000000)

struct attributes {
        uint32_t size;
        uint32_t policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period; /* ns */
};

_Static_assert(sizeof(struct attributes) == 48, "SCHED_ATTR_SIZE_VER0");

struct sched_cpus {
        unsigned long bits[CPUS_MAX / (8 * sizeof(unsigned long))];
};

/* ---- the host ---- */

static int64_t read_sysctl(const char *name, int64_t otherwise) {
        char path[96], text[32];
        int64_t value;

        (void)snprintf(path, sizeof(path), "/proc/sys/kernel/%s", name);
        if (read_file_at(AT_FDCWD, path, text, sizeof(text)) < 0 ||
            sscanf(text, "%" SCNd64, &value) != 1)
                return otherwise;
        return value;
}

/* The coarse clocks move once a tick, and say so. */
static uint64_t tick_nsec(void) {
        struct timespec ts = {};

        if (clock_getres(CLOCK_MONOTONIC_COARSE, &ts) < 0 || ts.tv_sec != 0 || ts.tv_nsec <= 0)
                return 10 * USEC_PER_MSEC * NSEC_PER_USEC;
        return (uint64_t)ts.tv_nsec;
}

/*
 * An upper bound. What other deadline tasks have of it nobody tells (since 6.18 there is one for
 * the fair class on every CPU, which has 5 %): sched_setattr(2) finds out.
 */
static uint64_t admissible(unsigned n_cpus) {
        int64_t runtime = read_sysctl("sched_rt_runtime_us", 950000);
        int64_t period = read_sysctl("sched_rt_period_us", USEC_PER_SEC);

        if (runtime < 0 || period <= 0)
                return SHARE_UNLIMITED;
        return n_cpus * USEC_PER_SEC * (uint64_t)runtime / (uint64_t)period;
}

unsigned sched_count_cpus(void) {
        long n = sysconf(_SC_NPROCESSORS_ONLN);

        return n > 0 ? (unsigned)n : 1;
}

void sched_read_host(struct share_host *ret) {
        int64_t min = read_sysctl("sched_deadline_period_min_us", 100);
        int64_t max = read_sysctl("sched_deadline_period_max_us", 1 << 22);

        *ret = (struct share_host){
                .n_cpus = sched_count_cpus(),
                .tick_nsec = tick_nsec(),
                .period_min_nsec = max_u64((uint64_t)min, 100) * NSEC_PER_USEC,
                .period_max_nsec = min_u64((uint64_t)max * NSEC_PER_USEC, 4 * NSEC_PER_SEC),
        };
        ret->admissible = admissible(ret->n_cpus);
}

/* ---- one task ---- */

static int set_attributes(pid_t pid, struct attributes *attributes) {
        attributes->size = sizeof(*attributes);
        if (pid <= 0)
                return -ESRCH; /* 0 would be ourselves */
        return syscall(SYS_sched_setattr, pid, attributes, 0) < 0 ? negative_errno() : 0;
}

static int get_nice(pid_t pid, int *ret) {
        int nice;

        errno = 0;
        nice = getpriority(PRIO_PROCESS, (id_t)pid);
        if (nice == -1 && errno != 0)
                return negative_errno();
        *ret = nice;
        return 0;
}

static enum sched_sort sort_of(uint32_t policy) {
        switch (policy) {
        case SCHED_OTHER:
        case SCHED_BATCH:
                return SCHED_SORT_FAIR;
        case SCHED_IDLE:
                return SCHED_SORT_IDLE;
        case POLICY_DEADLINE:
                return SCHED_SORT_DEADLINE;
        default:
                return SCHED_SORT_REALTIME;
        }
}

int sched_look(pid_t pid, struct sched_state *ret) {
        struct attributes attributes = {};
        struct sched_state state;
        int r;

        if (pid <= 0)
                return -ESRCH;
        if (syscall(SYS_sched_getattr, pid, &attributes, sizeof(attributes), 0) < 0)
                return negative_errno();
        r = get_nice(pid, &state.nice);
        if (r < 0)
                return r;
        state.policy = (int)attributes.policy;
        state.sort = sort_of(attributes.policy);
        state.share = (struct share){.runtime_nsec = attributes.runtime,
                                     .period_nsec = attributes.period};
        *ret = state;
        return 0;
}

int sched_set_deadline(pid_t pid, const struct share *share) {
        struct attributes attributes = {
                .policy = POLICY_DEADLINE,
                .runtime = share->runtime_nsec,
                .deadline = share->period_nsec,
                .period = share->period_nsec,
        };

        return set_attributes(pid, &attributes);
}

int sched_set_fair(pid_t pid, int policy) {
        struct attributes attributes = {.policy = (uint32_t)policy};
        int nice, r;

        if (pid <= 0)
                return -ESRCH;
        r = get_nice(pid, &nice);
        if (r < 0)
                return r;
        attributes.nice = nice;
        return set_attributes(pid, &attributes);
}

/* ---- its CPUs ---- */

int sched_set_cpus(pid_t pid, const struct sched_cpus *cpus) {
        if (pid <= 0)
                return -ESRCH;
        return syscall(SYS_sched_setaffinity, pid, sizeof(cpus->bits), cpus->bits) < 0
                       ? negative_errno()
                       : 0;
}

static int get_cpus(pid_t pid, struct sched_cpus *ret) {
        memset(ret, 0, sizeof(*ret));
        if (pid <= 0)
                return -ESRCH;
        return syscall(SYS_sched_getaffinity, pid, sizeof(ret->bits), ret->bits) < 0
                       ? negative_errno()
                       : 0;
}

int sched_free_cpus(pid_t pid, struct sched_cpus **ret) {
        _cleanup_(freep) struct sched_cpus *had = malloc(sizeof(*had));
        struct sched_cpus all;
        int r;

        if (!had)
                return -ENOMEM;
        r = get_cpus(pid, had);
        if (r < 0)
                return r;
        memset(&all, 0xff, sizeof(all));
        r = sched_set_cpus(pid, &all);
        if (r < 0 || !ret)
                return r;
        *ret = take_ptr(&had);
        return 0;
}

/* ---- as a list ---- */

#define BITS_PER_LONG (8 * sizeof(unsigned long))

static bool has_cpu(const struct sched_cpus *cpus, unsigned cpu) {
        return cpu < CPUS_MAX && (cpus->bits[cpu / BITS_PER_LONG] >> cpu % BITS_PER_LONG & 1);
}

static unsigned count_cpus(const struct sched_cpus *cpus) {
        unsigned n = 0;

        for (size_t i = 0; i < ARRAY_SIZE(cpus->bits); i++)
                n += (unsigned)__builtin_popcountl(cpus->bits[i]);
        return n;
}

static int list_cpus(const struct sched_cpus *cpus, char *buffer, size_t size) {
        unsigned first, end;
        size_t n = 0;

        buffer[0] = '\0';
        for (first = 0; first < CPUS_MAX; first = end + 1) {
                for (end = first; has_cpu(cpus, end); end++)
                        ;
                if (end == first)
                        continue;
                n += (size_t)snprintf(buffer + n, size - n, end - first > 1 ? "%s%u-%u" : "%s%u",
                                      n > 0 ? "," : "", first, end - 1);
                if (n >= size)
                        return -ERANGE;
        }
        return 0;
}

int sched_list_cpus(pid_t pid, char *buffer, size_t size) {
        struct sched_cpus cpus;
        int r;

        r = get_cpus(pid, &cpus);
        if (r < 0)
                return r;
        if (count_cpus(&cpus) >= sched_count_cpus()) {
                buffer[0] = '\0';
                return 0;
        }
        return list_cpus(&cpus, buffer, size);
}

/* Of "8" or "0-3", and a comma after it. */
static int parse_range(struct sched_cpus *cpus, const char **list) {
        unsigned long first, last;
        char *end;

        first = last = strtoul(*list, &end, 10);
        if (end == *list)
                return -EBADMSG;
        if (*end == '-') {
                *list = end + 1;
                last = strtoul(*list, &end, 10);
        }
        if (end == *list || first > last || last >= CPUS_MAX || (*end && *end != ','))
                return -EBADMSG;
        for (; first <= last; first++)
                cpus->bits[first / BITS_PER_LONG] |= 1UL << first % BITS_PER_LONG;
        *list = *end ? end + 1 : end;
        return 0;
}

int sched_parse_cpus(struct sched_cpus **ret, const char *list) {
        _cleanup_(freep) struct sched_cpus *cpus = calloc(1, sizeof(*cpus));
        int r;

        if (!cpus)
                return -ENOMEM;
        do
                r = parse_range(cpus, &list);
        while (r >= 0 && *list);
        if (r < 0)
                return r;
        *ret = take_ptr(&cpus);
        return 0;
}

/* ---- in words ---- */

static bool may_schedule_others(void) {
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {};

        return syscall(SYS_capget, &header, data) == 0 &&
               (data[CAP_TO_INDEX(CAP_SYS_NICE)].effective & CAP_TO_MASK(CAP_SYS_NICE));
}

static bool is_confined(pid_t pid) {
        struct sched_cpus cpus;

        return get_cpus(pid, &cpus) >= 0 && count_cpus(&cpus) < sched_count_cpus();
}

const char *sched_why(pid_t pid, int error) {
        switch (error) {
        case -ESRCH:
                return "it is gone";
        case -EBUSY:
                return "SCHED_DEADLINE admits no more";
        case -EINVAL:
                return "the kernel refuses this runtime and period";
        case -EPERM:
                if (!may_schedule_others())
                        return "no CAP_SYS_NICE";
                if (is_confined(pid))
                        return "it is pinned, or in a cpuset: SCHED_DEADLINE needs all CPUs";
                return "a seccomp filter or sched_rt_runtime_us=0 refuses it";
        default:
                return strerror(-error);
        }
}
