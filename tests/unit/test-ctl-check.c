/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The checks of "pv-reaperctl check": of the host, its software, the service and fencing. The hosts
 * are made by ctl-host.h: each row changes one thing on a host where all is well, and the check
 * that looks at it must say so. Who may connect is test-ctl-check-access.c's.
 */

#include "fds.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>

#include "ctl-host.h"

static const struct row host_rows[] = {
        ROW(architecture, PASS, "s390x"),
        ROW(architecture, NONE, "x86_64 has no",
            .changes = {{"/proc/sys/kernel/arch", "x86_64\n"}}),
        ROW(architecture, NONE, "an unknown machine", .changes = {{"/proc/sys/kernel/arch", GONE}}),
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
        ROW(secure_execution, NONE, "only on", .changes = {{"/proc/sys/kernel/arch", "aarch64\n"}}),
        ROW(async_destroy, PASS, "is on"),
        ROW(async_destroy, WARN, "kvm.async_destroy=1",
            .changes = {{"/sys/module/kvm/parameters/async_destroy", "N\n"}}),
        ROW(async_destroy, WARN, "Linux 6.2",
            .changes = {{"/sys/module/kvm/parameters/async_destroy", GONE}}),
        ROW(async_destroy, WARN, "modprobe kvm", .changes = {{"/sys/module/kvm", GONE}}),
        ROW(async_destroy, NONE, "only on", .changes = {{"/proc/sys/kernel/arch", "x86_64\n"}}),
        ROW(kvm, PASS, "/dev/kvm"),
        ROW(kvm, FAIL, "No such file", .changes = {{"/dev/kvm", GONE}}),
        ROW(capability_224, PASS, "can set"),
        ROW(capability_224, FAIL, "No such file", .changes = {{"/dev/kvm", GONE}}),
        ROW(capability_224, NONE, "only on", .changes = {{"/proc/sys/kernel/arch", "x86_64\n"}}),
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
        ROW(controllers, NONE, "no cgroup v2",
            .changes = {{"/sys/fs/cgroup/cgroup.controllers", GONE}}),
        ROW(cgroup_v2, PASS, "uses /sys/fs/cgroup/x",
            .status = {{"CGroup", "/sys/fs/cgroup/x", 0}}),
        ROW(cgroup_v2, WARN, "uses no cgroup", .status = {{.key = "PID", .number = 77}}),
        ROW(controllers, WARN, "no cpu in /sys/fs/cgroup/x/cgroup.controllers",
            .changes = {{WORKERS, "cpu pids"}, {"/sys/fs/cgroup/x/cgroup.controllers", "pids\n"}},
            .status = {{"CGroup", "/sys/fs/cgroup/x", 0}}),
        ROW(controllers, PASS, "cpu pids in /sys/fs/cgroup/pvr", .changes = {{WORKERS, "cpu pids"}},
            .status = {{"CGroup", "/sys/fs/cgroup/x", 0}}),
        ROW(backlog, PASS, "4096 connections"),
        ROW(backlog, WARN, "4095 connections",
            .changes = {{"/proc/sys/net/core/somaxconn", "4095"}}),
        ROW(backlog, WARN, "then restart pv-reaperd",
            .changes = {{"/proc/sys/net/core/somaxconn", "4095"}, NO_SYSTEMD}),
        ROW(backlog, SKIP, "to read", .changes = {{"/proc/sys/net/core/somaxconn", GONE}}),
};

static void test_ctl_check_host(void **state) {
        host_check_rows(host_rows, ARRAY_SIZE(host_rows));
}

static void test_ctl_check_kvm(void **state) {
        static const struct row no_kvm = ROW(kvm, FAIL, "is not KVM");
        static const struct row old_kvm = ROW(capability_224, WARN, "Linux 6.2");

        host_put_good();
        host_kvm_version = -1;
        host_kvm_extension = 0;
        host_check_row(&no_kvm);
        host_check_row(&old_kvm);
}

