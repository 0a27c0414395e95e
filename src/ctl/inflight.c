/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Reads /proc/PID/ of whoever shares a QEMU's memory. Owns what it remembers of them: a process is
 * a pid and a start time. What holds: an answer "nobody" was true of each of them at some moment of
 * this look, after its QEMU's end, and a dead QEMU submits nothing more. Where it is not known
 * whose a process is, it is taken for the one that is asked for; but only if it was there at the
 * first look, or is a child of one: else others that come and go could keep us for ever.
 */

#include "ctl/inflight.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#define CMDLINE_MAX    (128 * 1024)
#define PARENTS_MAX    8
#define CPU_USED_NSEC  UINT64_C(10000000)
#define COMM_SIZE      32
#define NO_SYSTEM_CALL (-1)

enum meant { MEANT_NOT, MEANT_PERHAPS, MEANT };

struct helper {
        pid_t pid;
        uint64_t starttime;

        /* state */
        enum meant meant;
        bool late;         /* it was not there at the first look */
        bool without_ring; /* and so it was at cpu_since */
        uint64_t cpu_since;

        LIST_ENTRY(helper) link; /* in inflight.helpers */
};

struct inflight {
        char *proc;
        char *what;
        pid_t pid; /* that what names, or 0 */

        LIST_HEAD(, helper) helpers; /* all that were ever seen: a few for each QEMU */
        bool looked;
        char who[COMM_SIZE + 32];
        char cmdline[CMDLINE_MAX], parents[CMDLINE_MAX];
};

struct stat_line {
        char state;
        pid_t ppid;
        uint64_t starttime;
};

/* ---- what is said, without looking at it ---- */

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

/* One of a value's parts, up to a comma that is none of two: compared as it would read. */
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

/* An option's value may look like another option: then we wait for one too many. */
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

bool inflight_may_be(const struct inflight_task *task, uint64_t cpu_since) {
        if (task->has_ring)
                return true;
        if (task->has_memory && task->system_call >= 0 && task->system_call != SYS_io_destroy)
                return false;
        return task->cpu_nsec < cpu_since + CPU_USED_NSEC;
}

/* ---- looking ---- */

/* Its length; the text ends with NUL. What is too long is cut. */
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

