/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* UUIDs as text: 8-4-4-4-12 hexadecimal digits, of either case; written in lower case. */

#include "base/util.h"

#define UUID_TEXT_SIZE 37

/* NULL if it is all zero: there is none. */
const char *uuid_format(const uint8_t uuid[16], char buffer[UUID_TEXT_SIZE]);

/* false: that is no UUID, and ret is left alone. */
bool uuid_parse(const char *text, uint8_t ret[16]);
