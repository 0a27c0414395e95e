/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The grammar of wire.h, held against a second copy of it in grammar[]: sizes as numbers, so that a
 * change of a released message cannot pass unseen. What must hold: a packet is taken if and only if
 * length, type, version, direction and every field are right, and nothing behind its end is read.
 */

#include "fds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/util.h"
#include "base/wire.h"
#include "rng.h"

#define N_BYTES (WIRE_SIZE_MAX + 8)

/* As they were released. A new version adds rows; none of version 1 ever changes. */
static const struct wire_row grammar[] = {
        {0, 0, 1, 8, WIRE_TO_DAEMON, "HELLO"},       {1, 1, 2, 128, WIRE_TO_DAEMON, "REGISTER"},
        {2, 2, 2, 136, WIRE_TO_DAEMON, "REGISTER"},  {1, 2, 3, 24, WIRE_TO_DAEMON, "REQUEST"},
        {1, 2, 4, 16, WIRE_TO_DAEMON, "PROGRESS"},   {1, 2, 5, 32, WIRE_TO_DAEMON, "DONE"},
        {2, 2, 6, 8, WIRE_TO_DAEMON, "QUIET"},       {2, 2, 7, 16, WIRE_TO_DAEMON, "BEGUN"},
        {1, 1, 33, 80, WIRE_TO_CLOSER, "RELEASE"},   {1, 2, 65, 8, WIRE_TO_WORKER, "WELCOME"},
        {1, 2, 66, 16, WIRE_TO_WORKER, "GRANT"},     {1, 2, 67, 16, WIRE_TO_WORKER, "DONE_ACK"},
        {0, 0, 68, 8, WIRE_TO_WORKER, "UNGOVERNED"}, {0, 0, 97, 8, WIRE_TO_CLIENT, "READY"},
        {0, 0, 98, 8, WIRE_TO_CLIENT, "HELD"},
};

static bool is_spoken(const struct wire_row *row, uint32_t version) {
        return row->first == 0 || (version >= row->first && version <= row->last);
}

/* The newest that has this row. */
static uint16_t version_of(const struct wire_row *row) {
        return row->first == 0 ? 2 : row->last;
}

static enum wire_direction other_way(uint8_t direction) {
        return direction % 4 + 1;
}

static void fill(struct rng *rng, void *bytes, size_t size) {
        uint8_t *b = bytes;

        for (size_t i = 0; i < size; i++)
                b[i] = (uint8_t)rng_next(rng);
}

/* A valid message of this row, random where any value is right. Returns its size. */
static size_t valid_message(struct rng *rng, const struct wire_row *row, union wire_message *m) {
        struct wire_outcome *o = row->type == WIRE_DONE ? &m->done.outcome : &m->reg.last;
        int size;

        memset(m, 0, sizeof(*m));
        fill(rng, m, row->size);
        if (row->type == WIRE_REGISTER)
                m->reg.state = rng_below(rng, 2);
        if (row->type == WIRE_REGISTER && row->last > 1)
                m->reg.flags = rng_below(rng, 4);
        if (row->type == WIRE_BEGUN)
                m->begun.seq |= 1;
        if (row->type == WIRE_REQUEST) {
                m->request.kind = 1 + rng_below(rng, 3);
                m->request.seq |= 1;
        }
        if (row->type == WIRE_REGISTER || row->type == WIRE_DONE) {
                o->seq |= 1;
                o->kind = 1 + rng_below(rng, 3);
                o->error = -(int32_t)rng_below(rng, 4096);
                o->ungoverned = rng_below(rng, 2);
        }
        if (row->type == WIRE_HELD)
                m->held.error = -(int32_t)rng_below(rng, 4096);
        size = wire_encode(m, version_of(row), row->type);
        assert_int_equal(size, row->size);
        return (size_t)size;
}

/* ---- the table ---- */

static void test_wire_table_is_the_grammar(void **state) {
        assert_int_equal(wire_n_rows, ARRAY_SIZE(grammar));
        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++) {
                const struct wire_row *a = &grammar[i], *b = &wire_rows[i];

                assert_int_equal(a->first, b->first);
                assert_int_equal(a->last, b->last);
                assert_int_equal(a->type, b->type);
                assert_int_equal(a->size, b->size);
                assert_int_equal(a->direction, b->direction);
                assert_string_equal(a->name, b->name);
                assert_true(b->size <= WIRE_SIZE_MAX);
        }
}

