/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * What libpvreaper-preload.so adds to an ioctl(2) that is none of its business: KVM_RUN, which each
 * vCPU issues over and over. Run it with that library preloaded. The same call is made through the
 * name, which is the library's, and through libc's own function, in turns, on an fd that is none:
 * the shortest system call there is, so nothing hides the difference.
 *
 *   bench_ioctl [--check]
 *
 * Prints the median of the batches' nanoseconds per call. Exit status: 0; 1 if nothing is
 * interposed, or, with --check, if it adds more than CHECKED_NS.
 */

#include <dlfcn.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "../vmm/timing.h"

#define BATCHES    400
#define CALLS      5000
#define CHECKED_NS 100.0

static double measure(int (*function)(int, unsigned long, ...)) {
        uint64_t begin = now_ns();

        for (int i = 0; i < CALLS; i++)
                (void)function(-1, KVM_RUN, 0);
        return (double)(now_ns() - begin) / CALLS;
}

static int compare(const void *a, const void *b) {
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

static double median(double *all) {
        qsort(all, BATCHES, sizeof(*all), compare);
        return all[BATCHES / 2];
}

int main(int argc, char **argv) {
        bool check = argc > 1 && strcmp(argv[1], "--check") == 0;
        double direct[BATCHES], interposed[BATCHES], added;
        void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
        void *own = libc ? dlsym(libc, "ioctl") : NULL;

        if (!own || own == dlsym(RTLD_DEFAULT, "ioctl")) {
                fprintf(stderr, "bench_ioctl: nothing stands in for ioctl(): see LD_PRELOAD\n");
                return EXIT_FAILURE;
        }
        for (int i = 0; i < BATCHES; i++) {
                direct[i] = measure((int (*)(int, unsigned long, ...))own);
                interposed[i] = measure(ioctl);
        }
        added = median(interposed) - median(direct);
        printf("ioctl: direct %.1f ns, interposed %.1f ns: %.1f ns more\n", median(direct),
               median(interposed), added);
        return check && added > CHECKED_NS ? EXIT_FAILURE : EXIT_SUCCESS;
}
