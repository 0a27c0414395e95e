/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The text of a mark: numbers by name in a fixed order, the unit last, since it may hold anything.
 * mark_parse() gives back exactly what mark_format() wrote. Newer names (AWAY, ...) are written
 * only where they say something, so that older daemons understand all other marks. A daemon that
 * does not understand a mark goes without, and says "unknown" where it would have needed it. The
 * card is a text of its own for the same reason.
 */

#include "daemon/worker/mark.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/uuid.h"

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

/* ---- the card ---- */

void card_format(const struct card *c, char buffer[static CARD_SIZE_MAX]) {
        char uuid[UUID_TEXT_SIZE];
        const char *text = uuid_format(c->uuid, uuid);

        (void)snprintf(buffer, CARD_SIZE_MAX, "vmm=%d start=%" PRIu64 " uuid=%s cpus=%s name=%s",
                       (int)c->vmm_pid, c->vmm_starttime, text ? text : "-",
                       *c->cpus ? c->cpus : "-", c->name);
}

int card_parse(struct card *ret, const char *text) {
        char uuid[UUID_TEXT_SIZE];
        struct card c = {};
        int n = -1;

        if (sscanf(text, "vmm=%d start=%" SCNu64 " uuid=%36s cpus=%1023s name=%n", &c.vmm_pid,
                   &c.vmm_starttime, uuid, c.cpus, &n) != 4 ||
            n < 0 || c.vmm_pid < 0 || strlen(text + n) >= sizeof(c.name))
                return -EBADMSG;
        if (strcmp(uuid, "-") != 0 && !uuid_parse(uuid, c.uuid))
                return -EBADMSG;
        if (strcmp(c.cpus, "-") == 0)
                c.cpus[0] = '\0';
        memcpy(c.name, text + n, strlen(text + n) + 1);
        *ret = c;
        return 0;
}
