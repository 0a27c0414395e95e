/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * For administrators: where does this limit come from (--print-config), and what could I write
 * (--print-defaults). The latter is byte by byte what is installed as
 * /etc/pv-reaper/pv-reaper.conf; a test holds the manual page against it as well.
 */

#include "daemon/config/print.h"

#include <string.h>

#include "daemon/config/keys.h"

#define COLUMNS 80

static void print_section(size_t i, FILE *out) {
        const char *section = config_keys[i].section;

        if (i == 0 || strcmp(section, config_keys[i - 1].section) != 0)
                (void)fprintf(out, "%s[%s]\n", i == 0 ? "" : "\n", section);
}

void config_print(const struct config *config, FILE *out) {
        char origin[512];

        for (size_t i = 0; i < n_config_keys; i++) {
                print_section(i, out);
                (void)fprintf(out, "# %s\n%s=%s\n",
                              config_describe_origin(&config->origins[i], origin, sizeof(origin)),
                              config_keys[i].key, config->origins[i].text);
        }
}

/* As remarks of a file, broken between words. */
static void print_wrapped(const char *text, FILE *out) {
        size_t column = 0;

        while (*text) {
                size_t n = strcspn(text, " ");

                if (column > 0 && column + 1 + n > COLUMNS) {
                        (void)fputc('\n', out);
                        column = 0;
                }
                if (column == 0)
                        (void)fputc('#', out);
                (void)fprintf(out, " %.*s", (int)n, text);
                column += 1 + n + (column == 0);
                text += n;
                text += strspn(text, " ");
        }
        (void)fputc('\n', out);
}

static void print_key(const struct config_key *key, FILE *out) {
        char what[256], rule[300];

        value_describe(&key->rule, what, sizeof(what));
        (void)snprintf(rule, sizeof(rule), "Value: %s.%s", what,
                       key->live ? "" : " Read at start only.");
        (void)fputc('\n', out);
        print_wrapped(key->help, out);
        print_wrapped(rule, out);
        (void)fprintf(out, "#%s=%s\n", key->key, key->fallback);
}

void config_print_defaults(FILE *out) {
        (void)fputs(
                "# SPDX-License-Identifier: LGPL-2.1-or-later\n"
                "#\n"
                "# The configuration of pv-reaperd: every key at its default, see "
                "pv-reaper.conf(5).\n"
                "# To change a value, write it into a file of your own in pv-reaper.conf.d\n"
                "# beside this one. \"pv-reaperd --print-config\" shows each value in force, and\n"
                "# where it is written. To apply it: systemctl reload pv-reaper.service\n\n",
                out);
        for (size_t i = 0; i < n_config_keys; i++) {
                print_section(i, out);
                print_key(&config_keys[i], out);
        }
}
