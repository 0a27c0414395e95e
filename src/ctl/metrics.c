/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The verb "metrics". The daemon makes the text, in one of two formats, and this verb prints it
 * unchanged. Both are formats of their own: --json is refused. The verb owns its connection and the
 * text.
 */

#include "ctl/connection.h"
#include "ctl/say.h"
#include "ctl/verbs.h"

int verb_metrics(const struct options *options, FILE *out) {
        _cleanup_(connection_freep) struct connection *connection = NULL;
        _cleanup_(freep) char *text = NULL;
        int r;

        if (options->json != JSON_OFF)
                return say_usage("metrics: --json is not supported; use status --json");
        r = connection_new(&connection, options->socket);
        if (r >= 0)
                r = connection_get_text(
                        connection, options->textfile ? "GetTextfileMetrics" : "GetMetrics", &text);
        if (r < 0)
                return r;
        (void)fputs(text, out);
        return 0;
}
