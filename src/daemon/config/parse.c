/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Configuration files. inih does the parsing, line by line through a reader in this file, which
 * counts lines for the messages and rejects what inih would misread: lines beyond its buffer (the
 * tail would become a key of its own), NUL bytes, and indented lines (continuations of the previous
 * value, to inih).
 */

#include "daemon/config/config.h"

#include <ctype.h>
#include <fcntl.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "daemon/config/keys.h"
#include "daemon/runtime/log.h"

/* Far beyond any that somebody writes; what is larger is not a configuration file. */
#define FILE_MAX_BYTES (1U << 20)

#define LINE_MAX_BYTES                                                                             \
        198 /* INI_MAX_LINE of Debian's and RHEL's inih is 200, newline and NUL included */

/* ---- the file ---- */

struct file {
        struct config *config;
        const char *path;
        FILE *stream;
        char *line;
        size_t line_size;
        unsigned number; /* of the line last read, from 1 */
        size_t n_bytes;  /* read so far */
        int error;       /* the first one */
};

static void file_error(struct file *f, int error, const char *text) {
        log_error("%s:%u: %s", f->path, f->number, text);
        if (f->error == 0)
                f->error = error;
}

static void warn_unknown(struct file *f, const char *what, const char *name, const char *where) {
        log_warning("%s:%u: unknown %s%s%s, ignored", f->path, f->number, what, name, where);
        f->config->n_unknown++;
}

/* inih tells of a section only with its keys. */
static void look_at_section(struct file *f) {
        size_t n = strcspn(f->line, "]");

        if (f->line[0] != '[' || f->line[n] != ']')
                return;
        f->line[n] = '\0';
        if (!config_has_section(f->line + 1))
                warn_unknown(f, "section [", f->line + 1, "]");
        f->line[n] = ']';
}

/* inih's reader: one line, or NULL at the end. What inih would misread becomes an empty line. */
static char *read_line(char *buffer, int size, void *userdata) {
        struct file *f = userdata;
        ssize_t n = getline(&f->line, &f->line_size, f->stream);

        if (n < 0) {
                /* Out of memory, which ferror() does not tell: no end of the file either. */
                if (!feof(f->stream) && f->error == 0)
                        f->error = log_error_errno(negative_errno(), "cannot read %s", f->path);
                return NULL;
        }
        f->number++;
        f->n_bytes += (size_t)n;
        if (f->n_bytes > FILE_MAX_BYTES) {
                file_error(f, -EFBIG, "file too large (1 MiB at most)");
                return NULL;
        }
        if (memchr(f->line, '\0', (size_t)n)) {
                file_error(f, -EBADMSG, "NUL byte");
        } else if (n > LINE_MAX_BYTES || n >= size) {
                file_error(f, -EBADMSG, "line too long (198 bytes at most)");
        } else if (isspace((unsigned char)f->line[0]) && f->line[strspn(f->line, " \t\v\f\r\n")]) {
                file_error(f, -EBADMSG, "indented line: continuation lines are not supported");
        } else {
                look_at_section(f);
                return memcpy(buffer, f->line, (size_t)n + 1);
        }
        return memcpy(buffer, "\n", 2);
}

static void tell_no_key(struct file *f, const char *section, const char *name) {
        const char *instead = config_instead(section, name);
        char where[512];

        if (instead) {
                log_warning("%s:%u: %s= is gone: %s", f->path, f->number, name, instead);
                f->config->n_unknown++;
                return;
        }
        (void)snprintf(where, sizeof(where), "\" %s%s%s", *section ? "in section [" : "",
                       *section ? section : "outside of sections", *section ? "]" : "");
        warn_unknown(f, "key \"", name, where);
}

static int on_key(void *userdata, const char *section, const char *name, const char *value) {
        struct file *f = userdata;
        struct config_setting setting = {section, name, value ? value : "", f->path, f->number};
        const char *why = NULL;
        char text[512];
        int r;

        r = config_set(f->config, &setting, &why);
        if (r == -ENOKEY) {
                tell_no_key(f, section, name);
        } else if (r < 0) {
                (void)snprintf(text, sizeof(text), "%s=%s: %s%s", name, setting.value,
                               r == -EINVAL ? "must be " : "", r == -EINVAL ? why : strerror(-r));
                file_error(f, r, text);
        }
        return 1;
}

static bool is_null_device(const struct stat *st) {
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

/* A FIFO would hang us, a device has no end. Not logged. */
static int open_file(const char *path, FILE **ret) {
        int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK), r = 0;
        struct stat st;

        if (fd < 0)
                return negative_errno();
        if (fstat(fd, &st) < 0)
                r = negative_errno();
        else if (S_ISDIR(st.st_mode))
                r = -EISDIR;
        else if (!S_ISREG(st.st_mode) && !is_null_device(&st))
                r = -ENOTSUP;
        if (r >= 0) {
                *ret = fdopen(fd, "r");
                if (*ret)
                        return 0;
                r = negative_errno();
        }
        close_fd(&fd);
        return r;
}

int config_read_file(struct config *config, const char *path) {
        struct file f = {.config = config, .path = path};
        int line, r;

        r = open_file(path, &f.stream);
        if (r < 0)
                return r == -ENOENT ? r : log_error_errno(r, "cannot read %s", path);
        line = ini_parse_stream(read_line, &f, on_key, &f);
        if (line > 0) {
                f.number = (unsigned)line;
                file_error(&f, -EBADMSG, "neither [section] nor key=value");
        } else if (line < 0 && f.error == 0) {
                f.error = log_error_errno(-ENOMEM, "cannot read %s", path);
        }
        free(f.line);
        (void)fclose(f.stream);
        return f.error;
}
