/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb "metrics". The daemon makes the text, so that what is asked for here and what it writes
 * to metrics-file cannot differ; here it is passed on as it is. It is JSON's rival, not one of its
 * forms: with --json it is refused.
 */

#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

static void connection_freep(struct connection **connection) {
        connection_free(*connection);
}

int verb_metrics(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        _cleanup_(freep) char *text = NULL;
        int r;

        if (options->json != JSON_OFF)
                return say_error(0, "metrics: there is no JSON; status --json has the numbers");
        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_get_text(connection, "GetMetrics", &text);
        if (r < 0)
                return r;
        (void)fputs(text, out);
        return 0;
}
