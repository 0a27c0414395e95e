/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What it costs to release a dead guest's memory in slices, with progress told, beside a plain
 * exit: the same child with the same memory, from the word go to its end, in turns, with 4K pages
 * and with transparent huge ones. The slices are the keeper's own (src/lib/space.c), its progress
 * goes to a socket that somebody reads, as a daemon would.
 *
 * --check: the total time of the middle one of the rounds, what others on the host take being in
 * the slow ones, is at most 1.15 times that of the plain exits.
 * Exit status: 0; 1 after an error or a failed --check; 2 for a wrong command line; 77 where there
 * is too little memory for it.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../vmm/timing.h"
#include "base/packet.h"
#include "base/util.h"
#include "base/wire.h"
#include "lib/space.h"

#define EXIT_USAGE     2
#define EXIT_SKIP      77
#define SIZE_DEFAULT   (UINT64_C(4) << 30)
#define ROUNDS_DEFAULT 15
#define ROUNDS_MAX     100
#define RATIO_CHECKED  1.15

enum way { WAY_EXIT, WAY_SLICES, _WAY_MAX };

struct bench {
        uint64_t size;
        size_t rounds;
};

struct picture {
        const char *name;
        int advice;
        uint64_t took_ns[_WAY_MAX][ROUNDS_MAX];
        uint64_t n_told; /* how often progress was told, in all rounds */
};

static int fail(const char *what, int r) {
        fprintf(stderr, "bench_shutdown: %s: %s\n", what, strerror(-r));
        return r;
}

static void on_progress(void *userdata, uint64_t bytes_left) {
        union wire_message m = {.progress = {.bytes_left = bytes_left}};
        const int *fd = userdata;
        int size = wire_encode(&m, WIRE_VERSION, WIRE_PROGRESS);

        (void)packet_send(*fd, &m, (size_t)size);
}

/* Each page is there afterwards. */
static void fill(uint8_t *memory, uint64_t size) {
        if (madvise(memory, size, MADV_POPULATE_WRITE) == 0) /* Linux 5.14 */
                return;
        for (uint64_t i = 0; i < size; i += 4096)
                *(volatile uint8_t *)&memory[i] = 1;
}

/* The child: memory, a word that it is there, and at the parent's word its end. */
static void run_child(const struct bench *bench, const struct picture *picture, enum way way,
                      int fd) {
        struct space space = {};
        uint8_t *memory = mmap(NULL, bench->size, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        char word = 'r';

        if (memory == MAP_FAILED || madvise(memory, bench->size, picture->advice) < 0)
                _exit(EXIT_FAILURE);
        fill(memory, bench->size);
        space_init(&space);
        if (write(fd, &word, 1) != 1 || read(fd, &word, 1) != 1)
                _exit(EXIT_FAILURE);
        if (way == WAY_SLICES)
                space_release(&space, on_progress, &fd);
        _exit(EXIT_SUCCESS);
}

/* Everything it says, up to its end. */
static uint64_t read_progress(int fd) {
        char packet[WIRE_SIZE_MAX];
        uint64_t n = 0;

        while (read(fd, packet, sizeof(packet)) > 0)
                n++;
        return n;
}

static int run_once(const struct bench *bench, struct picture *picture, enum way way,
                    uint64_t *ret_ns) {
        uint64_t start_ns;
        int fds[2], status;
        char word;
        pid_t pid;

        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) < 0)
                return fail("socketpair", -errno);
        pid = fork();
        if (pid == 0) {
                close(fds[0]);
                run_child(bench, picture, way, fds[1]);
        }
        close(fds[1]);
        if (pid < 0 || read(fds[0], &word, 1) != 1)
                return fail("cannot start a child", pid < 0 ? -errno : -ENOMEM);
        start_ns = now_ns();
        if (write(fds[0], &word, 1) != 1)
                return fail("cannot tell the child", -errno);
        picture->n_told += read_progress(fds[0]);
        (void)waitpid(pid, &status, 0);
        *ret_ns = now_ns() - start_ns;
        close(fds[0]);
        return status == 0 ? 0 : fail("the child", -EIO);
}

