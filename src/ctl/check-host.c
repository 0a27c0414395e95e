/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks of the machine and its kernel. Checks about protected guests do not apply where there are
 * none (not s390x): pv-reaper frees the memory of ordinary guests there. A daemon that runs knows
 * its cgroup best. All of them also work before anything is installed.
 */

#include "ctl/check.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "base/kvm-pv.h"

#define WORKERS "/sys/fs/cgroup/pvreaper.slice/pv-reaper-workers.service"

void check_architecture(const struct check_host *host, struct check_report *ret) {
        char machine[CHECK_WORD_MAX];

        if (strcmp(check_machine(host, machine), "s390x") == 0)
                check_say(ret, CHECK_PASS, "s390x");
        else
                check_say(
                        ret, CHECK_NONE,
                        "%s has no Secure Execution: pv-reaper frees the memory of ordinary guests",
                        *machine ? machine : "an unknown machine");
}

void check_kernel(const struct check_host *host, struct check_report *ret) {
        unsigned version = check_kernel_version(host);

        if (version == 0) {
                check_say(ret, CHECK_SKIP, "cannot tell the kernel's version");
                return;
        }
        check_say(ret, version >= 5009 ? CHECK_PASS : CHECK_FAIL, "Linux %u.%u", version / 1000,
                  version % 1000);
        if (ret->result == CHECK_FAIL)
                check_advise(ret, "boot Linux 5.9 or later");
}

/* Skips a check for s390x elsewhere, and returns true then. */
static bool skip_elsewhere(const struct check_host *host, struct check_report *ret) {
        if (check_is_s390x(host))
                return false;
        check_say(ret, CHECK_NONE, "only on s390x");
        return true;
}

void check_secure_execution(const struct check_host *host, struct check_report *ret) {
        char word[CHECK_WORD_MAX];

        if (skip_elsewhere(host, ret))
                return;
        if (strcmp(check_word(host, "/sys/firmware/uv/prot_virt_host", word), "1") == 0) {
                check_say(ret, CHECK_PASS, "prot_virt_host is 1");
                return;
        }
        if (*word)
                check_say(ret, CHECK_FAIL,
                          "prot_virt_host is not 1: this host runs no protected guests");
        else
                check_say(ret, CHECK_FAIL, "no /sys/firmware/uv/prot_virt_host");
        check_advise(ret, "boot with prot_virt=1, on a machine with feature code 115");
}

void check_async_destroy(const struct check_host *host, struct check_report *ret) {
        char word[CHECK_WORD_MAX];

        if (skip_elsewhere(host, ret))
                return;
        if (*check_word(host, "/sys/module/kvm/parameters/async_destroy", word) == 'Y') {
                check_say(ret, CHECK_PASS, "kvm.async_destroy is on");
        } else if (*word) {
                check_say(ret, CHECK_WARN,
                          "kvm.async_destroy is off: a reboot waits for the teardown");
                check_advise(ret, "boot with kvm.async_destroy=1");
        } else if (!check_exists(host, "/sys/module/kvm")) {
                check_say(ret, CHECK_WARN, "the module kvm is not loaded");
                check_advise(ret, "modprobe kvm");
        } else {
                check_say(ret, CHECK_WARN, "this kernel cannot set a VM aside");
                check_advise(ret,
                             "boot Linux 6.2 or later, or a kernel with async_destroy backported");
        }
}

/* Returns the device, or -1 after it made the report. */
static int open_kvm(const struct check_host *host, struct check_report *ret) {
        char path[CHECK_PATH_MAX];
        int fd;

        fd = open(check_path(host, path, "/dev/kvm"), O_RDWR | O_CLOEXEC);
        if (fd >= 0)
                return fd;
        if (errno == EACCES || errno == EPERM) {
                check_say(ret, CHECK_SKIP, "no permission to open /dev/kvm: run this as root");
                return -1;
        }
        check_say(ret, CHECK_FAIL, "/dev/kvm: %s", strerror(errno));
        check_advise(ret, "modprobe kvm; if that fails enable virtualization in the firmware");
        return -1;
}

void check_kvm(const struct check_host *host, struct check_report *ret) {
        _cleanup_(close_fd) int fd = open_kvm(host, ret);
        int version;

        if (fd < 0)
                return;
        version = ioctl(fd, KVM_GET_API_VERSION, 0);
        if (version == KVM_API_VERSION) {
                check_say(ret, CHECK_PASS, "/dev/kvm");
                return;
        }
        check_say(ret, CHECK_FAIL, "/dev/kvm is not KVM");
        check_advise(ret, "restore /dev/kvm: it must be the character device 10:232");
}

