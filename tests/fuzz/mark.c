/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The text of a mark, which is an attribute of a worker's cgroup, and may be an older or a newer
 * daemon's, or anybody's who may write there. What is understood is written again, and then read
 * as the same.
 */

#include <string.h>

#include "daemon/worker/mark.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        struct mark mark, again;
        char text[MARK_SIZE_MAX], *copy = strndup((const char *)data, size);

        check(copy);
        if (mark_parse(&mark, copy) == 0) {
                check(memchr(mark.unit, '\0', sizeof(mark.unit)));
                mark_format(&mark, text);
                check(mark_parse(&again, text) == 0);
                check(mark.done == again.done && mark.seq == again.seq && mark.kind == again.kind &&
                      mark.bytes == again.bytes);
                check(mark.queued_at == again.queued_at && mark.granted_at == again.granted_at &&
                      mark.cpu_base == again.cpu_base && mark.away == again.away);
                check(strcmp(mark.unit, again.unit) == 0);
        }
        free(copy);
        return 0;
}