/* Each way goes first every second time. */
static int run_picture(const struct bench *bench, struct picture *picture) {
        for (size_t i = 0; i < bench->rounds; i++)
                for (int n = 0; n < _WAY_MAX; n++) {
                        enum way way = (enum way)((i + (size_t)n) % _WAY_MAX);
                        int r = run_once(bench, picture, way, &picture->took_ns[way][i]);

                        if (r < 0)
                                return r;
                }
        for (int way = 0; way < _WAY_MAX; way++)
                sort_ns(picture->took_ns[way], bench->rounds);
        return 0;
}

/* In the middle. */
static uint64_t usual_ns(const struct bench *bench, const struct picture *picture, enum way way) {
        return percentile_ns(picture->took_ns[way], bench->rounds, 50);
}

static double ratio(const struct bench *bench, const struct picture *picture) {
        return (double)usual_ns(bench, picture, WAY_SLICES) /
               (double)usual_ns(bench, picture, WAY_EXIT);
}

static void print_text(const struct bench *bench, const struct picture *picture) {
        printf("%-6s %5.1f GiB  exit %7.1f ms  slices %7.1f ms, told %2.0f times  ratio %.3f\n",
               picture->name, (double)bench->size / (1 << 30),
               (double)usual_ns(bench, picture, WAY_EXIT) / 1e6,
               (double)usual_ns(bench, picture, WAY_SLICES) / 1e6,
               (double)picture->n_told / (double)bench->rounds, ratio(bench, picture));
}

static void print_json(const struct bench *bench, const struct picture *picture, bool last) {
        printf("\"%s\":{\"exit_ns\":%" PRIu64 ",\"slices_ns\":%" PRIu64 ",\"ratio\":%.3f}%s",
               picture->name, usual_ns(bench, picture, WAY_EXIT),
               usual_ns(bench, picture, WAY_SLICES), ratio(bench, picture), last ? "}\n" : ",");
}

static int parse_number(const char *text, uint64_t max, uint64_t *ret) {
        char *end;

        *ret = strtoull(text, &end, 10);
        return *text >= '0' && *text <= '9' && *end == '\0' && *ret > 0 && *ret <= max ? 0
                                                                                       : -EINVAL;
}

static bool has_memory(uint64_t bytes) {
        return (uint64_t)sysconf(_SC_AVPHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE) > bytes;
}

static int run(const struct bench *bench, bool json, bool check) {
        struct picture pictures[] = {
                {.name = "4k", .advice = MADV_NOHUGEPAGE},
                {.name = "thp", .advice = MADV_HUGEPAGE},
        };
        int status = EXIT_SUCCESS;

        for (size_t i = 0; i < ARRAY_SIZE(pictures); i++)
                if (run_picture(bench, &pictures[i]) < 0)
                        return EXIT_FAILURE;
        if (json)
                printf("{\"bytes\":%" PRIu64 ",", bench->size);
        for (size_t i = 0; i < ARRAY_SIZE(pictures); i++) {
                if (json)
                        print_json(bench, &pictures[i], i + 1 == ARRAY_SIZE(pictures));
                else
                        print_text(bench, &pictures[i]);
                if (check && ratio(bench, &pictures[i]) > RATIO_CHECKED)
                        status = EXIT_FAILURE;
        }
        return status;
}

static int usage(void) {
        fprintf(stderr, "Usage: bench_shutdown [--gib N] [--rounds N] [--json] [--check]\n");
        return EXIT_USAGE;
}

int main(int argc, char **argv) {
        static const struct option options[] = {{"gib", required_argument, NULL, 'g'},
                                                {"rounds", required_argument, NULL, 'r'},
                                                {"json", no_argument, NULL, 'j'},
                                                {"check", no_argument, NULL, 'c'},
                                                {NULL, 0, NULL, 0}};
        struct bench bench = {.size = SIZE_DEFAULT, .rounds = ROUNDS_DEFAULT};
        bool json = false, check = false;
        uint64_t n;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                if (c == 'j')
                        json = true;
                else if (c == 'c')
                        check = true;
                else if (c == 'g' && parse_number(optarg, 1024, &n) >= 0)
                        bench.size = n << 30;
                else if (c == 'r' && parse_number(optarg, ROUNDS_MAX, &n) >= 0)
                        bench.rounds = n;
                else
                        return usage();
        if (optind < argc)
                return usage();
        if (!has_memory(bench.size + bench.size / 8)) {
                fprintf(stderr, "bench_shutdown: too little free memory\n");
                return EXIT_SKIP;
        }
        return run(&bench, json, check);
}
