/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * QEMU's command line, as QEMU reads it:
 * - an option begins with one dash or two;
 * - its value is the next argument, whatever that looks like;
 * - an argument without a dash is a disk image.
 * So options that take no value must be known by name, or "-append -daemonize" would be misread.
 * Unknown options count as options with a value, as nearly all are. test-qemu.py compares the table
 * with the --help of the QEMUs that are installed.
 *
 * A value is a list of key=value, separated by commas; two commas stand for one comma in the value
 * (QemuOpts). The first item may come without a key, and then has the option's own key. A -blockdev
 * may be JSON instead, and so may the file of a -drive (json:).
 */

#include "preload/cmdline.h"

#include <string.h>

#include "base/util.h"
#include "base/uuid.h"

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

/* One element of a list. */
struct pair {
        const char *key;
        size_t length; /* of key */
        bool has_key;
        char value[CMDLINE_NAME_SIZE]; /* cut */
};

/* Returns where the next one begins: at the list's end if there is none. */
static const char *read_pair(const char *p, struct pair *ret) {
        *ret = (struct pair){.key = p, .length = strcspn(p, "=,")};
        ret->has_key = p[ret->length] == '=';
        if (ret->has_key)
                p += ret->length + 1;
        p = read_value(p, ret->value, sizeof(ret->value));
        return *p == ',' ? p + 1 : p;
}

static bool key_is(const struct pair *pair, const char *key) {
        return pair->has_key && pair->length == strlen(key) &&
               memcmp(pair->key, key, pair->length) == 0;
}

/* The value of key in a list; the last one counts. False, and ret untouched, if there is none. */
static bool find_value(const char *list, const char *key, struct pair *ret) {
        struct pair pair;
        bool found = false;

        while (*list) {
                list = read_pair(list, &pair);
                if (!key_is(&pair, key))
                        continue;
                *ret = pair;
                found = true;
        }
        return found;
}

/* The same, where key may be left out at the list's beginning. */
static bool find_first_value(const char *list, const char *key, struct pair *ret) {
        struct pair first = {.has_key = true};
        bool found;

        if (*list)
                (void)read_pair(list, &first);
        found = find_value(list, key, ret);
        if (found || first.has_key)
                return found;
        *ret = first;
        return true;
}

/* ---- native AIO ---- */

/* aio=native, or of a node below, file.aio=native; or of -set, drive.ID.aio=native. */
static bool list_has_native_aio(const char *list) {
        struct pair pair;

        while (*list) {
                size_t start; /* of the last part of the key */

                list = read_pair(list, &pair);
                if (!pair.has_key || strcmp(pair.value, "native") != 0)
                        continue;
                for (start = pair.length; start > 0 && pair.key[start - 1] != '.';)
                        start--;
                if (pair.length - start == 3 && memcmp(pair.key + start, "aio", 3) == 0)
                        return true;
        }
        return false;
}

/* Returns what follows the string, in quotes of either sort as QEMU takes them; or NULL. */
static const char *skip_json_string(const char *p, const char *string) {
        size_t length = strlen(string);

        if ((*p != '"' && *p != '\'') || strncmp(p + 1, string, length) != 0 || p[length + 1] != *p)
                return NULL;
        return p + length + 2;
}

/* "aio": "native", at any depth. */
static bool json_has_native_aio(const char *text) {
        static const char spaces[] = " \t\r\n";

        for (; *text; text++) {
                const char *p = skip_json_string(text, "aio");

                if (!p)
                        continue;
                p += strspn(p, spaces);
                if (*p++ != ':')
                        continue;
                p += strspn(p, spaces);
                if (skip_json_string(p, "native"))
                        return true;
        }
        return false;
}

/* ---- the options ---- */

static void read_flag(struct cmdline *c, const char *option) {
        static const char *const says_something[] = {"h", "help", "version"};

        if (strcmp(option, "daemonize") == 0)
                c->daemonize = true;
        if (is_one_of(option, says_something, ARRAY_SIZE(says_something)))
                c->no_guest = true;
}

static void read_option(struct cmdline *c, const char *option, const char *value) {
        static const char *const of_disks[] = {"drive", "blockdev", "set"};
        struct pair pair;

        if (strcmp(option, "name") == 0 && find_first_value(value, "guest", &pair))
                memcpy(c->name, pair.value, sizeof(c->name));
        else if (strcmp(option, "uuid") == 0)
                (void)uuid_parse(value, c->uuid);
        else if ((strcmp(option, "machine") == 0 || strcmp(option, "M") == 0) &&
                 find_first_value(value, "type", &pair))
                c->no_guest = strcmp(pair.value, "none") == 0;
        else if (is_one_of(option, of_disks, ARRAY_SIZE(of_disks)))
                c->native_aio |= list_has_native_aio(value) || json_has_native_aio(value);
        else if (strcmp(option, "runas") == 0 || strcmp(option, "chroot") == 0)
                c->gives_up_rights = true;
        else if (strcmp(option, "run-with") == 0)
                c->gives_up_rights |=
                        find_value(value, "user", &pair) || find_value(value, "chroot", &pair);
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
