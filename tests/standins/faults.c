/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For test-faults.py: put in front of the daemon by LD_PRELOAD, a C library and a kernel in which
 * one call fails, or does less than it was asked to: the n-th of its sort, or some from the n-th
 * on. Which, and how, stands in the file $PVR_FAULTS, a struct control that the test has mapped,
 * too: it may begin with the daemon's start, or at any time later, and end at any time.
 *
 * Only calls of the program itself count: what libraries make of a failure inside of them is
 * theirs. Calls of its children do not count either. What was called is told by all return
 * addresses in the program, so that read_file_at() is a different one for each of its callers.
 *
 * A file in the directory $PVR_FAULTS_FILES stands in for all that have its name: for a cgroup's of
 * a controller that is not there. There children see it, too.
 *
 * All is exported by name: the project is built with -fvisibility=hidden, and a hidden malloc() is
 * called by nobody.
 */

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <mntent.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-event.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#define EXPORT     __attribute__((visibility("default")))
#define N_FRAMES   32
#define N_CALLS    8192
#define PATH_SIZE  4096
#define FNV_START  UINT64_C(14695981039346656037)
#define FNV_FACTOR UINT64_C(1099511628211)

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

/* As in test-faults.py. */
enum sort { NONE, MEMORY, FDS, AGAIN, CGROUP, INTERRUPT, SHORT, LIBRARY };

struct control {
        volatile uint32_t sort, error;     /* error: an errno; 0 for SHORT */
        volatile uint32_t at, lasts;       /* from the at-th call on (1: the first), so many */
        volatile uint32_t count, hits;     /* of the sort; of those, how many failed */
        volatile uint64_t frame[N_FRAMES]; /* where the last of them was called, in the program */
        volatile uint64_t call[N_CALLS]; /* for each that was counted: what tells it from others */
};

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *old, size_t size);

static struct control *control;
static volatile bool *here; /* not in children: the kernel wipes it there */
static uintptr_t program_start, program_end, program_base;
static const char *cgroup_prefix, *files;

static int note_program(struct dl_phdr_info *info, size_t size, void *userdata) {
        program_start = UINTPTR_MAX;
        program_base = info->dlpi_addr;
        for (int i = 0; i < info->dlpi_phnum; i++) {
                uintptr_t start = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;

                if (info->dlpi_phdr[i].p_type != PT_LOAD)
                        continue;
                if (start < program_start)
                        program_start = start;
                if (start + info->dlpi_phdr[i].p_memsz > program_end)
                        program_end = start + info->dlpi_phdr[i].p_memsz;
        }
        return 1; /* the first one is the program */
}

static void *map(int flags, size_t size, int fd) {
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);

        if (p == MAP_FAILED)
                abort();
        return p;
}

__attribute__((constructor)) static void start(void) {
        const char *path = getenv("PVR_FAULTS");
        void *frames[N_FRAMES];
        int fd;

        cgroup_prefix = getenv("PVR_FAULTS_CGROUP");
        files = getenv("PVR_FAULTS_FILES");
        fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
        if (fd < 0)
                return;
        (void)backtrace(frames, N_FRAMES); /* it loads a library the first time */
        (void)dl_iterate_phdr(note_program, NULL);
        here = map(MAP_PRIVATE | MAP_ANONYMOUS, sizeof(*here), -1);
        if (madvise((void *)(uintptr_t)here, sizeof(*here), MADV_WIPEONFORK) < 0)
                abort();
        *here = true;
        control = map(MAP_SHARED, sizeof(*control), fd);
        (void)close(fd);
}

/* ---- whether a call fails ---- */

static bool is_program(uintptr_t at) {
        return at >= program_start && at < program_end;
}

/* A number for the way that led here; the way itself, if asked for. */
static uint64_t way_here(volatile uint64_t *ret_frames) {
        void *frames[N_FRAMES];
        int n = backtrace(frames, N_FRAMES), n_ours = 0;
        uint64_t hash = FNV_START;

        for (int i = 0; i < n; i++) {
                uintptr_t at = (uintptr_t)frames[i];

                if (!is_program(at))
                        continue;
                hash = (hash ^ (at - program_base)) * FNV_FACTOR;
                if (ret_frames)
                        ret_frames[n_ours++] = at - program_base;
        }
        if (ret_frames && n_ours < N_FRAMES)
                ret_frames[n_ours] = 0;
        return hash;
}

