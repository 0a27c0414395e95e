/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration by one table: keys[] is all there is, for the file's parser, for the command line
 * (config_set()) and for the tests that hold manual page and example file against it.
 *
 * inih does the parsing, line by line through a reader of ours, which counts lines for the messages
 * and rejects what inih would misread: lines beyond its buffer (the tail would become a key of its
 * own), NUL bytes, and indented lines (continuations of the previous value, to inih).
 */

#include "daemon/config.h"

#include <ctype.h>
#include <ini.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"

#define LINE_MAX_BYTES                                                                             \
        198 /* INI_MAX_LINE of Debian's and RHEL's inih is 200, newline and NUL included */

/* A path of sun_path's 107 bytes less ".new", the name it is made under (listen.c). */
#define SOCKET_PATH_SIZE 104

enum type { TYPE_PATH, TYPE_PATH_OR_WORD, TYPE_UNSIGNED, TYPE_UNSIGNED_OR_AUTO };

struct key {
        const char *section, *key;
        enum type type;
        bool live; /* a running daemon can change it */
        size_t offset;
        unsigned minimum, maximum; /* of numbers */
        const char *fallback;      /* the default, as text */
        const char *rule;          /* what would be right */
};

static const struct key keys[] = {
        {"sockets", "handoff", TYPE_PATH, false, offsetof(struct config, handoff_socket), 0, 0,
         "/run/pv-reaper/handoff.sock", "an absolute path of at most 103 bytes"},
        {"sockets", "control", TYPE_PATH, false, offsetof(struct config, control_socket), 0, 0,
         "/run/pv-reaper/control.sock", "an absolute path of at most 103 bytes"},
        {"cgroup", "path", TYPE_PATH_OR_WORD, false, offsetof(struct config, cgroup), 0, 0, "auto",
         "an absolute path, \"auto\" or \"none\""},
        {"limits", "max-concurrent", TYPE_UNSIGNED, true, offsetof(struct config, max_concurrent),
         1, 100000, "4", "a number from 1 to 100000"},
        {"limits", "boost-max-concurrent", TYPE_UNSIGNED_OR_AUTO, true,
         offsetof(struct config, boost_max_concurrent), 1, 100000, "auto",
         "a number from 1 to 100000 or \"auto\""},
        {"limits", "drain-time", TYPE_UNSIGNED, true, offsetof(struct config, drain_time), 0, 86400,
         "30", "a number of seconds from 0 to 86400"},
};

/* ---- values ---- */

static int set_string(char **place, const char *value) {
        char *copy = strdup(value);

        if (!copy)
                return -ENOMEM;
        free(*place);
        *place = copy;
        return 0;
}

static int set_unsigned(unsigned *place, const struct key *key, const char *value) {
        char *end = NULL;
        unsigned long n;

        if (*value < '0' || *value > '9')
                return -EINVAL;
        errno = 0;
        n = strtoul(value, &end, 10);
        if (errno != 0 || *end != '\0' || n < key->minimum || n > key->maximum)
                return -EINVAL;
        *place = (unsigned)n;
        return 0;
}

static int set_key(struct config *config, const struct key *key, const char *value) {
        void *place = (char *)config + key->offset;
        bool word = strcmp(value, "auto") == 0 || strcmp(value, "none") == 0;

        switch (key->type) {
        case TYPE_UNSIGNED_OR_AUTO:
                if (strcmp(value, "auto") == 0) {
                        *(unsigned *)place = CONFIG_AUTO;
                        return 0;
                }
                return set_unsigned(place, key, value);
        case TYPE_UNSIGNED:
                return set_unsigned(place, key, value);
        case TYPE_PATH_OR_WORD:
                if (*value != '/' && !word)
                        return -EINVAL;
                return strlen(value) < PATH_MAX ? set_string(place, value) : -EINVAL;
        case TYPE_PATH:
                return *value == '/' && strlen(value) < SOCKET_PATH_SIZE ? set_string(place, value)
                                                                         : -EINVAL;
        }
        return -EINVAL;
}

static const struct key *find_key(const char *section, const char *name) {
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].key, name) == 0)
                        return &keys[i];
        return NULL;
}

int config_set(struct config *config, const char *section, const char *name, const char *value,
               const char **ret_why) {
        const struct key *key = find_key(section, name);
        int r;

        *ret_why = key ? key->rule : "a key that exists";
        if (!key)
                return -ENOKEY;
        r = set_key(config, key, value);
        return r;
}

