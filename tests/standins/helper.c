/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Small VMMs: starting, rebooting, looking around in /proc. A struct helper is never released as a
 * whole: a helper lets its keeper go with pvr_vm_free(), or is killed, and the rest goes with it.
 * Waiting for what announces itself to nobody is looking every 2 ms, for 30 s at most.
 */

#include "helper.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pv.h"

#define TIMEOUT_MS 30000
#define LOOK_MS    2

int check_fd = STDERR_FILENO;

void check_failed(const char *file, int line, const char *condition) {
        dprintf(check_fd, "%s:%d: not so: %s (errno: %s)\n", file, line, condition,
                strerror(errno));
        exit(EXIT_FAILURE);
}

int new_vm(struct pvr_vm **ret, const char *name) {
        const struct pvr_vm_options options = {.size = sizeof(options), .name = name};

        return pvr_vm_new(ret, &options);
}

void helper_make_guest(struct helper *helper) {
        int r = guest_init(&helper->guest, HELPER_BYTES);

        if (r < 0 && helper->guest.kvm_fd < 0)
                exit(EXIT_SKIP);
        check(r == 0);
}

void helper_start(struct helper *helper, const char *name) {
        check(new_vm(&helper->vm, name) == 0);
        helper_make_guest(helper);
        check(pvr_vm_set_fd(helper->vm, helper->guest.vm_fd, HELPER_BYTES) == 0);
}

void helper_reboot(struct helper *helper) {
        check(pv_command(helper->guest.vm_fd, PV_ENABLE, NULL) == 0);
        check(pvr_vm_disable_async(helper->vm) == 0);
}

struct pvr_outcome helper_await(struct helper *helper, enum pvr_result result) {
        struct pollfd pollfd = {.fd = pvr_vm_get_fd(helper->vm), .events = POLLIN};
        struct pvr_outcome outcome;
        int n;

        do
                n = poll(&pollfd, 1, TIMEOUT_MS);
        while (n < 0 && errno == EINTR);
        check(n == 1 && pollfd.revents == POLLIN);
        check(pvr_vm_next_outcome(helper->vm, &outcome, sizeof(outcome)) == 1);
        if (outcome.result != result)
                dprintf(check_fd, "outcome: %s, %s\n", pvr_result_to_string(outcome.result),
                        strerror(-outcome.error));
        check(outcome.result == result);
        return outcome;
}

unsigned count_numbers(const char *directory) {
        struct dirent *entry;
        unsigned n = 0;
        DIR *dir;

        dir = opendir(directory);
        check(dir);
        while ((entry = readdir(dir)))
                n += isdigit((unsigned char)entry->d_name[0]) != 0;
        closedir(dir);
        return n;
}

void await_threads(unsigned n) {
        int waited;

        for (waited = 0; count_numbers("/proc/self/task") != n && waited < TIMEOUT_MS;
             waited += LOOK_MS)
                poll(NULL, 0, LOOK_MS);
        check(count_numbers("/proc/self/task") == n);
}

/* /proc/PID/stat is "pid (name) state ppid ..." */
static bool read_stat(const char *pid, char name[static 16], char *ret_state, int *ret_parent) {
        char path[64];
        FILE *file;
        int n;

        snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
        file = fopen(path, "re");
        if (!file)
                return false;
        n = fscanf(file, "%*d (%15[^)]) %c %d", name, ret_state, ret_parent);
        fclose(file);
        return n == 3;
}

pid_t find_keeper(void) {
        char name[16], state;
        struct dirent *entry;
        pid_t found = 0;
        int parent;
        DIR *proc;

        proc = opendir("/proc");
        check(proc);
        while (found == 0 && (entry = readdir(proc)))
                if (isdigit((unsigned char)entry->d_name[0]) &&
                    read_stat(entry->d_name, name, &state, &parent) && parent == getpid() &&
                    strcmp(name, "pvr-keeper") == 0 && state != 'Z')
                        found = (pid_t)strtol(entry->d_name, NULL, 10);
        closedir(proc);
        return found;
}

void stop_process(pid_t pid) {
        char text[16], name[16], state = '?';
        int parent, waited;

        snprintf(text, sizeof(text), "%d", pid);
        check(kill(pid, SIGSTOP) == 0);
        for (waited = 0; state != 'T' && waited < TIMEOUT_MS; waited += LOOK_MS) {
                check(read_stat(text, name, &state, &parent));
                if (state != 'T')
                        poll(NULL, 0, LOOK_MS);
        }
        check(state == 'T');
}
