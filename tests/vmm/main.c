/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pvr-vmm: a small VMM on the real /dev/kvm, driven by commands on stdin (the protocol is in
 * vmm.h), that uses libpvreaper as QEMU would: through its public header alone. The tests play
 * the administrator and kill it at every step.
 *
 * Order matters and is the one pvreaper.h asks for: the keeper first, before there is any other
 * thread, then /dev/kvm, VM, memory, vCPU, and last pvr_vm_set_fd().
 * struct vmm owns guest, keeper and pipe, and is never released: a VMM goes by dying, and how the
 * rest goes with it is what is tested.
 *
 * Exit status: 0; 1 after an error; 2 for a wrong command line; 77 where /dev/kvm cannot be opened.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm.h"

#define EXIT_USAGE 2
#define EXIT_SKIP  77

struct options {
        const char *name;
        bool has_uuid;
        uint8_t uuid[16];
        uint64_t memory_size;
        unsigned n_threads;
        bool no_keeper;
};

static void print_help(void) {
        printf("pvr-vmm [OPTIONS...]\n\n"
               "A small VMM on /dev/kvm for the tests of pv-reaper; commands on stdin.\n\n"
               "  --name NAME    what the administrator knows the guest by (pvr-vmm)\n"
               "  --uuid UUID    its UUID (none)\n"
               "  --mem SIZE     size of its memory, of which only what is touched exists (4G)\n"
               "  --threads N    N threads that do nothing but malloc and free (0)\n"
               "  --no-keeper    without libpvreaper: PERFORM on a thread, as stock QEMU does\n"
               "  --help         this text\n\nCommands:\n");
        for (const struct command *c = commands; c->verb; c++)
                printf("  %-8s %-10s %s\n", c->verb, c->arguments, c->help);
}

/* 0: go on; 1: the help was asked for */
static int parse_option(struct options *options, int c) {
        uint64_t n;
        int r;

        switch (c) {
        case 'n':
                options->name = optarg;
                return 0;
        case 'u':
                options->has_uuid = true;
                return parse_uuid(options->uuid, optarg);
        case 'm':
                return parse_size(&options->memory_size, optarg);
        case 't':
                r = parse_size(&n, optarg);
                if (r < 0 || n > 1024)
                        return -EINVAL;
                options->n_threads = (unsigned)n;
                return 0;
        case 'k':
                options->no_keeper = true;
                return 0;
        case 'h':
                print_help();
                return 1;
        default:
                return -EINVAL;
        }
}

static int parse_options(struct options *options, int argc, char **argv) {
        static const struct option long_options[] = {
                {"name", required_argument, NULL, 'n'},
                {"uuid", required_argument, NULL, 'u'},
                {"mem", required_argument, NULL, 'm'},
                {"threads", required_argument, NULL, 't'},
                {"no-keeper", no_argument, NULL, 'k'},
                {"help", no_argument, NULL, 'h'},
                {NULL, 0, NULL, 0},
        };
        int c, r;

        while ((c = getopt_long(argc, argv, "", long_options, NULL)) >= 0) {
                r = parse_option(options, c);
                if (r != 0)
                        return r;
        }
        return optind == argc ? 0 : -EINVAL;
}

/* Too large for the thread cache and too small for mmap, so every turn takes the arena's lock. */
static void *on_malloc_thread(void *data) {
        unsigned seed = (unsigned)(uintptr_t)data;

        for (;;) {
                volatile char *p = malloc(2048 + (size_t)(rand_r(&seed) % 60000));

                if (p)
                        *p = 1;
                free((void *)(uintptr_t)p);
        }
        return NULL;
}

/*
 * All in one arena, the one the main thread and the library use, which keeps what it was given:
 * the point is its lock, not the kernel's.
 */
static int start_threads(unsigned n) {
        pthread_t thread;

        if (n > 0) {
                mallopt(M_ARENA_MAX, 1);
                mallopt(M_TRIM_THRESHOLD, INT_MAX);
        }
        for (unsigned i = 0; i < n; i++) {
                int r = pthread_create(&thread, NULL, on_malloc_thread, (void *)(uintptr_t)(i + 1));

                if (r != 0)
                        return -r;
                pthread_detach(thread);
        }
        return 0;
}

static int fail(const char *what, int r) {
        fprintf(stderr, "pvr-vmm: %s: %s\n", what, strerror(-r));
        return EXIT_FAILURE;
}

/* An exit status, or -1: go on */
static int vmm_start(struct vmm *vmm, const struct options *options) {
        const struct pvr_vm_options pvr_options = {
                .size = sizeof(pvr_options),
                .name = options->name,
                .uuid = options->has_uuid ? options->uuid : NULL,
        };
        int r;

        vmm->name = options->name;
        if (!options->no_keeper) {
                r = pvr_vm_new(&vmm->pvr, &pvr_options);
                if (r < 0)
                        return fail("cannot start a keeper", r);
        }

        r = guest_init(&vmm->guest, options->memory_size);
        if (r < 0) {
                fail("cannot make a VM", r);
                return vmm->guest.kvm_fd < 0 ? EXIT_SKIP : EXIT_FAILURE;
        }

        if (vmm->pvr) {
                r = pvr_vm_set_fd(vmm->pvr, vmm->guest.vm_fd, vmm->guest.memory_size);
                if (r < 0)
                        return fail("cannot tell the keeper the VM fd", r);
        }

        if (pipe2(vmm->own_fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return fail("cannot make a pipe", -errno);

        r = start_threads(options->n_threads);
        return r < 0 ? fail("cannot start threads", r) : -1;
}

int main(int argc, char **argv) {
        struct options options = {.name = "pvr-vmm", .memory_size = 4ull << 30};
        struct vmm vmm = {.own_fds = {-1, -1}};
        int r;

        r = parse_options(&options, argc, argv);
        if (r < 0)
                fprintf(stderr, "Try 'pvr-vmm --help'.\n");
        if (r != 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;

        r = vmm_start(&vmm, &options);
        if (r >= 0)
                return r;

        say("ready pid=%d vm_fd=%d", getpid(), vmm.guest.vm_fd);
        r = vmm_run(&vmm);
        return r < 0 ? fail("stopped", r) : EXIT_SUCCESS;
}
