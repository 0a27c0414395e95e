/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The dictionaries of the control interface, for bus_append_dict(). */

#include "daemon/bus/dict.h"

extern const struct bus_field bus_status_fields[];  /* of a struct manager */
extern const struct bus_field bus_service_fields[]; /* ... and what a struct service adds */
extern const struct bus_field bus_vm_fields[];      /* of a struct worker */
extern const struct bus_field bus_job_fields[];     /* of a struct job */
