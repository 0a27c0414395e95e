/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The messages byte by byte, as they were released, in either byte order. Keepers live
 * for months and outlive upgrades: what is here never changes, and a new version adds its own. A
 * failure here means that old keepers would be misunderstood, not that the bytes need adjusting.
 */

#include "fds.h"

#include <string.h>

#include "base/util.h"
#include "base/wire.h"

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define U16(a, b)                   0x##a, 0x##b
#define U32(a, b, c, d)             0x##a, 0x##b, 0x##c, 0x##d
#define U64(a, b, c, d, e, f, g, h) 0x##a, 0x##b, 0x##c, 0x##d, 0x##e, 0x##f, 0x##g, 0x##h
#else
#define U16(a, b)                   0x##b, 0x##a
#define U32(a, b, c, d)             0x##d, 0x##c, 0x##b, 0x##a
#define U64(a, b, c, d, e, f, g, h) 0x##h, 0x##g, 0x##f, 0x##e, 0x##d, 0x##c, 0x##b, 0x##a
#endif

#define OUTCOME_BYTES                                                                              \
        U64(01, 02, 03, 04, 05, 06, 07, 08), U32(00, 00, 00, 02), U32(ff, ff, ff, fb),             \
                U16(12, 34), U16(56, 78), U32(00, 00, 00, 01)

static const struct wire_outcome golden_outcome = {
        .seq = 0x0102030405060708,
        .kind = WIRE_KIND_SHUTDOWN,
        .error = -5,
        .rc = 0x1234,
        .rrc = 0x5678,
        .ungoverned = 1,
};

static void check_version(union wire_message *m, uint16_t version, const uint8_t *bytes,
                          size_t size) {
        uint16_t type = m->header.type;
        union wire_message out;

        assert_int_equal(wire_encode(m, version, type), size);
        assert_memory_equal(m, bytes, size);
        assert_int_equal(wire_decode(&out, wire_find_row(version, type)->direction, bytes, size),
                         type);
        assert_memory_equal(&out, m, size);
}

static void check_golden(union wire_message *m, uint16_t type, const uint8_t *bytes, size_t size) {
        m->header.type = type;
        check_version(m, 1, bytes, size);
}

static void test_wire_golden_register(void **state) {
        static const uint8_t bytes[] = {U16(00, 01), U16(00, 02), U32(00, 00, 00, 01),
                                        /* name, 64 bytes */
                                        'g', 'u', 'e', 's', 't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                        0, 0, 0, 0, 0, 0, 0,
                                        /* uuid, mem, last, unreported */
                                        0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
                                        U64(11, 12, 13, 14, 15, 16, 17, 18), OUTCOME_BYTES,
                                        U64(21, 22, 23, 24, 25, 26, 27, 28)};
        union wire_message m = {};

        m.reg.state = WIRE_STATE_WAITING;
        memcpy(m.reg.name, "guest", 5);
        for (uint8_t i = 0; i < 16; i++)
                m.reg.uuid[i] = i;
        m.reg.mem = 0x1112131415161718;
        m.reg.last = golden_outcome;
        m.reg.unreported = 0x2122232425262728;
        check_golden(&m, WIRE_REGISTER, bytes, sizeof(bytes));
}

#define REGISTER_2_TAIL U32(00, 00, 00, 03), U32(00, 00, 00, 00)

/* Version 2: REGISTER goes on where that of version 1 ends; two messages are new. */
static void test_wire_golden_2(void **state) {
        static const uint8_t tail[] = {REGISTER_2_TAIL};
        static const uint8_t quiet[] = {U16(00, 02), U16(00, 06), U32(00, 00, 00, 00)};
        static const uint8_t begun[] = {U16(00, 02), U16(00, 07), U32(00, 00, 00, 00),
                                        U64(01, 02, 03, 04, 05, 06, 07, 08)};
        union wire_message m = {.reg = {.mem = 1, .flags = 3}}, first = {.reg.mem = 1}, out;

        assert_int_equal(wire_encode(&first, 1, WIRE_REGISTER), 128);
        assert_int_equal(wire_encode(&m, 2, WIRE_REGISTER), 136);
        assert_memory_equal(m.bytes + 4, first.bytes + 4, 124);
        assert_memory_equal(m.bytes + 128, tail, sizeof(tail));
        assert_int_equal(wire_decode(&out, WIRE_TO_DAEMON, &m, 136), WIRE_REGISTER);
        assert_int_equal(out.reg.flags, WIRE_FLAG_QUIET | WIRE_FLAG_DRAINS);
        m = (union wire_message){.header.type = WIRE_QUIET};
        check_version(&m, 2, quiet, sizeof(quiet));
        m = (union wire_message){.begun = {.header.type = WIRE_BEGUN, .seq = 0x0102030405060708}};
        check_version(&m, 2, begun, sizeof(begun));
}

