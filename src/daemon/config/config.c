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

uint64_t config_memory_high(const struct config *config, uint64_t low) {
        uint64_t high;

        if (config->memory_high != CONFIG_AUTO)
                return config->memory_high;
        return __builtin_add_overflow(low, low / 4, &high) ? UINT64_MAX : high;
}

struct clash {
        bool is;
        const char *a, *b, *what; /* keys */
};

#define CLASHES 3

static void find_clashes(const struct config *c, struct clash ret[static CLASHES]) {
        static const char below[] = "must not be below";
        const struct clash clashes[CLASHES] = {
                {c->boost_max_concurrent != CONFIG_AUTO &&
                         c->boost_max_concurrent < c->max_concurrent,
                 "boost-max-concurrent", "max-concurrent", below},
                {c->boost_cpu_quota < c->cpu_quota, "boost-cpu-quota", "cpu-quota", below},
                {c->memory_low != CONFIG_AUTO_SIZE &&
                         config_memory_high(c, c->memory_low) < c->memory_low,
                 "memory-high", "memory-low", below},
        };

        memcpy(ret, clashes, sizeof(clashes));
}

static void log_clash(const struct config *config, const struct clash *clash) {
        const struct config_origin *a = origin_of(config, clash->a),
                                   *b = origin_of(config, clash->b);
        char at[512], beside[512];

        log_error("%s: %s=%s: %s %s=%s (%s)", config_describe_origin(a, at, sizeof(at)), clash->a,
                  a->text, clash->what, clash->b, b->text,
                  config_describe_origin(b, beside, sizeof(beside)));
}

int config_check(const struct config *config) {
        struct clash clashes[CLASHES];
        int r = 0;

        find_clashes(config, clashes);
        for (size_t i = 0; i < CLASHES; i++)
                if (clashes[i].is) {
                        log_clash(config, &clashes[i]);
                        r = -EINVAL;
                }
        return r;
}

int config_check_silently(const struct config *config, char *ret_why, size_t size) {
        struct clash clashes[CLASHES];

        find_clashes(config, clashes);
        for (size_t i = 0; i < CLASHES; i++)
                if (clashes[i].is) {
                        (void)snprintf(ret_why, size, "%s (now %s) %s %s (now %s)", clashes[i].a,
                                       origin_of(config, clashes[i].a)->text, clashes[i].what,
                                       clashes[i].b, origin_of(config, clashes[i].b)->text);
                        return -EINVAL;
                }
        return 0;
}

/* ---- does a value act? ---- */

const char *config_no_effect(const struct config *c, const char *key) {
        const struct {
                bool is;
                const char *key, *why;
        } rows[] = {
                {c->start_rate == CONFIG_INFINITY, "start-burst", "while start-rate is infinity"},
                {c->unit_arrivals == CONFIG_INFINITY, "unit-arrivals-burst",
                 "while unit-arrivals is infinity"},
                {c->memory_low == 0, "memory-high", "while memory-low is 0"},
                {c->cpu_enforce == ENFORCE_OFF, "cpu-quota", "while cpu-enforce is off"},
                {c->cpu_enforce == ENFORCE_OFF, "boost-cpu-quota", "while cpu-enforce is off"},
                {!c->adopt_qemu, "adopt-interval", "while qemu is no"},
        };

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (rows[i].is && strcmp(rows[i].key, key) == 0)
                        return rows[i].why;
        return NULL;
}

/* ---- another one over the one in force ---- */

static void tell_change(const struct config *before, const struct config *now,
                        const struct config_key *key, const struct config_listener *listener) {
        size_t i = (size_t)(key - config_keys);
        char origin[512];
        const struct config_change change = {
                .key = key->key,
                .before = before->origins[i].text,
                .now = now->origins[i].text,
                .origin = config_describe_origin(&now->origins[i], origin, sizeof(origin)),
                .note = key->live ? config_no_effect(now, key->key) : "until a restart",
        };

        listener->changed(listener->userdata, &change);
}

void config_take_live(struct config *running, struct config *wanted,
                      const struct config_listener *listener) {
        for (size_t i = 0; i < n_config_keys; i++) {
                const struct config_key *key = &config_keys[i];

                /* Also of what is the same: it may be somewhere else now. */
                if (key->live || is_same(running, wanted, key))
                        swap(running, wanted, key);
                else
                        log_warning("%s in section [%s] has changed; a restart applies it",
                                    key->key, key->section);
        }
        for (size_t i = 0; i < n_config_keys && listener; i++) {
                const struct config_key *key = &config_keys[i];

                if (!is_same(running, wanted, key))
                        tell_change(key->live ? wanted : running, key->live ? running : wanted, key,
                                    listener);
        }
}
