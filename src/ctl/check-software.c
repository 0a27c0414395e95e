/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks of the software that runs and confines VMs: QEMU, libvirt, AppArmor, SELinux. Only QEMU's
 * version needs a program to run; libvirt's is in the name of its library. A check of missing
 * software does not apply: a host may run its VMs by other means.
 */

#include "ctl/check.h"

#include <dirent.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>

/* ---- QEMU ---- */

static bool find_qemu(const struct check_host *host, char ret[CHECK_PATH_MAX]) {
        char machine[CHECK_WORD_MAX], names[4][CHECK_WORD_MAX * 2];

        (void)check_machine(host, machine);
        (void)snprintf(names[0], sizeof(names[0]), "/usr/libexec/qemu-kvm");
        (void)snprintf(names[1], sizeof(names[1]), "/usr/bin/qemu-system-%s", machine);
        (void)snprintf(names[2], sizeof(names[2]), "/usr/bin/qemu-kvm");
        (void)snprintf(names[3], sizeof(names[3]), "/usr/local/bin/qemu-system-%s", machine);
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
                if (access(check_path(host, ret, "%s", names[i]), X_OK) == 0)
                        return true;
        return false;
}

/* Reads the output of --version. A check is a process of its own, which its parent ends in time. */
static int ask_version(const char *path, char *buffer, size_t size) {
        size_t n = 0;
        ssize_t m;
        int fds[2];
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return negative_errno();
        pid = fork();
        if (pid == 0) {
                (void)dup2(fds[1], STDOUT_FILENO);
                (void)execl(path, path, "--version", (char *)NULL);
                _exit(127);
        }
        close_fd(&fds[1]);
        while (pid > 0 && n < size - 1 && (m = read(fds[0], buffer + n, size - 1 - n)) > 0)
                n += (size_t)m;
        buffer[n] = '\0';
        close_fd(&fds[0]);
        if (pid > 0)
                (void)waitpid(pid, NULL, 0);
        return n > 0 ? 0 : -EBADMSG;
}

void check_qemu(const struct check_host *host, struct check_report *ret) {
        char path[CHECK_PATH_MAX], text[512];
        unsigned major, minor, version;
        const char *p = NULL, *file;
        bool ok;

        if (!find_qemu(host, path)) {
                check_say(ret, CHECK_NONE, "no QEMU in the usual places");
                return;
        }
        file = path + strlen(host->root);
        if (ask_version(path, text, sizeof(text)) >= 0)
                p = strstr(text, "version ");
        if (!p || sscanf(p, "version %u.%u", &major, &minor) != 2) {
                check_say(ret, CHECK_SKIP, "%s --version says no version", file);
                return;
        }
        version = major * 1000 + minor;
        ok = version >= 8000 || !check_is_s390x(host);
        check_say(ret, ok ? CHECK_PASS : CHECK_WARN, "QEMU %u.%u, %s", major, minor,
                  version >= 8001   ? "with -run-with async-teardown=on"
                  : version >= 7002 ? "with -async-teardown"
                                    : "without asynchronous teardown");
        if (!ok)
                check_advise(
                        ret,
                        "install 8.0 or later: before, a protected reboot waits for its teardown");
}

/* ---- libvirt ---- */

void check_libvirt(const struct check_host *host, struct check_report *ret) {
        static const char *const dirs[] = {"/usr/lib64", "/usr/lib/s390x-linux-gnu",
                                           "/usr/lib/x86_64-linux-gnu",
                                           "/usr/lib/aarch64-linux-gnu", "/usr/lib"};
        char path[CHECK_PATH_MAX], target[256];
        unsigned version = 0;
        ssize_t n;
        bool ok;

        for (size_t i = 0; i < ARRAY_SIZE(dirs) && version == 0; i++) {
                n = readlink(check_path(host, path, "%s/libvirt.so.0", dirs[i]), target,
                             sizeof(target) - 1);
                target[n < 0 ? 0 : n] = '\0';
                if (sscanf(target, "libvirt.so.0.%u.", &version) != 1)
                        version = 0;
        }
        if (version == 0) {
                check_say(ret, CHECK_NONE, "no libvirt.so.0 in the usual places");
                return;
        }
        ok = version >= 9006 || !check_is_s390x(host);
        check_say(ret, ok ? CHECK_PASS : CHECK_WARN, "libvirt %u.%u", version / 1000,
                  version % 1000);
        if (!ok)
                check_advise(ret,
                             "use <qemu:commandline>: this libvirt's XML has no <async-teardown>");
}

/* ---- AppArmor ---- */

