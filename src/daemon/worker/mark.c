/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The text of a mark: numbers by name in a fixed order, the unit last, since it may hold anything.
 * mark_parse() gives back exactly what mark_format() wrote. Newer names (AWAY, ...) are written
 * only where they say something, so that older daemons understand all other marks. A daemon that
 * does not understand a mark goes without, and says "unknown" where it would have needed it.
 */

#include "daemon/worker/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AWAY    " away=1"
#define ADOPTED " adopted=1"
#define BEGUN   " begun=1"
#define QUIET   " quiet=1"

static bool skip(const char **text, const char *word) {
        size_t n = strlen(word);

        if (strncmp(*text, word, n) != 0)
                return false;
        *text += n;
        return true;
}

void mark_format(const struct mark *m, char buffer[static MARK_SIZE_MAX]) {
        (void)snprintf(buffer, MARK_SIZE_MAX,
                       "done=%" PRIu64 " job=%" PRIu64 " kind=%" PRIu32 " bytes=%" PRIu64
                       " queued=%" PRIu64 " granted=%" PRIu64 " cpu=%" PRIu64 "%s%s%s%s unit=%s",
                       m->done, m->seq, m->kind, m->bytes, m->queued_at, m->granted_at, m->cpu_base,
                       m->away ? AWAY : "", m->adopted ? ADOPTED : "", m->begun ? BEGUN : "",
                       m->quiet ? QUIET : "", m->unit);
}

int mark_parse(struct mark *ret, const char *text) {
        struct mark m = {};
        int n = -1;

        if (sscanf(text,
                   "done=%" SCNu64 " job=%" SCNu64 " kind=%" SCNu32 " bytes=%" SCNu64
                   " queued=%" SCNu64 " granted=%" SCNu64 " cpu=%" SCNu64 "%n",
                   &m.done, &m.seq, &m.kind, &m.bytes, &m.queued_at, &m.granted_at, &m.cpu_base,
                   &n) != 7 ||
            n < 0 || m.granted_at < m.queued_at)
                return -EBADMSG;
        text += n;
        m.away = skip(&text, AWAY);
        m.adopted = skip(&text, ADOPTED);
        m.begun = skip(&text, BEGUN);
        m.quiet = skip(&text, QUIET);
        if (!skip(&text, " unit=") || strlen(text) >= sizeof(m.unit))
                return -EBADMSG;
        memcpy(m.unit, text, strlen(text) + 1);
        *ret = m;
        return 0;
}
