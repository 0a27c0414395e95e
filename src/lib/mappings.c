/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Which sort of memory each mapping of a VMM is. /proc/PID/maps has addresses, permissions, a
 * device number and a name. smaps would say more (VmFlags), but it walks all page tables: for
 * seconds in a large guest, while somebody waits.
 *
 * - The name shows mappings that the kernel itself has made ("[heap]", "anon_inode:kvm-vcpu:0",
 *   "/memfd:x (deleted)"). The place of a name shows mappings of drivers: maps does not show a
 *   file's type, and /dev may be a tmpfs that libvirt made.
 * - The device number tells tmpfs and hugetlbfs from disks, also for deleted files, as QEMU's
 *   always are. The kernel has its own mounts, which mountinfo does not list: one shmem for all
 *   memfds, and a hugetlbfs per page size. So a memfd that is not on shmem is hugetlb.
 *
 * A mapping that could be part of the program is MAPPING_OURS and stays until the keeper's exit.
 * That is true of all private mappings of files, since memory-backend-file,share=off looks like a
 * library, and of all executable mappings.
 *
 * Huge pages never were RAM of a protected guest: the kernel refuses them to the Ultravisor
 * (gmap_make_secure() of Linux 5.7 to 6.18), so they go at once in any case.
 */

#include "lib/mappings.h"

#include <string.h>

#include "base/util.h"

/* ---- text: a cursor that never leaves its line ---- */

struct text {
        const char *at, *end;
};

static bool take_char(struct text *t, char c) {
        if (t->at == t->end || *t->at != c)
                return false;
        t->at++;
        return true;
}

static unsigned digit_value(char c) {
        if (c >= '0' && c <= '9')
                return (unsigned)(c - '0');
        if (c >= 'a' && c <= 'f')
                return (unsigned)(c - 'a') + 10;
        return 16;
}

/* At least one digit, and no more than fit. */
static bool take_number(struct text *t, unsigned base, uint64_t *ret) {
        const char *start = t->at;
        uint64_t n = 0;

        for (; t->at < t->end && digit_value(*t->at) < base; t->at++) {
                unsigned digit = digit_value(*t->at);

                if (n > (UINT64_MAX - digit) / base)
                        return false;
                n = n * base + digit;
        }
        *ret = n;
        return t->at > start;
}

/* A word, and the blank behind it. */
static bool skip_word(struct text *t) {
        const char *start = t->at;

        while (t->at < t->end && *t->at != ' ')
                t->at++;
        return t->at > start && take_char(t, ' ');
}

static bool take_device(struct text *t, unsigned base, uint64_t *ret) {
        uint64_t major, minor;

        if (!take_number(t, base, &major) || !take_char(t, ':') || !take_number(t, base, &minor) ||
            major > UINT32_MAX || minor > UINT32_MAX)
                return false;
        *ret = DEVICE_NUMBER(major, minor);
        return take_char(t, ' ');
}

static struct text line_text(const char *line, size_t size) {
        const char *newline = memchr(line, '\n', size);

        return (struct text){line, newline ? newline : line + size};
}

/* ---- lines ---- */

/* "rwxp" */
static bool take_permissions(struct text *t, struct mapping *m) {
        const char *p = t->at;

        if (t->end - p < 4 || (p[3] != 's' && p[3] != 'p'))
                return false;
        m->writable = p[1] == 'w';
        m->executable = p[2] == 'x';
        m->shared = p[3] == 's';
        t->at += 4;
        return take_char(t, ' ');
}

int mapping_parse(struct mapping *ret, const char *line, size_t size) {
        struct text t = line_text(line, size);
        struct mapping m = {};
        uint64_t inode;

        if (!take_number(&t, 16, &m.range.start) || !take_char(&t, '-') ||
            !take_number(&t, 16, &m.range.end) || !take_char(&t, ' ') ||
            m.range.start >= m.range.end)
                return -EBADMSG;
        if (!take_permissions(&t, &m) || !skip_word(&t) /* offset */ ||
            !take_device(&t, 16, &m.device) || !take_number(&t, 10, &inode))
                return -EBADMSG;
        while (take_char(&t, ' '))
                ;
        m.name = t.at;
        m.name_size = (size_t)(t.end - t.at);
        *ret = m;
        return 0;
}

static bool begins(const char *text, size_t size, const char *word) {
        size_t n = strlen(word);

        return size >= n && memcmp(text, word, n) == 0;
}

