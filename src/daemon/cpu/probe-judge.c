/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Two processes. The subject enters the cgroup and makes one long getrandom(2) three times: without
 * a quota before and after, which shows how busy the host is, and with one. It cannot judge itself,
 * for a debt is paid before it can read a clock. So the judge, outside the cgroup, looks for the
 * first byte of the call's last page of output: that is when the call was over. If the quota acted
 * inside the call, it lasted long, and its caller went on at once; if not, it was short, and the
 * caller late.
 *
 * Three tries must agree that it holds, or that it does not, before three say the contrary; those
 * that show nothing are repeated. Both processes die with their parents (PR_SET_PDEATHSIG).
 */

#include "daemon/cpu/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#include "daemon/cgroup/cgroup.h"

#define CPU_WANTED_NSEC UINT64_C(40000000) /* with 10 ms one of three was wrong on a busy host */
#define PIECE           ((size_t)64 << 10)
#define PIECES_MAX      8192 /* 512 MiB: 40 ms at 12 GiB/s */
#define LAST            4096 /* the page that is watched */
#define LOOK_NSEC       250000
#define VOTES_WANTED    3
#define TRIES_MAX       9

/* Between judge and subject. */
struct stage {
        uint64_t cpu, free, begin, end; /* ns */
        int error;                      /* why the subject gave up */
        bool limited;                   /* the judge has set the quota */
        bool measured;                  /* the subject has measured itself, and waits for that */
        bool lifted, done; /* it is gone again; the subject has measured itself again */
};

struct arena {
        volatile struct stage *stage;
        unsigned char *area; /* PIECES_MAX times the same piece, and the last page */
        unsigned char *last;
};

/*
 * A tenth of a CPU makes it ten times as long until the caller goes on: nearly, since the first
 * period's quota is there at once. On a busy host the call is longer without a quota, too, and then
 * a quota might be there without being used up.
 */
enum probe_result probe_judge(const struct probe_try *t) {
        /* It may have come and gone between two looks. */
        uint64_t complete = t->complete == 0 || t->complete > t->end ? t->end : t->complete;
        uint64_t inside = complete - t->begin, after = t->end - complete;

        if (t->cpu == 0 || t->free > 2 * t->cpu || inside + after < 5 * t->cpu)
                return PROBE_UNKNOWN;
        if (after > 2 * t->cpu && after > inside)
                return PROBE_DOES_NOT_HOLD;
        if (inside > 4 * t->cpu && inside > after)
                return PROBE_HOLDS;
        return PROBE_UNKNOWN;
}

/* ---- both ---- */

static uint64_t now_nsec(clockid_t clock) {
        struct timespec ts = {};

        (void)clock_gettime(clock, &ts);
        return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

static void nap(void) {
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_NSEC}, NULL);
}

static int limit_v2(int cgroup, bool limited) {
        char text[48];

        (void)snprintf(text, sizeof(text), "%u %u", PROBE_QUOTA_USEC, PROBE_PERIOD_USEC);
        return cgroup_write_at(cgroup, "cpu.max", limited ? text : "max");
}

static void set_up_child(void) {
        sigset_t none;

        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGCHLD, SIG_DFL); /* else nobody could wait for the subject */
        (void)sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Output of any length into a little memory; only the last page is one of its own. */
static int arena_new(struct arena *ret) {
        size_t size = PIECES_MAX * PIECE + LAST;
        struct arena arena;
        void *stage;

        stage = mmap(NULL, sizeof(*arena.stage), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                     -1, 0);
        arena.area =
                mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (stage == MAP_FAILED || arena.area == MAP_FAILED)
                return -ENOMEM;
        arena.stage = stage;
        arena.last = arena.area + PIECES_MAX * PIECE;
        if (mmap(arena.area, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
                 -1, 0) == MAP_FAILED ||
            mmap(arena.last, LAST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED,
                 -1, 0) == MAP_FAILED)
                return -ENOMEM;
        /* Of size 0, a shared mapping is not moved but doubled. */
        for (size_t i = 1; i < PIECES_MAX; i++)
                if (mremap(arena.area, 0, PIECE, MREMAP_MAYMOVE | MREMAP_FIXED,
                           arena.area + i * PIECE) == MAP_FAILED)
                        return -ENOMEM;
        *ret = arena;
        return 0;
}

/* ---- the subject ---- */

/* The last n pieces and the last page, in one call. Returns the CPU time in ns. */
static uint64_t call(struct arena *arena, size_t n) {
        uint64_t before = now_nsec(CLOCK_PROCESS_CPUTIME_ID);

        (void)syscall(SYS_getrandom, arena->last - n * PIECE, n * PIECE + LAST, 0);
        return now_nsec(CLOCK_PROCESS_CPUTIME_ID) - before;
}

static size_t calibrate(struct arena *arena) {
        uint64_t cpu = 0;
        size_t n;

        for (n = 1; n < PIECES_MAX; n *= 2) {
                cpu = call(arena, n);
                if (cpu >= CPU_WANTED_NSEC / 8)
                        break;
        }
        cpu = max_u64(cpu, 1);
        n = (size_t)((double)n * (double)CPU_WANTED_NSEC / (double)cpu) + 1;
        return n < PIECES_MAX ? n : PIECES_MAX;
}

