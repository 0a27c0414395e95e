/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The daemon, or its warden, after an attacker has taken it over: a process with the user, the
 * capabilities, the mounts, the fds and the list of system calls that pv-reaper.service and the
 * program itself leave to it, which then does what it likes. For test-warden.py, as root.
 *
 *   taken ROLE PATH FILE PID FOREIGN [CAPABILITY...]
 *
 * ROLE is loop, warden or worker; PATH the daemon's cgroup; FILE a file of root's, PID a process of
 * root's, in the cgroup FOREIGN. One line for each attack: its name, and "done" or why not. A
 * worker is no attack: it says what the warden does for a worker. CAPABILITY: without that number.
 *
 * Each attack has a process of its own, since the warden's list kills.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/kcmp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "base/util.h"
#include "daemon/system-calls.h"
#include "daemon/warden/capabilities.h"
#include "daemon/warden/question.h"
#include "daemon/warden/schedule.h"

#define NOBODY 65534

static const char *path, *file, *foreign;
static pid_t victim, worker;
static int root_fd = -1;
static uint64_t unit_capabilities = CAPABILITY(CAP_DAC_OVERRIDE) | CAPABILITY(CAP_SYS_NICE) |
                                    CAPABILITY(CAP_SYS_PTRACE) | CAPABILITY(CAP_SYS_CHROOT);

static int fail(const char *what) {
        perror(what);
        exit(2);
}

static int check(long r) {
        return r < 0 ? negative_errno() : 0;
}

/* ---- what the unit does ---- */

