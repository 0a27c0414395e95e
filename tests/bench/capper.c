/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon's CPU cap without the daemon: enforce.c, sched.c, share.c and probe.c, told by lines
 * on stdin what the daemon would tell them. Each is answered by one line on stdout, "ok ..." or
 * "error ..."; the log goes to stderr. For tests and measurements, as root.
 *
 *   policy MODE QUOTA PERIOD   quota in µs per s, or "max"; period in µs
 *   add PID batch|other        remove PID        tick
 *   task PID                   "ok STATE RUNTIME PERIOD" of it, in ns
 *   counts                     "ok TASKS UNENFORCED REFUSED ESCAPED"
 *   host                       "ok CPUS TICK ADMISSIBLE"
 *   backend                    "ok REASON"
 *   written                    "ok FILE=VALUE ...": what went to the cgroup since it was last asked
 *   probe DIR v1|v2 USEC       tries the cgroup DIR, for at most USEC; "ok RESULT WHY"
 *   takeprobe RESULT           as if that were its result
 *
 * Owns its tasks and their pidfds; the cgroup is only written if it is named on the command line.
 */

#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>

#include "base/util.h"
#include "daemon/cpu/enforce.h"

struct entry {
        struct enforce_task task;
        TAILQ_ENTRY(entry) link;
};

struct capper {
        sd_event *event;
        struct enforce *enforce;
        struct probe *probe;
        int cgroup;
        int probe_dir;
        char written[512];
        TAILQ_HEAD(, entry) entries;
};

static void answer(int r) {
        if (r < 0)
                printf("error %s\n", strerror(-r));
        else
                printf("ok\n");
}

static int write_text(int dir, const char *file, const char *value) {
        _cleanup_(close_fd) int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, value, strlen(value)) < 0)
                return negative_errno();
        return 0;
}

static const char *const task_names[] = {
        [TASK_FREE] = "free", [TASK_CAPPED] = "capped",     [TASK_SHORT] = "short",
        [TASK_IDLE] = "idle", [TASK_UNCAPPED] = "uncapped", [TASK_GONE] = "gone",
};
static const char *const result_names[] = {
        [PROBE_PENDING] = "pending",
        [PROBE_HOLDS] = "holds",
        [PROBE_DOES_NOT_HOLD] = "does-not-hold",
        [PROBE_UNKNOWN] = "unknown",
};

static int on_write(void *userdata, const char *file, const char *value) {
        struct capper *c = userdata;
        size_t n = strlen(c->written);

        (void)snprintf(c->written + n, sizeof(c->written) - n, " %s=%s", file, value);
        return c->cgroup >= 0 ? write_text(c->cgroup, file, value) : 0;
}

static struct entry *find(struct capper *c, const char *pid) {
        struct entry *e;

        TAILQ_FOREACH (e, &c->entries, link)
                if (pid && e->task.pid == strtol(pid, NULL, 10))
                        return e;
        return NULL;
}

static int do_policy(struct capper *c, char **words) {
        struct enforce_policy policy = {.quota = SHARE_UNLIMITED};

        if (!words[1] || !words[2] || !words[3])
                return -EINVAL;
        while (enforce_words[policy.mode] && strcmp(words[1], enforce_words[policy.mode]) != 0)
                policy.mode++;
        if (!enforce_words[policy.mode])
                return -EINVAL;
        if (strcmp(words[2], "max") != 0)
                policy.quota = strtoull(words[2], NULL, 10);
        policy.period_usec = strtoull(words[3], NULL, 10);
        enforce_set_policy(c->enforce, &policy);
        return 0;
}

static int do_add(struct capper *c, char **words) {
        struct entry *e;
        int pidfd;

        if (!words[1] || !words[2])
                return -EINVAL;
        pidfd = (int)syscall(SYS_pidfd_open, strtol(words[1], NULL, 10), 0);
        if (pidfd < 0)
                return negative_errno();
        e = calloc(1, sizeof(*e));
        if (!e) {
                close(pidfd);
                return -ENOMEM;
        }
        TAILQ_INSERT_TAIL(&c->entries, e, link);
        enforce_add(c->enforce, &e->task, (pid_t)strtol(words[1], NULL, 10), pidfd,
                    strcmp(words[2], "batch") == 0 ? SCHED_BATCH : SCHED_OTHER);
        return 0;
}

static int do_remove(struct capper *c, char **words) {
        struct entry *e = find(c, words[1]);

        if (!e)
                return -ESRCH;
        enforce_remove(&e->task);
        TAILQ_REMOVE(&c->entries, e, link);
        close(e->task.pidfd);
        free(e);
        return 0;
}

static int do_tick(struct capper *c, char **words) {
        enforce_tick(c->enforce);
        return 0;
}

static int do_task(struct capper *c, char **words) {
        struct entry *e = find(c, words[1]);

        if (!e)
                return -ESRCH;
        printf("ok %s %" PRIu64 " %" PRIu64 "\n", task_names[e->task.state],
               e->task.share.runtime_nsec, e->task.share.period_nsec);
        return 1;
}