static void test_wire_names(void **state) {
        for (uint32_t type = 0; type <= UINT16_MAX; type++) {
                const char *expected = "?";

                for (size_t i = 0; i < ARRAY_SIZE(grammar); i++)
                        if (grammar[i].type == type)
                                expected = grammar[i].name;
                assert_string_equal(wire_type_to_string((uint16_t)type), expected);
        }
}

static const struct wire_row *naive_find_row(uint32_t version, uint16_t type) {
        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++)
                if (grammar[i].type == type && is_spoken(&grammar[i], version))
                        return &wire_rows[i];
        return NULL;
}

static void test_wire_find_row(void **state) {
        for (uint16_t version = 0; version < 5; version++)
                for (uint16_t type = 0; type < 256; type++)
                        assert_ptr_equal(wire_find_row(version, type),
                                         naive_find_row(version, type));
        assert_null(wire_find_row(1, UINT16_MAX));
        assert_null(wire_find_row(1, WIRE_QUIET));
        assert_int_equal(wire_find_row(1, WIRE_REGISTER)->size, 128);
        assert_int_equal(wire_find_row(2, WIRE_REGISTER)->size, 136);
}

/* ---- encoding and decoding ---- */

static void test_wire_round_trip(void **state) {
        static const uint8_t zeroes[WIRE_SIZE_MAX];
        struct rng rng = {1};

        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++)
                for (int round = 0; round < 200; round++) {
                        union wire_message in, out;
                        size_t size = valid_message(&rng, &grammar[i], &in);

                        assert_int_equal(in.header.version, version_of(&grammar[i]));
                        assert_int_equal(in.header.type, grammar[i].type);
                        fill(&rng, &out, sizeof(out));
                        assert_int_equal(wire_decode(&out, grammar[i].direction, &in, size),
                                         grammar[i].type);
                        assert_memory_equal(&in, &out, size);
                        assert_memory_equal(out.bytes + size, zeroes, sizeof(out) - size);
                }
}

static void test_wire_encode_refuses(void **state) {
        static const uint16_t types[] = {0, 8, 64, 69, 255, UINT16_MAX};
        union wire_message m, copy;

        memset(&m, 0x5a, sizeof(m));
        copy = m;
        for (size_t i = 0; i < ARRAY_SIZE(types); i++)
                assert_int_equal(wire_encode(&m, 1, types[i]), -EINVAL);
        assert_int_equal(wire_encode(&m, 0, WIRE_REGISTER), -EINVAL);
        assert_int_equal(wire_encode(&m, 3, WIRE_GRANT), -EINVAL);
        assert_int_equal(wire_encode(&m, 1, WIRE_QUIET), -EINVAL);
        assert_int_equal(wire_encode(&m, 1, WIRE_BEGUN), -EINVAL);
        assert_memory_equal(&m, &copy, sizeof(m));
        /* what never changes exists in any version */
        assert_int_equal(wire_encode(&m, 7, WIRE_HELLO), 8);
        assert_int_equal(m.header.version, 7);
}

static void test_wire_length_is_equal(void **state) {
        struct rng rng = {2};

        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++)
                for (size_t size = 0; size <= N_BYTES; size++) {
                        union {
                                union wire_message m;
                                uint8_t bytes[N_BYTES];
                        } packet = {};
                        union wire_message out;
                        size_t right = valid_message(&rng, &grammar[i], &packet.m);

                        assert_int_equal(wire_decode(&out, grammar[i].direction, &packet, size),
                                         size == right ? grammar[i].type : -EBADMSG);
                }
}

static void test_wire_length_max(void **state) {
        struct rng rng = {3};
        union wire_message in, out;
        size_t size = valid_message(&rng, &grammar[0], &in);

        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, size + 65536), -EBADMSG);
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, SIZE_MAX), -EBADMSG);
}

static void test_wire_direction(void **state) {
        struct rng rng = {4};

        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++) {
                union wire_message in, out;
                size_t size = valid_message(&rng, &grammar[i], &in);

                assert_int_equal(wire_decode(&out, other_way(grammar[i].direction), &in, size),
                                 -EBADMSG);
        }
}

/* size: of the packet, which is right for some version of the type. */
static int expected_for_version(uint16_t type, uint16_t version, size_t size) {
        const struct wire_row *row = naive_find_row(version, type);

        if (type == WIRE_HELLO)
                return version == 1 || version == 2 ? type : -EPROTONOSUPPORT;
        return version != 0 && row && row->size == size ? type : -EBADMSG;
}

