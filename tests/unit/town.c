/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Processes and cgroups that a test makes up. A cgroup is a name that a citizen carries; a process
 * that is asked for and is no citizen does not exist. A zombie has no memory, and is told from the
 * living by its pidfd alone, as in Linux.
 */

#include "town.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "daemon/runtime/process.h"
#include "fds.h"

struct town town;

static struct citizen *find(pid_t pid) {
        struct citizen *c;

        LIST_FOREACH(c, &town.citizens, link)
        if (c->pid == pid)
                return c;
        return NULL;
}

struct citizen *town_find(pid_t pid) {
        struct citizen *c = find(pid);

        return c && !c->gone ? c : NULL;
}

struct citizen *town_add(pid_t pid, pid_t ppid) {
        static char units[512][32];
        struct citizen *c = calloc(1, sizeof(*c));
        char *unit = units[(unsigned)pid % ARRAY_SIZE(units)];

        assert_null(town_find(pid));
        (void)snprintf(unit, sizeof(units[0]), "machine-%d.scope", (int)pid);
        *c = (struct citizen){
                .pid = pid,
                .ppid = ppid,
                .starttime = 1000 + (uint64_t)pid,
                .n_threads = 1,
                .memory = pid,
                .name = "process",
                .program = "/usr/bin/qemu-system-s390x",
                .unit = unit,
                .nodes = "0",
                .rss = 4096,
                .life = eventfd(0, EFD_CLOEXEC),
        };
        LIST_INSERT_HEAD(&town.citizens, c, link);
        return c;
}

void town_kill(struct citizen *c) {
        assert_int_equal(eventfd_write(c->life, 1), 0);
        c->memory = 0;
        c->rss = 0;
}

void town_bury(struct citizen *c) {
        town_kill(c);
        c->gone = true;
}

int town_open(pid_t pid) {
        struct citizen *c = town_find(pid);

        errno = ESRCH;
        return c ? fcntl(c->life, F_DUPFD_CLOEXEC, 3) : -1;
}

void town_begin(void) {
        static char path[] = "/town", jobs_path[] = "/town/jobs";

        memset(&town, 0, sizeof(town));
        town.root = (struct cgroup_root){.path = path,
                                         .jobs_path = jobs_path,
                                         .jobs = -1,
                                         .closers = -1,
                                         .controllers = CGROUP_CPU | CGROUP_MEMORY,
                                         .leaf_controllers = CGROUP_MEMORY};
        LIST_INIT(&town.citizens);
}

void town_end(void) {
        struct citizen *c;

        while ((c = LIST_FIRST(&town.citizens))) {
                LIST_REMOVE(c, link);
                close_fd(&c->life);
                free(c);
        }
}

/* ---- processes ---- */

int __wrap_process_read_stat(pid_t pid, struct task_stat *ret);
int __wrap_process_same_mm(pid_t a, pid_t b);
int __wrap_process_cpu_usec(pid_t pid, uint64_t *ret);
int __wrap_process_name(pid_t pid, char ret[static PROCESS_NAME_SIZE]);
int __wrap_process_program(pid_t pid, char **ret);
int __wrap_process_rss(pid_t pid, uint64_t *ret);
int __wrap_process_nodes(pid_t pid, char *ret, size_t size);
int __wrap_process_cgroup(pid_t pid, char **ret);
int __wrap_process_unit(pid_t pid, char **ret);
long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f);

/* As syscall(2) itself does, it takes six arguments, whoever passes fewer. */
long __wrap_syscall(long number, long a, long b, long c, long d, long e, long f) {
        return number == SYS_pidfd_open ? town_open((pid_t)a)
                                        : __real_syscall(number, a, b, c, d, e, f);
}

int __wrap_process_read_stat(pid_t pid, struct task_stat *ret) {
        const struct citizen *c = town_find(pid);

        if (!c)
                return -ESRCH;
        *ret = (struct task_stat){.state = c->memory ? 'S' : 'Z',
                                  .ppid = c->ppid,
                                  .starttime = c->starttime,
                                  .n_threads = c->n_threads};
        return 0;
}

int __wrap_process_same_mm(pid_t a, pid_t b) {
        const struct citizen *one = town_find(a), *other = town_find(b);

        return one && other ? one->memory != 0 && one->memory == other->memory : -ESRCH;
}

int __wrap_process_cpu_usec(pid_t pid, uint64_t *ret) {
        const struct citizen *c = town_find(pid);

        if (!c)
                return -ESRCH;
        *ret = c->cpu_usec;
        return 0;
}

int __wrap_process_name(pid_t pid, char ret[static PROCESS_NAME_SIZE]) {
        const struct citizen *c = town_find(pid);

        if (!c)
                return -ESRCH;
        (void)snprintf(ret, PROCESS_NAME_SIZE, "%s", c->name);
        return 0;
}

