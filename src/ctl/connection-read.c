/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Makes records of D-Bus dictionaries. A record has copies, so the message may go. An unknown type
 * in a variant is skipped, since a newer daemon may send it. Any other type than the method's is an
 * error. The caller keeps its list, also on failure.
 */

#include "ctl/connection-read.h"

#include <string.h>

static int read_number(sd_bus_message *m, char type, struct value *ret) {
        union {
                uint8_t y;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
                int b;
        } basic;
        int r;

        r = sd_bus_message_read_basic(m, type, &basic);
        if (r < 0)
                return r;
        switch (type) {
        case SD_BUS_TYPE_BOOLEAN:
                *ret = (struct value){.type = VALUE_BOOL, .flag = basic.b};
                break;
        case SD_BUS_TYPE_INT16:
                *ret = (struct value){.type = VALUE_SIGNED, .signed_number = basic.n};
                break;
        case SD_BUS_TYPE_INT32:
                *ret = (struct value){.type = VALUE_SIGNED, .signed_number = basic.i};
                break;
        case SD_BUS_TYPE_INT64:
                *ret = (struct value){.type = VALUE_SIGNED, .signed_number = basic.x};
                break;
        case SD_BUS_TYPE_BYTE:
                *ret = (struct value){.type = VALUE_UNSIGNED, .number = basic.y};
                break;
        case SD_BUS_TYPE_UINT16:
                *ret = (struct value){.type = VALUE_UNSIGNED, .number = basic.q};
                break;
        case SD_BUS_TYPE_UINT32:
                *ret = (struct value){.type = VALUE_UNSIGNED, .number = basic.u};
                break;
        default:
                *ret = (struct value){.type = VALUE_UNSIGNED, .number = basic.t};
        }
        return 0;
}

/* Adds a variant's value to the record, or skips an unknown type. */
static int read_variant(sd_bus_message *m, const char *contents, struct record *record,
                        const char *key) {
        struct value value = {.type = VALUE_STRING};
        int r;

        if (contents[1] != '\0' || !strchr("sbyqutnix", contents[0]))
                return sd_bus_message_skip(m, contents);
        if (contents[0] == SD_BUS_TYPE_STRING)
                r = sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, &value.string);
        else
                r = read_number(m, contents[0], &value);
        return r < 0 ? r : record_add(record, key, &value);
}

static int read_entry(sd_bus_message *m, struct record *record) {
        const char *key, *contents;
        int r;

        r = sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, &key);
        if (r < 0)
                return r;
        r = sd_bus_message_peek_type(m, NULL, &contents);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, contents);
        if (r < 0)
                return r;
        r = read_variant(m, contents, record, key);
        if (r < 0)
                return r;
        return sd_bus_message_exit_container(m);
}

int connection_read_record(sd_bus_message *m, struct record_list *list) {
        struct record *record;
        int r;

        r = record_list_add(list, &record);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = read_entry(m, record);
                if (r < 0)
                        return r;
                r = sd_bus_message_exit_container(m);
                if (r < 0)
                        return r;
        }
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

int connection_read_reply(sd_bus_message *m, struct record_list *list) {
        int r;

        if (sd_bus_message_has_signature(m, "a{sv}") > 0)
                return connection_read_record(m, list);
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "a{sv}");
        while (r >= 0 && sd_bus_message_at_end(m, false) == 0)
                r = connection_read_record(m, list);
        return r;
}

int connection_read_limits(sd_bus_message *m, struct record_list *list) {
        static const char *const keys[] = {"Key", "Value", "Origin"};
        const char *texts[ARRAY_SIZE(keys)];
        struct record *record;
        int r;

        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "(sss)");
        if (r < 0)
                return r;
        while ((r = sd_bus_message_read(m, "(sss)", &texts[0], &texts[1], &texts[2])) > 0) {
                r = record_list_add(list, &record);
                for (size_t i = 0; i < ARRAY_SIZE(keys) && r >= 0; i++)
                        r = record_add(record, keys[i],
                                       &(struct value){.type = VALUE_STRING, .string = texts[i]});
                if (r < 0)
                        return r;
        }
        return r;
}
