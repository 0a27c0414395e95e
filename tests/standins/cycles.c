/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A VMM that makes and frees 100 keepers, with a VM and without, and one that failed to start in
 * between. Afterwards there are the fds, threads, processes and mappings that there were before;
 * what libc keeps for the next thread (a stack, an arena) is there after the first few rounds.
 */

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "helper.h"

#define WARM_UP   10
#define CYCLES    100
#define SLACK_KIB 2048 /* a leaked keeper mapping would be more than 100 KiB each time */

struct usage {
        unsigned n_fds;
        unsigned n_mappings;
        unsigned long kib;
};

static struct usage usage_now(void) {
        struct usage usage = {.n_fds = count_numbers("/proc/self/fd")};
        unsigned long start, end;
        char line[512];
        FILE *maps;

        maps = fopen("/proc/self/maps", "re");
        check(maps);
        while (fgets(line, sizeof(line), maps))
                if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
                        usage.n_mappings++;
                        usage.kib += (end - start) / 1024;
                }
        fclose(maps);
        return usage;
}

static void cycle(struct helper *helper, bool with_vm) {
        char too_long[256];

        check(new_vm(&helper->vm, "cycle") == 0);
        check(find_keeper() > 0);
        if (with_vm) {
                check(pvr_vm_set_fd(helper->vm, helper->guest.vm_fd, HELPER_BYTES) == 0);
                helper_reboot(helper);
                helper_await(helper, PVR_RESULT_UNGOVERNED);
        }
        helper->vm = pvr_vm_free(helper->vm);

        memset(too_long, '/', sizeof(too_long) - 1);
        too_long[sizeof(too_long) - 1] = '\0';
        check(setenv("PVREAPER_SOCKET", too_long, 1) == 0);
        check(new_vm(&helper->vm, "too-long") == -ENAMETOOLONG);
        check(helper->vm == NULL);
        check(setenv("PVREAPER_SOCKET", "/nonexistent", 1) == 0);
        await_threads(1);
        check(find_keeper() == 0);
}

int main(void) {
        struct helper helper = {};
        struct usage before, after;

        helper_make_guest(&helper);
        for (int i = 0; i < WARM_UP; i++)
                cycle(&helper, i % 4 == 0);
        before = usage_now();
        for (int i = 0; i < CYCLES; i++)
                cycle(&helper, i % 4 == 0);
        after = usage_now();
        dprintf(check_fd, "fds %u -> %u, mappings %u -> %u, %lu KiB -> %lu KiB\n", before.n_fds,
                after.n_fds, before.n_mappings, after.n_mappings, before.kib, after.kib);
        check(after.n_fds == before.n_fds);
        check(after.n_mappings < before.n_mappings + CYCLES / 4);
        check(after.kib < before.kib + SLACK_KIB);
        return EXIT_SUCCESS;
}
