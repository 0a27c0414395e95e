/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The checks of "pv-reaperctl check", on hosts that this test makes below a directory: one on which
 * all is well, and then each with something else wrong. Each row must be found by its check, which
 * says the word for it; and whoever is to act is told how. KVM's answers are the test's.
 */

#include "fds.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/kvm-pv.h"
#include "ctl/check.h"

#define SYSTEMD   "/usr/lib/systemd/system/"
#define ETC       "/etc/systemd/system/"
#define DROPIN    "machine-.scope.d/50-pv-reaper.conf"
#define WORKERS   "/sys/fs/cgroup/pvreaper.slice/pv-reaper-workers.service/cgroup.controllers"
#define APPARMOR  "/etc/apparmor.d/abstractions/libvirt-qemu"
#define LOCAL     "/etc/apparmor.d/local/abstractions/libvirt-qemu"
#define OURS      " /run/pv-reaper/handoff.sock rw,\n"
#define LIBVIRT   "/etc/libvirt/qemu.conf"
#define QEMU_CONF CTL_SYSCONF_DIR "/qemu.conf"
#define HOOK      "/etc/libvirt/hooks/qemu"
#define QEMU      "/usr/bin/qemu-system-s390x"
#define DRAIN     "PVREAPER_NATIVE_AIO=drain"
#define MODULE    "/var/lib/selinux/targeted/active/modules/400/pv-reaper/cil"
#define RING      "7f2-7f3 rw-s 00000000 00:0f 17                 /[aio] (deleted)\n"
#define SAYS(v)   "#!/bin/sh\necho 'QEMU emulator version " v " (x)'\n"
#define ALL_CAPS  "Name:\tx\nCapEff:\t0000000000880002\n"
#define LIMITS(n) "Limit  Soft\nMax open files   1024   " n "   files\n"

#define STAT(name, ppid) "80 (" name ") S " ppid " 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 123\n"

#define GONE     ((const char *)-1) /* no such file or directory */
#define KVM_GID  4242
#define QEMU_UID 64055

struct file {
        const char *path, *text; /* text that begins with "#!" is executable; LINK: a link */
};

#define LINK "->"

static const struct file good[] = {
        {"/proc/sys/kernel/arch", "s390x\n"},
        {"/proc/sys/kernel/osrelease", "6.1.0-40-s390x\n"},
        {"/proc/sys/net/core/somaxconn", "4096\n"},
        {"/proc/77/status", ALL_CAPS},
        {"/proc/77/limits", LIMITS("65536")},
        {"/sys/firmware/uv/prot_virt_host", "1\n"},
        {"/sys/module/kvm/parameters/async_destroy", "Y\n"},
        {"/sys/module/kvm/refcnt", "0\n"},
        {"/dev/kvm", ""},
        {"/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"},
        {"/run/systemd/system/x", ""},
        {SYSTEMD "pv-reaper.socket", "[Unit]\n"},
        {SYSTEMD "pv-reaper-control.socket", "[Unit]\n"},
        {SYSTEMD "pv-reaper-closer.socket", "[Unit]\n"},
        {SYSTEMD "pv-reaper.service", "[Unit]\n"},
        {SYSTEMD "pv-reaper-closer@.service", "[Unit]\n"},
        {SYSTEMD "pv-reaper-workers.service", "[Unit]\n"},
        {SYSTEMD "pvreaper.slice", "[Unit]\n"},
        {ETC "sockets.target.wants/pv-reaper.socket", "[Unit]\n"},
        {SYSTEMD DROPIN, "[Unit]\nAfter=pv-reaper.service pv-reaper-workers.service\n"},
        {"/etc/passwd", "root:x:0:0::/:/bin/sh\nlibvirt-qemu:x:64055:4242::/:/bin/false\n"
                        "qemu:x:107:4243::/:/bin/false\n"},
        {"/etc/group", "root:x:0:\nkvm:x:4242:\nqemu:x:4243:\n"},
        {"/sys/module/apparmor/parameters/enabled", "Y\n"},
        {APPARMOR, "  /dev/net/tun rw,\n  #include <local/abstractions/libvirt-qemu>\n"},
        {LOCAL, OURS},
        {"/sys/fs/selinux/enforce", "1"},
        {MODULE, ""},
        {QEMU, SAYS("8.2.1")},
        {"/usr/lib64/libvirt.so.0", LINK "libvirt.so.0.10000.0"},
};

