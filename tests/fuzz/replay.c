/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Runs a harness over its corpus, with any compiler: each file, and each of its beginnings (those
 * of a large file in larger steps), nothing at all among them. One TAP result for each file; what
 * goes wrong ends the program.
 */

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include "fuzz.h"

#define INPUT_MAX 65536
#define STEPS     512

/* From memory of its own size, so that a sanitizer or valgrind sees each byte read beyond it. */
static void run(const uint8_t *data, size_t size) {
        uint8_t *copy = malloc(size);

        check(size == 0 || copy);
        if (size > 0)
                memcpy(copy, data, size);
        (void)LLVMFuzzerTestOneInput(copy, size);
        free(copy);
}

static int replay(const char *directory, const char *name) {
        static uint8_t data[INPUT_MAX];
        char path[4096];
        size_t size;
        FILE *file;

        (void)snprintf(path, sizeof(path), "%s/%s", directory, name);
        file = fopen(path, "re");
        if (!file)
                return -1;
        size = fread(data, 1, sizeof(data), file);
        (void)fclose(file);
        for (size_t n = 0; n < size; n += 1 + size / STEPS)
                run(data, n);
        run(data, size);
        return 0;
}

static int is_file(const struct dirent *entry) {
        return entry->d_name[0] != '.';
}

int main(int argc, char *argv[]) {
        struct dirent **entries;
        int n, failed = 0;

        n = argc == 2 ? scandir(argv[1], &entries, is_file, alphasort) : -1;
        if (n <= 0)
                return fprintf(stderr, "usage: %s DIRECTORY-WITH-FILES\n", argv[0]), 2;
        printf("1..%d\n", n);
        for (int i = 0; i < n; i++) {
                int r = replay(argv[1], entries[i]->d_name);

                printf("%s %d - %s\n", r < 0 ? "not ok" : "ok", i + 1, entries[i]->d_name);
                (void)fflush(stdout); /* a harness aborts */
                failed |= r < 0;
                free(entries[i]);
        }
        free(entries);
        return failed;
}
