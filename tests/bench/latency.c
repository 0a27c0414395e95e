/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A neighbour that wants little, but in time: on each CPU, over and over, 1 ms of sleep and a fixed
 * amount of work, 0.4 ms on a quiet CPU. How long each turn took is what its users would feel.
 *
 *   latency calibrate      prints how many steps of work are 0.4 ms here
 *   latency STEPS TURNS    prints the µs of each turn, all CPUs together, one per line; then, as
 *                          the last line, "total" and the µs of the slowest CPU's turns
 *
 * One thread per CPU, pinned to it. Samples are kept in memory, so that printing disturbs nobody.
 */

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../vmm/timing.h"

#define SLEEP_NS  1000000
#define WORK_NS   400000
#define ROUNDS    200
#define TURNS_MAX 1000000

struct one {
        pthread_t thread;
        unsigned cpu;
        uint64_t steps;
        size_t n_turns;
        uint64_t *samples, total;
};

static pthread_barrier_t start;

static uint64_t work(uint64_t steps) {
        volatile uint64_t x = 1;

        for (uint64_t i = 0; i < steps; i++)
                x = x * UINT64_C(6364136223846793005) + 1;
        return x;
}

/* The fastest of many: nobody disturbed that one. */
static uint64_t calibrate(void) {
        const uint64_t steps = 20000;
        uint64_t best = UINT64_MAX;

        for (int i = 0; i < ROUNDS; i++) {
                uint64_t begin = now_ns(), took;

                (void)work(steps);
                took = now_ns() - begin;
                best = took < best ? took : best;
        }
        return steps * WORK_NS / (best > 0 ? best : 1);
}

static void *on_thread(void *data) {
        struct one *one = data;
        uint64_t begin;
        cpu_set_t cpus;

        CPU_ZERO(&cpus);
        CPU_SET(one->cpu, &cpus);
        (void)sched_setaffinity(0, sizeof(cpus), &cpus);
        pthread_barrier_wait(&start);
        begin = now_ns();
        for (size_t i = 0; i < one->n_turns; i++) {
                uint64_t turn = now_ns();

                nanosleep(&(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
                (void)work(one->steps);
                one->samples[i] = now_ns() - turn;
        }
        one->total = now_ns() - begin;
        return NULL;
}

static int run(uint64_t steps, size_t n_turns) {
        unsigned n = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
        struct one *all = calloc(n, sizeof(*all));
        uint64_t total = 0;

        if (!all || pthread_barrier_init(&start, NULL, n) != 0)
                return EXIT_FAILURE;
        for (unsigned i = 0; i < n; i++) {
                all[i] = (struct one){.cpu = i, .steps = steps, .n_turns = n_turns};
                all[i].samples = calloc(n_turns, sizeof(uint64_t));
                if (!all[i].samples ||
                    pthread_create(&all[i].thread, NULL, on_thread, &all[i]) != 0)
                        return EXIT_FAILURE;
        }
        for (unsigned i = 0; i < n; i++) {
                pthread_join(all[i].thread, NULL);
                total = all[i].total > total ? all[i].total : total;
                for (size_t k = 0; k < n_turns; k++)
                        printf("%" PRIu64 "\n", all[i].samples[k] / 1000);
                free(all[i].samples);
        }
        printf("total %" PRIu64 "\n", total / 1000);
        free(all);
        return EXIT_SUCCESS;
}

int main(int argc, char **argv) {
        size_t n_turns;

        if (argc == 2 && strcmp(argv[1], "calibrate") == 0) {
                printf("%" PRIu64 "\n", calibrate());
                return EXIT_SUCCESS;
        }
        n_turns = argc == 3 ? strtoul(argv[2], NULL, 10) : 0;
        if (n_turns == 0 || n_turns > TURNS_MAX) {
                fprintf(stderr, "Usage: latency calibrate | latency STEPS TURNS\n");
                return 2;
        }
        return run(strtoull(argv[1], NULL, 10), n_turns);
}
