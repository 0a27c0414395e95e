/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * stderr goes to a memfd for a while: unlike a pipe it takes any amount and needs no reader.
 * JOURNAL_STREAM is dropped, so that log.c never takes the memfd for the journal. An assertion that
 * fails between begin and end says so into the void: assert afterwards.
 */

#include "capture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

static int saved = -1;
static char text[16 * 1024];

void capture_begin(void) {
        int fd = memfd_create("stderr", MFD_CLOEXEC);

        (void)unsetenv("JOURNAL_STREAM");
        (void)fflush(stderr);
        saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
        if (fd < 0 || saved < 0 || dup2(fd, STDERR_FILENO) < 0)
                abort();
        (void)close(fd);
}

const char *capture_end(void) {
        ssize_t n;

        (void)fflush(stderr);
        n = pread(STDERR_FILENO, text, sizeof(text) - 1, 0);
        if (n < 0 || dup2(saved, STDERR_FILENO) < 0)
                abort();
        text[n] = '\0';
        (void)close(saved);
        saved = -1;
        return text;
}