void check_capability_224(const struct check_host *host, struct check_report *ret) {
        _cleanup_(close_fd) int fd = -1;

        if (skip_elsewhere(host, ret))
                return;
        fd = open_kvm(host, ret);
        if (fd < 0)
                return;
        if (ioctl(fd, KVM_CHECK_EXTENSION, PV_CAP_ASYNC_DISABLE) > 0) {
                check_say(ret, CHECK_PASS, "KVM can set protected VMs aside");
                return;
        }
        check_say(ret, CHECK_WARN,
                  "KVM cannot set protected VMs aside: a reboot waits for the teardown");
        check_advise(ret,
                     "mend secure-execution and async-destroy; this needs Linux 6.2 or a backport");
}

/* ---- cgroups and the network's limits ---- */

/* The daemon has said what it uses. */
static void check_used_cgroup(const struct check_host *host, struct check_report *ret) {
        const char *path = check_status_text(host, "CGroup");

        if (*path) {
                check_say(ret, CHECK_PASS, "the daemon uses %s", path);
                return;
        }
        check_say(ret, CHECK_WARN, "the daemon uses no cgroup: workers stay in those of their VMs");
        check_advise(ret, "start pv-reaperd with --cgroup=PATH");
}

void check_cgroup_v2(const struct check_host *host, struct check_report *ret) {
        if (host->status) {
                check_used_cgroup(host, ret);
                return;
        }
        if (check_exists(host, "/sys/fs/cgroup/cgroup.controllers")) {
                check_say(ret, CHECK_PASS, "/sys/fs/cgroup is cgroup v2");
                return;
        }
        if (check_exists(host, "/sys/fs/cgroup/unified/cgroup.controllers"))
                check_say(ret, CHECK_FAIL,
                          "cgroup v2 is mounted beside v1 (hybrid): the units do not start");
        else
                check_say(ret, CHECK_FAIL, "no cgroup v2 is mounted");
        check_advise(ret, "boot with systemd.unified_cgroup_hierarchy=1");
}

static bool has_word(const char *list, const char *word) {
        size_t length = strlen(word);

        for (const char *p = list; (p = strstr(p, word)); p += length)
                if ((p == list || p[-1] == ' ') && (p[length] == ' ' || p[length] == '\0'))
                        return true;
        return false;
}

void check_controllers(const struct check_host *host, struct check_report *ret) {
        static const char *const wanted[] = {"cpu", "pids"};
        char where[CHECK_PATH_MAX], list[512], missing[64] = "";

        (void)snprintf(where, sizeof(where), "%s/cgroup.controllers",
                       check_status_text(host, "CGroup"));
        if (!host->status || check_read(host, where, list, sizeof(list)) < 0)
                (void)snprintf(where, sizeof(where), WORKERS "/cgroup.controllers");
        if (check_read(host, where, list, sizeof(list)) < 0)
                (void)snprintf(where, sizeof(where), "/sys/fs/cgroup/cgroup.controllers");
        if (check_read(host, where, list, sizeof(list)) < 0) {
                check_say(ret, CHECK_NONE, "no cgroup v2 (see cgroup-v2)");
                return;
        }
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
                if (!has_word(list, wanted[i])) {
                        (void)strncat(missing, " ", sizeof(missing) - strlen(missing) - 1);
                        (void)strncat(missing, wanted[i], sizeof(missing) - strlen(missing) - 1);
                }
        if (!*missing) {
                check_say(ret, CHECK_PASS, "%s in %s", list, where);
                return;
        }
        check_say(ret, CHECK_WARN, "no%s in %s: limits by it are missing", missing, where);
        check_advise(ret,
                     "give it to cgroup v2: unmount it as cgroup v1, boot without cgroup_disable=");
}

void check_backlog(const struct check_host *host, struct check_report *ret) {
        char word[CHECK_WORD_MAX];
        unsigned n;

        if (sscanf(check_word(host, "/proc/sys/net/core/somaxconn", word), "%u", &n) != 1) {
                check_say(ret, CHECK_SKIP, "no net.core.somaxconn to read");
                return;
        }
        check_say(ret, n >= 4096 ? CHECK_PASS : CHECK_WARN,
                  "%u connections may wait on each socket", n);
        if (ret->result == CHECK_WARN)
                check_advise_by(host, ret,
                                "sysctl net.core.somaxconn=4096, then restart pv-reaper.socket",
                                "sysctl net.core.somaxconn=4096, then restart pv-reaperd");
}