static bool fails(enum sort sort, const void *caller) {
        uint32_t n;
        bool hit;

        if (!control || !*here || control->sort != sort || !is_program((uintptr_t)caller))
                return false;
        n = ++control->count;
        hit = control->at > 0 && n >= control->at && n - control->at < control->lasts;
        if (n <= N_CALLS)
                control->call[n - 1] = way_here(hit ? control->frame : NULL);
        if (!hit)
                return false;
        control->hits++;
        if (control->error > 0)
                errno = (int)control->error;
        return true;
}

#define FAILS(sort) fails((sort), __builtin_return_address(0))

/* Declares next, what would have been called without us. */
#define NEXT(type, name, ...)                                                                      \
        type (*next)(__VA_ARGS__);                                                                 \
        *(void **)&next = dlsym(RTLD_NEXT, name)

/* ---- memory ---- */

EXPORT void *malloc(size_t size) {
        return FAILS(MEMORY) ? NULL : __libc_malloc(size);
}

EXPORT void *calloc(size_t n, size_t size) {
        return FAILS(MEMORY) ? NULL : __libc_calloc(n, size);
}

EXPORT void *realloc(void *old, size_t size) {
        return FAILS(MEMORY) ? NULL : __libc_realloc(old, size);
}

EXPORT void *reallocarray(void *old, size_t n, size_t size) {
        NEXT(void *, "reallocarray", void *, size_t, size_t);
        return FAILS(MEMORY) ? NULL : next(old, n, size);
}

static char *copy(const char *text, size_t n) {
        char *new = __libc_malloc(n + 1);

        if (!new)
                return NULL;
        new[n] = '\0';
        return memcpy(new, text, n);
}

EXPORT char *strdup(const char *text) {
        return FAILS(MEMORY) ? NULL : copy(text, strlen(text));
}

EXPORT char *strndup(const char *text, size_t n) {
        return FAILS(MEMORY) ? NULL : copy(text, strnlen(text, n));
}

/* What *ret is then, nobody may rely on. */
EXPORT int asprintf(char **ret, const char *format, ...) {
        va_list ap;
        int r;

        if (FAILS(MEMORY)) {
                memset(ret, 0x5a, sizeof(*ret));
                return -1;
        }
        va_start(ap, format);
        r = vasprintf(ret, format, ap);
        va_end(ap);
        return r;
}

EXPORT FILE *open_memstream(char **buffer, size_t *size) {
        NEXT(FILE *, "open_memstream", char **, size_t *);
        return FAILS(MEMORY) ? NULL : next(buffer, size);
}

/* What getline(3) is. */
EXPORT ssize_t __getdelim(char **line, size_t *size, int delimiter, FILE *file) {
        NEXT(ssize_t, "__getdelim", char **, size_t *, int, FILE *);
        return FAILS(MEMORY) ? -1 : next(line, size, delimiter, file);
}

EXPORT FILE *fdopen(int fd, const char *mode) {
        NEXT(FILE *, "fdopen", int, const char *);
        return FAILS(MEMORY) ? NULL : next(fd, mode);
}

EXPORT DIR *fdopendir(int fd) {
        NEXT(DIR *, "fdopendir", int);
        return FAILS(MEMORY) ? NULL : next(fd);
}

EXPORT char *realpath(const char *path, char *resolved) {
        NEXT(char *, "realpath", const char *, char *);
        return FAILS(MEMORY) ? NULL : next(path, resolved);
}

EXPORT pid_t fork(void) {
        NEXT(pid_t, "fork", void);
        return FAILS(MEMORY) ? -1 : next();
}

/* ---- fds ---- */