static int do_counts(struct capper *c, char **words) {
        struct enforce_counts n = enforce_get_counts(c->enforce);

        printf("ok %u %u %" PRIu64 " %" PRIu64 "\n", n.n_tasks, n.n_unenforced, n.n_refused,
               n.n_escaped);
        return 1;
}

static int do_host(struct capper *c, char **words) {
        struct share_host host;

        sched_read_host(&host);
        printf("ok %u %" PRIu64 " %" PRIu64 "\n", host.n_cpus, host.tick_nsec, host.admissible);
        return 1;
}

static int do_backend(struct capper *c, char **words) {
        printf("ok %s\n", enforce_get_reason(c->enforce));
        return 1;
}

static int do_written(struct capper *c, char **words) {
        printf("ok%s\n", c->written);
        c->written[0] = '\0';
        return 1;
}

static int do_takeprobe(struct capper *c, char **words) {
        for (int i = PROBE_PENDING; words[1] && i <= PROBE_UNKNOWN; i++)
                if (strcmp(words[1], result_names[i]) == 0) {
                        enforce_set_probe(c->enforce, (enum probe_result)i, "as told");
                        return 0;
                }
        return -EINVAL;
}

static void on_probe_done(void *userdata, enum probe_result result, const char *why) {
        struct capper *c = userdata;

        c->probe = probe_free(c->probe);
        close_fd(&c->probe_dir);
        enforce_set_probe(c->enforce, result, why);
        printf("ok %s %s\n", result_names[result], why);
}

/* The same bandwidth control, where cgroup v1 still has the cpu controller. */
static int limit_v1(int cgroup, bool limited) {
        char text[32];
        int r;

        (void)snprintf(text, sizeof(text), "%u", PROBE_PERIOD_USEC);
        r = write_text(cgroup, "cpu.cfs_period_us", text);
        if (r < 0)
                return r;
        (void)snprintf(text, sizeof(text), "%u", PROBE_QUOTA_USEC);
        return write_text(cgroup, "cpu.cfs_quota_us", limited ? text : "-1");
}

static int do_probe(struct capper *c, char **words) {
        struct probe_config config = {.done = on_probe_done, .userdata = c};
        int r;

        if (!words[1] || !words[2] || !words[3] || c->probe)
                return -EINVAL;
        c->probe_dir = open(words[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (c->probe_dir < 0)
                return negative_errno();
        config.cgroup = c->probe_dir;
        config.limit = strcmp(words[2], "v1") == 0 ? limit_v1 : NULL;
        config.limit_usec = strtoull(words[3], NULL, 10);
        r = probe_new(&c->probe, c->event, &config);
        return r < 0 ? r : 1; /* answered when it is done */
}

static const struct {
        const char *word;
        int (*run)(struct capper *c, char **words);
} verbs[] = {
        {"policy", do_policy},       {"add", do_add},
        {"remove", do_remove},       {"tick", do_tick},
        {"task", do_task},           {"counts", do_counts},
        {"host", do_host},           {"backend", do_backend},
        {"written", do_written},     {"probe", do_probe},
        {"takeprobe", do_takeprobe},
};

static void run_line(struct capper *c, char *line) {
        char *words[5] = {}, *rest;
        int r = -EINVAL;

        for (size_t i = 0; i < 4; i++)
                words[i] = strtok_r(i == 0 ? line : NULL, " ", &rest);
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                if (words[0] && strcmp(words[0], verbs[i].word) == 0)
                        r = verbs[i].run(c, words);
        if (r <= 0)
                answer(r);
}

static int on_stdin(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        struct capper *c = userdata;
        char line[256];
        size_t n = 0;

        /* One line, byte by byte: what follows it must stay where the loop sees it. */
        while (n < sizeof(line) - 1 && read(fd, line + n, 1) == 1 && line[n] != '\n')
                n++;
        if (n == 0)
                return sd_event_exit(c->event, 0);
        line[n] = '\0';
        run_line(c, line);
        return 0;
}

int main(int argc, char **argv) {
        struct capper c = {.cgroup = -1, .probe_dir = -1};
        struct enforce_cgroup cgroup = {.write = on_write, .userdata = &c};
        struct entry *e;

        setvbuf(stdout, NULL, _IOLBF, 0);
        TAILQ_INIT(&c.entries);
        if (argc > 1)
                c.cgroup = open(argv[1], O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (argc > 2 || (argc > 1 && c.cgroup < 0)) {
                fprintf(stderr, "Usage: capper [CGROUP]\n");
                return 2;
        }
        if (sd_event_default(&c.event) < 0 || enforce_new(&c.enforce, &cgroup) < 0 ||
            sd_event_add_io(c.event, NULL, STDIN_FILENO, EPOLLIN, on_stdin, &c) < 0 ||
            sd_event_loop(c.event) < 0)
                return EXIT_FAILURE;
        probe_free(c.probe);
        enforce_free(c.enforce);
        while ((e = TAILQ_FIRST(&c.entries)) != NULL) {
                TAILQ_REMOVE(&c.entries, e, link);
                close(e->task.pidfd);
                free(e);
        }
        sd_event_unref(c.event);
        return 0;
}
