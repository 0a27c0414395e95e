/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * cmocka, and a check around every test: whoever leaves an fd open, closes one that is not its own,
 * or leaves a child behind, fails.
 *
 *         static const struct CMUnitTest tests[] = {checked_test(test_foo), ...};
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define checked_test(f) cmocka_unit_test_setup_teardown(f, fds_setup, fds_teardown)

/*
 * The same, but skipped if why is not NULL: it says what is missing here. Decided before anything
 * runs, since cmocka's own skip() says "not ok", which meson takes for a failure. Not for tables
 * that are static.
 */
#define checked_test_unless(why, f) fds_skippable((why), #f, f)

struct CMUnitTest fds_skippable(const char *why, const char *name, CMUnitTestFunction f);

/* Notes what is open. */
void fds_remember(void);

/* How many fds were opened, closed or exchanged since; each is named on stderr. */
unsigned fds_changed(void);

/* The same without a word. */
unsigned fds_count_changed(void);

int fds_setup(void **state);
int fds_teardown(void **state);

/*
 * Whether qemu-user runs the program, whose recvmsg(2) and setsockopt(2) are not the kernel's. By
 * this one it gives itself away: with no data to read the answer must be "not now", but it does not
 * even ask.
 */
bool is_emulated(void);

/* Why there is no pidfd_open(2); NULL: there is. */
const char *no_pidfd_open(void);

/*
 * Waits for a child: what it gave to _exit(), or -1 if a signal ended it. A child must leave by
 * _exit(): a failed assertion in it would go on with the rest of the tests there.
 */
int wait_for_exit(int pid);
