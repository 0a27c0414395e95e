/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reads /proc/PID/ of QEMUs, and of processes that share a QEMU's memory. It owns its notes about
 * them: a process is a pid and a start time. Invariant: an answer "nobody" was true of each process
 * at some moment of this look, after its QEMU's end. A dead QEMU submits nothing more. A process
 * with an unknown QEMU counts as meant, but only if it existed at the first look or is a child of
 * one that did. Otherwise processes that come and go could block the caller for ever.
 */

#include "ctl/inflight.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#include "base/task-stat.h"
#include "ctl/amount.h"

#define CMDLINE_MAX    (128 * 1024)
#define PARENTS_MAX    8
#define CPU_USED_NSEC  UINT64_C(10000000)
#define COMM_SIZE      32
#define NO_SYSTEM_CALL (-1)

enum meant { MEANT_NOT, MEANT_PERHAPS, MEANT };

struct process {
        pid_t pid;
        uint64_t starttime;

        /* state */
        unsigned look; /* the last look that saw it */
        enum meant meant;
        bool late;         /* it did not exist at the first look */
        bool without_ring; /* since cpu_since */
        uint64_t cpu_since;

        LIST_ENTRY(process) link; /* in inflight.processes */
};

struct inflight {
        char *proc;
        char *what;
        pid_t pid; /* the pid in what, or 0 */

        LIST_HEAD(, process) processes; /* of the last whole look and of this one */
        unsigned look;
        bool looked, knows;

        enum meant why_meant; /* of the process that why names */
        char why[COMM_SIZE + 96];
        char cmdline[CMDLINE_MAX], parents[CMDLINE_MAX];
};

/* ---- pure parts ---- */

bool inflight_is_helper(const char *comm, pid_t *ret) {
        int pid, n = 0;

        *ret = 0;
        if (strcmp(comm, "pvr-keeper") == 0 || strcmp(comm, "pvr-guard") == 0)
                return true;
        if (sscanf(comm, "cleanup/%d%n", &pid, &n) != 1 || comm[n] != '\0')
                return false;
        *ret = pid;
        return true;
}

/* Compares a part of a value, up to a single comma. QEMU reads two commas as one. */
static bool part_is(const char **value, const char *what) {
        const char *p = *value;
        bool same = true;

        if (strncmp(p, "guest=", 6) == 0)
                p += 6;
        for (; *p != '\0' && (*p != ',' || p[1] == ','); p++) {
                p += *p == ',';
                same = same && *what == *p;
                what += same;
        }
        *value = *p == ',' ? p + 1 : p;
        return same && *what == '\0';
}

static bool has_name(const char *value, const char *what) {
        while (*value != '\0')
                if (part_is(&value, what))
                        return true;
        return false;
}

/* An option's value may look like an option: then wait-quiet waits for a process too many. */
bool inflight_is_named(const char *cmdline, size_t size, const char *what) {
        const char *end = cmdline + size, *arg = cmdline, *value;

        for (; arg < end; arg = value) {
                value = arg + strnlen(arg, (size_t)(end - arg)) + 1;
                if (value >= end || !memchr(value, '\0', (size_t)(end - value)))
                        break;
                arg += arg[0] == '-' && arg[1] == '-';
                if ((strcmp(arg, "-name") == 0 && has_name(value, what)) ||
                    (strcmp(arg, "-uuid") == 0 && strcasecmp(value, what) == 0))
                        return true;
        }
        return false;
}

bool inflight_is_ring(const char *line) {
        return strstr(line, " /[aio]");
}

/* A QEMU that -name process= renamed is not found by name. */
static bool is_qemu(const char *comm) {
        return strncmp(comm, "qemu", 4) == 0 || strcmp(comm, "kvm") == 0;
}

/* A closer is a worker, but keeps no VMM's memory. */
static bool is_closer(const char *comm) {
        return strcmp(comm, "pv-reaper-close") == 0;
}

