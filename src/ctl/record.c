/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Dictionaries of a few dozen entries. The search is linear. A record owns its keys and copies of
 * its strings. A list owns its records. A missing key means an unknown value, and nothing else
 * means that.
 */

#include "ctl/record.h"

#include <stdlib.h>
#include <string.h>

static void entry_deinit(struct entry *entry) {
        free(entry->key);
        free(entry->string);
}

int record_add(struct record *record, const char *key, const struct value *value) {
        bool is_string = value->type == VALUE_STRING;
        struct entry *entries, *entry;

        entries = reallocarray(record->entries, record->n_entries + 1, sizeof(*entries));
        if (!entries)
                return -ENOMEM;
        record->entries = entries;
        entry = &entries[record->n_entries];
        *entry = (struct entry){.value = *value};
        entry->key = strdup(key);
        if (is_string)
                entry->value.string = entry->string = strdup(value->string);
        if (!entry->key || (is_string && !entry->string)) {
                entry_deinit(entry);
                return -ENOMEM;
        }
        record->n_entries++;
        return 0;
}

const struct value *record_find(const struct record *record, const char *key) {
        for (size_t i = 0; i < record->n_entries; i++)
                if (strcmp(record->entries[i].key, key) == 0)
                        return &record->entries[i].value;
        return NULL;
}

static void record_deinit(struct record *record) {
        for (size_t i = 0; i < record->n_entries; i++)
                entry_deinit(&record->entries[i]);
        free(record->entries);
}

int record_list_add(struct record_list *list, struct record **ret) {
        struct record *records;

        records = reallocarray(list->records, list->n_records + 1, sizeof(*records));
        if (!records)
                return -ENOMEM;
        list->records = records;
        *ret = &records[list->n_records++];
        **ret = (struct record){};
        return 0;
}

void record_list_deinit(struct record_list *list) {
        for (size_t i = 0; i < list->n_records; i++)
                record_deinit(&list->records[i]);
        free(list->records);
        *list = (struct record_list){};
}
