/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Encoding and decoding of wire.h's messages. A message in memory is the packet as it stands, so
 * all there is to do is to know its size and to check what a decoder must never pass on: a length
 * that is not the row's, a message in the wrong direction, a number outside its range.
 *
 * Invariant: every message struct has no padding and fits WIRE_SIZE_MAX, so memcpy() neither leaks
 * bytes of ours nor reads beyond a packet. The fuzzers and tests walk the same table.
 */

#include "base/wire.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define ROW(v, t, s, d)                                                                            \
        { .version = (v), .type = WIRE_##t, .size = sizeof(struct s), .direction = (d), .name = #t }

const struct wire_row wire_rows[] = {
        ROW(0, HELLO, wire_hello, WIRE_TO_DAEMON),
        ROW(1, REGISTER, wire_register, WIRE_TO_DAEMON),
        ROW(1, REQUEST, wire_request, WIRE_TO_DAEMON),
        ROW(1, PROGRESS, wire_progress, WIRE_TO_DAEMON),
        ROW(1, DONE, wire_done, WIRE_TO_DAEMON),
        ROW(1, RELEASE, wire_release, WIRE_TO_CLOSER),
        ROW(1, WELCOME, wire_welcome, WIRE_TO_WORKER),
        ROW(1, GRANT, wire_grant, WIRE_TO_WORKER),
        ROW(1, DONE_ACK, wire_done_ack, WIRE_TO_WORKER),
        ROW(0, UNGOVERNED, wire_ungoverned, WIRE_TO_WORKER),
        ROW(0, READY, wire_ready, WIRE_TO_CLIENT),
        ROW(0, HELD, wire_held, WIRE_TO_CLIENT),
};
const size_t wire_n_rows = ARRAY_SIZE(wire_rows);

/* No padding: each struct is as large as its members. What was released never changes again. */
_Static_assert(sizeof(struct wire_header) == 4, "header");
_Static_assert(sizeof(struct wire_hello) == 8, "HELLO");
_Static_assert(sizeof(struct wire_outcome) == 24, "outcome");
_Static_assert(sizeof(struct wire_register) == 4 + 4 + WIRE_NAME_MAX + 16 + 8 + 24 + 8, "REGISTER");
_Static_assert(sizeof(struct wire_request) == 24, "REQUEST");
_Static_assert(sizeof(struct wire_progress) == 16, "PROGRESS");
_Static_assert(sizeof(struct wire_done) == 32, "DONE");
_Static_assert(sizeof(struct wire_welcome) == 8, "WELCOME");
_Static_assert(sizeof(struct wire_grant) == 16, "GRANT");
_Static_assert(sizeof(struct wire_done_ack) == 16, "DONE_ACK");
_Static_assert(sizeof(struct wire_ungoverned) == 8, "UNGOVERNED");
_Static_assert(sizeof(struct wire_release) == 4 + 4 + WIRE_NAME_MAX + 8, "RELEASE");
_Static_assert(sizeof(struct wire_ready) == 8, "READY");
_Static_assert(sizeof(struct wire_held) == 8, "HELD");
_Static_assert(sizeof(union wire_message) == WIRE_SIZE_MAX, "WIRE_SIZE_MAX");

const struct wire_row *wire_find_row(uint16_t version, uint16_t type) {
        for (size_t i = 0; i < wire_n_rows; i++)
                if (wire_rows[i].type == type &&
                    (wire_rows[i].version == 0 || wire_rows[i].version == version))
                        return &wire_rows[i];
        return NULL;
}

int wire_encode(union wire_message *message, uint16_t version, uint16_t type) {
        const struct wire_row *row = wire_find_row(version, type);

        if (!row)
                return -EINVAL;
        message->header.version = version;
        message->header.type = type;
        return row->size;
}

static bool error_valid(int32_t error) {
        return error <= 0 && error >= -4095;
}

static bool outcome_valid(const struct wire_outcome *o) {
        if (o->seq == 0)
                return true;
        return o->kind > WIRE_KIND_NONE && o->kind < _WIRE_KIND_MAX && error_valid(o->error) &&
               o->ungoverned <= 1;
}

static bool fields_valid(const union wire_message *m) {
        switch (m->header.type) {
        case WIRE_REGISTER:
                return m->reg.state < _WIRE_STATE_MAX && outcome_valid(&m->reg.last);
        case WIRE_REQUEST:
                return m->request.kind > WIRE_KIND_NONE && m->request.kind < _WIRE_KIND_MAX &&
                       m->request.seq != 0;
        case WIRE_DONE:
                return m->done.outcome.seq != 0 && outcome_valid(&m->done.outcome);
        case WIRE_HELD:
                return error_valid(m->held.error);
        default:
                return true;
        }
}

int wire_decode(union wire_message *ret, enum wire_direction direction, const void *packet,
                size_t size) {
        union wire_message m = {};
        const struct wire_row *row;
        bool known;

        if (size < sizeof(m.header))
                return -EBADMSG;
        memcpy(&m.header, packet, sizeof(m.header));
        row = wire_find_row(m.header.version, m.header.type);
        if (!row || row->direction != direction || row->size != size)
                return -EBADMSG;
        memcpy(&m, packet, size);
        /* HELLO and what answers the unknown are the rows that exist in versions we do not speak.
         */
        known = m.header.version > 0 && m.header.version <= WIRE_VERSION;
        if (!fields_valid(&m) || (m.header.version == 0 && m.header.type != WIRE_HELLO))
                return -EBADMSG;
        *ret = m;
        return m.header.type == WIRE_HELLO && !known ? -EPROTONOSUPPORT : m.header.type;
}

const char *wire_type_to_string(uint16_t type) {
        for (size_t i = 0; i < wire_n_rows; i++)
                if (wire_rows[i].type == type)
                        return wire_rows[i].name;
        return "?";
}
