/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks the permission to connect: the sockets as files, and QEMU's user. Users and groups come
 * from the name services, or with a root from ROOT/etc/passwd and group. No check connects: that
 * would start a daemon, or a closer that finds nothing.
 */

#include "ctl/check.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>

#include "base/environment.h"

#define VMM_GROUP  "kvm"
#define GROUPS_MAX 256

/* ---- users and groups ---- */

static FILE *open_table(const struct check_host *host, const char *path) {
        char full[CHECK_PATH_MAX];

        return fopen(check_path(host, full, "%s", path), "re");
}

static bool find_user(const struct check_host *host, const char *name, struct passwd *ret) {
        const struct passwd *entry;
        FILE *file;

        if (!*host->root) {
                entry = getpwnam(name);
                if (entry)
                        *ret = *entry;
                return entry;
        }
        file = open_table(host, "/etc/passwd");
        while (file && (entry = fgetpwent(file)))
                if (strcmp(entry->pw_name, name) == 0)
                        break;
        if (file && entry)
                *ret = *entry;
        if (file)
                (void)fclose(file);
        return file && entry;
}

/* The name of a group, or its number as text. */
static const char *group_name(const struct check_host *host, gid_t gid,
                              char buffer[CHECK_WORD_MAX]) {
        FILE *file = *host->root ? open_table(host, "/etc/group") : NULL;
        const struct group *entry = NULL;

        if (!*host->root)
                entry = getgrgid(gid);
        while (file && (entry = fgetgrent(file)))
                if (entry->gr_gid == gid)
                        break;
        if (entry)
                (void)snprintf(buffer, CHECK_WORD_MAX, "%s", entry->gr_name);
        else
                (void)snprintf(buffer, CHECK_WORD_MAX, "%u", (unsigned)gid);
        if (file)
                (void)fclose(file);
        return buffer;
}

static bool is_member(const struct group *group, const char *name) {
        for (char **member = group->gr_mem; *member; member++)
                if (strcmp(*member, name) == 0)
                        return true;
        return false;
}

/* Whether a process that libvirt starts as this user is in the group. */
static bool in_group(const struct check_host *host, const struct passwd *user, gid_t gid) {
        gid_t groups[GROUPS_MAX];
        int n = GROUPS_MAX;
        const struct group *entry;
        bool found = false;
        FILE *file;

        if (user->pw_gid == gid)
                return true;
        if (!*host->root) {
                if (getgrouplist(user->pw_name, user->pw_gid, groups, &n) < 0)
                        n = GROUPS_MAX;
                for (int i = 0; i < n && !found; i++)
                        found = groups[i] == gid;
                return found;
        }
        file = open_table(host, "/etc/group");
        while (file && !found && (entry = fgetgrent(file)))
                found = entry->gr_gid == gid && is_member(entry, user->pw_name);
        if (file)
                (void)fclose(file);
        return found;
}

/* ---- the sockets ---- */

static int stat_socket(const struct check_host *host, const char *path, struct stat *ret) {
        char full[CHECK_PATH_MAX];

        return stat(check_path(host, full, "%s", path), ret) < 0 ? negative_errno() : 0;
}

/* What about its rights is to be changed: the unit's line, or the socket itself. */
static void advise_rights(const struct check_host *host, struct check_report *ret, const char *unit,
                          const char *command) {
        ret->result = CHECK_WARN;
        check_advise(ret, "%s", check_has_systemd(host) ? unit : command);
}

