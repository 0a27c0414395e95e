/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * QEMU's command line, as QEMU reads it: an option begins with one dash or two, its value is the
 * next argument whatever that looks like, and what begins with no dash is a disk image. So options
 * that take no value must be known by name, or "-append -daemonize" would be misread; those that
 * are unknown here take one, as nearly all do. test-qemu.py compares the table with the --help of
 * the QEMUs that are installed.
 *
 * A value is a list of key=value, separated by commas, where two commas stand for one in the value
 * (QemuOpts). The first may come without its key; the key it then has is the option's own.
 */

#include "preload/cmdline.h"

#include <string.h>

#include "base/util.h"

/* Options of QEMU up to 10.1 that take no value, those that --help does not name included. */
static const char *const flags[] = {
        "S",
        "alt-grab",
        "async-teardown",
        "audio-help",
        "ctrl-grab",
        "curses",
        "daemonize",
        "enable-fips",
        "enable-kvm",
        "enable-sync-profile",
        "full-screen",
        "h",
        "help",
        "jitdump",
        "mem-prealloc",
        "no-acpi",
        "no-fd-bootchk",
        "no-frame",
        "no-hpet",
        "no-kvm",
        "no-kvm-irqchip",
        "no-kvm-pit",
        "no-kvm-pit-reinjection",
        "no-quit",
        "no-reboot",
        "no-shutdown",
        "no-user-config",
        "nodefaults",
        "nodefconfig",
        "nographic",
        "nouserconfig",
        "old-param",
        "one-insn-per-tb",
        "only-migratable",
        "perfmap",
        "portrait",
        "preconfig",
        "s",
        "sdl",
        "semihosting",
        "singlestep",
        "snapshot",
        "tdf",
        "usb",
        "version",
        "win2k-hack",
        "xen-attach",
        "xen-domid-restrict",
};

static bool is_one_of(const char *word, const char *const *list, size_t n) {
        for (size_t i = 0; i < n; i++)
                if (strcmp(word, list[i]) == 0)
                        return true;
        return false;
}

bool cmdline_is_qemu(const char *argv0) {
        static const char *const names[] = {"qemu-kvm", "kvm"};
        const char *slash = strrchr(argv0, '/'), *name = slash ? slash + 1 : argv0;

        return strncmp(name, "qemu-system-", strlen("qemu-system-")) == 0 ||
               is_one_of(name, names, ARRAY_SIZE(names));
}

/* ---- key=value,key=value ---- */

/* Copies the value at p to ret, cut to size, the commas undoubled. Returns its end. */
static const char *read_value(const char *p, char *ret, size_t size) {
        size_t n = 0;

        for (; *p && (*p != ',' || p[1] == ','); p++) {
                if (*p == ',')
                        p++;
                if (n + 1 < size)
                        ret[n++] = *p;
        }
        ret[n] = '\0';
        return p;
}

/*
 * The value of key in a list; the last one counts. first: the key may be left out at its beginning.
 * False, and ret untouched, if there is none.
 */
static bool find_value(const char *list, const char *key, char *ret, size_t size) {
        bool found = false, first = true;
        const char *p = list;
        char other[1];

        while (*p) {
                size_t length = strcspn(p, "=,");
                bool ours = first && p[length] != '=';

                if (p[length] == '=') {
                        ours = length == strlen(key) && strncmp(p, key, length) == 0;
                        p += length + 1;
                }
                p = read_value(p, ours ? ret : other, ours ? size : sizeof(other));
                found |= ours;
                first = false;
                if (*p == ',')
                        p++;
        }
        return found;
}

/* ---- the options ---- */

static int hex_digit(char c) {
        if (c >= '0' && c <= '9')
                return c - '0';
        if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
                return (c | 0x20) - 'a' + 10;
        return -1;
}

/* 8-4-4-4-12 hexadecimal digits. */
static bool parse_uuid(const char *text, uint8_t ret[16]) {
        uint8_t uuid[16];

        for (int i = 0; i < 16; i++) {
                int high, low;

                if ((i == 4 || i == 6 || i == 8 || i == 10) && *text++ != '-')
                        return false;
                high = hex_digit(text[0]);
                low = high < 0 ? -1 : hex_digit(text[1]);
                if (low < 0)
                        return false;
                uuid[i] = (uint8_t)(high << 4 | low);
                text += 2;
        }
        if (*text)
                return false;
        memcpy(ret, uuid, sizeof(uuid));
        return true;
}

static void read_flag(struct cmdline *c, const char *option) {
        static const char *const says_something[] = {"h", "help", "version"};

        if (strcmp(option, "daemonize") == 0)
                c->daemonize = true;
        if (is_one_of(option, says_something, ARRAY_SIZE(says_something)))
                c->no_guest = true;
}

static void read_option(struct cmdline *c, const char *option, const char *value) {
        char type[sizeof("none") + 1]; /* longer ones are cut, and are not "none" */

        if (strcmp(option, "name") == 0)
                (void)find_value(value, "guest", c->name, sizeof(c->name));
        else if (strcmp(option, "uuid") == 0)
                (void)parse_uuid(value, c->uuid);
        else if ((strcmp(option, "machine") == 0 || strcmp(option, "M") == 0) &&
                 find_value(value, "type", type, sizeof(type)))
                c->no_guest = strcmp(type, "none") == 0;
}

void cmdline_parse(struct cmdline *ret, int argc, char *const argv[]) {
        *ret = (struct cmdline){};
        for (int i = 1; i < argc; i++) {
                const char *option = argv[i];

                if (*option++ != '-')
                        continue;
                if (*option == '-')
                        option++;
                if (is_one_of(option, flags, ARRAY_SIZE(flags)))
                        read_flag(ret, option);
                else if (++i < argc)
                        read_option(ret, option, argv[i]);
        }
}
