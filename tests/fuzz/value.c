/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A value of each type: the first byte chooses a key of the configuration, the rest is the text.
 * A number that is taken keeps its key's limits, a text is not longer than what was written and
 * is taken again as it is; what is wrong is said in words.
 */

#include <errno.h>
#include <string.h>

#include "daemon/config/config.h"
#include "daemon/config/keys.h"
#include "fuzz.h"

static void check_number(const struct value_rule *rule, const char *text) {
        uint64_t n;

        if (value_parse_number(rule, text, &n) < 0)
                return;
        if (rule->type == VALUE_BOOL || rule->type == VALUE_WORD || n == CONFIG_INFINITY ||
            (n == rule->automatic && rule->or_auto))
                return;
        check(n >= rule->minimum && n <= rule->maximum);
}

static void check_text(const struct value_rule *rule, const char *text) {
        char *copy = NULL, *again = NULL;

        if (value_parse_text(rule, text, &copy) < 0)
                return;
        check(strlen(copy) <= strlen(text));
        check(value_parse_text(rule, copy, &again) == 0 && strcmp(copy, again) == 0);
        free(copy);
        free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        const struct config_key *key;
        struct config *config;
        const char *why = NULL;
        char *text;
        int r;

        if (size < 1)
                return 0;
        key = &config_keys[data[0] % n_config_keys];
        text = strndup((const char *)data + 1, size - 1);
        check(text && config_new(&config) == 0);
        r = config_set(config,
                       &(struct config_setting){.key = key->key, .value = text, .file = "fuzz"},
                       &why);
        check(r == 0 || (r == -EINVAL && why && *why));
        if (value_is_text(&key->rule))
                check_text(&key->rule, text);
        else
                check_number(&key->rule, text);
        config_free(config);
        free(text);
        return 0;
}
