/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * A manager as main.c makes it, for tests of what stands beside or above it: in no cgroup, with no
 * CPU quota, on a real loop in fake time (loop.h), and with systemd's end of NOTIFY_SOCKET. There
 * is no system bus. The test adds the service, the bus, workers.
 *
 *         stage_begin(&stage);
 *         assert_true(service_new(&service, stage.manager) >= 0);
 *         fake_time_pass(stage.manager->event, USEC_PER_SEC);
 *         assert_string_equal(stage_said(&stage), "READY=1\n...");
 *         service_free(service);
 *         stage_end(&stage);
 *
 * SIGTERM, SIGINT and SIGHUP are blocked from the first stage on. For a test that uses it,
 * unit_stage_dep is among the dependencies in meson.build.
 */

#include "daemon/manager.h"
#include "loop.h"

struct stage {
        struct manager *manager;
        int systemd;

        /* The next configuration: the one that there is, and one key. NULL: it cannot be read. */
        const char *reload_key, *reload_value;

        char heard[16 * 1024]; /* since stage_said() */
        char said[16 * 1024];  /* what it returned */
        sd_event_source *heard_source;
};

void stage_begin(struct stage *stage);
void stage_end(struct stage *stage);

/* All that systemd was told since it was last asked, message after message; "": nothing. */
const char *stage_said(struct stage *stage);

/*
 * A worker of the manager that was found and counts as running; there is no such process. How much
 * CPU time it has used is what the test's own __wrap_worker_cpu_usec() says.
 */
struct worker *stage_add_running(struct stage *stage);

/* All that the host has, in bytes. It is never available. */
uint64_t all_memory(void);
