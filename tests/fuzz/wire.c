/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A packet of either direction: the first byte says which, all others are the packet. Whatever is
 * taken for a message has a row of exactly that size, is a copy of what came, and is taken for
 * the same a second time.
 */

#include <errno.h>
#include <string.h>

#include "base/wire.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        enum wire_direction direction = WIRE_TO_DAEMON;
        union wire_message m = {}, again = {};
        const struct wire_row *row;
        int r;

        if (size < 1)
                return 0;
        direction = (enum wire_direction)(1 + *data++ % 4);
        size--;
        r = wire_decode(&m, direction, data, size);
        if (r < 0) {
                check(r == -EBADMSG || r == -EPROTONOSUPPORT);
                return 0;
        }
        row = wire_find_row(m.header.version, (uint16_t)r);
        check(row && row->size == size && row->direction == direction);
        check(m.header.type == r && memcmp(&m, data, size) == 0);
        check(wire_type_to_string((uint16_t)r)[0] != '?');
        check(wire_decode(&again, direction, &m, size) == r);
        check(wire_encode(&again, m.header.version, (uint16_t)r) == (int)size);
        return 0;
}
