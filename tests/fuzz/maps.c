/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * /proc/self/maps, mountinfo and statm in the keeper: names of files in there are the VMM's, and
 * lines may be cut. The input is read as lines of all three; a mount counts for what follows.
 * Nothing beyond a line may be looked at.
 */

#include <string.h>

#include "fuzz.h"
#include "lib/mappings.h"

static void check_mapping(const struct filesystems *filesystems, const char *line, size_t size) {
        struct mapping mapping;
        enum mapping_kind kind;

        if (mapping_parse(&mapping, line, size) < 0)
                return;
        check(mapping.range.start < mapping.range.end);
        check(mapping.name >= line && mapping.name + mapping.name_size <= line + size);
        kind = mapping_classify(&mapping, filesystems);
        check(kind >= 0 && kind < _MAPPING_KIND_MAX);
        check(!mapping.executable || kind == MAPPING_OURS); /* what runs the keeper stays */
        /* What goes from a guest that may be a protected one goes from any. */
        check(!mapping_goes_at_once(kind, true) || mapping_goes_at_once(kind, false));
}

static void check_mount(struct filesystems *filesystems, const char *line, size_t size) {
        enum filesystem_type type;
        uint64_t device;

        if (mount_parse(&device, &type, line, size) < 0)
                return;
        check(type >= 0 && type < _FILESYSTEM_TYPE_MAX);
        filesystems_add(filesystems, device, type);
        for (int i = 0; i < _FILESYSTEM_TYPE_MAX; i++)
                check(filesystems->n_mounted[i] <= FILESYSTEMS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct filesystems filesystems = {};
        const char *line = (const char *)data;
        uint64_t resident;

        while (size > 0) {
                const char *newline = memchr(line, '\n', size);
                size_t length = newline ? (size_t)(newline + 1 - line) : size;

                check_mount(&filesystems, line, length);
                check_mapping(&filesystems, line, length);
                (void)statm_parse(&resident, line, length);
                line += length;
                size -= length;
        }
        return 0;
}