static int copy_text(const char *text, char **ret) {
        *ret = strdup(text);
        return *ret ? 0 : -ENOMEM;
}

int __wrap_process_program(pid_t pid, char **ret) {
        const struct citizen *c = town_find(pid);

        if (c && c->dies_looked_at)
                assert_int_equal(eventfd_write(c->life, 1), 0);
        return c ? copy_text(c->program, ret) : -ESRCH;
}

int __wrap_process_rss(pid_t pid, uint64_t *ret) {
        const struct citizen *c = town_find(pid);

        if (!c)
                return -ESRCH;
        *ret = c->rss;
        return 0;
}

int __wrap_process_nodes(pid_t pid, char *ret, size_t size) {
        const struct citizen *c = town_find(pid);

        if (!c)
                return -ESRCH;
        (void)snprintf(ret, size, "%s", c->nodes);
        return 0;
}

int __wrap_process_cgroup(pid_t pid, char **ret) {
        const struct citizen *c = town_find(pid);

        return c ? copy_text(*c->cgroup ? c->cgroup : "/machine.slice", ret) : -ESRCH;
}

int __wrap_process_unit(pid_t pid, char **ret) {
        const struct citizen *c = town_find(pid);

        return c ? copy_text(c->unit, ret) : -ESRCH;
}

int __wrap_packet_discard(int fd);

/* Not the real one, for qemu-user's recvmsg(2) cannot do that; see test-packet.c. */
int __wrap_packet_discard(int fd) {
        return 0;
}

/* ---- cgroups ---- */

int __wrap_cgroup_root_new(struct cgroup_root **ret, const char *path);
struct cgroup_root *__wrap_cgroup_root_free(struct cgroup_root *root);
bool __wrap_cgroup_root_yields(const struct cgroup_root *root);
int __wrap_cgroup_root_set(struct cgroup_root *root, const char *file, const char *value);
int __wrap_cgroup_root_scan_keepers(struct cgroup_root *root, cgroup_found_fn found,
                                    void *userdata);
int __wrap_cgroup_root_scan_closers(struct cgroup_root *root, cgroup_found_fn found,
                                    void *userdata);
int __wrap_cgroup_leaf_new(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                           uint64_t starttime);
int __wrap_cgroup_leaf_open(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                            uint64_t starttime);
int __wrap_cgroup_leaf_open_closer(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid);
int __wrap_cgroup_leaf_take_nodes(struct cgroup_leaf *leaf, struct cgroup_root *root,
                                  const char *nodes, enum cgroup_fit fit);
int __wrap_cgroup_leaf_limit_memory(struct cgroup_leaf *leaf);
int __wrap_cgroup_leaf_kill(struct cgroup_leaf *leaf);
int __wrap_cgroup_leaf_attach(struct cgroup_leaf *leaf, pid_t pid);
int __wrap_cgroup_leaf_contains(struct cgroup_leaf *leaf, pid_t pid);
int __wrap_cgroup_leaf_cpu_usec(struct cgroup_leaf *leaf, uint64_t *ret);
int __wrap_cgroup_leaf_remove(struct cgroup_leaf *leaf, struct cgroup_root *root);
int __wrap_cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text);
int __wrap_cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size);
int __wrap_cgroup_leaf_set_card(struct cgroup_leaf *leaf, const char *text);
int __wrap_cgroup_leaf_get_card(struct cgroup_leaf *leaf, char *buffer, size_t size);

int __wrap_cgroup_root_new(struct cgroup_root **ret, const char *path) {
        (void)snprintf(town.asked, sizeof(town.asked), "%s", path ? path : "(auto)");
        *ret = town.root_error < 0 ? NULL : &town.root;
        return town.root_error;
}

struct cgroup_root *__wrap_cgroup_root_free(struct cgroup_root *root) {
        return NULL;
}

bool __wrap_cgroup_root_yields(const struct cgroup_root *root) {
        town.n_yields++;
        return town.yields;
}

int __wrap_cgroup_root_set(struct cgroup_root *root, const char *file, const char *value) {
        return 0;
}

/* Whom the cgroup is named after. */
static struct citizen *owner_of(const struct cgroup_leaf *leaf) {
        struct citizen *c;
        int pid = 0;

        assert_int_equal(sscanf(leaf->name, "vm-%d-", &pid), 1);
        c = find(pid);
        assert_non_null(c);
        return c;
}

static int leaf_new(struct cgroup_leaf **ret, const char *path, bool foreign) {
        struct cgroup_leaf *leaf = calloc(1, sizeof(*leaf));

        *leaf = (struct cgroup_leaf){.path = strdup(path), .dir = -1, .foreign = foreign};
        leaf->name = strrchr(leaf->path, '/') + 1;
        *ret = leaf;
        return 0;
}