bool inflight_may_be(const struct inflight_task *task, uint64_t cpu_since) {
        if (task->has_ring)
                return true;
        if (task->has_memory && task->system_call >= 0 && task->system_call != SYS_io_destroy)
                return false;
        return task->cpu_nsec < cpu_since + CPU_USED_NSEC;
}

/* ---- looking ---- */

int inflight_next_pid(DIR *dir, pid_t *ret) {
        const struct dirent *entry;

        do {
                errno = 0;
                entry = readdir(dir);
                if (!entry)
                        return -errno;
        } while (*entry->d_name < '1' || *entry->d_name > '9');
        *ret = (pid_t)strtol(entry->d_name, NULL, 10);
        return 1;
}

/* Returns the text's length. The text ends with NUL; a longer one is cut. */
static ssize_t read_proc(const struct inflight *f, pid_t pid, const char *name, char *buffer,
                         size_t size) {
        _cleanup_(close_fd) int fd = -1;
        char path[4096];
        size_t n = 0;
        ssize_t m;

        (void)snprintf(path, sizeof(path), "%s/%d/%s", f->proc, (int)pid, name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return negative_errno();
        while (n < size - 1 && (m = read(fd, buffer + n, size - 1 - n)) != 0) {
                if (m < 0)
                        return negative_errno();
                n += (size_t)m;
        }
        buffer[n] = '\0';
        return (ssize_t)n;
}

static int read_comm(const struct inflight *f, pid_t pid, char ret[COMM_SIZE]) {
        ssize_t n = read_proc(f, pid, "comm", ret, COMM_SIZE);

        if (n > 0 && ret[n - 1] == '\n')
                ret[n - 1] = '\0';
        return n < 0 ? (int)n : 0;
}

static int read_stat(const struct inflight *f, pid_t pid, struct task_stat *ret) {
        char text[1024];
        ssize_t n;

        n = read_proc(f, pid, "stat", text, sizeof(text));
        return n < 0 ? (int)n : task_stat_parse(ret, text, (size_t)n);
}

/* A dead first thread is shown as a zombie also while others exit, and wait for I/O in that. */
static bool has_ended(const struct task_stat *stat) {
        return (stat->state == 'Z' && stat->n_threads <= 1) || stat->state == 'X';
}

static int read_rings(const struct inflight *f, pid_t pid, struct inflight_task *ret) {
        char path[4096], *line = NULL;
        size_t size = 0;
        FILE *file;
        int error;

        (void)snprintf(path, sizeof(path), "%s/%d/maps", f->proc, (int)pid);
        file = fopen(path, "re");
        if (!file)
                return negative_errno();
        while (!ret->has_ring && getline(&line, &size, file) > 0) {
                ret->has_memory = true;
                ret->has_ring = inflight_is_ring(line);
        }
        error = ferror(file) ? negative_errno() : 0;
        free(line);
        (void)fclose(file);
        return error;
}

/* Reads the rings first: a task that waits for its last ring has removed it, and is seen waiting.
 */
static int read_task(const struct inflight *f, pid_t pid, struct inflight_task *ret) {
        unsigned long long cpu;
        char text[256] = "";
        int r;

        *ret = (struct inflight_task){.system_call = NO_SYSTEM_CALL};
        r = read_rings(f, pid, ret);
        if (r < 0)
                return r;
        if (read_proc(f, pid, "syscall", text, sizeof(text)) > 0 && *text >= '0' && *text <= '9')
                ret->system_call = strtol(text, NULL, 10);
        if (read_proc(f, pid, "schedstat", text, sizeof(text)) > 0 &&
            sscanf(text, "%llu", &cpu) == 1)
                ret->cpu_nsec = cpu;
        return 0;
}

/* The QEMU whose memory it shares, whose command line is part of that: its pid if it lives, or 0.
 */
static pid_t find_qemu(struct inflight *f, pid_t ppid, ssize_t size) {
        for (unsigned i = 0; i < PARENTS_MAX && ppid > 0; i++) {
                struct task_stat stat;
                char comm[COMM_SIZE];
                pid_t pid;

                if (read_comm(f, ppid, comm) < 0 || read_stat(f, ppid, &stat) < 0 ||
                    read_proc(f, ppid, "cmdline", f->parents, sizeof(f->parents)) != size ||
                    memcmp(f->parents, f->cmdline, (size_t)size) != 0)
                        return 0;
                if (!inflight_is_helper(comm, &pid))
                        return ppid;
                ppid = stat.ppid;
        }
        return 0;
}

/* ---- whose it is ---- */

/* starttime: NULL for any. */
static struct process *find_process(const struct inflight *f, pid_t pid,
                                    const uint64_t *starttime) {
        struct process *p;

        LIST_FOREACH(p, &f->processes, link)
        if (p->pid == pid && (!starttime || p->starttime == *starttime))
                return p;
        return NULL;
}

/* Notes that this look saw the process. NULL: no memory. */
static struct process *see_process(struct inflight *f, pid_t pid, uint64_t starttime) {
        struct process *p = find_process(f, pid, &starttime);

        if (!p) {
                p = calloc(1, sizeof(*p));
                if (!p)
                        return NULL;
                *p = (struct process){.pid = pid,
                                      .starttime = starttime,
                                      .meant = MEANT_PERHAPS,
                                      .late = f->looked};
                LIST_INSERT_HEAD(&f->processes, p, link);
        }
        p->look = f->look;
        return p;
}

static void forget_unseen(struct inflight *f) {
        struct process *p, *next;

        for (p = LIST_FIRST(&f->processes); p; p = next) {
                next = LIST_NEXT(p, link);
                if (p->look == f->look)
                        continue;
                LIST_REMOVE(p, link);
                free(p);
        }
}

/* qemu: its QEMU's pid, by its name or alive, or 0. size: of its command line. */
static enum meant whose(const struct inflight *f, const struct process *p, pid_t qemu,
                        ssize_t size) {
        if (f->pid != 0 && ((p->pid == f->pid && !p->late) || qemu == f->pid))
                return MEANT;
        if (f->pid == 0 && size > 0)
                return inflight_is_named(f->cmdline, (size_t)size, f->what) ? MEANT : MEANT_NOT;
        return (f->pid != 0 && qemu != 0) || p->late ? MEANT_NOT : MEANT_PERHAPS;
}

/* A settled answer stays, even when the process loses its command line and its QEMU. */
static void settle(struct inflight *f, struct process *p, pid_t ppid, enum meant meant) {
        const struct process *parent = find_process(f, ppid, NULL);

        if (p->meant != MEANT_PERHAPS)
                return;
        p->meant = meant;
        if (p->late && parent && meant == MEANT_NOT && f->pid != 0)
                p->meant = parent->meant;
        f->knows = f->knows || p->meant == MEANT;
}

/* Keeps the first process that is meant for sure, or else the first. */
static void note_why(struct inflight *f, const struct process *p, const char *comm,
                     const char *does) {
        if (p->meant <= f->why_meant)
                return;
        f->why_meant = p->meant;
        if (p->meant == MEANT_PERHAPS)
                does = "may keep its memory: whose it is cannot be told";
        (void)snprintf(f->why, sizeof(f->why), "%s (pid %d) %s", comm, (int)p->pid, does);
}

/* ---- a look ---- */

static int may_be_in_flight(const struct inflight *f, struct process *p) {
        struct inflight_task task;
        int r;

        r = read_task(f, p->pid, &task);
        if (r < 0)
                return r;
        if (!task.has_ring && !p->without_ring)
                p->cpu_since = task.cpu_nsec;
        p->without_ring = !task.has_ring;
        return inflight_may_be(&task, p->cpu_since);
}

/* As inflight_look(), for a process that shares a QEMU's memory. named_after: QEMU's pid, or 0. */
static int look_at_helper(struct inflight *f, struct process *p, pid_t ppid, pid_t named_after) {
        pid_t qemu = 0;
        ssize_t size;

        size = read_proc(f, p->pid, "cmdline", f->cmdline, sizeof(f->cmdline));
        if (size < 0)
                return (int)size;
        if (size > 0)
                qemu = find_qemu(f, ppid, size);
        settle(f, p, ppid, whose(f, p, qemu ?: named_after, size));
        if (p->meant == MEANT_NOT || (p->meant == MEANT_PERHAPS && qemu != 0))
                return 0;
        return qemu != 0 ? 1 : may_be_in_flight(f, p);
}

/* The same for a QEMU, or for the process with the given pid. */
static int look_at_vmm(struct inflight *f, struct process *p, pid_t ppid) {
        ssize_t size = 0;

        if (f->pid == 0)
                size = read_proc(f, p->pid, "cmdline", f->cmdline, sizeof(f->cmdline));
        if (size < 0)
                return (int)size;
        settle(f, p, ppid, whose(f, p, 0, size));
        return p->meant != MEANT_NOT;
}

/* The same for any process. Negative also if the process is gone. */
static int look_at(struct inflight *f, pid_t pid) {
        struct task_stat stat;
        char comm[COMM_SIZE];
        pid_t named_after;
        struct process *p;
        bool helper;
        int r;

        r = read_comm(f, pid, comm);
        if (r < 0)
                return r;
        helper = inflight_is_helper(comm, &named_after);
        if (!helper && (f->pid != 0 ? pid != f->pid || is_closer(comm) : !is_qemu(comm)))
                return 0;
        r = read_stat(f, pid, &stat);
        if (r < 0 || has_ended(&stat))
                return r;
        p = see_process(f, pid, stat.starttime);
        if (!p)
                return -ENOMEM;
        if (helper)
                r = look_at_helper(f, p, stat.ppid, named_after);
        else
                r = look_at_vmm(f, p, stat.ppid);
        if (r > 0)
                note_why(f, p, comm, helper ? "keeps its memory" : "lives");
        return r;
}

static int look_at_all(struct inflight *f, DIR *dir) {
        bool found = false;
        pid_t pid = 0;
        int r;

        while ((r = inflight_next_pid(dir, &pid)) > 0) {
                r = look_at(f, pid);
                if (r < 0 && r != -ENOENT && r != -ESRCH) /* those are gone */
                        return r;
                found = found || r > 0;
        }
        return r < 0 ? r : found;
}

int inflight_look(struct inflight *f) {
        DIR *dir;
        int r;

        dir = opendir(f->proc);
        if (!dir)
                return negative_errno();
        f->look++;
        f->why_meant = MEANT_NOT;
        r = look_at_all(f, dir);
        (void)closedir(dir);
        if (r < 0)
                return r; /* not all were seen: forget none, and call none late */
        forget_unseen(f);
        f->looked = true;
        return r;
}

bool inflight_knows(const struct inflight *f) {
        return f->knows;
}

const char *inflight_why(const struct inflight *f) {
        return f->why;
}

/* ---- life and death ---- */

int inflight_new(struct inflight **ret, const char *proc, const char *what) {
        struct inflight *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        LIST_INIT(&f->processes);
        f->proc = strdup(proc);
        f->what = strdup(what);
        if (!f->proc || !f->what) {
                inflight_free(f);
                return -ENOMEM;
        }
        if (strncmp(what, "pid=", 4) == 0)
                (void)amount_parse_pid(what + 4, &f->pid); /* or it is a name */
        *ret = f;
        return 0;
}

struct inflight *inflight_free(struct inflight *f) {
        struct process *p;

        if (!f)
                return NULL;
        while ((p = LIST_FIRST(&f->processes))) {
                LIST_REMOVE(p, link);
                free(p);
        }
        free(f->proc);
        free(f->what);
        free(f);
        return NULL;
}