static void test_wire_versions(void **state) {
        static const uint16_t versions[] = {0, 1, 2, 3, 4, 255, 256, 257, UINT16_MAX};
        struct rng rng = {5};

        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++)
                for (size_t v = 0; v < ARRAY_SIZE(versions); v++) {
                        union wire_message in, out = {};
                        size_t size = valid_message(&rng, &grammar[i], &in);
                        int r, expected = expected_for_version(grammar[i].type, versions[v], size);

                        in.header.version = versions[v];
                        r = wire_decode(&out, grammar[i].direction, &in, size);
                        assert_int_equal(r, expected);
                        if (r != -EBADMSG)
                                assert_memory_equal(&out, &in, size);
                }
}

/* ---- fields ---- */

struct field {
        uint16_t type;
        size_t offset, size;
        uint64_t value;
        bool valid;
};

#define FIELD(t, s, f, v, ok)                                                                      \
        { WIRE_##t, offsetof(struct s, f), sizeof(((struct s *)NULL)->f), (uint64_t)(v), (ok) }

static const struct field fields[] = {
        FIELD(REGISTER, wire_register, state, 0, true),
        FIELD(REGISTER, wire_register, state, 1, true),
        FIELD(REGISTER, wire_register, state, 2, false),
        FIELD(REGISTER, wire_register, state, UINT32_MAX, false),
        FIELD(REGISTER, wire_register, mem, 0, true),
        FIELD(REGISTER, wire_register, mem, UINT64_MAX, true),
        FIELD(REGISTER, wire_register, unreported, UINT64_MAX, true),
        FIELD(REGISTER, wire_register, last.seq, UINT64_MAX, true),
        FIELD(REGISTER, wire_register, last.kind, 0, false),
        FIELD(REGISTER, wire_register, last.kind, 3, true),
        FIELD(REGISTER, wire_register, last.kind, 4, false),
        FIELD(REGISTER, wire_register, last.kind, UINT32_MAX, false),
        FIELD(REGISTER, wire_register, last.error, 0, true),
        FIELD(REGISTER, wire_register, last.error, 1, false),
        FIELD(REGISTER, wire_register, last.error, INT32_MAX, false),
        FIELD(REGISTER, wire_register, last.error, -4095, true),
        FIELD(REGISTER, wire_register, last.error, -4096, false),
        FIELD(REGISTER, wire_register, last.error, INT32_MIN, false),
        FIELD(REGISTER, wire_register, last.rc, UINT16_MAX, true),
        FIELD(REGISTER, wire_register, last.rrc, UINT16_MAX, true),
        FIELD(REGISTER, wire_register, last.ungoverned, 1, true),
        FIELD(REGISTER, wire_register, last.ungoverned, 2, false),
        FIELD(REGISTER, wire_register, last.ungoverned, UINT32_MAX, false),
        FIELD(REGISTER, wire_register, flags, 3, true),
        FIELD(REGISTER, wire_register, flags, 4, false),
        FIELD(REGISTER, wire_register, flags, UINT32_MAX, false),
        FIELD(REGISTER, wire_register, reserved, UINT32_MAX, true),
        FIELD(QUIET, wire_quiet, reserved, UINT32_MAX, true),
        FIELD(BEGUN, wire_begun, reserved, UINT32_MAX, true),
        FIELD(BEGUN, wire_begun, seq, 0, false),
        FIELD(BEGUN, wire_begun, seq, UINT64_MAX, true),
        FIELD(REQUEST, wire_request, kind, 0, false),
        FIELD(REQUEST, wire_request, kind, 1, true),
        FIELD(REQUEST, wire_request, kind, 2, true),
        FIELD(REQUEST, wire_request, kind, 3, true),
        FIELD(REQUEST, wire_request, kind, 4, false),
        FIELD(REQUEST, wire_request, kind, UINT32_MAX, false),
        FIELD(REQUEST, wire_request, seq, 0, false),
        FIELD(REQUEST, wire_request, seq, UINT64_MAX, true),
        FIELD(REQUEST, wire_request, mem, UINT64_MAX, true),
        FIELD(PROGRESS, wire_progress, bytes_left, UINT64_MAX, true),
        FIELD(PROGRESS, wire_progress, reserved, UINT32_MAX, true),
        FIELD(DONE, wire_done, reserved, UINT32_MAX, true),
        FIELD(DONE, wire_done, outcome.seq, 0, false),
        FIELD(DONE, wire_done, outcome.kind, 0, false),
        FIELD(DONE, wire_done, outcome.kind, 4, false),
        FIELD(DONE, wire_done, outcome.error, 1, false),
        FIELD(DONE, wire_done, outcome.error, -4095, true),
        FIELD(DONE, wire_done, outcome.error, -4096, false),
        FIELD(DONE, wire_done, outcome.ungoverned, 2, false),
        FIELD(HELLO, wire_hello, features, UINT32_MAX, true),
        FIELD(WELCOME, wire_welcome, features, UINT32_MAX, true),
        FIELD(GRANT, wire_grant, seq, 0, true),
        FIELD(GRANT, wire_grant, seq, UINT64_MAX, true),
        FIELD(DONE_ACK, wire_done_ack, seq, UINT64_MAX, true),
        FIELD(UNGOVERNED, wire_ungoverned, reserved, UINT32_MAX, true),
        FIELD(RELEASE, wire_release, reserved, UINT32_MAX, true),
        FIELD(RELEASE, wire_release, mem, UINT64_MAX, true),
        FIELD(READY, wire_ready, reserved, UINT32_MAX, true),
        FIELD(HELD, wire_held, error, 0, true),
        FIELD(HELD, wire_held, error, 1, false),
        FIELD(HELD, wire_held, error, -4095, true),
        FIELD(HELD, wire_held, error, -4096, false),
        FIELD(HELD, wire_held, error, INT32_MIN, false),
};

static void put(union wire_message *m, const struct field *f) {
        uint32_t low = (uint32_t)f->value;

        if (f->size == sizeof(uint64_t))
                memcpy(m->bytes + f->offset, &f->value, sizeof(uint64_t));
        else if (f->size == sizeof(uint32_t))
                memcpy(m->bytes + f->offset, &low, sizeof(low));
        else
                memcpy(m->bytes + f->offset, &(uint16_t){(uint16_t)low}, sizeof(uint16_t));
}

static void test_wire_fields(void **state) {
        struct rng rng = {6};

        for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
                const struct wire_row *row =
                        wire_find_row(fields[i].type == WIRE_RELEASE ? 1 : 2, fields[i].type);
                union wire_message in, out;
                size_t size = valid_message(&rng, row, &in);

                put(&in, &fields[i]);
                if (wire_decode(&out, row->direction, &in, size) !=
                    (fields[i].valid ? row->type : -EBADMSG))
                        fail_msg("%s: %llx at %zu", row->name, (unsigned long long)fields[i].value,
                                 fields[i].offset);
        }
}