static void test_wire_golden_to_daemon(void **state) {
        static const uint8_t hello[] = {U16(00, 01), U16(00, 01), U32(a1, a2, a3, a4)};
        static const uint8_t request[] = {U16(00, 01), U16(00, 03), U32(00, 00, 00, 01),
                                          U64(01, 02, 03, 04, 05, 06, 07, 08),
                                          U64(11, 12, 13, 14, 15, 16, 17, 18)};
        static const uint8_t progress[] = {U16(00, 01), U16(00, 04), U32(00, 00, 00, 00),
                                           U64(01, 02, 03, 04, 05, 06, 07, 08)};
        static const uint8_t done[] = {U16(00, 01), U16(00, 05), U32(00, 00, 00, 00),
                                       OUTCOME_BYTES};
        union wire_message m = {.hello.features = 0xa1a2a3a4};

        check_golden(&m, WIRE_HELLO, hello, sizeof(hello));
        m = (union wire_message){.request = {.kind = WIRE_KIND_REBOOT,
                                             .seq = 0x0102030405060708,
                                             .mem = 0x1112131415161718}};
        check_golden(&m, WIRE_REQUEST, request, sizeof(request));
        m = (union wire_message){.progress.bytes_left = 0x0102030405060708};
        check_golden(&m, WIRE_PROGRESS, progress, sizeof(progress));
        m = (union wire_message){.done.outcome = golden_outcome};
        check_golden(&m, WIRE_DONE, done, sizeof(done));
}

static void test_wire_golden_to_worker(void **state) {
        static const uint8_t welcome[] = {U16(00, 01), U16(00, 41), U32(a1, a2, a3, a4)};
        static const uint8_t grant[] = {U16(00, 01), U16(00, 42), U32(00, 00, 00, 00),
                                        U64(01, 02, 03, 04, 05, 06, 07, 08)};
        static const uint8_t done_ack[] = {U16(00, 01), U16(00, 43), U32(00, 00, 00, 00),
                                           U64(01, 02, 03, 04, 05, 06, 07, 08)};
        static const uint8_t ungoverned[] = {U16(00, 01), U16(00, 44), U32(00, 00, 00, 00)};
        union wire_message m = {.welcome.features = 0xa1a2a3a4};

        check_golden(&m, WIRE_WELCOME, welcome, sizeof(welcome));
        m = (union wire_message){.grant.seq = 0x0102030405060708};
        check_golden(&m, WIRE_GRANT, grant, sizeof(grant));
        m = (union wire_message){.done_ack.seq = 0x0102030405060708};
        check_golden(&m, WIRE_DONE_ACK, done_ack, sizeof(done_ack));
        m = (union wire_message){};
        check_golden(&m, WIRE_UNGOVERNED, ungoverned, sizeof(ungoverned));
}

static void test_wire_golden_release(void **state) {
        static const uint8_t release[] = {
                U16(00, 01), U16(00, 21), U32(00, 00, 00, 00),
                /* name, 64 bytes */
                'g', 'u', 'e', 's', 't', 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, U64(11, 12, 13, 14, 15, 16, 17, 18)};
        static const uint8_t ready[] = {U16(00, 01), U16(00, 61), U32(00, 00, 00, 00)};
        static const uint8_t held[] = {U16(00, 01), U16(00, 62), U32(ff, ff, ff, ea)};
        union wire_message m = {.release.mem = 0x1112131415161718};

        memcpy(m.release.name, "guest", 5);
        check_golden(&m, WIRE_RELEASE, release, sizeof(release));
        m = (union wire_message){};
        check_golden(&m, WIRE_READY, ready, sizeof(ready));
        m = (union wire_message){.held.error = -22};
        check_golden(&m, WIRE_HELD, held, sizeof(held));
}

int main(void) {
        const struct CMUnitTest tests[] = {
                checked_test(test_wire_golden_register),  checked_test(test_wire_golden_2),
                checked_test(test_wire_golden_to_daemon), checked_test(test_wire_golden_to_worker),
                checked_test(test_wire_golden_release),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