#define ABSTRACTION "/etc/apparmor.d/abstractions/libvirt-qemu"
#define LOCAL       "/etc/apparmor.d/local/abstractions/libvirt-qemu"
#define OUR_LINES   "/run/pv-reaper/"

static bool is_in_directory(const struct check_host *host) {
        char path[CHECK_PATH_MAX];
        const struct dirent *entry;
        bool found = false;
        DIR *dir;

        dir = opendir(check_path(host, path, "%s.d", ABSTRACTION));
        while (dir && !found && (entry = readdir(dir))) {
                (void)snprintf(path, sizeof(path), "%s.d/%s", ABSTRACTION, entry->d_name);
                found = check_grep(host, path, OUR_LINES) > 0;
        }
        if (dir)
                (void)closedir(dir);
        return found;
}

/* Whether libvirt confines QEMU: "none" in qemu.conf turns that off. */
static bool is_confined(const struct check_host *host, struct check_report *ret) {
        char word[CHECK_WORD_MAX];

        if (check_qemu_conf(host, "security_driver", word) == 0 || strcmp(word, "none") != 0)
                return true;
        check_say(ret, CHECK_NONE, "qemu.conf has security_driver = \"none\"");
        return false;
}

void check_apparmor(const struct check_host *host, struct check_report *ret) {
        char word[CHECK_WORD_MAX];

        if (*check_word(host, "/sys/module/apparmor/parameters/enabled", word) != 'Y') {
                check_say(ret, CHECK_NONE, "AppArmor is not enabled");
                return;
        }
        if (!is_confined(host, ret))
                return;
        if (!check_exists(host, ABSTRACTION)) {
                check_say(ret, CHECK_NONE, "no " ABSTRACTION ": libvirt confines nothing with it");
                return;
        }
        if (check_grep(host, ABSTRACTION, OUR_LINES) > 0 ||
            (check_grep(host, LOCAL, OUR_LINES) > 0 &&
             check_grep(host, ABSTRACTION, "local/abstractions/libvirt-qemu") > 0) ||
            (is_in_directory(host) &&
             check_grep(host, ABSTRACTION, "abstractions/libvirt-qemu.d") > 0)) {
                check_say(ret, CHECK_PASS, "libvirt's profile lets QEMU connect");
                return;
        }
        check_say(ret, CHECK_FAIL,
                  "libvirt's profile does not let QEMU connect to pv-reaper's sockets");
        check_advise(ret, "append " CTL_DATA_DIR "/apparmor-libvirt-qemu to " LOCAL
                          ", and restart the VMs");
}

/* ---- SELinux ---- */

/* 1: the module is in the policy; 0: it is not; -EACCES: only root may know. */
static int find_module(const struct check_host *host) {
        char path[CHECK_PATH_MAX], type[CHECK_WORD_MAX] = "targeted";
        const struct dirent *entry;
        char line[256];
        FILE *file;
        int found = 0;
        DIR *dir;

        file = fopen(check_path(host, path, "/etc/selinux/config"), "re");
        while (file && fgets(line, sizeof(line), file))
                (void)sscanf(line, " SELINUXTYPE=%127[a-z0-9_-]", type);
        if (file)
                (void)fclose(file);
        dir = opendir(check_path(host, path, "/var/lib/selinux/%s/active/modules", type));
        if (!dir)
                return negative_errno();
        while (!found && (entry = readdir(dir))) { /* priorities: 100, 400 */
                if (entry->d_name[0] == '.')
                        continue;
                (void)check_path(host, path, "/var/lib/selinux/%s/active/modules/%s/pv-reaper",
                                 type, entry->d_name);
                found = access(path, F_OK) == 0;
        }
        (void)closedir(dir);
        return found;
}

void check_selinux(const struct check_host *host, struct check_report *ret) {
        char word[CHECK_WORD_MAX];
        int r;

        if (!*check_word(host, "/sys/fs/selinux/enforce", word)) {
                check_say(ret, CHECK_NONE, "SELinux is not enabled");
                return;
        }
        if (!is_confined(host, ret))
                return;
        r = find_module(host);
        if (r == -EACCES) {
                check_say(ret, CHECK_SKIP, "no permission to read the policy: run this as root");
                return;
        }
        if (r > 0) {
                check_say(ret, CHECK_PASS, "the policy has the module pv-reaper");
                return;
        }
        check_say(ret, *word == '1' ? CHECK_FAIL : CHECK_WARN,
                  "the policy has no module pv-reaper: %s",
                  *word == '1' ? "QEMU cannot connect to pv-reaper's sockets"
                               : "SELinux is permissive, so QEMU can connect now");
        check_advise(ret, "build and load it; its first lines say how: " CTL_DATA_DIR
                          "/selinux/pv-reaper.te");
}
