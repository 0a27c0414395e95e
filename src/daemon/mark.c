/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The text of a mark: numbers by name in a fixed order, the unit last, since it may hold anything.
 * What mark_format() writes mark_parse() gives back exactly. A daemon of another version that does
 * not understand it goes without, and says "unknown" where it would have needed it.
 */

#include "daemon/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void mark_format(const struct mark *m, char buffer[static MARK_SIZE_MAX]) {
        (void)snprintf(buffer, MARK_SIZE_MAX,
                       "done=%" PRIu64 " job=%" PRIu64 " kind=%" PRIu32 " bytes=%" PRIu64
                       " queued=%" PRIu64 " granted=%" PRIu64 " cpu=%" PRIu64 " unit=%s",
                       m->done, m->seq, m->kind, m->bytes, m->queued_at, m->granted_at, m->cpu_base,
                       m->unit);
}

int mark_parse(struct mark *ret, const char *text) {
        struct mark m = {};
        int unit = -1;

        if (sscanf(text,
                   "done=%" SCNu64 " job=%" SCNu64 " kind=%" SCNu32 " bytes=%" SCNu64
                   " queued=%" SCNu64 " granted=%" SCNu64 " cpu=%" SCNu64 " unit=%n",
                   &m.done, &m.seq, &m.kind, &m.bytes, &m.queued_at, &m.granted_at, &m.cpu_base,
                   &unit) != 7 ||
            unit < 0 || strlen(text + unit) >= sizeof(m.unit) || m.granted_at < m.queued_at)
                return -EBADMSG;
        memcpy(m.unit, text + unit, strlen(text + unit) + 1);
        *ret = m;
        return 0;
}
