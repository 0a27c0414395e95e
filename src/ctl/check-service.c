/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks of the service: its units as files, the daemon by its answers and by /proc. Checks that
 * need a running daemon do not apply without one. check_daemon() alone reports that there is none.
 * A check owns nothing when it returns.
 */

#include "ctl/check.h"

#include <inttypes.h>
#include <linux/capability.h>
#include <string.h>

#define WORKERS_LEAST 1000

static const char *const unit_dirs[] = {
        "/etc/systemd/system",     "/run/systemd/system", "/usr/local/lib/systemd/system",
        "/usr/lib/systemd/system", "/lib/systemd/system",
};

/* Finds the unit file that systemd would take. false: there is none. */
static bool find_unit(const struct check_host *host, const char *name, char *ret) {
        for (size_t i = 0; i < ARRAY_SIZE(unit_dirs); i++) {
                (void)snprintf(ret, CHECK_PATH_MAX, "%s/%s", unit_dirs[i], name);
                if (check_exists(host, ret))
                        return true;
        }
        return false;
}

/* An empty file, or a link to /dev/null, masks a unit. */
static bool is_masked(const struct check_host *host, const char *path) {
        char text[16];

        return check_read(host, path, text, sizeof(text)) >= 0 && !*text;
}

void check_units(const struct check_host *host, struct check_report *ret) {
        static const char *const units[] = {
                "pv-reaper.socket",  "pv-reaper-control.socket",  "pv-reaper-closer.socket",
                "pv-reaper.service", "pv-reaper-closer@.service", "pv-reaper-workers.service",
                "pvreaper.slice",
        };
        char path[CHECK_PATH_MAX];

        if (!check_has_systemd(host)) {
                check_say(ret, CHECK_NONE, "systemd does not run here");
                return;
        }
        for (size_t i = 0; i < ARRAY_SIZE(units); i++) {
                bool found = find_unit(host, units[i], path);

                if (found && !is_masked(host, path))
                        continue;
                check_say(ret, CHECK_FAIL, "%s is %s", units[i],
                          found ? "masked" : "not installed");
                check_advise(ret,
                             found ? "systemctl unmask %s"
                                   : "install %s, then systemctl daemon-reload",
                             units[i]);
                return;
        }
        if (check_exists(host, "/etc/systemd/system/sockets.target.wants/pv-reaper.socket")) {
                check_say(ret, CHECK_PASS, "all are installed, and pv-reaper.socket is enabled");
                return;
        }
        check_say(ret, CHECK_WARN, "pv-reaper.socket is not enabled: no boot starts it");
        check_advise(ret, "systemctl enable --now pv-reaper.socket");
}

void check_shutdown_order(const struct check_host *host, struct check_report *ret) {
        static const char *const wanted[] = {"pv-reaper.service", "pv-reaper-workers.service"};
        char path[CHECK_PATH_MAX];

        if (!check_has_systemd(host)) {
                check_say(ret, CHECK_NONE, "systemd does not run here");
                return;
        }
        if (!find_unit(host, "machine-.scope.d/50-pv-reaper.conf", path)) {
                check_say(ret, CHECK_FAIL,
                          "no machine-.scope.d/50-pv-reaper.conf: at shutdown the "
                          "daemon may stop before the VMs");
                check_advise(ret, "install it, then systemctl daemon-reload");
                return;
        }
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
                if (check_grep(host, path, wanted[i]) <= 0) {
                        check_say(ret, CHECK_WARN, "%s does not order VMs after %s", path,
                                  wanted[i]);
                        check_advise(ret, "remove %s if it masks the packaged one", path);
                        return;
                }
        check_say(ret, CHECK_PASS, "VMs of systemd-machined stop before the daemon, by %s", path);
}

/* ---- the daemon ---- */

void check_daemon(const struct check_host *host, struct check_report *ret) {
        const char *version = check_status_text(host, "Version");

        if (!host->status && access(host->socket, R_OK | W_OK) < 0 && errno == EACCES) {
                check_say(ret, CHECK_SKIP, "no permission to ask it: run this as root");
                return;
        }
        if (!host->status) {
                check_say(ret, CHECK_FAIL, "%s", host->why);
                check_advise_by(host, ret,
                                "systemctl enable --now pv-reaper.socket; if that does not help "
                                "see journalctl -u pv-reaper.service",
                                "start pv-reaperd; see pv-reaper(8)");
                return;
        }
        check_say(ret, CHECK_PASS, "pv-reaperd %s answers, pid %" PRIu64, version,
                  check_status_number(host, "PID"));
        if (strcmp(version, PVR_VERSION_TEXT) == 0)
                return;
        ret->result = CHECK_WARN;
        check_advise_by(host, ret,
                        "this is pv-reaperctl " PVR_VERSION_TEXT
                        ": systemctl restart pv-reaper.service",
                        "this is pv-reaperctl " PVR_VERSION_TEXT ": restart pv-reaperd");
}

