/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * What the VMM's side (vm.c, heir.c) and the keeper (keeper.c) share: one struct in an anonymous
 * mapping that both see, since the keeper shares the address space, and that outlives the VMM. The
 * keeper owns every field below "state"; the VMM reads only the atomics.
 */

#include <pvreaper.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/un.h>

#include "base/wire.h"
#include "lib/filter.h"

/* VMM to keeper, over the socketpair; the SET_FD packet carries the VM fd. */
enum bell_type {
        BELL_RING = 1,
        BELL_SET_FD = 2,
        BELL_LEAVE = 3,
        BELL_READY = 4 /* keeper to VMM */
};

struct bell {
        uint32_t type; /* enum bell_type */
        int32_t error; /* READY: 0 or why the keeper could not start */
        uint64_t mem;  /* SET_FD: bytes */
};

enum link_state {
        LINK_DOWN = 0,
        LINK_CONNECTED, /* connect() returned, which proves nothing */
        LINK_WELCOMED,  /* the daemon answered: it accounts us and will grant */
};

struct keeper {
        /* identity; written before the clone */
        pid_t vmm_pid;
        struct sockaddr_un daemon_address;
        char name[WIRE_NAME_MAX];
        uint8_t uuid[16];
        uint64_t grace_reboot_usec;
        uint64_t grace_shutdown_usec;
        struct filter filter;

        /* fds, in the keeper's own table after it started */
        int bell;
        int outcomes;
        int vmm; /* pidfd */
        int daemon;
        int vm_fd;

        /* state: the job; kind is PVR_KIND_* or 0 for none */
        uint32_t kind;
        bool requested; /* on this connection */
        uint64_t seq;   /* of the current or else the last job */
        uint64_t job_since;
        uint64_t mem;

        /* state: the link to the daemon */
        enum link_state link;
        bool stay_away;       /* UNGOVERNED: no connection before the next job */
        uint64_t clock_since; /* when the fail-open clock last began: the job's start or the link's
                                 loss */
        uint64_t retry_at;
        uint64_t retry_delay;
        struct wire_outcome unacked;
        uint64_t unreported;

        /* state: the VMM */
        bool vmm_gone;        /* its pidfd said so */
        uint64_t bell_eof_at; /* the socketpair ended and the pidfd is silent since, or 0 */

        /* read by the heir and the VMM */
        _Atomic uint64_t performing; /* seq of the job whose PERFORM is running, or 0 */
        _Atomic uint64_t dropped;    /* outcomes nobody read */
};

/* For clone(2) with CLONE_VM; arg is the struct keeper. Returns only if it could not start. */
int keeper_main(void *arg);
