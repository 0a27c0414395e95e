/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Appending a{sv} by table. Nothing is kept: the strings belong to the object and are copied into
 * the message.
 *
 * D-Bus strings are UTF-8, and sd-bus refuses to append others. A cgroup may be called anything by
 * the user it was delegated to, so one odd name must not spoil a whole list: it is shown with '?'
 * for what is not ASCII.
 */

#include "daemon/bus/dict.h"

#include <stdlib.h>
#include <string.h>

static int append_escaped(sd_bus_message *m, const char *string) {
        _cleanup_(freep) char *copy = strdup(string);

        if (!copy)
                return -ENOMEM;
        make_printable(copy);
        return sd_bus_message_append_basic(m, SD_BUS_TYPE_STRING, copy);
}

int bus_append_value(sd_bus_message *m, char type, const struct bus_value *value) {
        int r;

        if (type != SD_BUS_TYPE_STRING)
                return sd_bus_message_append_basic(m, type, &value->t);
        r = sd_bus_message_append_basic(m, type, value->s);
        return r == -EINVAL ? append_escaped(m, value->s) : r;
}

static int append_entry(sd_bus_message *m, const struct bus_field *field,
                        const struct bus_value *value) {
        const char contents[] = {field->type, '\0'};
        int r;

        r = sd_bus_message_open_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv");
        if (r >= 0)
                r = sd_bus_message_append_basic(m, SD_BUS_TYPE_STRING, field->key);
        if (r >= 0)
                r = sd_bus_message_open_container(m, SD_BUS_TYPE_VARIANT, contents);
        if (r >= 0)
                r = bus_append_value(m, field->type, value);
        if (r >= 0)
                r = sd_bus_message_close_container(m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

bool bus_field_get(const struct bus_field *field, void *object, struct bus_value *ret) {
        if (!field->get)
                memcpy(&ret->t, (char *)object + field->offset, field->size);
        else if (!field->get(object, ret))
                return false;
        if (field->type == SD_BUS_TYPE_STRING)
                return ret->s != NULL;
        return field->type != SD_BUS_TYPE_UINT64 || ret->t != USEC_INFINITY;
}

int bus_append_entries(sd_bus_message *m, const struct bus_field *fields, void *object) {
        int r = 0;

        for (; fields->key && r >= 0; fields++) {
                struct bus_value value = {};

                if (bus_field_get(fields, object, &value))
                        r = append_entry(m, fields, &value);
        }
        return r;
}

int bus_append_dict(sd_bus_message *m, const struct bus_field *fields, void *object) {
        int r;

        r = sd_bus_message_open_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
        if (r >= 0)
                r = bus_append_entries(m, fields, object);
        return r < 0 ? r : sd_bus_message_close_container(m);
}