/* Reads a file of the daemon's /proc/PID. false: it made the report. */
static bool read_proc(const struct check_host *host, const char *name, char text[8192],
                      struct check_report *ret) {
        char path[64];
        int r;

        if (!host->status) {
                check_say(ret, CHECK_NONE, "no daemon to look at (see daemon)");
                return false;
        }
        (void)snprintf(path, sizeof(path), "/proc/%" PRIu64 "/%s", check_status_number(host, "PID"),
                       name);
        r = check_read(host, path, text, 8192);
        if (r < 0)
                check_say(ret, CHECK_SKIP, "cannot read %s: %s", path, strerror(-r));
        return r >= 0;
}

void check_capabilities(const struct check_host *host, struct check_report *ret) {
        static const struct {
                int number;
                const char *name, *lost;
                enum check_result result;
        } wanted[] = {
                {CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE", "no worker can be moved", CHECK_FAIL},
                {CAP_SYS_PTRACE, "CAP_SYS_PTRACE", "no worker can be verified", CHECK_FAIL},
                {CAP_SYS_NICE, "CAP_SYS_NICE", "no SCHED_DEADLINE, no workers of root's VMMs",
                 CHECK_WARN},
        };
        char text[8192];
        uint64_t mask;
        const char *p;

        if (!read_proc(host, "status", text, ret))
                return;
        p = strstr(text, "\nCapEff:");
        if (!p || sscanf(p, "\nCapEff: %" SCNx64, &mask) != 1) {
                check_say(ret, CHECK_SKIP, "the daemon's capabilities cannot be read");
                return;
        }
        check_say(ret, CHECK_PASS, "CAP_SYS_NICE, CAP_DAC_OVERRIDE, CAP_SYS_PTRACE");
        for (size_t i = 0; i < ARRAY_SIZE(wanted); i++)
                if (!(mask & (UINT64_C(1) << wanted[i].number))) {
                        check_say(ret, wanted[i].result, "the daemon lacks %s: %s", wanted[i].name,
                                  wanted[i].lost);
                        check_advise(ret,
                                     check_has_systemd(host)
                                             ? "set AmbientCapabilities=%s in pv-reaper.service"
                                             : "start pv-reaperd with %s",
                                     wanted[i].name);
                        return;
                }
}

void check_fds(const struct check_host *host, struct check_report *ret) {
        uint64_t connections = check_status_number(host, "Connections");
        uint64_t room = check_status_number(host, "MaxVMs");

        if (!host->status) {
                check_say(ret, CHECK_NONE, "no daemon to ask (see daemon)");
                return;
        }
        if (room == 0) {
                check_say(ret, CHECK_SKIP, "this daemon does not tell");
                return;
        }
        check_say(ret, CHECK_PASS, "room for %" PRIu64 " workers, %" PRIu64 " are connected", room,
                  connections);
        if (room >= WORKERS_LEAST && connections <= room - room / 5)
                return;
        ret->result = CHECK_WARN;
        check_advise_by(host, ret, "set LimitNOFILE=65536 (4 per VM) in pv-reaper.service",
                        "start pv-reaperd after ulimit -n 65536 (4 per VM)");
}

static void expect_cap(const struct check_host *host, struct check_report *ret) {
        unsigned version = check_kernel_version(host);

        if (version == 0)
                check_say(ret, CHECK_NONE, "no daemon to ask (see daemon)");
        else
                check_say(ret, CHECK_NONE, "no daemon to ask (see daemon); on Linux %u.%u %s",
                          version / 1000, version % 1000,
                          version >= 6018
                                  ? "cpu.max does not act in the kernel: SCHED_DEADLINE will"
                                  : "cpu.max should act in the kernel");
}

void check_cpu_cap(const struct check_host *host, struct check_report *ret) {
        const char *backend = check_status_text(host, "CPUBackend");
        const char *reason = check_status_text(host, "CPUReason");
        uint64_t unenforced = check_status_number(host, "Unenforced");
        bool enforced = strcmp(backend, "cgroup") == 0 || strcmp(backend, "deadline") == 0;

        if (!host->status) {
                expect_cap(host, ret);
        } else if (enforced && unenforced > 0) {
                check_say(ret, CHECK_WARN, "%" PRIu64 " workers are not held to cpu-quota by %s",
                          unenforced, backend);
                check_advise_by(host, ret, "see the reason in journalctl -u pv-reaper.service",
                                "see the reason in pv-reaperd's log");
        } else if (enforced) {
                check_say(ret, CHECK_PASS, "%s", reason);
        } else if (!record_find(host->status, "CPUQuota")) {
                check_say(ret, CHECK_PASS, "no cpu-quota is configured");
        } else {
                check_say(ret, CHECK_WARN, "cpu-quota is not enforced: %s", reason);
                check_advise(ret,
                             "mend the checks controllers and capabilities; see cpu-enforce in "
                             "pv-reaper.conf(5)");
        }
}
