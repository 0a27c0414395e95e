/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What a dead VMM's address space consists of: the lines of /proc/self/maps, and what each mapping
 * is to us. Pure: no system call, no allocation; anything may stand in a line.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
        uint64_t start;
        uint64_t end; /* the first byte behind it */
};

/* A file system, as /proc tells it: the device number of its superblock. 0: none. */
#define DEVICE_NUMBER(major, minor) ((uint64_t)(major) << 32 | (minor))

struct mapping {
        struct range range; /* never empty */
        bool writable, executable, shared;
        uint64_t device;  /* DEVICE_NUMBER() */
        const char *name; /* inside the line, not terminated; a long one may be cut short */
        size_t name_size; /* 0: it has none */
};

/*
 * One line of /proc/PID/maps, of size bytes, with or without its newline, whole or cut off within
 * the name. -EBADMSG: it is none, and *ret is left alone.
 */
int mapping_parse(struct mapping *ret, const char *line, size_t size);

enum filesystem_type {
        FILESYSTEM_OTHER,
        FILESYSTEM_TMPFS,
        FILESYSTEM_HUGETLBFS,
        _FILESYSTEM_TYPE_MAX,
};

/* One line of /proc/PID/mountinfo. -EBADMSG: it is none, or cut off before its type. */
int mount_parse(uint64_t *ret_device, enum filesystem_type *ret_type, const char *line,
                size_t size);

#define FILESYSTEMS_MAX 32

/* Those that hold memory. A mapped file on one that is not here is taken for one on a disk. */
struct filesystems {
        uint64_t shmem; /* the kernel's own tmpfs, mounted nowhere: memfds; 0: not known */
        uint64_t mounted[_FILESYSTEM_TYPE_MAX][FILESYSTEMS_MAX];
        unsigned n_mounted[_FILESYSTEM_TYPE_MAX];
};

/* Once is enough for a device; FILESYSTEM_OTHER, and what there is no room for, is forgotten. */
void filesystems_add(struct filesystems *filesystems, uint64_t device, enum filesystem_type type);

enum mapping_kind {
        MAPPING_OURS,      /* what runs the keeper, or may: programs, stacks, vDSO; never touched */
        MAPPING_ANONYMOUS, /* private memory: guest RAM, if it is large */
        MAPPING_SHMEM,     /* memory that others may use, too; the last one of them frees it */
        MAPPING_VCPU,      /* of KVM: holds the VM */
        MAPPING_DEVICE,    /* of a driver: holds the device */
        MAPPING_HUGETLB,   /* pages of the pool */
        MAPPING_FILE,      /* shared, on a disk: holds the file, which may be guest RAM */
        MAPPING_AIO,       /* a ring of native AIO: its address is its aio_context_t */
        _MAPPING_KIND_MAX,
};

enum mapping_kind mapping_classify(const struct mapping *mapping,
                                   const struct filesystems *filesystems);

/*
 * Whether somebody may be waiting for it, so that it goes as soon as the VMM is gone, whatever the
 * queue. maybe_protected: the guest may have been a protected one, whose RAM must not be unmapped
 * piece by piece.
 */
bool mapping_goes_at_once(enum mapping_kind kind, bool maybe_protected);

/* /proc/PID/stat, from its flags and its number of threads. -EBADMSG */
struct task_stat {
        bool exiting;       /* PF_EXITING, of its first thread */
        uint64_t n_threads; /* dead ones that were not yet waited for included */
};
int task_stat_parse(struct task_stat *ret, const char *text, size_t size);

/* /proc/PID/statm: how much memory is mapped, in pages. -EBADMSG */
int statm_parse(uint64_t *ret_resident, const char *text, size_t size);
