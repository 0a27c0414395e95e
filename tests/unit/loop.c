/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * clock_gettime() of the whole program, libsystemd included: the dynamic linker takes the first one
 * that it finds, and a program's own come before those of libraries. sd-event looks at the clock
 * each time it has polled, and then at its timers; that its timerfd fires by real time is of no
 * consequence, since it is never asked to wait for it.
 */

#include "loop.h"

#include "fds.h"

#define BEGIN      (1000000 * USEC_PER_SEC)
#define STEP       (10 * USEC_PER_MSEC)
#define ROUNDS_MAX 100000 /* of a loop that never rests */

static uint64_t fake_now; /* 0: time is real */

__attribute__((visibility("default"))) int clock_gettime(clockid_t clock, struct timespec *ret) {
        if (fake_now == 0 || clock == CLOCK_REALTIME)
                return (int)syscall(SYS_clock_gettime, clock, ret);
        ret->tv_sec = (time_t)(fake_now / USEC_PER_SEC);
        ret->tv_nsec = (long)(fake_now % USEC_PER_SEC * NSEC_PER_USEC);
        return 0;
}

void fake_time_begin(void) {
        fake_now = BEGIN;
}

void fake_time_end(void) {
        fake_now = 0;
}

static void run(sd_event *event) {
        for (unsigned i = 0; sd_event_get_state(event) != SD_EVENT_FINISHED; i++) {
                int r = sd_event_run(event, 0);

                assert_true(r >= 0 && i < ROUNDS_MAX);
                if (r == 0)
                        return;
        }
}

void fake_time_pass(sd_event *event, uint64_t usec) {
        uint64_t end = fake_now + usec;

        assert_true(fake_now > 0);
        run(event);
        while (fake_now < end && sd_event_get_state(event) != SD_EVENT_FINISHED) {
                fake_now = min_u64(fake_now + STEP, end);
                run(event);
        }
}
