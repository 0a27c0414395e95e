/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Encoding and decoding of wire.h's messages. A message in memory is the packet as it stands. So
 * the encoder only has to know the size, and the decoder only has to refuse three things: a length
 * that is not the row's, a message in the wrong direction, a number outside its range.
 *
 * Invariant: a message struct has no padding and fits WIRE_SIZE_MAX, so memcpy() neither leaks
 * memory nor reads beyond a packet. The fuzzers and tests walk the same table.
 */

#include "base/wire.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"

#define ROW(v1, v2, t, s, d)                                                                       \
        { .first = (v1), .last = (v2), .type = WIRE_##t, .size = (s), .direction = (d), .name = #t }

const struct wire_row wire_rows[] = {
        ROW(0, 0, HELLO, sizeof(struct wire_hello), WIRE_TO_DAEMON),
        ROW(1, 1, REGISTER, WIRE_REGISTER_1_SIZE, WIRE_TO_DAEMON),
        ROW(2, 2, REGISTER, sizeof(struct wire_register), WIRE_TO_DAEMON),
        ROW(1, 2, REQUEST, sizeof(struct wire_request), WIRE_TO_DAEMON),
        ROW(1, 2, PROGRESS, sizeof(struct wire_progress), WIRE_TO_DAEMON),
        ROW(1, 2, DONE, sizeof(struct wire_done), WIRE_TO_DAEMON),
        ROW(2, 2, QUIET, sizeof(struct wire_quiet), WIRE_TO_DAEMON),
        ROW(2, 2, BEGUN, sizeof(struct wire_begun), WIRE_TO_DAEMON),
        ROW(1, 1, RELEASE, sizeof(struct wire_release), WIRE_TO_CLOSER),
        ROW(1, 2, WELCOME, sizeof(struct wire_welcome), WIRE_TO_WORKER),
        ROW(1, 2, GRANT, sizeof(struct wire_grant), WIRE_TO_WORKER),
        ROW(1, 2, DONE_ACK, sizeof(struct wire_done_ack), WIRE_TO_WORKER),
        ROW(0, 0, UNGOVERNED, sizeof(struct wire_ungoverned), WIRE_TO_WORKER),
        ROW(0, 0, READY, sizeof(struct wire_ready), WIRE_TO_CLIENT),
        ROW(0, 0, HELD, sizeof(struct wire_held), WIRE_TO_CLIENT),
};
const size_t wire_n_rows = ARRAY_SIZE(wire_rows);

/* No padding: each struct is as large as its members. A released version never changes again. */
_Static_assert(sizeof(struct wire_header) == 4, "header");
_Static_assert(sizeof(struct wire_hello) == 8, "HELLO");
_Static_assert(sizeof(struct wire_outcome) == 24, "outcome");
_Static_assert(offsetof(struct wire_register, flags) == WIRE_REGISTER_1_SIZE, "REGISTER 1");
_Static_assert(sizeof(struct wire_register) == WIRE_REGISTER_1_SIZE + 8, "REGISTER");
_Static_assert(sizeof(struct wire_request) == 24, "REQUEST");
_Static_assert(sizeof(struct wire_progress) == 16, "PROGRESS");
_Static_assert(sizeof(struct wire_done) == 32, "DONE");
_Static_assert(sizeof(struct wire_quiet) == 8, "QUIET");
_Static_assert(sizeof(struct wire_begun) == 16, "BEGUN");
_Static_assert(sizeof(struct wire_welcome) == 8, "WELCOME");
_Static_assert(sizeof(struct wire_grant) == 16, "GRANT");
_Static_assert(sizeof(struct wire_done_ack) == 16, "DONE_ACK");
_Static_assert(sizeof(struct wire_ungoverned) == 8, "UNGOVERNED");
_Static_assert(sizeof(struct wire_release) == 4 + 4 + WIRE_NAME_MAX + 8, "RELEASE");
_Static_assert(sizeof(struct wire_ready) == 8, "READY");
_Static_assert(sizeof(struct wire_held) == 8, "HELD");
_Static_assert(sizeof(union wire_message) == WIRE_SIZE_MAX, "WIRE_SIZE_MAX");

static bool row_has_version(const struct wire_row *row, uint16_t version) {
        return row->first == 0 || (row->first <= version && version <= row->last);
}

const struct wire_row *wire_find_row(uint16_t version, uint16_t type) {
        for (size_t i = 0; i < wire_n_rows; i++)
                if (wire_rows[i].type == type && row_has_version(&wire_rows[i], version))
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
                return m->reg.state < _WIRE_STATE_MAX && outcome_valid(&m->reg.last) &&
                       (m->reg.flags & ~(uint32_t)_WIRE_FLAGS) == 0;
        case WIRE_REQUEST:
                return m->request.kind > WIRE_KIND_NONE && m->request.kind < _WIRE_KIND_MAX &&
                       m->request.seq != 0;
        case WIRE_BEGUN:
                return m->begun.seq != 0;
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