int config_new(struct config **ret) {
        struct config *config = calloc(1, sizeof(*config));

        if (!config)
                return -ENOMEM;
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
                if (set_key(config, &keys[i], keys[i].fallback) < 0) {
                        config_free(config);
                        return -ENOMEM;
                }
        *ret = config;
        return 0;
}

struct config *config_free(struct config *config) {
        if (!config)
                return NULL;
        free(config->handoff_socket);
        free(config->control_socket);
        free(config->cgroup);
        free(config);
        return NULL;
}

/* ---- another one over the one in force ---- */

static bool is_number(const struct key *key) {
        return key->type == TYPE_UNSIGNED || key->type == TYPE_UNSIGNED_OR_AUTO;
}

static bool is_same(const struct key *key, const void *a, const void *b) {
        if (is_number(key))
                return *(const unsigned *)a == *(const unsigned *)b;
        return strcmp(*(char *const *)a, *(char *const *)b) == 0;
}

static void swap(const struct key *key, void *a, void *b) {
        size_t size = is_number(key) ? sizeof(unsigned) : sizeof(char *);
        char buffer[sizeof(char *)];

        memcpy(buffer, a, size);
        memcpy(a, b, size);
        memcpy(b, buffer, size);
}

void config_take_live(struct config *running, struct config *wanted) {
        for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
                void *a = (char *)running + keys[i].offset, *b = (char *)wanted + keys[i].offset;

                if (is_same(&keys[i], a, b))
                        continue;
                if (keys[i].live)
                        swap(&keys[i], a, b);
                else
                        log_warning("%s in section [%s] has changed: only a restart applies it",
                                    keys[i].key, keys[i].section);
        }
}

/* ---- the file ---- */

struct file {
        struct config *config;
        const char *path;
        FILE *stream;
        char *line;
        size_t line_size;
        unsigned number; /* of the line last read, from 1 */
        int error;       /* the first one */
};

static void file_error(struct file *f, int error, const char *text) {
        log_error("%s:%u: %s", f->path, f->number, text);
        if (f->error == 0)
                f->error = error;
}

/* inih's reader: one line, or NULL at the end. What inih would misread becomes an empty line. */
static char *read_line(char *buffer, int size, void *userdata) {
        struct file *f = userdata;
        ssize_t n = getline(&f->line, &f->line_size, f->stream);

        if (n < 0)
                return NULL;
        f->number++;
        if (memchr(f->line, '\0', (size_t)n))
                file_error(f, -EBADMSG, "NUL byte");
        else if (n > LINE_MAX_BYTES || n >= size)
                file_error(f, -EBADMSG, "line too long (198 bytes at most)");
        else if (isspace((unsigned char)f->line[0]) && f->line[strspn(f->line, " \t\v\f\r\n")])
                file_error(f, -EBADMSG, "indented line: continuation lines are not supported");
        else
                return memcpy(buffer, f->line, (size_t)n + 1);
        return memcpy(buffer, "\n", 2);
}

static int on_key(void *userdata, const char *section, const char *name, const char *value) {
        struct file *f = userdata;
        const char *why = NULL;
        char text[512];
        int r;

        r = config_set(f->config, section, name, value ? value : "", &why);
        if (r == -ENOKEY) {
                log_warning("%s:%u: unknown key \"%s\" in section [%s], ignored", f->path,
                            f->number, name, section);
        } else if (r < 0) {
                (void)snprintf(text, sizeof(text), "%s=%s: %s", name, value,
                               r == -EINVAL ? why : strerror(-r));
                file_error(f, r, text);
        }
        return 1;
}

int config_read_file(struct config *config, const char *path) {
        struct file f = {.config = config, .path = path};
        int line;

        f.stream = fopen(path, "re");
        if (!f.stream)
                return errno == ENOENT ? -ENOENT
                                       : log_error_errno(negative_errno(), "cannot read %s", path);
        line = ini_parse_stream(read_line, &f, on_key, &f);
        if (line > 0) {
                f.number = (unsigned)line;
                file_error(&f, -EBADMSG, "neither [section] nor key=value");
        } else if (line < 0 && f.error == 0) {
                f.error = log_error_errno(-ENOMEM, "cannot read %s", path);
        }
        if (ferror(f.stream) && f.error == 0)
                f.error = log_error_errno(-EIO, "cannot read %s", path);
        free(f.line);
        (void)fclose(f.stream);
        return f.error;
}
