/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * The protocol between a worker and pv-reaperd on handoff.sock, and the one on release.sock: one
 * SOCK_SEQPACKET packet per message, fixed size, native byte order (both ends run on one kernel).
 *
 * - Every message is a struct below as it stands, without padding, behind a struct wire_header. An
 *   older version of a message is the beginning of the newer one.
 * - The rows of wire_rows[] {versions, type, size} are the whole grammar. A packet is malformed if
 *   its length is not *equal* to its row's.
 * - Every version ever released keeps its rows, since keepers live as long as their guests and
 *   outlive upgrades.
 * - HELLO names the version of its connection. All later packets, in both directions, have the
 *   same.
 * - The header, HELLO, UNGOVERNED, READY and HELD never change, so two ends that share no version
 *   can still part in peace: the daemon answers an unknown version with UNGOVERNED, and the worker
 *   tries an older one on its next connection.
 *
 *   worker                                   daemon
 *   HELLO, REGISTER ------------------------>       (once per connection, in this order)
 *          <------------------------------ WELCOME  (moved to its cgroup and accounted from now on)
 *   QUIET ---------------------------------->       (version 2; after the VMM's end)
 *   REQUEST -------------------------------->       (one outstanding; a new one replaces it)
 *          <-------------------------------- GRANT  (a slot for the worker's current job)
 *   BEGUN ---------------------------------->       (version 2; instead of waiting for GRANT)
 *   PROGRESS* ------------------------------>
 *   DONE ----------------------------------->       (repeated in REGISTER until acknowledged)
 *          <----------------------------- DONE_ACK
 *          <--------------------------- UNGOVERNED  (go ahead; come back with the next job)
 *
 * And on release.sock, between a VMM without keeper and the closer that systemd starts for it:
 *
 *   client                                   closer
 *          <--------------------------------- READY (a closer is here: send the fd now)
 *   RELEASE, with one VM fd ---------------->
 *          <---------------------------------- HELD (the fd is held, or why not; both hang up)
 *
 * READY protects PID 1. If systemd cannot start a closer it drops the connection, and PID 1 closes
 * a VM fd that waits unread there: for minutes if that fd is the VM's last.
 *
 * docs/design.md has the reason for each rule of the protocol, and what happens when an end dies.
 *
 * This file is pure: no system call, no allocation, no lock, no errno; a keeper may use all of it.
 */

#include <stddef.h>
#include <stdint.h>

/*
 * The newest version that this code speaks. 1: up to pv-reaper 0.1. 2: REGISTER has flags; QUIET;
 * BEGUN.
 */
#define WIRE_VERSION         2
#define WIRE_RELEASE_VERSION 1 /* of RELEASE */
#define WIRE_NAME_MAX        64
#define WIRE_SIZE_MAX        192 /* no message of any version is larger */

enum wire_type {
        /* worker to daemon */
        WIRE_HELLO = 1,
        WIRE_REGISTER = 2,
        WIRE_REQUEST = 3,
        WIRE_PROGRESS = 4,
        WIRE_DONE = 5,
        WIRE_QUIET = 6,
        WIRE_BEGUN = 7,
        /* client to closer */
        WIRE_RELEASE = 33,
        /* daemon to worker */
        WIRE_WELCOME = 65,
        WIRE_GRANT = 66,
        WIRE_DONE_ACK = 67,
        WIRE_UNGOVERNED = 68,
        /* closer to client */
        WIRE_READY = 97,
        WIRE_HELD = 98,
};

enum wire_kind { /* = enum pvr_kind */
                 WIRE_KIND_NONE = 0,
                 WIRE_KIND_REBOOT = 1,
                 WIRE_KIND_SHUTDOWN = 2,
                 WIRE_KIND_CLOSE = 3,
                 _WIRE_KIND_MAX,
};

enum wire_state {                         /* a worker's claim about itself in REGISTER */
                  WIRE_STATE_IDLE = 0,    /* no job */
                  WIRE_STATE_WAITING = 1, /* has a job that it did not begin; REQUEST follows */
                  _WIRE_STATE_MAX,
};

struct wire_header {
        uint16_t version;
        uint16_t type; /* enum wire_type */
};

enum wire_flags {
        WIRE_FLAG_QUIET = 1,  /* QUIET once more: perhaps another daemon was told */
        WIRE_FLAG_DRAINS = 2, /* the VMM may use native AIO: its pid's end does not end that */
        _WIRE_FLAGS = 3,
};

struct wire_hello {
        /* header.version: the version of this connection. */
        struct wire_header header;
        uint32_t features; /* bits; none defined yet; unknown ones are ignored */
};

/* An outcome, in DONE and repeated in REGISTER. seq 0: none. */
struct wire_outcome {
        uint64_t seq;        /* the worker's number for the job: a label; grows, from 1 */
        uint32_t kind;       /* enum wire_kind */
        int32_t error;       /* negative errno; -ECANCELED: the grant could not be used */
        uint16_t rc, rrc;    /* of the Ultravisor */
        uint32_t ungoverned; /* 1: begun without a GRANT */
};

struct wire_register {
        struct wire_header header;
        uint32_t state;           /* enum wire_state */
        char name[WIRE_NAME_MAX]; /* a claim; NUL-padded, not necessarily terminated */
        uint8_t uuid[16];         /* a claim */
        uint64_t mem;             /* bytes, a claim */
        struct wire_outcome last; /* the newest outcome that nobody acknowledged */
        uint64_t unreported;      /* older ones that nobody acknowledged, and that are gone */

        /* version 2 */
        uint32_t flags; /* enum wire_flags; a claim */
        uint32_t reserved;
};
#define WIRE_REGISTER_1_SIZE 128 /* of version 1 */

struct wire_request {
        struct wire_header header;
        uint32_t kind; /* enum wire_kind, not NONE */
        uint64_t seq;  /* not 0 */
        uint64_t mem;  /* bytes to clear, a claim */
};

struct wire_progress {
        struct wire_header header;
        uint32_t reserved;
        uint64_t bytes_left;
};

struct wire_done {
        struct wire_header header;
        uint32_t reserved;
        struct wire_outcome outcome;
};

/*
 * The VM is quiet: its VMM is dead, no native AIO of it is in flight, and the guard has given back
 * huge pages, devices and files. See FENCING in pv-reaper-qemu(7).
 */
struct wire_quiet {
        struct wire_header header;
        uint32_t reserved;
};

/*
 * The worker began the job of this REQUEST without a GRANT, since its VMM needs the kernel's slot
 * now. DONE follows as always, with ungoverned set.
 */
struct wire_begun {
        struct wire_header header;
        uint32_t reserved;
        uint64_t seq;
};

struct wire_welcome {
        struct wire_header header;
        uint32_t features;
};

struct wire_grant {
        struct wire_header header;
        uint32_t reserved;
        uint64_t seq; /* of the request it answers: a label. The slot is for the current job */
};

struct wire_done_ack {
        struct wire_header header;
        uint32_t reserved;
        uint64_t seq;
};

struct wire_ungoverned {
        struct wire_header header;
        uint32_t reserved;
};

struct wire_release { /* brings exactly one fd */
        struct wire_header header;
        uint32_t reserved;
        char name[WIRE_NAME_MAX]; /* a claim; NUL-padded, not necessarily terminated */
        uint64_t mem;             /* bytes, a claim */
};

struct wire_ready {
        struct wire_header header;
        uint32_t reserved;
};

struct wire_held {
        struct wire_header header;
        int32_t error; /* 0: the closer holds the VM fd; or a negative errno: it does not */
};

/* Any message; header.type says which member is the valid one. */
union wire_message {
        struct wire_header header;
        struct wire_hello hello;
        struct wire_register reg;
        struct wire_request request;
        struct wire_progress progress;
        struct wire_done done;
        struct wire_quiet quiet;
        struct wire_begun begun;
        struct wire_welcome welcome;
        struct wire_grant grant;
        struct wire_done_ack done_ack;
        struct wire_ungoverned ungoverned;
        struct wire_release release;
        struct wire_ready ready;
        struct wire_held held;
        uint8_t bytes[WIRE_SIZE_MAX];
};

enum wire_direction {
        WIRE_TO_DAEMON = 1,
        WIRE_TO_WORKER = 2,
        WIRE_TO_CLOSER = 3,
        WIRE_TO_CLIENT = 4,
};

struct wire_row {
        uint16_t first, last; /* its versions; 0, 0: the same in every version */
        uint16_t type;        /* enum wire_type */
        uint16_t size;        /* of the whole packet, in bytes */
        uint8_t direction;
        const char *name;
};

extern const struct wire_row wire_rows[];
extern const size_t wire_n_rows;

/* The row for a message, or NULL. */
const struct wire_row *wire_find_row(uint16_t version, uint16_t type);

/*
 * Fills in message's header; the caller fills in the rest, and has zeroed it.
 * Returns the size to send, or -EINVAL if no row has this version and type.
 */
int wire_encode(union wire_message *message, uint16_t version, uint16_t type);

/*
 * Checks a received packet of size bytes for the given direction and copies it into *ret.
 * Returns the message's type. -EPROTONOSUPPORT: a HELLO of an unknown version; *ret is filled in,
 * answer UNGOVERNED. -EBADMSG: malformed, by its length, type, direction or version, or by a field
 * out of its range. Reads no more than size bytes.
 */
int wire_decode(union wire_message *ret, enum wire_direction direction, const void *packet,
                size_t size);

/* "REGISTER", ... or "?" */
const char *wire_type_to_string(uint16_t type);