static int read_stat(const struct inflight *f, pid_t pid, struct stat_line *ret) {
        unsigned long long starttime;
        char text[1024], *p;
        ssize_t n;
        int ppid;

        n = read_proc(f, pid, "stat", text, sizeof(text));
        if (n < 0)
                return (int)n;
        p = strrchr(text, ')');
        if (!p || sscanf(p,
                         ") %c %d %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s "
                         "%*s %*s %llu",
                         &ret->state, &ppid, &starttime) != 3)
                return -EBADMSG;
        ret->ppid = ppid;
        ret->starttime = starttime;
        return 0;
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

/* The rings first: who waits for the last one has taken it away, and is seen to wait. */
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
                struct stat_line stat;
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

static struct helper *known_helper(const struct inflight *f, pid_t pid) {
        struct helper *h;

        LIST_FOREACH(h, &f->helpers, link)
        if (h->pid == pid)
                return h;
        return NULL;
}

/* qemu: the one that it is named after, or that lives, or 0. size: of its command line. */
static enum meant whose(const struct inflight *f, const struct helper *h, pid_t qemu,
                        ssize_t size) {
        if (f->pid != 0 && (h->pid == f->pid || qemu == f->pid))
                return MEANT;
        if (f->pid == 0 && size > 0)
                return inflight_is_named(f->cmdline, (size_t)size, f->what) ? MEANT : MEANT_NOT;
        return (f->pid != 0 && qemu != 0) || h->late ? MEANT_NOT : MEANT_PERHAPS;
}

/* What was settled stays so, also when it has no command line, and no QEMU, any more. */
static void settle(const struct inflight *f, struct helper *h, const struct stat_line *stat,
                   enum meant meant) {
        const struct helper *parent = known_helper(f, stat->ppid);

        if (h->meant != MEANT_PERHAPS)
                return;
        h->meant = meant;
        if (h->late && parent && meant == MEANT_NOT && f->pid != 0)
                h->meant = parent->meant;
}

static struct helper *find_helper(struct inflight *f, pid_t pid, uint64_t starttime) {
        struct helper *h;

        LIST_FOREACH(h, &f->helpers, link)
        if (h->pid == pid && h->starttime == starttime)
                return h;
        h = calloc(1, sizeof(*h));
        if (!h)
                return NULL;
        *h = (struct helper){
                .pid = pid, .starttime = starttime, .meant = MEANT_PERHAPS, .late = f->looked};
        LIST_INSERT_HEAD(&f->helpers, h, link);
        return h;
}

static int may_be_in_flight(const struct inflight *f, struct helper *h) {
        struct inflight_task task;
        int r;

        r = read_task(f, h->pid, &task);
        if (r < 0)
                return r;
        if (!task.has_ring && !h->without_ring)
                h->cpu_since = task.cpu_nsec;
        h->without_ring = !task.has_ring;
        return inflight_may_be(&task, h->cpu_since);
}

/* As inflight_look(), of one process. Negative also if it is gone. */
static int look_at(struct inflight *f, pid_t pid) {
        pid_t named_after, qemu = 0;
        struct stat_line stat;
        char comm[COMM_SIZE];
        struct helper *h;
        ssize_t size;
        int r;

        r = read_comm(f, pid, comm);
        if (r < 0 || !inflight_is_helper(comm, &named_after))
                return r;
        r = read_stat(f, pid, &stat);
        if (r < 0 || stat.state == 'Z' || stat.state == 'X')
                return r;
        h = find_helper(f, pid, stat.starttime);
        if (!h)
                return -ENOMEM;
        size = read_proc(f, pid, "cmdline", f->cmdline, sizeof(f->cmdline));
        if (size < 0)
                return (int)size;
        if (size > 0)
                qemu = find_qemu(f, stat.ppid, size);
        settle(f, h, &stat, whose(f, h, qemu ?: named_after, size));
        if (h->meant == MEANT_NOT || (h->meant == MEANT_PERHAPS && qemu != 0))
                return 0;
        r = qemu != 0 ? 1 : may_be_in_flight(f, h);
        if (r > 0)
                (void)snprintf(f->who, sizeof(f->who), "%s (pid %d)", comm, (int)pid);
        return r;
}

int inflight_look(struct inflight *f) {
        const struct dirent *entry;
        bool found = false;
        int r = 0;
        DIR *dir;

        dir = opendir(f->proc);
        if (!dir)
                return negative_errno();
        while (r >= 0 && (entry = readdir(dir))) {
                if (*entry->d_name < '1' || *entry->d_name > '9')
                        continue;
                r = look_at(f, (pid_t)strtol(entry->d_name, NULL, 10));
                if (r == -ENOENT || r == -ESRCH)
                        r = 0; /* it is gone */
                found = found || r > 0;
        }
        (void)closedir(dir);
        f->looked = true;
        return r < 0 ? r : found;
}

const char *inflight_who(const struct inflight *f) {
        return f->who;
}

/* ---- life and death ---- */

int inflight_new(struct inflight **ret, const char *proc, const char *what) {
        struct inflight *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        LIST_INIT(&f->helpers);
        f->proc = strdup(proc);
        f->what = strdup(what);
        if (!f->proc || !f->what) {
                inflight_free(f);
                return -ENOMEM;
        }
        if (strncmp(what, "pid=", 4) == 0)
                f->pid = (pid_t)strtol(what + 4, NULL, 10);
        *ret = f;
        return 0;
}

struct inflight *inflight_free(struct inflight *f) {
        struct helper *h;

        if (!f)
                return NULL;
        while ((h = LIST_FIRST(&f->helpers))) {
                LIST_REMOVE(h, link);
                free(h);
        }
        free(f->proc);
        free(f->what);
        free(f);
        return NULL;
}