/* seq 0 says that there is no outcome: then nobody looks at the rest of it. */
static void test_wire_no_outcome(void **state) {
        struct rng rng = {7};
        union wire_message in, out;
        size_t size = valid_message(&rng, &grammar[1], &in);

        memset(&in.reg.last, 0xff, sizeof(in.reg.last));
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, size), -EBADMSG);
        in.reg.last.seq = 0;
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, size), WIRE_REGISTER);
        memset(&in.reg.last, 0, sizeof(in.reg.last));
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, size), WIRE_REGISTER);
}

/* A result is written on success only (and for a HELLO of a version that we do not know). */
static void test_wire_result_on_success_only(void **state) {
        struct rng rng = {8};
        union wire_message in, out, copy;
        size_t size = valid_message(&rng, &grammar[3], &in);

        fill(&rng, &out, sizeof(out));
        copy = out;
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, 2), -EBADMSG);
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, size - 1), -EBADMSG);
        assert_int_equal(wire_decode(&out, WIRE_TO_WORKER, &in, size), -EBADMSG);
        assert_memory_equal(&out, &copy, sizeof(out));
        in.request.seq = 0;
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &in, size), -EBADMSG);
        assert_memory_equal(&out, &copy, sizeof(out));
}

/* ---- hostile bytes ---- */

static bool naive_outcome(const uint8_t *b) {
        struct wire_outcome o;

        memcpy(&o, b, sizeof(o));
        return o.seq == 0 || ((o.kind == 1 || o.kind == 2 || o.kind == 3) && o.error <= 0 &&
                              o.error > -4096 && (o.ungoverned == 0 || o.ungoverned == 1));
}

static bool naive_flags(const uint8_t *b, size_t size) {
        uint32_t flags = 0;

        if (size > 128)
                memcpy(&flags, b + 128, sizeof(flags));
        return flags < 4;
}

