/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A dead VMM's address space: the lines of /proc/self/maps, and the kind of each mapping. Pure: no
 * system call, no allocation. A line may have any bytes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct range {
        uint64_t start;
        uint64_t end; /* the first byte behind it */
};

/* A file system in /proc: the device number of its superblock. 0: none. */
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
 * the name. -EBADMSG: it is no such line; *ret is left alone.
 */
int mapping_parse(struct mapping *ret, const char *line, size_t size);

enum filesystem_type {
        FILESYSTEM_OTHER,
        FILESYSTEM_TMPFS,
        FILESYSTEM_HUGETLBFS,
        _FILESYSTEM_TYPE_MAX,
};

/* One line of /proc/PID/mountinfo. -EBADMSG: it is no such line, or cut off before its type. */
int mount_parse(uint64_t *ret_device, enum filesystem_type *ret_type, const char *line,
                size_t size);

#define FILESYSTEMS_MAX 32

/* File systems that hold memory. A mapped file on any other counts as a file on a disk. */
struct filesystems {
        uint64_t shmem; /* the kernel's own tmpfs, mounted nowhere, for memfds; 0: not known */
        uint64_t mounted[_FILESYSTEM_TYPE_MAX][FILESYSTEMS_MAX];
        unsigned n_mounted[_FILESYSTEM_TYPE_MAX];
};

/* Adds a device once. Ignores FILESYSTEM_OTHER, and devices beyond FILESYSTEMS_MAX. */
void filesystems_add(struct filesystems *filesystems, uint64_t device, enum filesystem_type type);

enum mapping_kind {
        MAPPING_OURS,      /* runs the keeper, or may: programs, stacks, vDSO; never touched */
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
 * Whether somebody may be waiting for this kind of mapping. If so it goes as soon as the VMM is
 * gone, before the queue. maybe_protected: the guest may have been a protected one, whose RAM must
 * not be unmapped piece by piece.
 */
bool mapping_goes_at_once(enum mapping_kind kind, bool maybe_protected);

/* /proc/PID/statm: how much memory is mapped, in pages. -EBADMSG */
int statm_parse(uint64_t *ret_resident, const char *text, size_t size);
