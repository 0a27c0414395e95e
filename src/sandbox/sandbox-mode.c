/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * How strict a filter is, as a word: in the configuration for the daemon, in the environment for
 * the other programs. An unknown word is an error: an administrator who wrote "lgo" must not
 * believe that nothing is refused.
 */

#include "sandbox/sandbox.h"

#include <string.h>

#include "base/util.h"

const char *const sandbox_words[] = {
        [SANDBOX_ENFORCE] = "enforce",
        [SANDBOX_LOG] = "log",
        [SANDBOX_OFF] = "off",
        NULL,
};

int sandbox_mode_from_environment(enum sandbox_mode *ret) {
        const char *text = secure_getenv("PVREAPER_SECCOMP");

        if (!text)
                text = sandbox_words[SANDBOX_ENFORCE];
        for (int mode = 0; sandbox_words[mode]; mode++)
                if (strcmp(text, sandbox_words[mode]) == 0) {
                        *ret = (enum sandbox_mode)mode;
                        return 0;
                }
        return -EINVAL;
}
