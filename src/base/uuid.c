/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * UUIDs of VMs. The daemon, and what is loaded into QEMU, read them the same way: as QEMU does. A
 * text that is not exactly a UUID is none, and an all-zero UUID means that a VM has none. Nothing
 * here allocates or keeps anything.
 */

#include "base/uuid.h"

#include <string.h>

const char *uuid_format(const uint8_t uuid[16], char buffer[UUID_TEXT_SIZE]) {
        static const char hex[] = "0123456789abcdef";
        char *p = buffer;
        unsigned bits = 0;

        for (unsigned i = 0; i < 16; i++) {
                if (i == 4 || i == 6 || i == 8 || i == 10)
                        *p++ = '-';
                *p++ = hex[uuid[i] >> 4];
                *p++ = hex[uuid[i] & 15];
                bits |= uuid[i];
        }
        *p = '\0';
        return bits != 0 ? buffer : NULL;
}

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        c |= 0x20;
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool uuid_parse(const char *text, uint8_t ret[16]) {
        uint8_t uuid[16] = {};

        for (unsigned i = 0; i < 16; i++) {
                if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
                        return false;
                for (unsigned j = 0; j < 2; j++, text++) {
                        if (hex_digit(*text) < 0)
                                return false;
                        uuid[i] = (uint8_t)(uuid[i] << 4 | hex_digit(*text));
                }
        }
        if (*text != '\0')
                return false;
        memcpy(ret, uuid, sizeof(uuid));
        return true;
}
