/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Hosts of ctl-host.h: files below a directory in /tmp, which host_make_root() makes and
 * host_remove_root() removes. A test changes some of them, and host_check_rows() puts each back as
 * it was. ioctl(2) answers for KVM.
 */

#include "fds.h"

#include "ctl-host.h"

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

/* ---- hosts ---- */

static char root[] = "/tmp/pvr-ctl-check-XXXXXX";
int host_kvm_version, host_kvm_extension;

int __wrap_ioctl(int fd, unsigned long request, unsigned long argument);

int __wrap_ioctl(int fd, unsigned long request, unsigned long argument) {
        if (request == KVM_GET_API_VERSION)
                return host_kvm_version;
        assert_int_equal(request, KVM_CHECK_EXTENSION);
        assert_int_equal(argument, PV_CAP_ASYNC_DISABLE);
        return host_kvm_extension;
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

void host_put(const char *name, const char *text) {
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

void host_put_good(void) {
        remove_all(root);
        assert_int_equal(mkdir(root, 0700), 0);
        for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                host_put(good[i].path, good[i].text);
        host_kvm_version = KVM_API_VERSION;
        host_kvm_extension = 1;
}

/* As host_put_good() left it. */
static void restore(const struct file *changes) {
        for (const struct file *f = changes; f->path; f++) {
                size_t n = strlen(f->path);

                remove_below_root(f->path);
                for (size_t i = 0; i < ARRAY_SIZE(good); i++)
                        if (strncmp(good[i].path, f->path, n) == 0 &&
                            (good[i].path[n] == '\0' || good[i].path[n] == '/'))
                                host_put(good[i].path, good[i].text);
        }
}

int host_make_root(void **state) {
        return mkdtemp(root) ? 0 : -1;
}

int host_remove_root(void **state) {
        remove_all(root);
        return 0;
}

/* ---- rows ---- */

void host_check_row(const struct row *row) {
        struct check_host host = {
                .root = root, .socket = "/run/pv-reaper/control.sock", .why = "no answer"};
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

void host_check_rows(const struct row *rows, size_t n) {
        host_put_good();
        for (size_t i = 0; i < n; i++) {
                for (const struct file *f = rows[i].changes; f->path; f++)
                        host_put(f->path, f->text);
                host_check_row(&rows[i]);
                restore(rows[i].changes);
        }
}

void host_put_socket(const char *name, mode_t mode, uid_t uid, gid_t gid) {
        char path[PATH_MAX];

        host_put(name, "");
        (void)snprintf(path, sizeof(path), "%s%s", root, name);
        assert_int_equal(unlink(path), 0);
        assert_int_equal(mknod(path, S_IFSOCK | 0600, 0), 0);
        assert_int_equal(chown(path, uid, gid), 0);
        assert_int_equal(chmod(path, mode), 0);
}
