/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks that a guest is reported as ended only when the native AIO of its QEMU has ended. libvirt
 * must wait for keepers that end it. No helper of QEMU's own may keep it in flight, since nothing
 * can end it there. A check owns nothing when it returns.
 */

#include <dirent.h>
#include <string.h>

#include "base/task-stat.h"
#include "ctl/check.h"
#include "ctl/inflight.h"

#define QEMU_CONF CTL_SYSCONF_DIR "/qemu.conf"
#define HOOK      "/etc/libvirt/hooks/qemu"
#define OUR_HOOK  HOOK ".d/50-pv-reaper"

/* ---- what the wrapper of QEMU reads ---- */

/* Returns the line without the blanks at its ends, as the shell reads it. */
static char *strip(char *line) {
        size_t n;

        line += strspn(line, " \t");
        n = strlen(line);
        while (n > 0 && strchr(" \t\n", line[n - 1]))
                n--;
        line[n] = '\0';
        return line;
}

/*
 * Whether keepers stay with native AIO, and end it. Reads the file like the wrapper: it skips
 * unknown lines, and the last of the known ones counts.
 */
static bool keepers_drain(const struct check_host *host) {
        char path[CHECK_PATH_MAX], *line = NULL;
        FILE *file = fopen(check_path(host, path, "%s", QEMU_CONF), "re");
        bool drain = false;
        size_t size = 0;

        while (file && getline(&line, &size, file) > 0) {
                const char *setting = strip(line);

                if (strcmp(setting, "PVREAPER_NATIVE_AIO=drain") == 0)
                        drain = true;
                else if (strcmp(setting, "PVREAPER_NATIVE_AIO=let-go") == 0)
                        drain = false;
        }
        free(line);
        if (file)
                (void)fclose(file);
        return drain;
}

/* ---- libvirt's hooks ---- */

enum hook { HOOK_NONE, HOOK_OLD, HOOK_WAITS };

static enum hook look_at_hook(const struct check_host *host, const char *path) {
        char full[CHECK_PATH_MAX];

        if (access(check_path(host, full, "%s", path), X_OK) < 0)
                return HOOK_NONE;
        if (check_grep(host, path, "wait-quiet") > 0)
                return HOOK_WAITS;
        return check_grep(host, path, "wait-memory") > 0 ? HOOK_OLD : HOOK_NONE;
}

static enum hook find_hook(const struct check_host *host) {
        enum hook best = look_at_hook(host, HOOK), one;
        char path[CHECK_PATH_MAX];
        const struct dirent *entry;
        DIR *dir;

        dir = opendir(check_path(host, path, "%s.d", HOOK));
        while (dir && (entry = readdir(dir))) {
                if (entry->d_name[0] == '.')
                        continue;
                (void)snprintf(path, sizeof(path), "%s.d/%s", HOOK, entry->d_name);
                one = look_at_hook(host, path);
                best = one > best ? one : best;
        }
        if (dir)
                (void)closedir(dir);
        return best;
}

static void check_hook(const struct check_host *host, struct check_report *ret) {
        enum hook hook = find_hook(host);

        if (!keepers_drain(host)) {
                check_say(ret, CHECK_PASS, "keepers leave a QEMU that uses native AIO");
                return;
        }
        if (hook == HOOK_WAITS) {
                check_say(ret, CHECK_PASS, "keepers end native AIO, and libvirt waits for that");
                return;
        }
        if (!check_exists(host, "/etc/libvirt")) {
                check_say(ret, CHECK_PASS, "keepers end native AIO; there is no libvirt");
                return;
        }
        check_say(ret, CHECK_WARN, "keepers end native AIO, and libvirt does not wait for that: %s",
                  hook == HOOK_OLD ? "its hook is too old" : "it has no hook");
        check_advise(ret,
                     "install " CTL_DATA_DIR "/libvirt-hook as " OUR_HOOK ", executable, and "
                     "restart libvirt's daemon; or remove PVREAPER_NATIVE_AIO from %s",
                     QEMU_CONF);
}

/* ---- helpers whose AIO nothing can end ---- */

/* Calls look for each process until it returns other than 0. Returns that, or a negative errno. */
static int for_each_process(const struct check_host *host, void *userdata,
                            int (*look)(const struct check_host *host, pid_t pid, void *userdata)) {
        char path[CHECK_PATH_MAX];
        pid_t pid;
        DIR *dir;
        int r;

        dir = opendir(check_path(host, path, "/proc"));
        if (!dir)
                return negative_errno();
        while ((r = inflight_next_pid(dir, &pid)) > 0) {
                r = look(host, pid, userdata);
                if (r != 0)
                        break;
        }
        (void)closedir(dir);
        return r;
}

static const char *read_comm(const struct check_host *host, pid_t pid,
                             char buffer[CHECK_WORD_MAX]) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
        return check_word(host, path, buffer);
}

static int is_keeper_of(const struct check_host *host, pid_t pid, void *userdata) {
        char text[1024], comm[CHECK_WORD_MAX], path[64];
        const pid_t *qemu = userdata;
        struct task_stat stat;

        if (strcmp(read_comm(host, pid, comm), "pvr-keeper") != 0)
                return 0;
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
        if (check_read(host, path, text, sizeof(text)) < 0 ||
            task_stat_parse(&stat, text, strlen(text)) < 0)
                return 0;
        return stat.ppid == *qemu;
}

static int has_native_aio(const struct check_host *host, pid_t pid) {
        char path[CHECK_PATH_MAX], line[1024];
        bool found = false;
        FILE *file;

        file = fopen(check_path(host, path, "/proc/%d/maps", (int)pid), "re");
        if (!file)
                return negative_errno();
        while (!found && fgets(line, sizeof(line), file))
                found = inflight_is_ring(line);
        (void)fclose(file);
        return found;
}

struct helpers {
        unsigned n;
        pid_t pid; /* one of them */
        bool hidden;
};

/* A keeper ends the native AIO of its QEMU, even if a helper shares the memory. */
static int count_helper(const struct check_host *host, pid_t pid, void *userdata) {
        struct helpers *helpers = userdata;
        char comm[CHECK_WORD_MAX];
        pid_t qemu;
        int r;

        if (!inflight_is_helper(read_comm(host, pid, comm), &qemu) || qemu == 0)
                return 0;
        r = for_each_process(host, &qemu, is_keeper_of);
        if (r != 0)
                return r < 0 ? r : 0;
        r = has_native_aio(host, pid);
        helpers->hidden = helpers->hidden || r == -EACCES || r == -EPERM;
        if (r > 0) {
                helpers->n++;
                helpers->pid = pid;
        }
        return 0;
}

void check_fencing(const struct check_host *host, struct check_report *ret) {
        struct helpers helpers = {};
        int r;

        r = for_each_process(host, &helpers, count_helper);
        check_hook(host, ret);
        if (helpers.n > 0) {
                check_say(ret, CHECK_WARN,
                          "%u of QEMU's own helpers (one is pid %d) can leave native AIO in "
                          "flight after QEMU's end",
                          helpers.n, (int)helpers.pid);
                check_advise(ret,
                             "give these guests io='threads' or io='io_uring' disks, or no async "
                             "teardown; until then run pv-reaperctl wait-quiet before a restart");
        } else if (r < 0 && ret->result == CHECK_PASS) {
                check_say(ret, CHECK_SKIP, "cannot read /proc: %s", strerror(-r));
        } else if (helpers.hidden && ret->result == CHECK_PASS) {
                check_say(ret, CHECK_SKIP,
                          "no permission to read QEMU's helpers: run this as root");
        }
}
