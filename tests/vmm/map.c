/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * `map`: memory of every sort that a VMM may have beside the memory slot's, which is anonymous. It
 * stays mapped until the VMM's address space is gone, and nothing but the mapping holds it. A ring
 * is io_uring's: what a driver lets map of itself, on a host without a device for that.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm.h"

enum source { SOURCE_NONE, SOURCE_MEMFD, SOURCE_PATH, SOURCE_DEVICE, SOURCE_RING };

struct kind {
        const char *name;
        int flags; /* of mmap() */
        enum source source;
        unsigned memfd; /* flags of memfd_create() */
        int advice;     /* of madvise(), or 0 */
};

static const struct kind kinds[] = {
        {.name = "anonymous", .flags = MAP_PRIVATE | MAP_ANONYMOUS},
        {.name = "thp", .flags = MAP_PRIVATE | MAP_ANONYMOUS, .advice = MADV_HUGEPAGE},
        {.name = "shared", .flags = MAP_SHARED | MAP_ANONYMOUS},
        {.name = "memfd", .flags = MAP_SHARED, .source = SOURCE_MEMFD},
        {.name = "hugetlb", .flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB},
        {.name = "hugememfd", .flags = MAP_SHARED, .source = SOURCE_MEMFD, .memfd = MFD_HUGETLB},
        {.name = "file", .flags = MAP_SHARED, .source = SOURCE_PATH},
        {.name = "private", .flags = MAP_PRIVATE, .source = SOURCE_PATH},
        {.name = "device", .flags = MAP_SHARED, .source = SOURCE_DEVICE},
        {.name = "ring", .flags = MAP_SHARED, .source = SOURCE_RING},
};

static const struct kind *find_kind(const char *name) {
        for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
                if (strcmp(kinds[i].name, name) == 0)
                        return &kinds[i];
        return NULL;
}

static bool has_path(const struct kind *kind) {
        return kind->source == SOURCE_PATH || kind->source == SOURCE_DEVICE;
}

static int sized(int fd, uint64_t size) {
        int r;

        if (fd < 0)
                return -errno;
        if (ftruncate(fd, (off_t)size) == 0)
                return fd;
        r = -errno;
        close(fd);
        return r;
}

/* An fd, -ENOTSUP: none is needed, or another negative errno. */
static int open_source(const struct kind *kind, uint64_t size, const char *path) {
        struct io_uring_params params = {};
        int fd;

        switch (kind->source) {
        case SOURCE_MEMFD:
                return sized(memfd_create("pvr-vmm", MFD_CLOEXEC | kind->memfd), size);
        case SOURCE_PATH:
                return sized(open(path, O_RDWR | O_CLOEXEC | O_CREAT, 0600), size);
        case SOURCE_DEVICE:
                fd = open(path, O_RDWR | O_CLOEXEC);
                return fd < 0 ? -errno : fd;
        case SOURCE_RING:
                fd = (int)syscall(SYS_io_uring_setup, 1, &params);
                return fd < 0 ? -errno : fd;
        default:
                return -ENOTSUP;
        }
}

int command_map(struct vmm *vmm, int argc, char **argv) {
        const struct kind *kind = argc >= 3 ? find_kind(argv[1]) : NULL;
        uint8_t *memory;
        uint64_t size;
        int fd, r;

        if (!kind || argc != (has_path(kind) ? 4 : 3) || parse_size(&size, argv[2]) < 0 ||
            size == 0)
                return -EINVAL;

        fd = open_source(kind, size, argv[3]);
        if (fd < 0 && fd != -ENOTSUP)
                return fd;
        memory = mmap(NULL, size, PROT_READ | PROT_WRITE, kind->flags, fd < 0 ? -1 : fd, 0);
        r = -errno;
        if (fd >= 0)
                close(fd);
        if (memory == MAP_FAILED)
                return r;

        if (kind->advice)
                madvise(memory, size, kind->advice);
        for (uint64_t i = 0; i < size && kind->source != SOURCE_RING; i += 4096)
                *(volatile uint8_t *)&memory[i] = 1;
        say("ok map kind=%s size=%" PRIu64, kind->name, size);
        return 0;
}
