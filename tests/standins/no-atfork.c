/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For test-preload.py: in front of the C library by LD_PRELOAD, it has no memory for a handler of
 * fork(2). pthread_atfork(3) is a part of each program and library that calls it; this is what it
 * calls in turn.
 */

#include <errno.h>

int __register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso);

__attribute__((visibility("default"))) int
__register_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void), void *dso) {
        return ENOMEM;
}
