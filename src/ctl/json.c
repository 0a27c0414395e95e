/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * JSON, by the same columns as the text. Values keep their types and units: bytes and microseconds
 * are integers, errors are negative errnos. An object is built first, then written at once. All but
 * ASCII is escaped, since the output may be a terminal.
 */

#include "ctl/json.h"

#include <jansson.h>

/* jansson's integers are signed. A larger number (a false claim of a VMM) becomes a real. */
static json_t *number_new(uint64_t number) {
        if (number > INT64_MAX)
                return json_real((double)number);
        return json_integer((json_int_t)number);
}

static json_t *date_new(uint64_t usec) {
        char text[FORMAT_MAX];

        format_date(text, sizeof(text), usec, true);
        return json_string(text);
}

static json_t *value_new(enum format format, const struct value *value) {
        if (!value)
                return json_null();
        if (format == FORMAT_DATE && value->type == VALUE_UNSIGNED)
                return date_new(value->number);
        switch (value->type) {
        case VALUE_STRING:
                return json_string(value->string);
        case VALUE_UNSIGNED:
                return number_new(value->number);
        case VALUE_SIGNED:
                return json_integer(value->signed_number);
        case VALUE_BOOL:
                return json_boolean(value->flag);
        default:
                return json_null();
        }
}

static int record_to_json(json_t **ret, const struct column *columns, const struct record *record) {
        _cleanup_(json_decrefp) json_t *object = json_object();

        if (!object)
                return -ENOMEM;
        for (; columns->key; columns++)
                if (json_object_set_new(
                            object, columns->json,
                            value_new(columns->format, record_find(record, columns->key))) < 0)
                        return -ENOMEM;
        *ret = object;
        object = NULL;
        return 0;
}

static int dump(FILE *out, const json_t *json, enum json_mode mode) {
        size_t flags = JSON_ENSURE_ASCII | (mode == JSON_PRETTY ? JSON_INDENT(4) : JSON_COMPACT);

        if (json_dumpf(json, out, flags) < 0)
                return -ENOMEM;
        (void)fputc('\n', out);
        return 0;
}

int json_print_record(FILE *out, const struct column *columns, const struct record *record,
                      enum json_mode mode) {
        _cleanup_(json_decrefp) json_t *object = NULL;
        int r;

        r = record_to_json(&object, columns, record);
        return r < 0 ? r : dump(out, object, mode);
}

static int list_to_json(json_t **ret, const struct column *columns,
                        const struct record_list *list) {
        _cleanup_(json_decrefp) json_t *array = json_array();

        if (!array)
                return -ENOMEM;
        for (size_t i = 0; i < list->n_records; i++) {
                json_t *object;
                int r;

                r = record_to_json(&object, columns, &list->records[i]);
                if (r < 0)
                        return r;
                if (json_array_append_new(array, object) < 0)
                        return -ENOMEM;
        }
        *ret = array;
        array = NULL;
        return 0;
}

int json_print(FILE *out, const struct column *columns, const struct record_list *list,
               enum json_mode mode) {
        _cleanup_(json_decrefp) json_t *array = NULL;
        int r;

        r = list_to_json(&array, columns, list);
        return r < 0 ? r : dump(out, array, mode);
}

int json_print_with_parts(FILE *out, const struct column *columns, const struct record *record,
                          const struct json_part *parts, enum json_mode mode) {
        _cleanup_(json_decrefp) json_t *object = NULL;
        int r;

        r = record_to_json(&object, columns, record);
        if (r < 0)
                return r;
        for (; parts->name; parts++) {
                json_t *array;

                r = list_to_json(&array, parts->columns, parts->list);
                if (r < 0)
                        return r;
                if (json_object_set_new(object, parts->name, array) < 0)
                        return -ENOMEM;
        }
        return dump(out, object, mode);
}
