/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pv-reaper-closer: takes over the VM of a VMM that has no keeper. systemd starts one closer for
 * each connection to release.sock (Accept=yes), and passes the connection as fd 3. main() owns the
 * connection until the VM fd has come over it. Then main() owns the VM fd until the close. That
 * close is the job.
 *
 * Exit status: 0: the VM is closed. 1: it is not, and a message said why. 2: the closer was started
 * in the wrong way.
 */

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "closer/receive.h"
#include "closer/say.h"
#include "closer/system-calls.h"
#include "closer/work.h"

#define EXIT_USAGE 2
#define FIRST_FD   3 /* SD_LISTEN_FDS_START; three lines are not worth a library */

static int print_help(void) {
        printf("Usage: pv-reaper-closer [OPTION]\n\n"
               "Takes one VM fd from the connection on fd 3, and closes it when pv-reaperd grants\n"
               "that. systemd starts it for each connection to pv-reaper-closer.socket.\n\n"
               "  --version  show the version and exit\n"
               "  --help     show this text and exit\n");
        return EXIT_SUCCESS;
}

static bool is_number(const char *text, long number) {
        char *end;

        return text && *text && strtol(text, &end, 10) == number && *end == '\0';
}

/* The connection that systemd passed. */
static int take_connection(void) {
        socklen_t size = sizeof(int);
        int type = 0, domain = 0;

        if (!is_number(getenv("LISTEN_PID"), getpid()) || !is_number(getenv("LISTEN_FDS"), 1))
                return -ENOTCONN;
        if (fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC) < 0 ||
            getsockopt(FIRST_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
            getsockopt(FIRST_FD, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
                return negative_errno();
        return type == SOCK_SEQPACKET && domain == AF_UNIX ? FIRST_FD : -EPROTOTYPE;
}

/* Before the first word of a client. */
static int confine(void) {
        enum sandbox_mode mode;
        int r;

        r = sandbox_mode_from_environment(&mode);
        if (r < 0)
                return say(LOG_ERR, r, "set PVREAPER_SECCOMP to enforce, log or off");
        r = sandbox_install(&closer_calls, mode);
        return r < 0 ? say(LOG_ERR, r, "cannot filter system calls") : 0;
}

int main(int argc, char *argv[]) {
        struct release release = {.vm_fd = -1};
        int client, signals, r;

        if (argc == 2 && strcmp(argv[1], "--help") == 0)
                return print_help();
        if (argc == 2 && strcmp(argv[1], "--version") == 0)
                return printf("pv-reaper-closer %s\n", PVR_VERSION_TEXT) < 0;
        if (argc > 1) {
                (void)say(LOG_ERR, 0, "unknown argument \"%s\"; see --help", argv[1]);
                return EXIT_USAGE;
        }
        client = take_connection();
        if (client < 0) {
                (void)say(LOG_ERR, client,
                          "no connection was passed by systemd; start pv-reaper-closer.socket");
                return EXIT_USAGE;
        }
        if (confine() < 0)
                return EXIT_FAILURE;
        r = receive_release(client, &release);
        if (r < 0)
                return EXIT_FAILURE;
        r = signals = work_open_signals();
        receive_confirm(client);
        close_fd(&client);
        if (r >= 0)
                r = work(&release, signals);
        if (r < 0)
                (void)say(LOG_ERR, r, "closing the VM at once, without pv-reaperd");
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
