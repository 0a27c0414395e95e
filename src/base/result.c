/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The one place that judges PERFORM's answer. Keeper, heir and closer get that answer, and the
 * daemon is told of it: all of them must say the same word (G8). "lost" is a word here and never a
 * judgement, since it is no answer of PERFORM.
 */

#include "base/result.h"

#include <errno.h>
#include <stddef.h>

#include "base/kvm-pv.h"
#include "base/util.h"

enum result result_of_perform(int error, uint16_t rc, uint16_t rrc, bool governed) {
        switch (error) {
        case 0:
                if (rc == PV_RC_INTERRUPTED && rrc == PV_RRC_INTERRUPTED)
                        return RESULT_INTERRUPTED;
                return governed ? RESULT_DONE : RESULT_UNGOVERNED;
        case -EINVAL:
                return RESULT_SUPERSEDED;
        case -EIO:
                return RESULT_FOREIGN;
        default:
                return RESULT_FAILED;
        }
}

const char *result_to_string(uint32_t result) {
        static const char *const table[] = {
                [RESULT_DONE] = "done",
                [RESULT_UNGOVERNED] = "ungoverned",
                [RESULT_INTERRUPTED] = "interrupted",
                [RESULT_SUPERSEDED] = "superseded",
                [RESULT_FAILED] = "failed",
                [RESULT_FOREIGN] = "foreign",
                [RESULT_LOST] = "lost",
        };

        return result < ARRAY_SIZE(table) ? table[result] : NULL;
}
