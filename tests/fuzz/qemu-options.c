/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * QEMU's command line in the preload library, as /proc/PID/cmdline has it: words that end in \0.
 * A guest's name may have anything in it. Whatever the words are, the name has an end, and they
 * stay as they are.
 */

#include <string.h>

#include "fuzz.h"
#include "preload/cmdline.h"

#define WORDS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *copy = malloc(size + 1), *argv[WORDS_MAX] = {};
        struct cmdline first, again;
        int argc = 0;

        check(copy);
        if (size > 0)
                memcpy(copy, data, size);
        copy[size] = '\0';
        for (char *word = copy; word < copy + size && argc < WORDS_MAX; word += strlen(word) + 1)
                argv[argc++] = word;
        if (argc > 0)
                (void)cmdline_is_qemu(argv[0]);
        cmdline_parse(&first, argc, argv);
        check(memchr(first.name, '\0', sizeof(first.name)));
        cmdline_parse(&again, argc, argv); /* which leaves the words alone */
        check(strcmp(first.name, again.name) == 0 && first.daemonize == again.daemonize &&
              first.no_guest == again.no_guest && first.native_aio == again.native_aio &&
              first.gives_up_rights == again.gives_up_rights);
        check(memcmp(first.uuid, again.uuid, sizeof(first.uuid)) == 0);
        free(copy);
        return 0;
}
