/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * Entries for the journal, by its native protocol: one datagram per entry, sent now or not at all.
 * For log.c, which decides where a line goes, and for nobody else.
 */

#include "base/util.h"

/* What an entry has room for; a field that has no room any more is left out. */
#define JOURNAL_ENTRY_SIZE 8192

struct journal_entry {
        size_t size;
        char data[JOURNAL_ENTRY_SIZE];
};

/*
 * Appends a field. name: capitals, digits and '_', not first. value: any text; one with a newline
 * in it goes in the binary form, so that no value can pass for another field.
 */
void journal_add(struct journal_entry *entry, const char *name, const char *value);

/* The same with a number, in decimal. */
void journal_add_number(struct journal_entry *entry, const char *name, uint64_t number);

/*
 * Sends it. Never blocks: -EAGAIN if the journal cannot take it now, or what else is in the way.
 * The socket is opened at the first entry and kept.
 */
int journal_send(const struct journal_entry *entry);

/* Whether stderr is the journal, as systemd says in JOURNAL_STREAM. Found out once. */
bool journal_is_stderr(void);