/* group: the group that must be able to connect. NULL: the administrator chooses it. */
static void check_socket(const struct check_host *host, const char *path, const char *group,
                         struct check_report *ret) {
        char name[CHECK_WORD_MAX];
        struct stat st;
        int r;

        r = stat_socket(host, path, &st);
        if (r < 0 || !S_ISSOCK(st.st_mode)) {
                check_say(ret, CHECK_FAIL, "%s: %s", path,
                          r < 0 ? strerror(-r) : "it is no socket");
                check_advise_by(host, ret, "systemctl enable --now pv-reaper.socket",
                                "start pv-reaperd");
                return;
        }
        (void)group_name(host, st.st_gid, name);
        check_say(ret, CHECK_PASS, "%s, mode %04o, group %s", path, st.st_mode & 07777U, name);
        if (st.st_mode & S_IWOTH)
                advise_rights(host, ret, "set SocketMode=0660: now everybody may connect",
                              "chmod o= the socket: now everybody may connect");
        else if (st.st_uid != 0)
                advise_rights(host, ret, "set SocketUser=root: now another user owns it",
                              "chown root the socket: now another user owns it");
        else if (group && (strcmp(name, group) != 0 || !(st.st_mode & S_IWGRP)))
                advise_rights(host, ret,
                              "set SocketGroup=kvm and SocketMode=0660: now VMMs may not connect",
                              "chgrp kvm and chmod 0660 the socket: now VMMs may not connect");
}

/* Where VMMs connect, as the daemon says, or else as our units do. */
static const char *handoff_path(const struct check_host *host) {
        const char *path = check_status_text(host, "HandoffSocket");

        return *path ? path : HANDOFF_SOCKET;
}

void check_handoff_socket(const struct check_host *host, struct check_report *ret) {
        check_socket(host, handoff_path(host), VMM_GROUP, ret);
}

void check_release_socket(const struct check_host *host, struct check_report *ret) {
        if (check_has_systemd(host))
                check_socket(host, RELEASE_SOCKET, VMM_GROUP, ret);
        else
                check_say(ret, CHECK_NONE, "only systemd starts closers");
}

void check_control_socket(const struct check_host *host, struct check_report *ret) {
        check_socket(host, host->socket, NULL, ret);
}

/* ---- QEMU's user ---- */

/* libvirt's choice: qemu.conf, else the name that distributions build in. */
static bool find_qemu_user(const struct check_host *host, struct passwd *ret,
                           struct check_report *report) {
        static const char *const usual[] = {"libvirt-qemu", "qemu"};
        char word[CHECK_WORD_MAX];

        if (check_qemu_conf(host, "user", word) > 0) {
                if (find_user(host, word, ret))
                        return true;
                check_say(report, CHECK_FAIL, "qemu.conf has user = \"%s\", which does not exist",
                          word);
                check_advise(report, "name an existing user in /etc/libvirt/qemu.conf");
                return false;
        }
        for (size_t i = 0; i < ARRAY_SIZE(usual); i++)
                if (find_user(host, usual[i], ret))
                        return true;
        check_say(report, CHECK_NONE,
                  "no user libvirt-qemu or qemu exists, and qemu.conf names none");
        return false;
}

static bool may_connect(const struct check_host *host, const struct passwd *user,
                        const struct stat *st) {
        if (user->pw_uid == 0 || (st->st_mode & S_IWOTH))
                return true;
        if (st->st_uid == user->pw_uid)
                return st->st_mode & S_IWUSR;
        return (st->st_mode & S_IWGRP) && in_group(host, user, st->st_gid);
}

void check_qemu_user(const struct check_host *host, struct check_report *ret) {
        const char *const sockets[] = {handoff_path(host), RELEASE_SOCKET};
        size_t n = check_has_systemd(host) ? 2 : 1; /* see check_release_socket() */
        char group[CHECK_WORD_MAX];
        struct passwd user;
        struct stat st;

        if (!find_qemu_user(host, &user, ret))
                return;
        for (size_t i = 0; i < n; i++) {
                int r = stat_socket(host, sockets[i], &st);

                if (r < 0) {
                        check_say(ret, CHECK_NONE, "%s: %s", sockets[i], strerror(-r));
                        return;
                }
                if (may_connect(host, &user, &st))
                        continue;
                (void)group_name(host, st.st_gid, group);
                check_say(ret, CHECK_FAIL, "%s may not connect to %s (mode %04o, group %s)",
                          user.pw_name, sockets[i], st.st_mode & 07777U, group);
                check_advise(ret, "usermod -aG %s %s, and restart its VMs", group, user.pw_name);
                return;
        }
        check_say(ret, CHECK_PASS, "%s may connect to %s", user.pw_name,
                  n > 1 ? "handoff.sock and release.sock" : sockets[0]);
}