/* What the daemon says of itself; numbers as text. */
struct status {
        const char *key, *string;
        uint64_t number;
};

struct row {
        void (*run)(const struct check_host *host, struct check_report *ret);
        enum check_result result;
        const char *words; /* in detail or advice */
        struct file changes[4];
        struct status status[4]; /* none: no daemon answers */
};

#define ROW(name, outcome, text, ...)                                                              \
        { .run = check_##name, .result = CHECK_##outcome, .words = (text), ##__VA_ARGS__ }

/* ---- hosts ---- */

static char root[] = "/tmp/pvr-ctl-check-XXXXXX";
static int kvm_version, kvm_extension;

int __wrap_ioctl(int fd, unsigned long request, unsigned long argument);

int __wrap_ioctl(int fd, unsigned long request, unsigned long argument) {
        if (request == KVM_GET_API_VERSION)
                return kvm_version;
        assert_int_equal(request, KVM_CHECK_EXTENSION);
        assert_int_equal(argument, PV_CAP_ASYNC_DISABLE);
        return kvm_extension;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
        return remove(path);
}

static void remove_all(const char *path) {
        if (access(path, F_OK) == 0)
                assert_int_equal(nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
        else
                (void)unlink(path); /* a link to nowhere */
}

/* With the directories above it that are empty then. */
static void remove_below_root(const char *name) {
        char path[PATH_MAX];

        (void)snprintf(path, sizeof(path), "%s%s", root, name);
        remove_all(path);
        for (char *p = strrchr(path, '/'); p > path + strlen(root); p = strrchr(path, '/')) {
                *p = '\0';
                if (rmdir(path) < 0)
                        return;
        }
}

static void put(const char *name, const char *text) {
        char path[PATH_MAX];
        FILE *file;

        remove_below_root(name);
        if (text == GONE)
                return;
        (void)snprintf(path, sizeof(path), "%s%s", root, name);
        for (char *p = strchr(path + strlen(root) + 1, '/'); p; p = strchr(p + 1, '/')) {
                *p = '\0';
                (void)mkdir(path, 0700);
                *p = '/';
        }
        if (strncmp(text, LINK, strlen(LINK)) == 0) {
                assert_int_equal(symlink(text + strlen(LINK), path), 0);
                return;
        }
        file = fopen(path, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
        assert_int_equal(chmod(path, strncmp(text, "#!", 2) == 0 ? 0755 : 0644), 0);
}

static void put_good(void) {
        remove_all(root);
        assert_int_equal(mkdir(root, 0700), 0);
        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                put(good[i].path, good[i].text);
        kvm_version = KVM_API_VERSION;
        kvm_extension = 1;
}

/* As put_good() left it. */
static void restore(const struct file *changes) {
        for (const struct file *f = changes; f->path; f++) {
                size_t n = strlen(f->path);

                remove_below_root(f->path);
                for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                        if (strncmp(good[i].path, f->path, n) == 0 &&
                            (good[i].path[n] == '\0' || good[i].path[n] == '/'))
                                put(good[i].path, good[i].text);
        }
}

static int make_root(void **state) {
        return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state) {
        remove_all(root);
        return 0;
}

/* ---- rows ---- */

static void check_row(const struct row *row) {
        struct check_host host = {.root = root, .socket = "/nowhere", .why = "no answer"};
        struct check_report report = {};
        struct record record = {};
        char said[sizeof(report.detail) + sizeof(report.advice) + 1];

        for (const struct status *s = row->status; s->key; s++) {
                struct value value = {.type = VALUE_UNSIGNED, .number = s->number};

                if (s->string)
                        value = (struct value){.type = VALUE_STRING, .string = s->string};
                assert_int_equal(record_add(&record, s->key, &value), 0);
        }
        if (record.n_entries > 0)
                host.status = &record;
        row->run(&host, &report);
        (void)snprintf(said, sizeof(said), "%s %s", report.detail, report.advice);
        if (report.result != row->result || !strstr(said, row->words))
                fail_msg("\"%s\": result %d: %s", row->words, (int)report.result, said);
        assert_int_equal(*report.advice != '\0',
                         row->result == CHECK_WARN || row->result == CHECK_FAIL);
        for (size_t i = 0; i < record.n_entries; i++) {
                free(record.entries[i].key);
                free(record.entries[i].string);
        }
        free(record.entries);
}

static void check_rows(const struct row *rows, size_t n) {
        put_good();
        for (size_t i = 0; i < n; i++) {
                for (const struct file *f = rows[i].changes; f->path; f++)
                        put(f->path, f->text);
                check_row(&rows[i]);
                restore(rows[i].changes);
        }
}

static const struct row host_rows[] = {
        ROW(architecture, PASS, "s390x"),
        ROW(architecture, SKIP, "x86_64 has no",
            .changes = {{"/proc/sys/kernel/arch", "x86_64\n"}}),
        ROW(architecture, SKIP, "an unknown machine", .changes = {{"/proc/sys/kernel/arch", GONE}}),
        ROW(kernel, PASS, "Linux 6.1"),
        ROW(kernel, PASS, "Linux 5.9", .changes = {{"/proc/sys/kernel/osrelease", "5.9\n"}}),
        ROW(kernel, FAIL, "5.8 boot Linux 5.9",
            .changes = {{"/proc/sys/kernel/osrelease", "5.8.1"}}),
        ROW(kernel, SKIP, "cannot tell", .changes = {{"/proc/sys/kernel/osrelease", "six"}}),
        ROW(secure_execution, PASS, "is 1"),
        ROW(secure_execution, FAIL, "is not 1",
            .changes = {{"/sys/firmware/uv/prot_virt_host", "0\n"}}),
        ROW(secure_execution, FAIL, "no /sys/firmware",
            .changes = {{"/sys/firmware/uv/prot_virt_host", GONE}}),
        ROW(secure_execution, SKIP, "only on", .changes = {{"/proc/sys/kernel/arch", "aarch64\n"}}),
        ROW(async_destroy, PASS, "is on"),
        ROW(async_destroy, WARN, "kvm.async_destroy=1",
            .changes = {{"/sys/module/kvm/parameters/async_destroy", "N\n"}}),
        ROW(async_destroy, WARN, "Linux 6.2",
            .changes = {{"/sys/module/kvm/parameters/async_destroy", GONE}}),
        ROW(async_destroy, WARN, "modprobe kvm", .changes = {{"/sys/module/kvm", GONE}}),
        ROW(async_destroy, SKIP, "only on", .changes = {{"/proc/sys/kernel/arch", "x86_64\n"}}),
        ROW(kvm, PASS, "/dev/kvm"),
        ROW(kvm, FAIL, "No such file", .changes = {{"/dev/kvm", GONE}}),
        ROW(capability_224, PASS, "can set"),
        ROW(capability_224, FAIL, "No such file", .changes = {{"/dev/kvm", GONE}}),
        ROW(capability_224, SKIP, "only on", .changes = {{"/proc/sys/kernel/arch", "x86_64\n"}}),
        ROW(cgroup_v2, PASS, "is cgroup v2"),
        ROW(cgroup_v2, FAIL, "no cgroup v2 is mounted",
            .changes = {{"/sys/fs/cgroup/cgroup.controllers", GONE}}),
        ROW(cgroup_v2, FAIL, "hybrid",
            .changes = {{"/sys/fs/cgroup/cgroup.controllers", GONE},
                        {"/sys/fs/cgroup/unified/cgroup.controllers", "cpu\n"}}),
        ROW(controllers, PASS, "cpuset cpu io memory pids in /sys/fs/cgroup/cgroup."),
        ROW(controllers, PASS, "cpu pids in /sys/fs/cgroup/pvr",
            .changes = {{WORKERS, "cpu pids"}}),
        ROW(controllers, WARN, "no cpu pids in", .changes = {{WORKERS, "memory\n"}}),
        ROW(controllers, WARN, "no cpu in", .changes = {{WORKERS, "cpuset vcpu pids\n"}}),
        ROW(controllers, WARN, "no pids in", .changes = {{WORKERS, "cpuset cpu pidsx\n"}}),
        ROW(controllers, SKIP, "no cgroup v2",
            .changes = {{"/sys/fs/cgroup/cgroup.controllers", GONE}}),
        ROW(backlog, PASS, "4096 connections"),
        ROW(backlog, WARN, "4095 connections",
            .changes = {{"/proc/sys/net/core/somaxconn", "4095"}}),
        ROW(backlog, SKIP, "to read", .changes = {{"/proc/sys/net/core/somaxconn", GONE}}),
};

static void test_ctl_check_host(void **state) {
        check_rows(host_rows, ARRAY_SIZE(host_rows));
}

static void test_ctl_check_kvm(void **state) {
        static const struct row no_kvm = ROW(kvm, FAIL, "is not KVM");
        static const struct row old_kvm = ROW(capability_224, WARN, "Linux 6.2");

        put_good();
        kvm_version = -1;
        kvm_extension = 0;
        check_row(&no_kvm);
        check_row(&old_kvm);
}

static const struct row service_rows[] = {
        ROW(units, PASS, "is enabled"),
        ROW(units, SKIP, "systemd does not run", .changes = {{"/run/systemd/system", GONE}}),
        ROW(units, FAIL, "install pv-reaper-workers",
            .changes = {{SYSTEMD "pv-reaper-workers.service", GONE}}),
        ROW(units, FAIL, "install pvreaper.slice", .changes = {{SYSTEMD "pvreaper.slice", GONE}}),
        ROW(units, PASS, "is enabled",
            .changes = {{SYSTEMD "pvreaper.slice", GONE},
                        {"/lib/systemd/system/pvreaper.slice", "[Unit]\n"}}),
        ROW(units, FAIL, "unmask pv-reaper.service", .changes = {{ETC "pv-reaper.service", ""}}),
        ROW(units, WARN, "enable --now", .changes = {{ETC "sockets.target.wants", GONE}}),
        ROW(shutdown_order, PASS, "stop before the daemon, by " SYSTEMD DROPIN),
        ROW(shutdown_order, SKIP, "systemd does not run",
            .changes = {{"/run/systemd/system", GONE}}),
        ROW(shutdown_order, FAIL, "install it", .changes = {{SYSTEMD DROPIN, GONE}}),
        ROW(shutdown_order, WARN, ETC DROPIN " if it masks", .changes = {{ETC DROPIN, ""}}),
        ROW(shutdown_order, WARN, "after pv-reaper.service",
            .changes = {{SYSTEMD DROPIN,
                         "[Unit]\n #After=pv-reaper.service pv-reaper-workers.service\n"}}),
        ROW(shutdown_order, WARN, "after pv-reaper-workers.service",
            .changes = {{SYSTEMD DROPIN, "[Unit]\nAfter=pv-reaper.service\n"}}),
        ROW(daemon, FAIL, "no answer systemctl enable"),
        ROW(daemon, PASS, "pv-reaperd " PVR_VERSION_TEXT " answers, pid 77",
            .status = {{.key = "Version", .string = PVR_VERSION_TEXT},
                       {.key = "PID", .number = 77}}),
        ROW(daemon, WARN, "restart",
            .status = {{.key = "Version", .string = "0.0.1"}, {.key = "PID", .number = 77}}),
        ROW(capabilities, SKIP, "no daemon to look at"),
        ROW(capabilities, PASS, "CAP_SYS_NICE", .status = {{.key = "PID", .number = 77}}),
        ROW(capabilities, SKIP, "cannot read /proc/78/status",
            .status = {{.key = "PID", .number = 78}}),
        ROW(capabilities, SKIP, "cannot be read", .changes = {{"/proc/77/status", "Name:\tx\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(capabilities, SKIP, "cannot be read",
            .changes = {{"/proc/77/status", "Name:\tx\nCapEff:\t?\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(capabilities, FAIL, "=CAP_DAC_OVERRIDE",
            .changes = {{"/proc/77/status", "Name:\tx\nCapEff:\t0000000000880000\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(capabilities, FAIL, "=CAP_SYS_PTRACE",
            .changes = {{"/proc/77/status", "Name:\tx\nCapEff:\t0000000000800002\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(capabilities, WARN, "=CAP_SYS_NICE",
            .changes = {{"/proc/77/status", "Name:\tx\nCapEff:\t0000000000080002\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(fds, SKIP, "no daemon to look at"),
        ROW(fds, PASS, "16352 workers, 13082 are",
            .status = {{.key = "PID", .number = 77}, {.key = "Connections", .number = 13082}}),
        ROW(fds, WARN, "13083",
            .status = {{.key = "PID", .number = 77}, {.key = "Connections", .number = 13083}}),
        ROW(fds, PASS, "1000 workers, 0 are", .changes = {{"/proc/77/limits", LIMITS("4128")}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(fds, WARN, "999 workers", .changes = {{"/proc/77/limits", LIMITS("4127")}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(fds, WARN, "for 0 workers", .changes = {{"/proc/77/limits", LIMITS("64")}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(fds, SKIP, "be read", .changes = {{"/proc/77/limits", "Max no\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(cpu_cap, SKIP, "on Linux 6.1 cpu.max should act"),
        ROW(cpu_cap, SKIP, "on Linux 6.18 cpu.max does not",
            .changes = {{"/proc/sys/kernel/osrelease", "6.18.0\n"}}),
        ROW(cpu_cap, SKIP, "no daemon to ask (see daemon)",
            .changes = {{"/proc/sys/kernel/osrelease", GONE}}),
        ROW(cpu_cap, PASS, "because",
            .status = {{.key = "CPUBackend", .string = "cgroup"},
                       {.key = "CPUReason", .string = "because"},
                       {.key = "CPUQuota", .number = 5}}),
        ROW(cpu_cap, PASS, "why",
            .status = {{.key = "CPUBackend", .string = "deadline"},
                       {.key = "CPUReason", .string = "why"}}),
        ROW(cpu_cap, WARN, "1 workers are not held to cpu-quota by cgroup",
            .status = {{.key = "CPUBackend", .string = "cgroup"},
                       {.key = "Unenforced", .number = 1}}),
        ROW(cpu_cap, PASS, "no cpu-quota is", .status = {{.key = "CPUBackend", .string = "off"}}),
        ROW(cpu_cap, WARN, "not enforced: because",
            .status = {{.key = "CPUBackend", .string = "off"},
                       {.key = "CPUReason", .string = "because"},
                       {.key = "CPUQuota", .number = 5}}),
};

static void test_ctl_check_service(void **state) {
        check_rows(service_rows, ARRAY_SIZE(service_rows));
}

static const struct row software_rows[] = {
        ROW(qemu, PASS, "QEMU 8.2, with -run-with"),
        ROW(qemu, PASS, "QEMU 8.1, with -run-with", .changes = {{QEMU, SAYS("8.1.0")}}),
        ROW(qemu, PASS, "8.0, with -async", .changes = {{"/usr/libexec/qemu-kvm", SAYS("8.0.0")}}),
        ROW(qemu, PASS, "8.1", .changes = {{QEMU, GONE}, {"/usr/bin/qemu-kvm", SAYS("8.1.0")}}),
        ROW(qemu, WARN, "QEMU 7.2, with -async-teardown", .changes = {{QEMU, SAYS("7.2.22")}}),
        ROW(qemu, WARN, "QEMU 7.1, without asynchronous", .changes = {{QEMU, SAYS("7.1.0")}}),
        ROW(qemu, SKIP, QEMU " --version says no version", .changes = {{QEMU, "#!/bin/sh\n"}}),
        ROW(qemu, SKIP, "says no version", .changes = {{QEMU, SAYS("eight")}}),
        ROW(qemu, SKIP, "no QEMU", .changes = {{QEMU, "not executable"}}),
        ROW(libvirt, PASS, "libvirt 10.0"),
        ROW(libvirt, PASS, "libvirt 9.6",
            .changes = {{"/usr/lib64/libvirt.so.0", LINK "libvirt.so.0.9006.0"}}),
        ROW(libvirt, WARN, "libvirt 9.5 use <qemu",
            .changes = {{"/usr/lib64/libvirt.so.0", GONE},
                        {"/usr/lib/libvirt.so.0", LINK "libvirt.so.0.9005.0"}}),
        ROW(libvirt, SKIP, "no libvirt.so.0",
            .changes = {{"/usr/lib64/libvirt.so.0", LINK "libvirt.so.1"}}),
        ROW(apparmor, PASS, "lets QEMU connect"),
        ROW(apparmor, SKIP, "not enabled", .changes = {{"/sys/module/apparmor", GONE}}),
        ROW(apparmor, SKIP, "\"none\"",
            .changes = {{LIBVIRT,
                         "#security_driver = \"apparmor\"\n security_driver = \"none\"\n"}}),
        ROW(apparmor, PASS, "lets", .changes = {{LIBVIRT, "security_driver = \"apparmor\"\n"}}),
        ROW(apparmor, SKIP, "confines nothing", .changes = {{APPARMOR, GONE}}),
        ROW(apparmor, FAIL, "append", .changes = {{LOCAL, GONE}}),
        ROW(apparmor, FAIL, "append", .changes = {{LOCAL, "#" OURS}}),
        ROW(apparmor, FAIL, "append", .changes = {{APPARMOR, "  /dev/net/tun rw,\n"}}),
        ROW(apparmor, PASS, "lets", .changes = {{LOCAL, GONE}, {APPARMOR, OURS}}),
        ROW(apparmor, PASS, "lets",
            .changes = {{LOCAL, GONE},
                        {APPARMOR, " include if exists <abstractions/libvirt-qemu.d>\n"},
                        {APPARMOR ".d/x", OURS}}),
        ROW(apparmor, FAIL, "append",
            .changes = {{LOCAL, GONE},
                        {APPARMOR, "  /dev/net/tun rw,\n"},
                        {APPARMOR ".d/x", OURS}}),
        ROW(selinux, PASS, "has the module"),
        ROW(selinux, SKIP, "not enabled", .changes = {{"/sys/fs/selinux", GONE}}),
        ROW(selinux, FAIL, "pv-reaper.te", .changes = {{"/var/lib/selinux/targeted", GONE}}),
        ROW(selinux, FAIL, "QEMU cannot connect", .changes = {{"/var/lib/selinux", GONE}}),
        ROW(selinux, WARN, "permissive",
            .changes = {{"/var/lib/selinux", GONE}, {"/sys/fs/selinux/enforce", "0"}}),
        ROW(selinux, FAIL, "no module",
            .changes = {{"/etc/selinux/config", "SELINUX=permissive\nSELINUXTYPE=mls\n"}}),
        ROW(selinux, SKIP, "\"none\"", .changes = {{LIBVIRT, "security_driver = \"none\"\n"}}),
};

static void test_ctl_check_software(void **state) {
        check_rows(software_rows, ARRAY_SIZE(software_rows));
}

#define WAITS "#!/bin/sh\npv-reaperctl wait-quiet x\n"

static const struct row fencing_rows[] = {
        ROW(fencing, PASS, "keepers leave"),
        ROW(fencing, PASS, "keepers leave", .changes = {{QEMU_CONF, "# " DRAIN "\n"}}),
        ROW(fencing, PASS, "no libvirt", .changes = {{QEMU_CONF, DRAIN "\n"}}),
        ROW(fencing, PASS, "no libvirt", .changes = {{QEMU_CONF, " \t" DRAIN "\t "}}),
        ROW(fencing, PASS, "leave",
            .changes = {{QEMU_CONF, DRAIN "\nPVREAPER_NATIVE_AIO=let-go\n"}}),
        ROW(fencing, WARN, "no hook", .changes = {{QEMU_CONF, DRAIN}, {LIBVIRT, ""}}),
        ROW(fencing, WARN, "too old",
            .changes = {{QEMU_CONF, DRAIN},
                        {HOOK ".d/50-pv-reaper", "#!/bin/sh\npv-reaperctl wait-memory 1\n"}}),
        ROW(fencing, WARN, "no hook",
            .changes = {{QEMU_CONF, DRAIN}, {HOOK ".d/x", "pv-reaperctl wait-quiet x\n"}}),
        ROW(fencing, PASS, "libvirt waits", .changes = {{QEMU_CONF, DRAIN}, {HOOK ".d/x", WAITS}}),
        ROW(fencing, PASS, "libvirt waits",
            .changes = {{QEMU_CONF, DRAIN}, {HOOK, WAITS}, {HOOK ".d/a", "#!/bin/sh\n"}}),
        ROW(fencing, WARN, "1 of QEMU's own helpers (one is pid 79)",
            .changes = {{"/proc/79/comm", "cleanup/76\n"},
                        {"/proc/79/maps", "7f0-7f1 rw-p 0 0 0 \n" RING}}),
        ROW(fencing, PASS, "keepers leave",
            .changes = {{"/proc/79/comm", "cleanup/76\n"},
                        {"/proc/79/maps", "7f0-7f1 rw-p 0 0 0 \n"}}),
        ROW(fencing, SKIP, "cannot read /proc: No such", .changes = {{"/proc", GONE}}),
};

static void test_ctl_check_fencing(void **state) {
        check_rows(fencing_rows, ARRAY_SIZE(fencing_rows));
}

/* A keeper ends what is in flight of its own QEMU, and of no other. */
static void test_ctl_check_fencing_keeper(void **state) {
        static const struct row of_it = ROW(fencing, PASS, "keepers leave");
        static const struct row of_another = ROW(fencing, WARN, "one is pid 79");

        put_good();
        put("/proc/79/comm", "cleanup/76\n");
        put("/proc/79/maps", RING);
        put("/proc/80/comm", "pvr-keeper\n");
        put("/proc/80/stat", STAT("pvr-keeper", "76"));
        check_row(&of_it);
        put("/proc/80/stat", STAT("pvr-keeper", "75"));
        check_row(&of_another);
        put("/proc/80/stat", GONE);
        check_row(&of_another);
        put("/proc/80/stat", STAT("x", "76"));
        put("/proc/80/comm", "x\n");
        check_row(&of_another);
}

/* ---- who may connect ---- */

static void put_socket(const char *name, mode_t mode, uid_t uid, gid_t gid) {
        char path[PATH_MAX];

        put(name, "");
        (void)snprintf(path, sizeof(path), "%s%s", root, name);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
        assert_int_equal(chown(path, uid, gid), 0);
        assert_int_equal(chmod(path, mode), 0);
}

static void test_ctl_check_sockets(void **state) {
        static const struct {
                const char *path;
                void (*run)(const struct check_host *host, struct check_report *ret);
                bool is_control;
        } sockets[] = {
                {"/run/pv-reaper/handoff.sock", check_handoff_socket, false},
                {"/run/pv-reaper/release.sock", check_release_socket, false},
                {"/run/pv-reaper/control.sock", check_control_socket, true},
        };

        put_good();
        for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
                struct row row = {
                        .run = sockets[i].run, .result = CHECK_FAIL, .words = "No such file"};
                enum check_result other = sockets[i].is_control ? CHECK_PASS : CHECK_WARN;

                check_row(&row);
                put(sockets[i].path, "");
                row.words = "it is no socket systemctl enable";
                check_row(&row);
                put_socket(sockets[i].path, 0660, 0, KVM_GID);
                row = (struct row){.run = sockets[i].run,
                                   .result = CHECK_PASS,
                                   .words = ", mode 0660, group kvm"};
                check_row(&row);
                put_socket(sockets[i].path, 0660, 0, 0);
                row = (struct row){.run = sockets[i].run, .result = other, .words = "group root"};
                check_row(&row);
                put_socket(sockets[i].path, 0600, 0, KVM_GID);
                row = (struct row){
                        .run = sockets[i].run, .result = other, .words = "mode 0600, group kvm"};
                check_row(&row);
                put_socket(sockets[i].path, 0662, 0, KVM_GID);
                row = (struct row){
                        .run = sockets[i].run, .result = CHECK_WARN, .words = "everybody"};
                check_row(&row);
                put_socket(sockets[i].path, 0660, QEMU_UID, 77);
                row = (struct row){.run = sockets[i].run,
                                   .result = CHECK_WARN,
                                   .words = "group 77 set SocketUser=root"};
                check_row(&row);
        }
}

static void expect_user(enum check_result result, const char *words) {
        const struct row row = {.run = check_qemu_user, .result = result, .words = words};

        check_row(&row);
}

static void test_ctl_check_qemu_user(void **state) {
        put_good();
        expect_user(CHECK_SKIP, "handoff.sock: No such file");
        put_socket("/run/pv-reaper/handoff.sock", 0660, 0, KVM_GID);
        put_socket("/run/pv-reaper/release.sock", 0660, 0, KVM_GID);
        expect_user(CHECK_PASS, "libvirt-qemu may connect"); /* by its own group */
        put(LIBVIRT, "#user = \"root\"\nuser = \"root\"\nuser = \"qemu\"\n");
        expect_user(CHECK_FAIL, "handoff.sock (mode 0660, group kvm) usermod -aG kvm qemu");
        put("/etc/group", "kvm:x:4242:somebody,qemu\n");
        expect_user(CHECK_PASS, "qemu may connect");
        put_socket("/run/pv-reaper/release.sock", 0600, 0, KVM_GID);
        expect_user(CHECK_FAIL, "qemu may not connect to /run/pv-reaper/release.sock");
        put_socket("/run/pv-reaper/release.sock", 0602, 0, 0);
        expect_user(CHECK_PASS, "qemu may connect");
        put_socket("/run/pv-reaper/release.sock", 0260, 107, 0);
        expect_user(CHECK_PASS, "qemu may connect");
        put_socket("/run/pv-reaper/release.sock", 0460, 107, KVM_GID);
        expect_user(CHECK_FAIL, "qemu may not connect to /run/pv-reaper/release.sock");
        put(LIBVIRT, "user = \"root\"\n");
        expect_user(CHECK_PASS, "root may connect");
        put(LIBVIRT, "user = \"nobody-here\"\n");
        expect_user(CHECK_FAIL, "nobody-here\", which does not exist");
        put(LIBVIRT, GONE);
        put("/etc/passwd", "root:x:0:0::/:/bin/sh\nqemu:x:0:0::/:/bin/sh\n");
        expect_user(CHECK_PASS, "qemu may connect");
        put("/etc/passwd", "root:x:0:0::/:/bin/sh\n");
        expect_user(CHECK_SKIP, "no user libvirt-qemu");
}

static const char *not_root(void) {
        return geteuid() == 0 ? NULL : "needs root, to give sockets away";
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_ctl_check_host),
                checked_test(test_ctl_check_kvm),
                checked_test(test_ctl_check_service),
                checked_test(test_ctl_check_software),
                checked_test(test_ctl_check_fencing),
                checked_test(test_ctl_check_fencing_keeper),
                checked_test_unless(not_root(), test_ctl_check_sockets),
                checked_test_unless(not_root(), test_ctl_check_qemu_user),
        };

        return cmocka_run_group_tests(tests, make_root, remove_root);
}
