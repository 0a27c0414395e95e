/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A struct config as a whole: made from the table, set key by key, checked, copied, taken over. For
 * each key it owns the value (texts are on the heap) and its origin: what was written, and where.
 * The two change together, so --print-config and the messages of config_check() are never wrong
 * about where a limit comes from.
 */

#include "daemon/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/config/keys.h"
#include "daemon/cpu/enforce.h"
#include "daemon/runtime/log.h"

/* ---- places in struct config ---- */

static void *place_of(struct config *config, const struct config_key *key) {
        return (char *)config + key->offset;
}

static struct config_origin *origin_of(const struct config *config, const char *name) {
        return &config->origins[config_find_key(NULL, name) - config_keys];
}

static void store(void *place, const struct config_key *key, uint64_t n) {
        if (key->width == sizeof(bool))
                *(bool *)place = n != 0;
        else if (key->width == sizeof(unsigned))
                *(unsigned *)place = (unsigned)n;
        else
                *(uint64_t *)place = n;
}

static void swap_bytes(void *a, void *b, size_t size) {
        char buffer[64];

        memcpy(buffer, a, size);
        memcpy(a, b, size);
        memcpy(b, buffer, size);
}

static void swap(struct config *a, struct config *b, const struct config_key *key) {
        size_t i = (size_t)(key - config_keys);

        swap_bytes(place_of(a, key), place_of(b, key), key->width);
        swap_bytes(&a->origins[i], &b->origins[i], sizeof(a->origins[i]));
}

static bool is_same(struct config *a, struct config *b, const struct config_key *key) {
        if (value_is_text(&key->rule))
                return strcmp(*(char **)place_of(a, key), *(char **)place_of(b, key)) == 0;
        return memcmp(place_of(a, key), place_of(b, key), key->width) == 0;
}

/* ---- origins ---- */

static void origin_clear(struct config_origin *origin) {
        free(origin->text);
        free(origin->file);
        *origin = (struct config_origin){};
}

static int origin_fill(struct config_origin *ret, const struct config_setting *s) {
        *ret = (struct config_origin){.line = s->line};
        ret->text = strdup(s->value);
        ret->file = s->file ? strdup(s->file) : NULL;
        if (ret->text && (ret->file || !s->file))
                return 0;
        origin_clear(ret);
        return -ENOMEM;
}

const char *config_describe_origin(const struct config_origin *origin, char *buffer, size_t size) {
        if (!origin->file)
                (void)snprintf(buffer, size, "default");
        else if (origin->line == 0)
                (void)snprintf(buffer, size, "%s", origin->file);
        else
                (void)snprintf(buffer, size, "%s:%u", origin->file, origin->line);
        return buffer;
}

/* ---- setting ---- */

static int set_value(void *place, const struct config_key *key, const char *text) {
        char *copy = NULL;
        uint64_t n = 0;
        int r;

        if (!value_is_text(&key->rule)) {
                r = value_parse_number(&key->rule, text, &n);
                if (r >= 0)
                        store(place, key, n);
                return r;
        }
        r = value_parse_text(&key->rule, text, &copy);
        if (r < 0)
                return r;
        free(*(char **)place);
        *(char **)place = copy;
        return 0;
}

/* Of the setting only the value, and where it is from. */
static int set_key(struct config *config, const struct config_key *key,
                   const struct config_setting *s) {
        struct config_origin origin, *place = &config->origins[key - config_keys];
        int r;

        r = origin_fill(&origin, s);
        if (r < 0)
                return r;
        r = set_value(place_of(config, key), key, s->value);
        if (r >= 0)
                swap_bytes(place, &origin, sizeof(origin));
        origin_clear(&origin);
        return r;
}

int config_set(struct config *config, const struct config_setting *s, const char **ret_why) {
        static char why[256];
        const struct config_key *key = config_find_key(s->section, s->key);
        int r;

        *ret_why = "an unknown key";
        if (!key)
                return -ENOKEY;
        r = set_key(config, key, s);
        if (r < 0) {
                value_describe(&key->rule, why, sizeof(why));
                *ret_why = why;
        }
        return r;
}

bool config_is_live(const char *name) {
        const struct config_key *key = config_find_key(NULL, name);

        return key && key->live;
}

/* ---- life and death ---- */

/* from NULL: with the defaults. */
static int make(struct config **ret, const struct config *from) {
        _cleanup_(config_freep) struct config *config = calloc(1, sizeof(*config));
        int r;

        if (!config)
                return -ENOMEM;
        config->origins = calloc(n_config_keys, sizeof(*config->origins));
        if (!config->origins)
                return -ENOMEM;
        for (size_t i = 0; i < n_config_keys; i++) {
                struct config_setting s = {.value = config_keys[i].fallback};

                if (from)
                        s = (struct config_setting){.value = from->origins[i].text,
                                                    .file = from->origins[i].file,
                                                    .line = from->origins[i].line};
                r = set_key(config, &config_keys[i], &s);
                if (r < 0)
                        return r;
        }
        *ret = take_ptr(&config);
        return 0;
}

int config_new(struct config **ret) {
        return make(ret, NULL);
}

int config_copy(struct config **ret, const struct config *config) {
        return make(ret, config);
}

struct config *config_free(struct config *config) {
        if (!config)
                return NULL;
        for (size_t i = 0; i < n_config_keys; i++) {
                if (value_is_text(&config_keys[i].rule))
                        free(*(char **)place_of(config, &config_keys[i]));
                if (config->origins)
                        origin_clear(&config->origins[i]);
        }
        free(config->origins);
        free(config);
        return NULL;
}

/* ---- do the values go together? ---- */

uint64_t config_memory_high(const struct config *config) {
        uint64_t high;

        if (config->memory_high != CONFIG_AUTO)
                return config->memory_high;
        return __builtin_add_overflow(config->memory_low, config->memory_low / 4, &high)
                       ? UINT64_MAX
                       : high;
}

static int clash(const struct config *config, const char *a, const char *b, const char *what) {
        const struct config_origin *first = origin_of(config, a), *second = origin_of(config, b);
        char at[512], beside[512];

        log_error("%s: %s=%s: %s %s=%s (%s)", config_describe_origin(first, at, sizeof(at)), a,
                  first->text, what, b, second->text,
                  config_describe_origin(second, beside, sizeof(beside)));
        return -EINVAL;
}

int config_check(const struct config *c) {
        int r = 0;

        if (c->boost_max_concurrent != CONFIG_AUTO && c->boost_max_concurrent < c->max_concurrent)
                r = clash(c, "boost-max-concurrent", "max-concurrent", "must not be below");
        if (c->boost_cpu_quota < c->cpu_quota)
                r = clash(c, "boost-cpu-quota", "cpu-quota", "must not be below");
        if (config_memory_high(c) < c->memory_low)
                r = clash(c, "memory-high", "memory-low", "must not be below");
        if (c->cpu_enforce == ENFORCE_DEADLINE && *c->cpus)
                r = clash(c, "cpus", "cpu-enforce", "cannot be together with");
        return r;
}

/* ---- another one over the one in force ---- */

void config_take_live(struct config *running, struct config *wanted) {
        for (size_t i = 0; i < n_config_keys; i++) {
                const struct config_key *key = &config_keys[i];

                /* Also of what is the same: it may be somewhere else now. */
                if (key->live || is_same(running, wanted, key))
                        swap(running, wanted, key);
                else
                        log_warning("%s in section [%s] has changed; a restart applies it",
                                    key->key, key->section);
        }
}