/* dir: an fd, of which the directory is meant if path is relative, or else the file itself. */
static bool is_cgroup(int dir, const char *path) {
        char link[32], target[PATH_SIZE];
        ssize_t n;

        if (!control || control->sort != CGROUP || !cgroup_prefix)
                return false;
        if (path && path[0] == '/')
                return strncmp(path, cgroup_prefix, strlen(cgroup_prefix)) == 0;
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
        n = readlink(link, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        return strncmp(target, cgroup_prefix, strlen(cgroup_prefix)) == 0;
}

/* The argument that is there only where a file may be made. */
#define MODE(ret, flags)                                                                           \
        do {                                                                                       \
                va_list ap;                                                                        \
                va_start(ap, flags);                                                               \
                if ((flags)&O_CREAT)                                                               \
                        (ret) = va_arg(ap, mode_t);                                                \
                va_end(ap);                                                                        \
        } while (false)

EXPORT int open64(const char *path, int flags, ...) {
        NEXT(int, "open64", const char *, int, ...);
        mode_t mode = 0;

        MODE(mode, flags);
        return FAILS(FDS) ? -1 : next(path, flags, mode);
}

EXPORT int openat64(int dir, const char *path, int flags, ...) {
        NEXT(int, "openat64", int, const char *, int, ...);
        const char *slash = strrchr(path, '/');
        char stand_in[PATH_SIZE];
        mode_t mode = 0;
        int fd = -1;

        MODE(mode, flags);
        if (FAILS(FDS) || (is_cgroup(dir, path) && FAILS(CGROUP)))
                return -1;
        if (files) {
                (void)snprintf(stand_in, sizeof(stand_in), "%s/%s", files,
                               slash ? slash + 1 : path);
                fd = next(AT_FDCWD, stand_in, flags & ~O_CREAT);
        }
        return fd >= 0 ? fd : next(dir, path, flags, mode);
}

EXPORT DIR *opendir(const char *path) {
        NEXT(DIR *, "opendir", const char *);
        return FAILS(FDS) ? NULL : next(path);
}

EXPORT int accept4(int fd, struct sockaddr *address, socklen_t *size, int flags) {
        NEXT(int, "accept4", int, struct sockaddr *, socklen_t *, int);
        return FAILS(FDS) || FAILS(AGAIN) ? -1 : next(fd, address, size, flags);
}

EXPORT int socket(int domain, int type, int protocol) {
        NEXT(int, "socket", int, int, int);
        return FAILS(FDS) ? -1 : next(domain, type, protocol);
}

EXPORT int pipe2(int fds[2], int flags) {
        NEXT(int, "pipe2", int *, int);
        return FAILS(FDS) ? -1 : next(fds, flags);
}

EXPORT int getsockopt(int fd, int level, int name, void *value, socklen_t *size) {
        NEXT(int, "getsockopt", int, int, int, void *, socklen_t *);
        return name == SO_PEERPIDFD && FAILS(FDS) ? -1 : next(fd, level, name, value, size);
}

/* ---- data ---- */

EXPORT ssize_t read(int fd, void *data, size_t size) {
        NEXT(ssize_t, "read", int, void *, size_t);
        if (FAILS(INTERRUPT))
                return -1;
        return next(fd, data, size > 1 && FAILS(SHORT) ? 1 : size);
}

/* A cgroup takes all of it or nothing. */
EXPORT ssize_t write(int fd, const void *data, size_t size) {
        NEXT(ssize_t, "write", int, const void *, size_t);
        if (FAILS(INTERRUPT) || FAILS(AGAIN) || (is_cgroup(fd, NULL) && FAILS(CGROUP)))
                return -1;
        return next(fd, data, fd == STDERR_FILENO && FAILS(SHORT) ? size / 2 : size);
}

EXPORT ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to,
                      socklen_t to_size) {
        NEXT(ssize_t, "sendto", int, const void *, size_t, int, const struct sockaddr *, socklen_t);
        return FAILS(INTERRUPT) || FAILS(AGAIN) ? -1 : next(fd, data, size, flags, to, to_size);
}

EXPORT int poll(struct pollfd *fds, nfds_t n, int timeout) {
        NEXT(int, "poll", struct pollfd *, nfds_t, int);
        return FAILS(INTERRUPT) ? -1 : next(fds, n, timeout);
}