/* "41 26 0:38 / /mnt rw,relatime shared:1 - hugetlbfs none rw": any number of optional fields */
int mount_parse(uint64_t *ret_device, enum filesystem_type *ret_type, const char *line,
                size_t size) {
        struct text t = line_text(line, size);
        uint64_t device;

        for (int i = 0; i < 2; i++)
                if (!skip_word(&t)) /* the ids of mount and parent */
                        return -EBADMSG;
        if (!take_device(&t, 10, &device))
                return -EBADMSG;
        do
                if (!skip_word(&t))
                        return -EBADMSG;
        while (!begins(t.at, (size_t)(t.end - t.at), "- "));
        t.at += 2;
        if (begins(t.at, (size_t)(t.end - t.at), "tmpfs "))
                *ret_type = FILESYSTEM_TMPFS;
        else if (begins(t.at, (size_t)(t.end - t.at), "hugetlbfs "))
                *ret_type = FILESYSTEM_HUGETLBFS;
        else
                *ret_type = FILESYSTEM_OTHER;
        *ret_device = device;
        return 0;
}

int statm_parse(uint64_t *ret_resident, const char *text, size_t size) {
        struct text t = line_text(text, size);
        uint64_t total, resident;

        if (!take_number(&t, 10, &total) || !take_char(&t, ' ') || !take_number(&t, 10, &resident))
                return -EBADMSG;
        *ret_resident = resident;
        return 0;
}

/* ---- file systems ---- */

static bool is_mounted(const struct filesystems *f, uint64_t device, enum filesystem_type type) {
        for (unsigned i = 0; i < f->n_mounted[type]; i++)
                if (f->mounted[type][i] == device)
                        return true;
        return false;
}

void filesystems_add(struct filesystems *f, uint64_t device, enum filesystem_type type) {
        if (type == FILESYSTEM_OTHER || f->n_mounted[type] == FILESYSTEMS_MAX ||
            is_mounted(f, device, type))
                return;
        f->mounted[type][f->n_mounted[type]++] = device;
}

/* ---- kinds ---- */

static bool named(const struct mapping *m, const char *prefix) {
        return begins(m->name, m->name_size, prefix);
}

/* Files that the kernel makes without a name in any directory. */
static bool is_nameless_memory(const struct mapping *m) {
        return named(m, "/memfd:") || named(m, "/SYSV") || named(m, "/anon_hugepage");
}

static bool is_hugetlb(const struct mapping *m, const struct filesystems *f) {
        if (is_mounted(f, m->device, FILESYSTEM_HUGETLBFS) || named(m, "/anon_hugepage"))
                return true;
        return is_nameless_memory(m) && f->shmem != 0 && m->device != f->shmem;
}

/* "socket:[123]", "anon_inode:[vfio-device]", and what lies where drivers have their files. */
static bool is_device(const struct mapping *m) {
        if (named(m, "/dev/"))
                return !named(m, "/dev/shm/");
        return !named(m, "/") || named(m, "/sys/") || named(m, "/proc/");
}

/* The kernel's own names, in brackets or without any. */
static enum mapping_kind classify_unnamed(const struct mapping *m) {
        if (named(m, "[anon_shmem:"))
                return MAPPING_SHMEM;
        if (m->name_size == 0 || named(m, "[anon:"))
                return m->writable && !m->shared ? MAPPING_ANONYMOUS : MAPPING_OURS;
        return MAPPING_OURS;
}

enum mapping_kind mapping_classify(const struct mapping *m, const struct filesystems *f) {
        if (m->executable)
                return MAPPING_OURS;
        if (m->name_size == 0 || named(m, "["))
                return classify_unnamed(m);
        if (named(m, "anon_inode:kvm-vcpu"))
                return MAPPING_VCPU;
        if (named(m, "/[aio]"))
                return MAPPING_AIO;
        if (is_hugetlb(m, f))
                return MAPPING_HUGETLB;
        if (is_nameless_memory(m) || named(m, "anon_inode:[kvm-gmem]") ||
            named(m, "/dev/zero (deleted)") || (f->shmem != 0 && m->device == f->shmem))
                return MAPPING_SHMEM;
        if (named(m, "/dev/zero")) /* private; a shared one is shmem, and "deleted" */
                return m->writable ? MAPPING_ANONYMOUS : MAPPING_OURS;
        if (is_device(m))
                return MAPPING_DEVICE;
        if (!m->shared)
                return MAPPING_OURS;
        return is_mounted(f, m->device, FILESYSTEM_TMPFS) ? MAPPING_SHMEM : MAPPING_FILE;
}

bool mapping_goes_at_once(enum mapping_kind kind, bool maybe_protected) {
        switch (kind) {
        case MAPPING_DEVICE:
        case MAPPING_HUGETLB:
                return true;
        case MAPPING_FILE:
                return !maybe_protected;
        default:
                return false;
        }
}
