/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * "pv-reaperctl check" on who may connect: the sockets' modes and owners, and QEMU's user. The
 * hosts are made by ctl-host.h, the users and groups are in their /etc. Only root can give a socket
 * away, so all of this is skipped for others.
 */

#include "fds.h"

#include "ctl-host.h"

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

        host_put_good();
        for (size_t i = 0; i < ARRAY_SIZE(sockets); i++) {
                struct row row = {
                        .run = sockets[i].run, .result = CHECK_FAIL, .words = "No such file"};
                enum check_result other = sockets[i].is_control ? CHECK_PASS : CHECK_WARN;

                host_check_row(&row);
                host_put(sockets[i].path, "");
                row.words = "it is no socket systemctl enable";
                host_check_row(&row);
                host_put_socket(sockets[i].path, 0660, 0, KVM_GID);
                row = (struct row){.run = sockets[i].run,
                                   .result = CHECK_PASS,
                                   .words = ", mode 0660, group kvm"};
                host_check_row(&row);
                host_put_socket(sockets[i].path, 0660, 0, 0);
                row = (struct row){.run = sockets[i].run, .result = other, .words = "group root"};
                host_check_row(&row);
                host_put_socket(sockets[i].path, 0600, 0, KVM_GID);
                row = (struct row){
                        .run = sockets[i].run, .result = other, .words = "mode 0600, group kvm"};
                host_check_row(&row);
                host_put_socket(sockets[i].path, 0662, 0, KVM_GID);
                row = (struct row){
                        .run = sockets[i].run, .result = CHECK_WARN, .words = "everybody"};
                host_check_row(&row);
                host_put_socket(sockets[i].path, 0660, QEMU_UID, 77);
                row = (struct row){.run = sockets[i].run,
                                   .result = CHECK_WARN,
                                   .words = "group 77 set SocketUser=root"};
                host_check_row(&row);
        }
}

/* Another path, and no systemd that would start closers or has a SocketMode=. */
static void test_ctl_check_sockets_without_systemd(void **state) {
        struct row row = {.run = check_handoff_socket,
                          .result = CHECK_FAIL,
                          .words = "/run/my.sock: No such file or directory start pv-reaperd",
                          .status = {{"HandoffSocket", "/run/my.sock", 0}}};

        host_put_good();
        host_put("/run/systemd/system", GONE);
        host_check_row(&row);
        host_put_socket("/run/my.sock", 0660, 0, 0);
        row.result = CHECK_WARN;
        row.words = "chgrp kvm";
        host_check_row(&row);
        host_put_socket("/run/my.sock", 0666, 0, 0);
        row.words = "chmod o= the socket";
        host_check_row(&row);
        host_put_socket("/run/my.sock", 0660, QEMU_UID, 0);
        row.words = "chown root the socket";
        host_check_row(&row);
        row.run = check_qemu_user;
        row.result = CHECK_PASS;
        row.words = "libvirt-qemu may connect to /run/my.sock";
        host_check_row(&row);
        row = (struct row){
                .run = check_release_socket, .result = CHECK_NONE, .words = "only systemd"};
        host_check_row(&row);
}

static void expect_user(enum check_result result, const char *words) {
        const struct row row = {.run = check_qemu_user, .result = result, .words = words};

        host_check_row(&row);
}

static void test_ctl_check_qemu_user(void **state) {
        host_put_good();
        expect_user(CHECK_NONE, "handoff.sock: No such file");
        host_put_socket("/run/pv-reaper/handoff.sock", 0660, 0, KVM_GID);
        host_put_socket("/run/pv-reaper/release.sock", 0660, 0, KVM_GID);
        expect_user(CHECK_PASS, "libvirt-qemu may connect"); /* by its own group */
        host_put(LIBVIRT, "#user = \"root\"\nuser = \"root\"\nuser = \"qemu\"\n");
        expect_user(CHECK_FAIL, "handoff.sock (mode 0660, group kvm) usermod -aG kvm qemu");
        host_put("/etc/group", "kvm:x:4242:somebody,qemu\n");
        expect_user(CHECK_PASS, "qemu may connect");
        host_put_socket("/run/pv-reaper/release.sock", 0600, 0, KVM_GID);
        expect_user(CHECK_FAIL, "qemu may not connect to /run/pv-reaper/release.sock");
        host_put_socket("/run/pv-reaper/release.sock", 0602, 0, 0);
        expect_user(CHECK_PASS, "qemu may connect");
        host_put_socket("/run/pv-reaper/release.sock", 0260, 107, 0);
        expect_user(CHECK_PASS, "qemu may connect");
        host_put_socket("/run/pv-reaper/release.sock", 0460, 107, KVM_GID);
        expect_user(CHECK_FAIL, "qemu may not connect to /run/pv-reaper/release.sock");
        host_put(LIBVIRT, "user = \"root\"\n");
        expect_user(CHECK_PASS, "root may connect");
        host_put(LIBVIRT, "user = \"nobody-here\"\n");
        expect_user(CHECK_FAIL, "nobody-here\", which does not exist");
        host_put(LIBVIRT, GONE);
        host_put("/etc/passwd", "root:x:0:0::/:/bin/sh\nqemu:x:0:0::/:/bin/sh\n");
        expect_user(CHECK_PASS, "qemu may connect");
        host_put("/etc/passwd", "root:x:0:0::/:/bin/sh\n");
        expect_user(CHECK_NONE, "no user libvirt-qemu");
}

static const char *not_root(void) {
        return geteuid() == 0 ? NULL : "needs root, to give sockets away";
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test_unless(not_root(), test_ctl_check_sockets),
                checked_test_unless(not_root(), test_ctl_check_sockets_without_systemd),
                checked_test_unless(not_root(), test_ctl_check_qemu_user),
        };

        return cmocka_run_group_tests(tests, host_make_root, host_remove_root);
}
