/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The method Adopt. Each refusal has an error name, org.pvreaper.Error. and the word of its answer
 * (adopt.h), for programs; its message is a sentence for people. What could not be found out goes
 * to sd-bus as an errno, and is no answer.
 */

#include "daemon/bus/adopt.h"

#include <stdio.h>

#include "daemon/adopt/adopt.h"
#include "daemon/manager.h"

#define ERROR_PREFIX "org.pvreaper.Error."

int bus_method_adopt(sd_bus_message *call, void *userdata, sd_bus_error *error) {
        struct manager *m = userdata;
        char text[ADOPT_TEXT_MAX], name[64];
        enum adopt_answer answer;
        uint32_t pid;
        int r;

        r = sd_bus_message_read(call, "u", &pid);
        if (r < 0)
                return r;
        r = adopt_process(m->adopt, pid > INT32_MAX ? 0 : (pid_t)pid, &answer, text);
        if (r < 0)
                return r;
        if (answer == ADOPT_DONE)
                return sd_bus_reply_method_return(call, NULL);
        (void)snprintf(name, sizeof(name), ERROR_PREFIX "%s", adopt_answer_to_string(answer));
        return sd_bus_error_set(error, name, text);
}
