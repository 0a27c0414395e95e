/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The end of an address space. Each step reads /proc/self/maps anew. The file is that of the
 * address space in which it was opened. It is still there when the VMM is a zombie, and nobody else
 * changes the mappings any more.
 *
 * - Private guest RAM goes slice by slice. MADV_DONTNEED leaves the mapping there, empty: if a
 *   mapping was taken for RAM and was something else (a sanitizer's), code that still reads it does
 *   not crash. MADV_DONTNEED refuses locked memory (-overcommit mem-lock=on): that is unmapped.
 * - Shared memory is left to the exit. A part that is dropped is not free, since its file is still
 *   there, so there would be no progress to tell. Holes (MADV_REMOVE) would take memory from other
 *   processes that share it.
 * - Memory that a userfaultfd watches is left to the exit. Its reader is another process and may
 *   have asked to hear of removed memory. If it does not read, madvise(2) and munmap(2) wait for
 *   ever.
 *
 * No failure here matters: memory that could not be unmapped goes with the exit.
 */

#include "lib/space.h"

#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "base/util.h"
#include "lib/lines.h"
#include "lib/raw.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 8U /* Linux 6.3 */
#endif

#define PROGRESS_STEPS    32
#define PROGRESS_USEC     (100 * USEC_PER_MSEC)
#define PROGRESS_MIN_USEC (5 * USEC_PER_MSEC)  /* to tell progress takes a thirtieth of that */
#define QUIET_USEC        (10 * USEC_PER_MSEC) /* nobody watches a job that is over by then */

#define RANGES_MAX 64

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1 /* Linux 5.11 */
#endif

#define SLICE_FIRST     (SPACE_SLICE << 2)
#define SLICE_MAX       (SPACE_SLICE << 4)
#define SLICE_FAST_USEC (2 * USEC_PER_MSEC)
#define SLICE_SLOW_USEC (8 * USEC_PER_MSEC)

/* ---- in the VMM ---- */

/* Some hosts require this flag for each memfd, older ones do not know it. */
static int make_memfd(void) {
        int fd = memfd_create("pvr-probe", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

        return fd < 0 ? memfd_create("pvr-probe", MFD_CLOEXEC) : fd;
}

void space_init(struct space *s) {
        _cleanup_(close_fd) int fd = make_memfd();
        struct stat st;

        if (fd >= 0 && fstat(fd, &st) == 0)
                s->shmem = DEVICE_NUMBER(major(st.st_dev), minor(st.st_dev));
}

/* ---- in the keeper ---- */

static int open_or_none(const char *path) {
        int fd = raw_open(path);

        return fd < 0 ? -1 : fd;
}

int space_open(struct space *s) {
        s->maps = raw_open("/proc/self/maps");
        if (s->maps < 0)
                return s->maps;
        s->mountinfo = open_or_none("/proc/self/mountinfo");
        s->statm = open_or_none("/proc/self/statm");
        return 0;
}

void space_add_own(struct space *s, const void *start, size_t size) {
        if (s->n_own < SPACE_OWN_MAX)
                s->own[s->n_own++] =
                        (struct range){(uintptr_t)start, (uint64_t)(uintptr_t)start + size};
}

static bool is_own(const struct space *s, const struct range *r) {
        for (unsigned i = 0; i < s->n_own; i++)
                if (s->own[i].start < r->end && r->start < s->own[i].end)
                        return true;
        return false;
}

static void unmap(const struct space *s, const struct range *r) {
        if (!is_own(s, r))
                (void)raw_syscall(SYS_munmap, r->start, r->end - r->start);
}

static void drop(const struct space *s, const struct range *r) {
        if (!is_own(s, r) &&
            raw_syscall(SYS_madvise, r->start, r->end - r->start, MADV_DONTNEED) < 0)
                unmap(s, r);
}

/* ---- what somebody else's userfaultfd watches ---- */

/*
 * A userfaultfd to ask with, or a negative errno. -EINVAL: Linux before 5.11, where only privileged
 * processes can ask. Any other: no process here could make one, so nobody watches.
 */
static int watch_open(void) {
        struct uffdio_api api = {.api = UFFD_API};
        int fd = (int)raw_syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);
        int r;

        if (fd < 0)
                return fd;
        r = (int)raw_syscall(SYS_ioctl, fd, UFFDIO_API, &api);
        if (r < 0)
                raw_close(&fd);
        return r < 0 ? r : fd;
}

/*
 * A range has one userfaultfd at most: the kernel answers a second one with EBUSY. If it took ours,
 * that is taken back at once: the range may have been merged with the keeper's own stack, and a
 * page of that, touched for the first time, would wait for the keeper itself.
 */
static bool is_watched(int watch, const struct range *r) {
        struct uffdio_register request = {
                .range = {.start = r->start, .len = r->end - r->start},
                .mode = UFFDIO_REGISTER_MODE_MISSING,
        };
        long result;

        if (watch < 0)
                return watch == -EINVAL;
        result = raw_syscall(SYS_ioctl, watch, UFFDIO_REGISTER, &request);
        if (result >= 0)
                (void)raw_syscall(SYS_ioctl, watch, UFFDIO_UNREGISTER, &request.range);
        return result == -EBUSY;
}

/* ---- all mappings ---- */

static void read_filesystems(int mountinfo, struct filesystems *f) {
        enum filesystem_type type;
        struct lines lines;
        const char *line;
        uint64_t device;
        size_t size;

        lines_begin(&lines, mountinfo);
        while (lines_next(&lines, &line, &size) > 0)
                if (mount_parse(&device, &type, line, size) >= 0)
                        filesystems_add(f, device, type);
}

/* Calls action for each mapping, which may unmap it. Negative: these were not all. */
static int for_each_mapping(int maps, const struct filesystems *filesystems,
                            void (*action)(void *userdata, const struct mapping *mapping,
                                           enum mapping_kind kind),
                            void *userdata) {
        struct mapping mapping;
        struct lines lines;
        const char *line;
        size_t size;
        int r;

        lines_begin(&lines, maps);
        while ((r = lines_next(&lines, &line, &size)) > 0)
                if (mapping_parse(&mapping, line, size) >= 0)
                        action(userdata, &mapping, mapping_classify(&mapping, filesystems));
        return r;
}

/* For what the name alone tells. */
static const struct filesystems no_filesystems;

static void note_aio(void *userdata, const struct mapping *mapping, enum mapping_kind kind) {
        bool *found = userdata;

        *found |= kind == MAPPING_AIO;
}

int space_has_aio(void) {
        int maps = raw_open("/proc/self/maps"), r;
        bool found = false;

        if (maps < 0)
                return maps;
        r = for_each_mapping(maps, &no_filesystems, note_aio, &found);
        raw_close(&maps);
        return r < 0 ? r : found;
}

/* It returns when the last request has ended. -EINVAL: no ring, or a part of one that was ended. */
static void end_aio(void *userdata, const struct mapping *mapping, enum mapping_kind kind) {
        int *result = userdata, r;

        if (kind != MAPPING_AIO)
                return;
        r = (int)raw_syscall(SYS_io_destroy, mapping->range.start);
        if (r < 0 && r != -EINVAL)
                *result = r;
}

int space_fence(const struct space *s) {
        int result = 0, r;

        r = for_each_mapping(s->maps, &no_filesystems, end_aio, &result);
        return r < 0 ? r : result;
}

struct giving {
        struct space *space;
        int watch;
};

static void give_back(void *userdata, const struct mapping *mapping, enum mapping_kind kind) {
        struct giving *g = userdata;

        if (mapping_goes_at_once(kind, g->space->maybe_protected) &&
            !is_watched(g->watch, &mapping->range))
                unmap(g->space, &mapping->range);
}

void space_give_back(struct space *s) {
        struct filesystems filesystems = {.shmem = s->shmem};
        struct giving g = {.space = s, .watch = watch_open()};

        read_filesystems(s->mountinfo, &filesystems);
        (void)for_each_mapping(s->maps, &filesystems, give_back, &g);
        raw_close(&g.watch);
}

uint64_t space_resident(const struct space *s) {
        uint64_t pages = 0;
        struct lines lines;
        const char *line;
        size_t size;

        lines_begin(&lines, s->statm);
        if (lines_next(&lines, &line, &size) > 0)
                (void)statm_parse(&pages, line, size);
        return pages * (uint64_t)getpagesize();
}

/* ---- slices ---- */

struct release {
        struct space *space;
        void (*progress)(void *userdata, uint64_t bytes_left);
        void *userdata;
        int watch;

        struct range ranges[RANGES_MAX]; /* the first ranges that will be sliced */
        unsigned n_ranges;

        /* state, in bytes of address space */
        uint64_t total;
        uint64_t slice;  /* how large the next one is */
        uint64_t passed; /* since progress was told */
        uint64_t told_at;
        uint64_t quiet_until;
};

static bool is_sliced(const struct mapping *mapping, enum mapping_kind kind) {
        return kind == MAPPING_ANONYMOUS &&
               mapping->range.end - mapping->range.start >= SPACE_SLICE;
}

/* The vCPUs' mappings hold the VM. They go first, or each slice would be taken from the VM, too. */
static void begin_release(void *userdata, const struct mapping *mapping, enum mapping_kind kind) {
        struct release *r = userdata;

        if (kind == MAPPING_VCPU)
                unmap(r->space, &mapping->range);
        if (!is_sliced(mapping, kind) || is_watched(r->watch, &mapping->range))
                return;
        r->total += mapping->range.end - mapping->range.start;
        if (r->n_ranges < RANGES_MAX)
                r->ranges[r->n_ranges++] = mapping->range;
}

static void tell_progress(struct release *r, uint64_t bytes, uint64_t now) {
        r->passed += bytes;
        if (now < r->quiet_until ||
            (now - r->told_at < PROGRESS_USEC && r->passed < r->total / PROGRESS_STEPS))
                return;
        r->passed = 0;
        r->told_at = now;
        r->quiet_until = now + PROGRESS_MIN_USEC;
        r->progress(r->userdata, space_resident(r->space));
}

/* Memory in huge pages goes so fast that small slices would double the time. */
static void adapt_slice(struct release *r, uint64_t took_usec) {
        if (took_usec < SLICE_FAST_USEC && r->slice < SLICE_MAX)
                r->slice *= 2;
        else if (took_usec > SLICE_SLOW_USEC && r->slice > SPACE_SLICE)
                r->slice /= 2;
}

/* Slices end where a huge page ends, so that none is split. */
static struct range slice_of(uint64_t at, uint64_t size, uint64_t end) {
        return (struct range){at, min_u64(at - at % SPACE_SLICE + size, end)};
}

/* A small slice around the keeper's own memory, so that less is left to the exit. */
static struct range next_slice(const struct release *r, uint64_t at, uint64_t end) {
        struct range slice = slice_of(at, r->slice, end);

        return is_own(r->space, &slice) ? slice_of(at, SPACE_SLICE, end) : slice;
}

static void release_range(struct release *r, const struct range *range) {
        uint64_t at = range->start;

        while (at < range->end) {
                struct range slice = next_slice(r, at, range->end);
                uint64_t start = now_usec(), now;

                drop(r->space, &slice);
                now = now_usec();
                adapt_slice(r, now - start);
                tell_progress(r, slice.end - slice.start, now);
                at = slice.end;
        }
}

static void release_mapping(void *userdata, const struct mapping *mapping, enum mapping_kind kind) {
        struct release *r = userdata;

        if (is_sliced(mapping, kind) && !is_watched(r->watch, &mapping->range))
                release_range(r, &mapping->range);
}

void space_release(struct space *s, void (*progress)(void *userdata, uint64_t bytes_left),
                   void *userdata) {
        uint64_t now = now_usec();
        struct release r = {.space = s,
                            .progress = progress,
                            .userdata = userdata,
                            .watch = watch_open(),
                            .slice = SLICE_FIRST,
                            .told_at = now,
                            .quiet_until = now + QUIET_USEC};
        const struct filesystems none = {.shmem = s->shmem};

        /* No mount makes a mapping a vCPU's or an anonymous one. */
        (void)for_each_mapping(s->maps, &none, begin_release, &r);
        for (unsigned i = 0; i < r.n_ranges; i++)
                release_range(&r, &r.ranges[i]);
        if (r.n_ranges == RANGES_MAX) /* there may be more; dropped ones are cheap */
                (void)for_each_mapping(s->maps, &none, release_mapping, &r);
        raw_close(&r.watch);
}
