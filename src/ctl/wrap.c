/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * One pass over the text, word by word: a word that does not fit begins a new line. Bytes are
 * columns, since all texts are printable ASCII by then, except for the sequences of colours: those
 * have no column, and are never divided. Owns nothing.
 */

#include "ctl/wrap.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WORD_ROOM 20U /* fewer columns are not worth the trouble */

/* Columns of the first n bytes. */
static unsigned columns_of(const char *text, size_t n) {
        unsigned columns = 0;

        for (size_t i = 0; i < n; i++)
                if (text[i] == '\033')
                        while (i < n && text[i] != 'm')
                                i++;
                else
                        columns++;
        return columns;
}

struct wrap {
        FILE *out;
        unsigned width, indent;
        unsigned at; /* columns of this line so far */
};

static void break_line(struct wrap *w) {
        (void)fprintf(w->out, "\n%*s", (int)w->indent, "");
        w->at = w->indent;
}

/* A word that no line has room for. */
static void print_in_pieces(struct wrap *w, const char *word, size_t n) {
        for (size_t i = 0; i < n; i++) {
                bool colour = word[i] == '\033';

                if (!colour && w->at >= w->width)
                        break_line(w);
                w->at += !colour;
                while (colour && i < n && word[i] != 'm')
                        (void)fputc(word[i++], w->out);
                (void)fputc(word[i], w->out);
        }
}

static void print_word(struct wrap *w, const char *word, size_t n) {
        unsigned columns = columns_of(word, n);

        if (columns > w->width - w->indent) {
                print_in_pieces(w, word, n);
                return;
        }
        (void)fwrite(word, 1, n, w->out);
        w->at += columns;
}

static void print_line(struct wrap *w, const char *line, size_t length) {
        w->at = 0;
        while (length > 0) {
                size_t blanks = strspn(line, " "), n;

                blanks = blanks < length ? blanks : length;
                n = strcspn(line + blanks, " \n");
                if (w->at > w->indent && w->at + blanks + columns_of(line + blanks, n) > w->width) {
                        break_line(w);
                } else {
                        (void)fprintf(w->out, "%*s", (int)blanks, "");
                        w->at += (unsigned)blanks;
                }
                print_word(w, line + blanks, n);
                line += blanks + n;
                length -= blanks + n;
        }
}

void wrap_print(FILE *out, const char *text, unsigned width, unsigned indent) {
        struct wrap w = {.out = out, .width = width, .indent = indent};

        if (width < indent + WORD_ROOM) {
                (void)fputs(text, out);
                return;
        }
        while (*text) {
                size_t length = strcspn(text, "\n");

                if (columns_of(text, length) <= width)
                        (void)fwrite(text, 1, length, out);
                else
                        print_line(&w, text, length);
                (void)fputc('\n', out);
                text += length + (text[length] == '\n');
        }
}

int wrap_begin(struct wrapped *w) {
        *w = (struct wrapped){};
        w->memory = open_memstream(&w->text, &w->size);
        return w->memory ? 0 : -ENOMEM;
}

int wrap_end(struct wrapped *w, FILE *out, unsigned width, unsigned indent) {
        int r = fclose(w->memory) == 0 ? 0 : -ENOMEM;

        if (r >= 0)
                wrap_print(out, w->text, width, indent);
        free(w->text);
        return r;
}