_Noreturn static void subject(struct arena *arena, int cgroup) {
        volatile struct stage *stage = arena->stage;
        uint64_t begin;
        size_t n;
        int r;

        set_up_child();
        r = cgroup_write_at(cgroup, "cgroup.procs", "0");
        if (r < 0) {
                stage->error = r;
                _exit(EXIT_FAILURE);
        }
        n = calibrate(arena);
        (void)call(arena, n); /* the pages are there afterwards */
        begin = now_nsec(CLOCK_MONOTONIC);
        stage->cpu = call(arena, n);
        stage->free = now_nsec(CLOCK_MONOTONIC) - begin;
        memset(arena->last, 0, LAST);
        stage->measured = true;
        while (!stage->limited)
                nap();
        stage->begin = now_nsec(CLOCK_MONOTONIC);
        (void)call(arena, n);
        stage->end = now_nsec(CLOCK_MONOTONIC);
        while (!stage->lifted)
                nap();
        begin = now_nsec(CLOCK_MONOTONIC);
        (void)call(arena, n);
        stage->free = max_u64(stage->free, now_nsec(CLOCK_MONOTONIC) - begin);
        stage->done = true;
        _exit(EXIT_SUCCESS);
}

/* ---- the judge ---- */

/* 64 bytes of random numbers that are all 0 will not happen. */
static bool is_written(const struct arena *arena) {
        static const unsigned char nothing[64];

        return memcmp(arena->last + LAST - sizeof(nothing), nothing, sizeof(nothing)) != 0;
}

static void set_limit(volatile struct stage *stage, pid_t pid, const struct probe_config *config) {
        bool limited = !stage->limited;
        int r;

        r = config->limit(config->cgroup, limited);
        if (r < 0) {
                stage->error = r;
                (void)kill(pid, SIGKILL);
        }
        *(limited ? &stage->limited : &stage->lifted) = true;
}

/* Until the subject is gone; notes when its output was complete. */
static uint64_t watch(struct arena *arena, pid_t pid, const struct probe_config *config) {
        volatile struct stage *stage = arena->stage;
        uint64_t complete = 0;

        while (waitpid(pid, NULL, WNOHANG) == 0) {
                if (stage->measured && !stage->limited)
                        set_limit(stage, pid, config);
                if (stage->end != 0 && !stage->lifted)
                        set_limit(stage, pid, config);
                if (stage->begin != 0 && complete == 0 && is_written(arena))
                        complete = now_nsec(CLOCK_MONOTONIC);
                nap();
        }
        return complete;
}

static enum probe_verdict try_once(struct arena *arena, const struct probe_config *config) {
        volatile struct stage *stage = arena->stage;
        uint64_t complete;
        pid_t pid;

        memset(arena->last, 0, LAST);
        *stage = (struct stage){};
        (void)config->limit(config->cgroup, false);
        pid = fork();
        if (pid == 0)
                subject(arena, config->cgroup);
        if (pid < 0)
                return PROBE_VERDICT_NO_MEMORY;
        complete = watch(arena, pid, config);
        if (stage->error < 0)
                return stage->measured ? PROBE_VERDICT_NO_QUOTA : PROBE_VERDICT_NO_ENTRY;
        if (!stage->done)
                return PROBE_VERDICT_BUSY; /* somebody killed it */
        switch (probe_judge(&(struct probe_try){.cpu = stage->cpu,
                                                .free = stage->free,
                                                .begin = stage->begin,
                                                .end = stage->end,
                                                .complete = complete})) {
        case PROBE_HOLDS:
                return PROBE_VERDICT_HOLDS;
        case PROBE_DOES_NOT_HOLD:
                return PROBE_VERDICT_DOES_NOT_HOLD;
        default:
                return PROBE_VERDICT_BUSY;
        }
}

/* Everything but the cgroup, as fd 0; no stdio afterwards. */
static void keep_cgroup_only(struct probe_config *config) {
        if (dup2(config->cgroup, STDIN_FILENO) < 0)
                _exit(PROBE_VERDICT_NO_MEMORY);
        config->cgroup = STDIN_FILENO;
        if (syscall(SYS_close_range, 1U, ~0U, 0U) < 0) {
                long n = sysconf(_SC_OPEN_MAX);

                for (int fd = 1; fd < n; fd++)
                        (void)close(fd);
        }
}

void probe_judge_run(struct probe_config config) {
        unsigned votes[_PROBE_VERDICT_MAX] = {};
        struct arena arena;

        if (!config.limit)
                config.limit = limit_v2;
        set_up_child();
        keep_cgroup_only(&config);
        (void)setpriority(PRIO_PROCESS, 0, -20); /* what it sees should not depend on others */
        if (arena_new(&arena) < 0)
                _exit(PROBE_VERDICT_NO_MEMORY);
        for (int i = 0; i < TRIES_MAX; i++) {
                enum probe_verdict verdict = try_once(&arena, &config);

                if (verdict > PROBE_VERDICT_BUSY ||
                    (verdict != PROBE_VERDICT_BUSY && ++votes[verdict] >= VOTES_WANTED))
                        _exit((int)verdict);
        }
        _exit(PROBE_VERDICT_BUSY);
}