static const struct row service_rows[] = {
        ROW(units, PASS, "is enabled"),
        ROW(units, NONE, "systemd does not run", .changes = {{"/run/systemd/system", GONE}}),
        ROW(units, FAIL, "install pv-reaper-workers",
            .changes = {{SYSTEMD "pv-reaper-workers.service", GONE}}),
        ROW(units, FAIL, "install pvreaper.slice", .changes = {{SYSTEMD "pvreaper.slice", GONE}}),
        ROW(units, PASS, "is enabled",
            .changes = {{SYSTEMD "pvreaper.slice", GONE},
                        {"/lib/systemd/system/pvreaper.slice", "[Unit]\n"}}),
        ROW(units, FAIL, "unmask pv-reaper.service", .changes = {{ETC "pv-reaper.service", ""}}),
        ROW(units, WARN, "enable --now", .changes = {{ETC "sockets.target.wants", GONE}}),
        ROW(shutdown_order, PASS, "stop before the daemon, by " SYSTEMD DROPIN),
        ROW(shutdown_order, NONE, "systemd does not run",
            .changes = {{"/run/systemd/system", GONE}}),
        ROW(shutdown_order, FAIL, "install it", .changes = {{SYSTEMD DROPIN, GONE}}),
        ROW(shutdown_order, WARN, ETC DROPIN " if it masks", .changes = {{ETC DROPIN, ""}}),
        ROW(shutdown_order, WARN, "after pv-reaper.service",
            .changes = {{SYSTEMD DROPIN,
                         "[Unit]\n #After=pv-reaper.service pv-reaper-workers.service\n"}}),
        ROW(shutdown_order, WARN, "after pv-reaper-workers.service",
            .changes = {{SYSTEMD DROPIN, "[Unit]\nAfter=pv-reaper.service\n"}}),
        ROW(daemon, FAIL, "no answer systemctl enable"),
        ROW(daemon, FAIL, "no answer start pv-reaperd", .changes = {NO_SYSTEMD}),
        ROW(daemon, WARN, ": restart pv-reaperd", .changes = {NO_SYSTEMD},
            .status = {{.key = "Version", .string = "0.0.1"}}),
        ROW(daemon, PASS, "pv-reaperd " PVR_VERSION_TEXT " answers, pid 77",
            .status = {{.key = "Version", .string = PVR_VERSION_TEXT},
                       {.key = "PID", .number = 77}}),
        ROW(daemon, WARN, "restart",
            .status = {{.key = "Version", .string = "0.0.1"}, {.key = "PID", .number = 77}}),
        ROW(capabilities, NONE, "no daemon to look at"),
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
        ROW(capabilities, FAIL, "start pv-reaperd with CAP_SYS_PTRACE",
            .changes = {{"/proc/77/status", "Name:\tx\nCapEff:\t0000000000800002\n"}, NO_SYSTEMD},
            .status = {{.key = "PID", .number = 77}}),
        ROW(capabilities, WARN, "=CAP_SYS_NICE",
            .changes = {{"/proc/77/status", "Name:\tx\nCapEff:\t0000000000080002\n"}},
            .status = {{.key = "PID", .number = 77}}),
        ROW(fds, NONE, "no daemon to ask"),
        ROW(fds, SKIP, "does not tell", .status = {{.key = "PID", .number = 77}}),
        ROW(fds, PASS, "16352 workers, 13082 are",
            .status = {{.key = "MaxVMs", .number = 16352},
                       {.key = "Connections", .number = 13082}}),
        ROW(fds, WARN, "13083 are connected set LimitNOFILE",
            .status = {{.key = "MaxVMs", .number = 16352},
                       {.key = "Connections", .number = 13083}}),
        ROW(fds, PASS, "1000 workers, 0 are", .status = {{.key = "MaxVMs", .number = 1000}}),
        ROW(fds, WARN, "999 workers", .status = {{.key = "MaxVMs", .number = 999}}),
        ROW(fds, WARN, "ulimit", .changes = {NO_SYSTEMD},
            .status = {{.key = "MaxVMs", .number = 1}}),
        ROW(cpu_cap, NONE, "on Linux 6.1 cpu.max should act"),
        ROW(cpu_cap, NONE, "on Linux 6.18 cpu.max does not",
            .changes = {{"/proc/sys/kernel/osrelease", "6.18.0\n"}}),
        ROW(cpu_cap, NONE, "no daemon to ask (see daemon)",
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
        ROW(cpu_cap, WARN, "in pv-reaperd's log", .changes = {NO_SYSTEMD},
            .status = {{.key = "CPUBackend", .string = "cgroup"},
                       {.key = "Unenforced", .number = 1}}),
        ROW(cpu_cap, PASS, "no cpu-quota is", .status = {{.key = "CPUBackend", .string = "off"}}),
        ROW(cpu_cap, WARN, "not enforced: because",
            .status = {{.key = "CPUBackend", .string = "off"},
                       {.key = "CPUReason", .string = "because"},
                       {.key = "CPUQuota", .number = 5}}),
};

static void test_ctl_check_service(void **state) {
        host_check_rows(service_rows, ARRAY_SIZE(service_rows));
}

static const struct row software_rows[] = {
        ROW(qemu, PASS, "QEMU 8.2, with -run-with"),
        ROW(qemu, PASS, "QEMU 8.1, with -run-with", .changes = {{QEMU, SAYS("8.1.0")}}),
        ROW(qemu, PASS, "8.0, with -async", .changes = {{"/usr/libexec/qemu-kvm", SAYS("8.0.0")}}),
        ROW(qemu, PASS, "8.1", .changes = {{QEMU, GONE}, {"/usr/bin/qemu-kvm", SAYS("8.1.0")}}),
        ROW(qemu, WARN, "QEMU 7.2, with -async-teardown", .changes = {{QEMU, SAYS("7.2.22")}}),
        ROW(qemu, PASS, "QEMU 7.2, with -async-teardown",
            .changes = {{"/proc/sys/kernel/arch", "x86_64\n"},
                        {"/usr/bin/qemu-system-x86_64", SAYS("7.2.22")}}),
        ROW(qemu, WARN, "QEMU 7.1, without asynchronous", .changes = {{QEMU, SAYS("7.1.0")}}),
        ROW(qemu, SKIP, QEMU " --version says no version", .changes = {{QEMU, "#!/bin/sh\n"}}),
        ROW(qemu, SKIP, "says no version", .changes = {{QEMU, SAYS("eight")}}),
        ROW(qemu, NONE, "no QEMU", .changes = {{QEMU, "not executable"}}),
        ROW(libvirt, PASS, "libvirt 10.0"),
        ROW(libvirt, PASS, "libvirt 9.6",
            .changes = {{"/usr/lib64/libvirt.so.0", LINK "libvirt.so.0.9006.0"}}),
        ROW(libvirt, WARN, "libvirt 9.5 use <qemu",
            .changes = {{"/usr/lib64/libvirt.so.0", GONE},
                        {"/usr/lib/libvirt.so.0", LINK "libvirt.so.0.9005.0"}}),
        ROW(libvirt, PASS, "libvirt 9.5",
            .changes = {{"/usr/lib64/libvirt.so.0", LINK "libvirt.so.0.9005.0"},
                        {"/proc/sys/kernel/arch", "x86_64\n"}}),
        ROW(libvirt, NONE, "no libvirt.so.0",
            .changes = {{"/usr/lib64/libvirt.so.0", LINK "libvirt.so.1"}}),
        ROW(apparmor, PASS, "lets QEMU connect"),
        ROW(apparmor, NONE, "not enabled", .changes = {{"/sys/module/apparmor", GONE}}),
        ROW(apparmor, NONE, "\"none\"",
            .changes = {{LIBVIRT,
                         "#security_driver = \"apparmor\"\n security_driver = \"none\"\n"}}),
        ROW(apparmor, PASS, "lets", .changes = {{LIBVIRT, "security_driver = \"apparmor\"\n"}}),
        ROW(apparmor, NONE, "confines nothing", .changes = {{APPARMOR, GONE}}),
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
        ROW(selinux, NONE, "not enabled", .changes = {{"/sys/fs/selinux", GONE}}),
        ROW(selinux, FAIL, "pv-reaper.te", .changes = {{"/var/lib/selinux/targeted", GONE}}),
        ROW(selinux, FAIL, "QEMU cannot connect", .changes = {{"/var/lib/selinux", GONE}}),
        ROW(selinux, WARN, "permissive",
            .changes = {{"/var/lib/selinux", GONE}, {"/sys/fs/selinux/enforce", "0"}}),
        ROW(selinux, FAIL, "no module",
            .changes = {{"/etc/selinux/config", "SELINUX=permissive\nSELINUXTYPE=mls\n"}}),
        ROW(selinux, NONE, "\"none\"", .changes = {{LIBVIRT, "security_driver = \"none\"\n"}}),
};

static void test_ctl_check_software(void **state) {
        host_check_rows(software_rows, ARRAY_SIZE(software_rows));
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
        host_check_rows(fencing_rows, ARRAY_SIZE(fencing_rows));
}

/* A keeper ends what is in flight of its own QEMU, and of no other. */
static void test_ctl_check_fencing_keeper(void **state) {
        static const struct row of_it = ROW(fencing, PASS, "keepers leave");
        static const struct row of_another = ROW(fencing, WARN, "one is pid 79");

        host_put_good();
        host_put("/proc/79/comm", "cleanup/76\n");
        host_put("/proc/79/maps", RING);
        host_put("/proc/80/comm", "pvr-keeper\n");
        host_put("/proc/80/stat", STAT("pvr-keeper", "76"));
        host_check_row(&of_it);
        host_put("/proc/80/stat", STAT("pvr-keeper", "75"));
        host_check_row(&of_another);
        host_put("/proc/80/stat", GONE);
        host_check_row(&of_another);
        host_put("/proc/80/stat", STAT("x", "76"));
        host_put("/proc/80/comm", "x\n");
        host_check_row(&of_another);
}

int main(void) {
        static const struct CMUnitTest tests[] = {
                checked_test(test_ctl_check_host),    checked_test(test_ctl_check_kvm),
                checked_test(test_ctl_check_service), checked_test(test_ctl_check_software),
                checked_test(test_ctl_check_fencing), checked_test(test_ctl_check_fencing_keeper),
        };

        return cmocka_run_group_tests(tests, host_make_root, host_remove_root);
}