static int scan(bool closers, cgroup_found_fn found, void *userdata) {
        struct citizen *c, *next;

        for (c = LIST_FIRST(&town.citizens); c; c = next) {
                next = LIST_NEXT(c, link);
                if (closers ? c->closer : *c->cgroup != 0)
                        found(userdata, c->pid, c->starttime);
        }
        return 0;
}

int __wrap_cgroup_root_scan_keepers(struct cgroup_root *root, cgroup_found_fn found,
                                    void *userdata) {
        return scan(false, found, userdata);
}

int __wrap_cgroup_root_scan_closers(struct cgroup_root *root, cgroup_found_fn found,
                                    void *userdata) {
        return scan(true, found, userdata);
}

static int leaf_new_keeper(struct cgroup_leaf **ret, pid_t pid, uint64_t starttime) {
        char path[64];

        (void)snprintf(path, sizeof(path), "/town/jobs/vm-%d-%llu", (int)pid,
                       (unsigned long long)starttime);
        return leaf_new(ret, path, false);
}

int __wrap_cgroup_leaf_new(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                           uint64_t starttime) {
        if (town.new_error < 0)
                return town.new_error;
        town.n_cgroups++;
        return leaf_new_keeper(ret, pid, starttime);
}

int __wrap_cgroup_leaf_open(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid,
                            uint64_t starttime) {
        const struct citizen *c = find(pid);

        return c && *c->cgroup ? leaf_new_keeper(ret, pid, starttime) : -ENOENT;
}

int __wrap_cgroup_leaf_open_closer(struct cgroup_leaf **ret, struct cgroup_root *root, pid_t pid) {
        const struct citizen *c = town_find(pid);

        if (!c || !c->closer)
                return -ENOENT;
        return leaf_new(ret, "/town/pv-reaper-closer@1.service", true);
}

int __wrap_cgroup_leaf_take_nodes(struct cgroup_leaf *leaf, struct cgroup_root *root,
                                  const char *nodes, enum cgroup_fit fit) {
        return town.nodes_error;
}

int __wrap_cgroup_leaf_limit_memory(struct cgroup_leaf *leaf) {
        if (town.limit_error == 0)
                owner_of(leaf)->limited = true;
        return town.limit_error;
}

int __wrap_cgroup_leaf_kill(struct cgroup_leaf *leaf) {
        if (town.kill_error == 0)
                owner_of(leaf)->killed = true;
        return town.kill_error;
}

int __wrap_cgroup_leaf_attach(struct cgroup_leaf *leaf, pid_t pid) {
        struct citizen *c = town_find(pid);

        if (town.attach_error < 0)
                return town.attach_error;
        if (c->memory == 0)
                return 0; /* it exits, and does not move */
        (void)snprintf(c->cgroup, sizeof(c->cgroup), "%s", leaf->path);
        if (c->n_threads_moved > 0)
                c->n_threads = c->n_threads_moved;
        if (c->dies_moved)
                town_kill(c);
        return 0;
}

int __wrap_cgroup_leaf_contains(struct cgroup_leaf *leaf, pid_t pid) {
        const struct citizen *c = town_find(pid);

        return c && strcmp(c->cgroup, leaf->path) == 0;
}

int __wrap_cgroup_leaf_cpu_usec(struct cgroup_leaf *leaf, uint64_t *ret) {
        *ret = leaf->foreign ? 0 : owner_of(leaf)->cgroup_cpu_usec;
        return 0;
}

int __wrap_cgroup_leaf_remove(struct cgroup_leaf *leaf, struct cgroup_root *root) {
        if (!leaf->foreign && town.remove_error == 0) {
                town.n_cgroups--;
                if (owner_of(leaf)->gone)
                        owner_of(leaf)->cgroup[0] = '\0';
        }
        return leaf->foreign ? 0 : town.remove_error;
}

int __wrap_cgroup_leaf_set_mark(struct cgroup_leaf *leaf, const char *text) {
        if (leaf->foreign)
                return -EOPNOTSUPP;
        (void)snprintf(owner_of(leaf)->mark, MARK_SIZE_MAX, "%s", text);
        return 0;
}

int __wrap_cgroup_leaf_get_mark(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        if (leaf->foreign || !*owner_of(leaf)->mark)
                return -ENODATA;
        (void)snprintf(buffer, size, "%s", owner_of(leaf)->mark);
        return 0;
}

int __wrap_cgroup_leaf_set_card(struct cgroup_leaf *leaf, const char *text) {
        if (leaf->foreign)
                return -EOPNOTSUPP;
        (void)snprintf(owner_of(leaf)->card, CARD_SIZE_MAX, "%s", text);
        return 0;
}

int __wrap_cgroup_leaf_get_card(struct cgroup_leaf *leaf, char *buffer, size_t size) {
        if (leaf->foreign || !*owner_of(leaf)->card)
                return -ENODATA;
        (void)snprintf(buffer, size, "%s", owner_of(leaf)->card);
        return 0;
}