/* What wire_decode() should say of a packet, by offsets alone. */
static int naive_decode(enum wire_direction direction, const uint8_t *b, size_t size) {
        uint16_t head[2];
        uint32_t word = 0;
        uint64_t seq = 0;
        int expected;

        if (size < 4)
                return -EBADMSG;
        memcpy(head, b, 4);
        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++) {
                if (grammar[i].type != head[1] ||
                    (head[1] == WIRE_REGISTER && grammar[i].first != head[0]))
                        continue;
                if (grammar[i].size != size || grammar[i].direction != direction)
                        return -EBADMSG;
                expected = expected_for_version(head[1], head[0], size);
                memcpy(&word, b + 4, 4);
                if (head[1] == WIRE_HELD && (int32_t)word != 0 && word <= UINT32_MAX - 4095)
                        return -EBADMSG;
                if (expected < 0)
                        return expected;
                if (size >= 16)
                        memcpy(&seq, b + 8, 8);
                if (head[1] == WIRE_REGISTER)
                        return word <= 1 && naive_outcome(b + 96) && naive_flags(b, size)
                                       ? expected
                                       : -EBADMSG;
                if (head[1] == WIRE_BEGUN)
                        return seq != 0 ? expected : -EBADMSG;
                if (head[1] == WIRE_REQUEST)
                        return word >= 1 && word <= 3 && seq != 0 ? expected : -EBADMSG;
                if (head[1] == WIRE_DONE)
                        return seq != 0 && naive_outcome(b + 8) ? expected : -EBADMSG;
                return expected;
        }
        return -EBADMSG;
}

/* Pure noise is hardly ever more than a wrong header: so noise in valid packets, too. */
static size_t hostile_packet(struct rng *rng, uint8_t *b) {
        union wire_message m;
        size_t size;

        fill(rng, b, N_BYTES);
        if (rng_below(rng, 4) == 0)
                return rng_below(rng, N_BYTES + 1);
        size = valid_message(rng, &grammar[rng_below(rng, ARRAY_SIZE(grammar))], &m);
        memcpy(b, &m, size);
        for (uint32_t n = rng_below(rng, 4); n > 0; n--)
                b[rng_below(rng, (uint32_t)size)] =
                        (uint8_t)(rng_below(rng, 2) ? rng_next(rng) : 0);
        return rng_below(rng, 8) == 0 ? size + rng_below(rng, 3) - 1 : size;
}

static void test_wire_hostile_bytes(void **state) {
        struct rng rng = {9};
        unsigned n_taken = 0, n_refused = 0;

        for (int i = 0; i < 50000; i++) {
                uint8_t b[N_BYTES];
                union wire_message out;
                size_t size = hostile_packet(&rng, b);
                enum wire_direction direction = 1 + rng_below(&rng, 4);
                int r = wire_decode(&out, direction, b, size);

                assert_int_equal(r, naive_decode(direction, b, size));
                n_taken += r > 0;
                n_refused += r < 0;
        }
        /* both sorts were among them */
        assert_true(n_taken > 3000 && n_refused > 5000);
}

/* Each packet ends where the readable memory ends. */
static void test_wire_reads_no_further(void **state) {
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        uint8_t *start =
                mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        struct rng rng = {10};

        assert_ptr_not_equal(start, MAP_FAILED);
        assert_int_equal(mprotect(start + page, page, PROT_NONE), 0);
        for (size_t i = 0; i < ARRAY_SIZE(grammar); i++)
                for (size_t size = 0; size <= WIRE_SIZE_MAX; size++) {
                        union wire_message in, out;
                        size_t right = valid_message(&rng, &grammar[i], &in);

                        memcpy(start + page - size, &in, size);
                        assert_int_equal(
                                wire_decode(&out, grammar[i].direction, start + page - size, size),
                                size == right ? grammar[i].type : -EBADMSG);
                }
        (void)munmap(start, 2 * page);
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_wire_table_is_the_grammar),
                checked_test(test_wire_names),
                checked_test(test_wire_find_row),
                checked_test(test_wire_round_trip),
                checked_test(test_wire_encode_refuses),
                checked_test(test_wire_length_is_equal),
                checked_test(test_wire_length_max),
                checked_test(test_wire_direction),
                checked_test(test_wire_versions),
                checked_test(test_wire_fields),
                checked_test(test_wire_no_outcome),
                checked_test(test_wire_result_on_success_only),
                checked_test(test_wire_hostile_bytes),
                checked_test(test_wire_reads_no_further),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
