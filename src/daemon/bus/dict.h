/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/*
 * One of our objects as a D-Bus a{sv}: a table says which keys there are, of which type, and where
 * the values come from. What is not known is left out of the dictionary.
 */

#include <systemd/sd-bus.h>

#include "base/util.h"
#include "base/uuid.h"

struct bus_value {
        union {
                const char *s; /* NULL: unknown */
                uint64_t t;    /* USEC_INFINITY: unknown */
                uint32_t u;
                int32_t i;
                uint16_t q;
                int b;
        };
        char buffer[40]; /* room for a string that a getter makes */
};

struct bus_field {
        const char *key;     /* NULL ends a table */
        char type;           /* of D-Bus: one of s t u i q b */
        size_t offset, size; /* of the member in the object, if there is no getter */

        /* false: unknown */
        bool (*get)(void *object, struct bus_value *ret);
};

/* The D-Bus type of a member. Others, enum and bool among them, want a getter. */
#define BUS_TYPE_OF(x) _Generic((x), char * : 's', uint64_t : 't', uint32_t : 'u', int32_t : 'i')

#define BUS_MEMBER_AS(type, key, object, member)                                                   \
        { (key), (type), offsetof(object, member), sizeof(((object *)NULL)->member), NULL }
#define BUS_MEMBER(key, object, member)                                                            \
        BUS_MEMBER_AS(BUS_TYPE_OF(((object *)NULL)->member), key, object, member)
#define BUS_MEMBER_PID(key, object, member) BUS_MEMBER_AS('u', key, object, member)
#define BUS_GETTER(key, type, get)                                                                 \
        { (key), (type), 0, 0, (get) }

/* false: unknown. */
bool bus_field_get(const struct bus_field *field, void *object, struct bus_value *ret);

/* A value of a type that a table knows. Negative here and below: the message is spoilt, drop it. */
int bus_append_value(sd_bus_message *m, char type, const struct bus_value *value);
int bus_append_dict(sd_bus_message *m, const struct bus_field *fields, void *object);

/* The same without the dictionary around it, which may have entries of several objects. */
int bus_append_entries(sd_bus_message *m, const struct bus_field *fields, void *object);
