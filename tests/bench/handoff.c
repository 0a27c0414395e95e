/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What a hand-off costs the VMM, beside what stock QEMU does in its place: making a detached
 * thread. Both are measured in the same run, in turns, each going first every second time.
 *
 * The price of a send(2) depends on whether it has to wake its reader, so there are three pictures:
 * - idle: a pause after each ring and each thread, long enough for the keeper to read the bell and
 *   sleep again: every ring wakes it, and finds the queue empty. A reboot as it happens, and what
 *   --check looks at. One job waits for a daemon that never comes, so reading is all it does.
 * - job: no pause and no grace time: every ring starts a whole job, which goes straight to PERFORM
 *   and fails there (ENOTTY, or EINVAL on IBM Z); its outcome is awaited before the next turn, and
 *   so is the thread's end. Where keeper and VMM meet on one CPU, the scheduler may let the keeper
 *   do all that before send(2) returns, and then a hand-off costs as much as a thread.
 * - flood: rings and threads as fast as they go. The keeper reads when it can, and the queue is now
 *   empty, now full (which a hand-off takes for success). Threads are kept below a number that no
 *   machine minds; that waiting is not measured.
 * The thread returns at once and uses the default stack, which libc has cached from the one
 * before: as cheap as a thread gets.
 *
 * It needs a real VM fd, because the keeper duplicates it. Owns one struct pvr_vm per picture; the
 * VM is never run. Exit status: 0; 1 after an error or a failed --check; 2 for a wrong command
 * line; 77 where there is no KVM.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <poll.h>
#include <pthread.h>
#include <pvreaper.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "../vmm/timing.h"

#define EXIT_USAGE     2
#define EXIT_SKIP      77
#define COUNT_DEFAULT  20000
#define COUNT_MAX      10000000
#define WARM_UP        100
#define THREADS_MAX    64
#define PAUSE_NS       50000
#define OUTCOME_MSEC   10000
#define RATIO_CHECKED  0.8
#define GRACE_NONE     "0"
#define GRACE_A_DAY    "86400000"
#define SOCKET_NOWHERE "/nonexistent/pv-reaper-bench.sock"

enum pace { PACE_PAUSE, PACE_JOB, PACE_NONE };

struct picture {
        const char *name;
        const char *grace;
        enum pace pace;
        uint64_t *handoff_ns, *thread_ns;
};

struct bench {
        size_t count;
        int vm_fd;
        struct pvr_vm *pvr;
        pthread_attr_t detached;
        sem_t ended; /* a thread did */
        unsigned n_threads;
};

static int fail(const char *what, int r) {
        fprintf(stderr, "bench_handoff: %s: %s\n", what, strerror(-r));
        return r;
}

/* Reads outcomes until there is none left; waits for the first one if asked to. */
static int read_outcomes(struct bench *bench, bool wait) {
        struct pollfd pollfd = {.fd = pvr_vm_get_fd(bench->pvr), .events = POLLIN};
        struct pvr_outcome outcome;
        int r;

        if (wait && poll(&pollfd, 1, OUTCOME_MSEC) <= 0)
                return fail("no outcome", -ETIMEDOUT);
        do
                r = pvr_vm_next_outcome(bench->pvr, &outcome, sizeof(outcome));
        while (r > 0);
        return r;
}

static void pause_a_moment(void) {
        struct timespec ts = {.tv_nsec = PAUSE_NS};

        nanosleep(&ts, NULL);
}

static int ring(struct bench *bench, const struct picture *picture, uint64_t *ret_ns) {
        uint64_t start_ns = now_ns();
        int r;

        r = pvr_vm_handoff(bench->pvr);
        *ret_ns = now_ns() - start_ns;
        if (r < 0)
                return fail("hand-off", r);
        if (picture->pace == PACE_PAUSE)
                pause_a_moment();
        return picture->pace == PACE_JOB ? read_outcomes(bench, true) : 0;
}

static void *on_thread(void *data) {
        sem_post(data);
        return NULL;
}