/* All is read-only but our own cgroups, as by ProtectSystem=, ReadOnlyPaths=, ReadWritePaths=. */
static void protect(void) {
        char mount_point[PATH_MAX];

        (void)snprintf(mount_point, sizeof(mount_point), "%.*s", (int)(strrchr(path, '/') - path),
                       path);
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount(path, path, NULL, MS_BIND, NULL) < 0 ||
            mount(NULL, "/", NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0 ||
            mount(NULL, mount_point, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
                fail("mount");
}

/* User=, AmbientCapabilities=, NoNewPrivileges=. */
static void become_daemon(void) {
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0 || setgroups(0, NULL) < 0 ||
            setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0 ||
            capabilities_keep(unit_capabilities) < 0 || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                fail("credentials");
}

/* ---- what both try ---- */

static int write_to(int dir, const char *name, int flags, const char *text) {
        int fd = openat(dir, name, O_WRONLY | flags, 0755);

        return fd < 0 ? negative_errno() : check(write(fd, text, strlen(text)));
}

static int write_in(const char *directory, const char *name, const char *text) {
        char full[PATH_MAX];

        (void)snprintf(full, sizeof(full), "%s/%s", directory, name);
        return write_to(AT_FDCWD, full, 0, text);
}

static int write_proc(const char *name, int flags) {
        char full[PATH_MAX + 32];

        (void)snprintf(full, sizeof(full), "/proc/%d/%s", (int)victim, name);
        return write_to(AT_FDCWD, full, flags, "x");
}

static int file_directly(void) {
        return write_to(AT_FDCWD, file, O_TRUNC, "x");
}

static int read_file(void) {
        return check(open(file, O_RDONLY));
}

static int file_by_root(void) {
        char name[PATH_MAX];

        (void)snprintf(name, sizeof(name), "root%s", file);
        return write_proc(name, O_TRUNC);
}

static int new_file_by_root(void) {
        char name[PATH_MAX];

        (void)snprintf(name, sizeof(name), "root%s.new", file);
        return write_proc(name, O_CREAT);
}

static int file_by_cwd(void) {
        return write_proc("cwd/x", O_CREAT);
}

static int write_mem(void) {
        return write_proc("mem", 0);
}

static int read_mem(void) {
        char full[64];

        (void)snprintf(full, sizeof(full), "/proc/%d/mem", (int)victim);
        return check(open(full, O_RDONLY));
}

static int oom_score(void) {
        return write_proc("oom_score_adj", 0);
}

static int freeze_foreign(void) {
        return write_in(foreign, "cgroup.freeze", "1");
}

static int kill_foreign(void) {
        return write_in(foreign, "cgroup.kill", "1");
}

static int enter_foreign(void) {
        return write_in(foreign, "cgroup.procs", "0");
}

static int new_foreign(void) {
        char full[PATH_MAX];

        (void)snprintf(full, sizeof(full), "%s/new", foreign);
        return check(mkdirat(AT_FDCWD, full, 0755));
}

static int move_victim(void) {
        char pid[16];

        (void)snprintf(pid, sizeof(pid), "%d", (int)victim);
        return write_in(path, "jobs/a/cgroup.procs", pid);
}

static int schedule_victim(void) {
        return schedule_fair(victim, SCHED_IDLE);
}

static int confine_victim(void) {
        static const struct warden_cpus first = {.bits = {1}};

        return schedule_cpus(victim, &first);
}

static int slow_victim(void) {
        return check(setpriority(PRIO_PROCESS, (id_t)victim, 19));
}

static int trace_victim(void) {
        return check(ptrace(PTRACE_ATTACH, victim, NULL, NULL));
}

static int kill_victim(void) {
        return check(kill(victim, SIGKILL));
}

static int write_victim(void) {
        char c = 0;
        struct iovec here = {&c, 1}, there = {(void *)4096, 1};

        return check(process_vm_writev(victim, &here, 1, &there, 1, 0));
}

static int execute(void) {
        return check(execl("/bin/true", "true", NULL));
}

/* ---- what the loop tries of its warden ---- */

static pid_t warden_of(pid_t pid) {
        char full[64], text[64] = "";
        FILE *f;

        (void)snprintf(full, sizeof(full), "/proc/%d/task/%d/children", (int)pid, (int)pid);
        f = fopen(full, "re");
        if (!f || !fgets(text, sizeof(text), f))
                return 0;
        (void)fclose(f);
        return (pid_t)strtol(text, NULL, 10);
}

static int write_warden(void) {
        char full[64];

        (void)snprintf(full, sizeof(full), "/proc/%d/mem", (int)warden_of(getpid()));
        return write_to(AT_FDCWD, full, 0, "x");
}

static int no(int r) {
        return r == 0 ? -EPERM : r > 0 ? 0 : r;
}

static int ask_admit(void) {
        return no(warden_admit(victim, getpid()));
}

static int ask_admit_itself(void) {
        return no(warden_admit(victim, victim));
}

static int ask_admit_found(void) {
        char name[64];

        (void)snprintf(name, sizeof(name), "jobs/" WARDEN_LEAF, (int)victim, UINT64_C(1));
        (void)mkdirat(root_fd, name, 0755);
        return no(warden_admit_found(victim, 1));
}

/* With an explicit PATH closers are in it, and that is ours. */
static int ask_admit_closer(void) {
        (void)mkdirat(root_fd, WARDEN_CLOSER "x.service", 0755);
        return no(warden_admit_closer(victim, WARDEN_CLOSER "x.service"));
}

static int ask_admit_closer_elsewhere(void) {
        return no(warden_admit_closer(victim, WARDEN_CLOSER "/../../../../../../proc"));
}

static int ask_move(void) {
        return warden_move(victim, 1);
}

static int ask_move_probe(void) {
        return warden_move_probe(victim);
}

static int ask_schedule(void) {
        return warden_set_fair(victim, SCHED_IDLE);
}

static int ask_deadline(void) {
        return warden_set_deadline(victim, 1000000, 100000000);
}

static int ask_cpus(void) {
        static const struct warden_cpus first = {.bits = {1}};

        return warden_set_cpus(victim, &first);
}

static int ask_hurry(void) {
        return warden_hurry_probe(victim);
}

/* ---- what a warden tries besides ---- */

static int file_by_fd(void) {
        char name[PATH_MAX];

        (void)snprintf(name, sizeof(name), "%d/root%s", (int)victim, file);
        return write_to(WARDEN_PROC, name, 0, "x");
}

static int file_by_dots(void) {
        char name[PATH_MAX];

        (void)snprintf(name, sizeof(name), "../../../../../../../../%s", file);
        return write_to(AT_FDCWD, name, 0, "x");
}

static int leave_by_fd(void) {
        return check(fchdir(WARDEN_PROC));
}

static int leave_by_chroot(void) {
        return check(chroot("."));
}

static int receive_fd(void) {
        struct msghdr message = {};

        return check(recvmsg(WARDEN_LINK, &message, 0));
}

static int make_socket(void) {
        return check(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int compare_files(void) {
        return check(syscall(SYS_kcmp, victim, victim, KCMP_FILE, 0UL, 0UL));
}

/* In its root directory: what it may, and the same outside of it. */
static int move_by_jobs(void) {
        char pid[16];

        (void)snprintf(pid, sizeof(pid), "%d", (int)victim);
        return write_to(AT_FDCWD, "jobs/a/cgroup.procs", 0, pid);
}

/* ---- a worker ---- */

static int work_admit(void) {
        return no(warden_admit(worker, victim));
}

static int work_move(void) {
        int r = work_admit();

        return r < 0 ? r : warden_move(worker, 1);
}

static int work_fair(void) {
        int r = work_admit();

        return r < 0 ? r : warden_set_fair(worker, SCHED_BATCH);
}

static int work_nothing(void) {
        return 0;
}

/* ---- all of them ---- */

#define LOOP   1
#define WARDEN 2
#define WORKER 4

static const struct attack {
        const char *name;
        int (*try)(void);
        int roles;
} attacks[] = {
        {"file-directly", file_directly, LOOP | WARDEN},
        {"read-file", read_file, LOOP | WARDEN},
        {"file-by-root", file_by_root, LOOP | WARDEN},
        {"new-file-by-root", new_file_by_root, LOOP | WARDEN},
        {"file-by-cwd", file_by_cwd, LOOP | WARDEN},
        {"write-mem", write_mem, LOOP | WARDEN},
        {"read-mem", read_mem, LOOP | WARDEN},
        {"oom-score", oom_score, LOOP | WARDEN},
        {"freeze-foreign", freeze_foreign, LOOP | WARDEN},
        {"kill-foreign", kill_foreign, LOOP | WARDEN},
        {"enter-foreign", enter_foreign, LOOP | WARDEN},
        {"new-foreign", new_foreign, LOOP | WARDEN},
        {"trace-victim", trace_victim, LOOP | WARDEN},
        {"kill-victim", kill_victim, LOOP | WARDEN},
        {"write-victim", write_victim, LOOP | WARDEN},
        {"execute", execute, LOOP | WARDEN},
        {"move-victim", move_victim, LOOP},
        {"schedule-victim", schedule_victim, LOOP | WARDEN},
        {"confine-victim", confine_victim, LOOP | WARDEN},
        {"slow-victim", slow_victim, LOOP | WARDEN},
        {"write-warden", write_warden, LOOP},
        {"ask-admit", ask_admit, LOOP},
        {"ask-admit-itself", ask_admit_itself, LOOP},
        {"ask-admit-found", ask_admit_found, LOOP},
        {"ask-admit-closer", ask_admit_closer, LOOP},
        {"ask-admit-closer-elsewhere", ask_admit_closer_elsewhere, LOOP},
        {"ask-move", ask_move, LOOP},
        {"ask-move-probe", ask_move_probe, LOOP},
        {"ask-schedule", ask_schedule, LOOP},
        {"ask-deadline", ask_deadline, LOOP},
        {"ask-cpus", ask_cpus, LOOP},
        {"ask-hurry", ask_hurry, LOOP},
        {"file-by-fd", file_by_fd, WARDEN},
        {"file-by-dots", file_by_dots, WARDEN},
        {"leave-by-fd", leave_by_fd, WARDEN},
        {"leave-by-chroot", leave_by_chroot, WARDEN},
        {"receive-fd", receive_fd, WARDEN},
        {"make-socket", make_socket, WARDEN},
        {"compare-files", compare_files, WARDEN},
        {"move-by-jobs", move_by_jobs, WARDEN},
        {"start", work_nothing, WORKER},
        {"admit", work_admit, WORKER},
        {"move", work_move, WORKER},
        {"fair", work_fair, WORKER},
};

static void confine(int role) {
        const struct warden_config config = {.root = root_fd, .jobs = "jobs"};
        int link[2], child_link[2], r;

        if (role != WARDEN) {
                r = warden_start(&config);
                if (r >= 0)
                        r = sandbox_install(&daemon_calls, SANDBOX_ENFORCE);
        } else {
                if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, link) < 0 ||
                    socketpair(AF_UNIX, SOCK_SEQPACKET, 0, child_link) < 0)
                        fail("socketpair");
                r = warden_take_fds(root_fd, link[1], child_link[1]);
                if (r >= 0)
                        r = warden_confine(&config);
        }
        if (r < 0)
                _exit(-r);
}

static void try(const struct attack *attack, int role) {
        int status = 0;
        pid_t pid = fork();

        if (pid == 0) {
                int r;

                confine(role);
                r = attack->try();
                _exit(r < 0 ? -r : 0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                fail("fork");
        if (WIFSIGNALED(status))
                printf("%s %s\n", attack->name, sigabbrev_np(WTERMSIG(status)));
        else
                printf("%s %s\n", attack->name,
                       WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "done");
        (void)fflush(stdout);
}

static int worker_main(void *userdata) {
        for (;;)
                (void)pause();
        return 0;
}

/* A VMM of root's and its keeper, in the foreign cgroup. */
static void make_worker(void) {
        static char stack[65536] __attribute__((aligned(64)));
        int ready[2];

        if (pipe(ready) < 0)
                fail("pipe");
        victim = fork();
        if (victim == 0) {
                /* The test reads our output to its end, and ends these two by their cgroup. */
                if (write_in(foreign, "cgroup.procs", "0") < 0 || close(STDOUT_FILENO) < 0)
                        _exit(2);
                worker = clone(worker_main, stack + sizeof(stack), CLONE_VM | SIGCHLD, NULL);
                (void)!write(ready[1], &worker, sizeof(worker));
                (void)worker_main(NULL);
        }
        if (victim < 0 || read(ready[0], &worker, sizeof(worker)) != sizeof(worker))
                fail("worker");
}

static void make_cgroups(void) {
        char name[64];

        (void)snprintf(name, sizeof(name), "jobs/" WARDEN_LEAF, (int)worker, UINT64_C(1));
        root_fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        if (root_fd < 0 || mkdirat(root_fd, "jobs", 0755) < 0 ||
            mkdirat(root_fd, "jobs/a", 0755) < 0 || mkdirat(root_fd, "probe", 0755) < 0 ||
            (worker && mkdirat(root_fd, name, 0755) < 0))
                fail("cgroups");
}

int main(int argc, char **argv) {
        static const char *const roles[] = {
                [LOOP] = "loop", [WARDEN] = "warden", [WORKER] = "worker"};
        int role = 0;

        for (int i = 0; i < (int)ARRAY_SIZE(roles) && argc > 5; i++)
                if (roles[i] && strcmp(argv[1], roles[i]) == 0)
                        role = i;
        if (!role)
                return 2;
        path = argv[2];
        file = argv[3];
        victim = (pid_t)strtol(argv[4], NULL, 10);
        foreign = argv[5];
        for (int i = 6; i < argc; i++)
                unit_capabilities &= ~CAPABILITY(strtol(argv[i], NULL, 10));
        if (role == WORKER)
                make_worker();
        protect();
        become_daemon();
        make_cgroups();
        for (size_t i = 0; i < ARRAY_SIZE(attacks); i++)
                if (attacks[i].roles & role)
                        try(&attacks[i], role);
        return 0;
}