static bool syscall_fails(long number, const void *caller) {
        switch (number) {
        case SYS_pidfd_open:
                return fails(FDS, caller);
        case SYS_clone:
                return fails(MEMORY, caller);
        case SYS_recvmsg:
        case SYS_sendmsg:
        case SYS_sendto:
                return fails(INTERRUPT, caller) || fails(AGAIN, caller);
        default:
                return false;
        }
}

EXPORT long syscall(long number, ...) {
        NEXT(long, "syscall", long, ...);
        long args[6];
        va_list ap;

        va_start(ap, number);
        for (int i = 0; i < 6; i++)
                args[i] = va_arg(ap, long);
        va_end(ap);
        if (syscall_fails(number, __builtin_return_address(0)))
                return -1;
        return next(number, args[0], args[1], args[2], args[3], args[4], args[5]);
}

/* ---- cgroups ---- */

EXPORT int mkdirat(int dir, const char *path, mode_t mode) {
        NEXT(int, "mkdirat", int, const char *, mode_t);
        return is_cgroup(dir, path) && FAILS(CGROUP) ? -1 : next(dir, path, mode);
}

EXPORT int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags) {
        NEXT(int, "fsetxattr", int, const char *, const void *, size_t, int);
        return is_cgroup(fd, NULL) && FAILS(CGROUP) ? -1 : next(fd, name, value, size, flags);
}

/* ---- libsystemd: what it says when it runs out of memory, inside ---- */

#define SYSTEMD(name, parameters, ...)                                                             \
        EXPORT int name parameters {                                                               \
                __typeof__(name) *next;                                                            \
                *(void **)&next = dlsym(RTLD_NEXT, #name);                                         \
                return FAILS(LIBRARY) ? -ENOMEM : next(__VA_ARGS__);                               \
        }

SYSTEMD(sd_event_add_io,
        (sd_event * e, sd_event_source **ret, int fd, uint32_t events,
         sd_event_io_handler_t handler, void *userdata),
        e, ret, fd, events, handler, userdata)
SYSTEMD(sd_event_add_time,
        (sd_event * e, sd_event_source **ret, clockid_t clock, uint64_t usec, uint64_t accuracy,
         sd_event_time_handler_t handler, void *userdata),
        e, ret, clock, usec, accuracy, handler, userdata)
SYSTEMD(sd_event_add_time_relative,
        (sd_event * e, sd_event_source **ret, clockid_t clock, uint64_t usec, uint64_t accuracy,
         sd_event_time_handler_t handler, void *userdata),
        e, ret, clock, usec, accuracy, handler, userdata)
SYSTEMD(sd_event_add_defer,
        (sd_event * e, sd_event_source **ret, sd_event_handler_t handler, void *userdata), e, ret,
        handler, userdata)
SYSTEMD(sd_event_add_signal,
        (sd_event * e, sd_event_source **ret, int number, sd_event_signal_handler_t handler,
         void *userdata),
        e, ret, number, handler, userdata)
SYSTEMD(sd_bus_new, (sd_bus * *ret), ret)
SYSTEMD(sd_bus_add_filter,
        (sd_bus * bus, sd_bus_slot **ret, sd_bus_message_handler_t handler, void *userdata), bus,
        ret, handler, userdata)
SYSTEMD(sd_bus_start, (sd_bus * bus), bus)
SYSTEMD(sd_bus_attach_event, (sd_bus * bus, sd_event *e, int priority), bus, e, priority)
SYSTEMD(sd_bus_message_new_method_return, (sd_bus_message * call, sd_bus_message **ret), call, ret)
SYSTEMD(sd_bus_message_open_container, (sd_bus_message * m, char type, const char *contents), m,
        type, contents)
SYSTEMD(sd_bus_message_append_basic, (sd_bus_message * m, char type, const void *p), m, type, p)
SYSTEMD(sd_bus_send, (sd_bus * bus, sd_bus_message *m, uint64_t *cookie), bus, m, cookie)
SYSTEMD(sd_pid_get_unit, (pid_t pid, char **ret), pid, ret)