static void await_threads(struct bench *bench, unsigned n_left) {
        for (; bench->n_threads > n_left; bench->n_threads--)
                while (sem_wait(&bench->ended) < 0)
                        ;
}

static int make_thread(struct bench *bench, const struct picture *picture, uint64_t *ret_ns) {
        uint64_t start_ns = now_ns();
        pthread_t thread;
        int r;

        r = pthread_create(&thread, &bench->detached, on_thread, &bench->ended);
        *ret_ns = now_ns() - start_ns;
        if (r != 0)
                return fail("pthread_create", -r);

        bench->n_threads++;
        if (picture->pace == PACE_PAUSE)
                pause_a_moment();
        await_threads(bench, picture->pace == PACE_NONE ? THREADS_MAX : 0);
        return 0;
}

static int turn(struct bench *bench, const struct picture *picture, size_t i) {
        int r;

        if (i % 2 == 0) {
                r = ring(bench, picture, &picture->handoff_ns[i]);
                return r < 0 ? r : make_thread(bench, picture, &picture->thread_ns[i]);
        }
        r = make_thread(bench, picture, &picture->thread_ns[i]);
        return r < 0 ? r : ring(bench, picture, &picture->handoff_ns[i]);
}

static int run_turns(struct bench *bench, const struct picture *picture) {
        int r;

        for (size_t i = 0; i < WARM_UP; i++) {
                r = turn(bench, picture, i % bench->count);
                if (r < 0)
                        return r;
        }
        for (size_t i = 0; i < bench->count; i++) {
                r = turn(bench, picture, i);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int run_picture(struct bench *bench, struct picture *picture) {
        int r;

        picture->handoff_ns = calloc(bench->count, sizeof(uint64_t));
        picture->thread_ns = calloc(bench->count, sizeof(uint64_t));
        if (!picture->handoff_ns || !picture->thread_ns)
                return fail("samples", -ENOMEM);

        setenv("PVREAPER_GRACE_MSEC", picture->grace, 1);
        r = pvr_vm_new(&bench->pvr, NULL);
        if (r < 0)
                return fail("cannot start a keeper", r);

        r = pvr_vm_set_fd(bench->pvr, bench->vm_fd, 0);
        if (r >= 0)
                r = run_turns(bench, picture);
        await_threads(bench, 0);
        bench->pvr = pvr_vm_free(bench->pvr);
        if (r < 0)
                return fail(picture->name, r);

        sort_ns(picture->handoff_ns, bench->count);
        sort_ns(picture->thread_ns, bench->count);
        return 0;
}

static double ratio(const struct bench *bench, const struct picture *picture, unsigned percent) {
        return (double)percentile_ns(picture->handoff_ns, bench->count, percent) /
               (double)percentile_ns(picture->thread_ns, bench->count, percent);
}

static void print_json_samples(const char *name, const uint64_t *samples, size_t n) {
        printf("\"%s\":{\"p50\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"max\":%" PRIu64 "},", name,
               percentile_ns(samples, n, 50), percentile_ns(samples, n, 99), samples[n - 1]);
}

static void print_json(const struct bench *bench, const struct picture *pictures, size_t n) {
        printf("{\"count\":%zu", bench->count);
        for (size_t i = 0; i < n; i++) {
                printf(",\"%s\":{", pictures[i].name);
                print_json_samples("handoff_ns", pictures[i].handoff_ns, bench->count);
                print_json_samples("thread_ns", pictures[i].thread_ns, bench->count);
                printf("\"ratio\":{\"p50\":%.3f,\"p99\":%.3f}}", ratio(bench, &pictures[i], 50),
                       ratio(bench, &pictures[i], 99));
        }
        printf("}\n");
}

static void print_row(const char *picture, const char *what, const uint64_t *samples, size_t n) {
        printf("%-7s %-24s %9.2f %9.2f %9.2f\n", picture, what,
               (double)percentile_ns(samples, n, 50) / 1000,
               (double)percentile_ns(samples, n, 99) / 1000, (double)samples[n - 1] / 1000);
}

static void print_table(const struct bench *bench, const struct picture *pictures, size_t n) {
        printf("%-7s %-24s %9s %9s %9s   (%zu each)\n", "KEEPER", "", "P50 us", "P99 us", "MAX us",
               bench->count);
        for (size_t i = 0; i < n; i++) {
                print_row(pictures[i].name, "pvr_vm_handoff", pictures[i].handoff_ns, bench->count);
                print_row("", "pthread_create, detached", pictures[i].thread_ns, bench->count);
                printf("%-7s %-24s %9.2f %9.2f\n", "", "ratio", ratio(bench, &pictures[i], 50),
                       ratio(bench, &pictures[i], 99));
        }
}

static int open_vm(int *ret) {
        int kvm_fd, vm_fd;

        kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
        if (kvm_fd < 0)
                return -errno;
        vm_fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
        if (vm_fd < 0) {
                int r = -errno;

                close(kvm_fd);
                return r;
        }
        close(kvm_fd);
        *ret = vm_fd;
        return 0;
}

static int parse_options(struct bench *bench, bool *json, bool *check, int argc, char **argv) {
        static const struct option options[] = {
                {"json", no_argument, NULL, 'j'},
                {"check", no_argument, NULL, 'c'},
                {"count", required_argument, NULL, 'n'},
                {NULL, 0, NULL, 0},
        };
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case 'j':
                        *json = true;
                        break;
                case 'c':
                        *check = true;
                        break;
                case 'n':
                        bench->count = strtoul(optarg, NULL, 10);
                        if (bench->count > 0 && bench->count <= COUNT_MAX)
                                break;
                        return -EINVAL;
                default:
                        return -EINVAL;
                }
        return optind == argc ? 0 : -EINVAL;
}

static int check_ratio(const struct bench *bench, const struct picture *picture) {
        double r = ratio(bench, picture, 50);

        if (r <= RATIO_CHECKED)
                return EXIT_SUCCESS;
        fprintf(stderr, "bench_handoff: %s: p50 is %.2f of a thread's, more than %.2f\n",
                picture->name, r, RATIO_CHECKED);
        return EXIT_FAILURE;
}

static int run(struct bench *bench, bool json, bool check) {
        struct picture pictures[] = {
                {.name = "idle", .grace = GRACE_A_DAY, .pace = PACE_PAUSE},
                {.name = "job", .grace = GRACE_NONE, .pace = PACE_JOB},
                {.name = "flood", .grace = GRACE_A_DAY, .pace = PACE_NONE},
        };
        const size_t n = sizeof(pictures) / sizeof(pictures[0]);
        int status;

        for (size_t i = 0; i < n; i++)
                if (run_picture(bench, &pictures[i]) < 0)
                        return EXIT_FAILURE;

        (json ? print_json : print_table)(bench, pictures, n);
        status = check ? check_ratio(bench, &pictures[0]) : EXIT_SUCCESS;
        for (size_t i = 0; i < n; i++) {
                free(pictures[i].handoff_ns);
                free(pictures[i].thread_ns);
        }
        return status;
}

int main(int argc, char **argv) {
        struct bench bench = {.count = COUNT_DEFAULT, .vm_fd = -1};
        bool json = false, check = false;
        int r;

        if (parse_options(&bench, &json, &check, argc, argv) < 0) {
                fprintf(stderr, "Usage: bench_handoff [--json] [--check] [--count N]\n");
                return EXIT_USAGE;
        }

        r = open_vm(&bench.vm_fd);
        if (r < 0) {
                fail("cannot measure: it takes a VM fd, and /dev/kvm gives none", r);
                return EXIT_SKIP;
        }

        setenv("PVREAPER_SOCKET", SOCKET_NOWHERE, 1);
        pthread_attr_init(&bench.detached);
        pthread_attr_setdetachstate(&bench.detached, PTHREAD_CREATE_DETACHED);
        sem_init(&bench.ended, 0, 0);
        return run(&bench, json, check);
}
