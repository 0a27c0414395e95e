/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Functions by which checks look at the host. All files are looked for below host.root, so a test
 * can show any host to a check. Other sources (uname, name services) are used only without a root:
 * they tell about this host.
 */

#include "ctl/check.h"

#include <stdarg.h>
#include <string.h>
#include <sys/utsname.h>

void check_say(struct check_report *ret, enum check_result result, const char *format, ...) {
        va_list ap;

        ret->result = result;
        va_start(ap, format);
        (void)vsnprintf(ret->detail, sizeof(ret->detail), format, ap);
        va_end(ap);
}

void check_advise(struct check_report *ret, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(ret->advice, sizeof(ret->advice), format, ap);
        va_end(ap);
}

void check_advise_by(const struct check_host *host, struct check_report *ret, const char *systemd,
                     const char *other) {
        check_advise(ret, "%s", check_has_systemd(host) ? systemd : other);
}

const char *check_path(const struct check_host *host, char *buffer, const char *format, ...) {
        int n = snprintf(buffer, CHECK_PATH_MAX, "%s", host->root);
        va_list ap;

        va_start(ap, format);
        if (n >= 0 && n < CHECK_PATH_MAX)
                (void)vsnprintf(buffer + n, (size_t)(CHECK_PATH_MAX - n), format, ap);
        va_end(ap);
        return buffer;
}

bool check_exists(const struct check_host *host, const char *path) {
        char buffer[CHECK_PATH_MAX];

        return access(check_path(host, buffer, "%s", path), F_OK) == 0;
}

int check_read(const struct check_host *host, const char *path, char *buffer, size_t size) {
        char full[CHECK_PATH_MAX];
        _cleanup_(close_fd) int fd = -1;
        size_t n = 0;

        fd = open(check_path(host, full, "%s", path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        if (fd < 0)
                return negative_errno();
        while (n < size - 1) {
                ssize_t m = read(fd, buffer + n, size - 1 - n);

                if (m < 0)
                        return negative_errno();
                if (m == 0)
                        break;
                n += (size_t)m;
        }
        while (n > 0 && buffer[n - 1] == '\n')
                n--;
        buffer[n] = '\0';
        return 0;
}

const char *check_word(const struct check_host *host, const char *path,
                       char buffer[CHECK_WORD_MAX]) {
        if (check_read(host, path, buffer, CHECK_WORD_MAX) < 0)
                buffer[0] = '\0';
        return buffer;
}

bool check_has_systemd(const struct check_host *host) {
        return check_exists(host, "/run/systemd/system"); /* sd_booted(3) */
}

const char *check_machine(const struct check_host *host, char buffer[CHECK_WORD_MAX]) {
        struct utsname name;

        if (*check_word(host, "/proc/sys/kernel/arch", buffer)) /* Linux 6.1 */
                return buffer;
        if (!*host->root && uname(&name) >= 0)
                (void)snprintf(buffer, CHECK_WORD_MAX, "%s", name.machine);
        return buffer;
}

bool check_is_s390x(const struct check_host *host) {
        char word[CHECK_WORD_MAX];

        return strcmp(check_machine(host, word), "s390x") == 0;
}

unsigned check_kernel_version(const struct check_host *host) {
        char word[CHECK_WORD_MAX];
        unsigned major, minor;

        if (sscanf(check_word(host, "/proc/sys/kernel/osrelease", word), "%u.%u", &major, &minor) !=
            2)
                return 0;
        return major * 1000 + minor;
}

static FILE *open_lines(const struct check_host *host, const char *path) {
        char full[CHECK_PATH_MAX];

        return fopen(check_path(host, full, "%s", path), "re");
}

int check_grep(const struct check_host *host, const char *path, const char *text) {
        FILE *file = open_lines(host, path);
        char line[1024];
        int found = 0;

        if (!file)
                return negative_errno();
        while (!found && fgets(line, sizeof(line), file)) {
                const char *p = line + strspn(line, " \t");

                /* AppArmor's "#include" is no remark. */
                found = (*p != '#' || strncmp(p, "#include", strlen("#include")) == 0) &&
                        strstr(p, text);
        }
        (void)fclose(file);
        return found;
}

int check_qemu_conf(const struct check_host *host, const char *key, char buffer[CHECK_WORD_MAX]) {
        FILE *file = open_lines(host, "/etc/libvirt/qemu.conf");
        char line[1024], name[64];
        int found = 0;

        while (file && fgets(line, sizeof(line), file))
                if (sscanf(line, " %63[a-z_] = \"%127[^\"]\"", name, buffer) == 2 &&
                    strcmp(name, key) == 0)
                        found = 1; /* the last one counts */
                else if (found == 0)
                        buffer[0] = '\0';
        if (file)
                (void)fclose(file);
        return found;
}

uint64_t check_status_number(const struct check_host *host, const char *key) {
        const struct value *value = host->status ? record_find(host->status, key) : NULL;

        return value && value->type == VALUE_UNSIGNED ? value->number : 0;
}

const char *check_status_text(const struct check_host *host, const char *key) {
        const struct value *value = host->status ? record_find(host->status, key) : NULL;

        return value && value->type == VALUE_STRING ? value->string : "";
}
