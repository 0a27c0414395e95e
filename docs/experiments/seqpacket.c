/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * F64, F70: AF_UNIX SEQPACKET at the end of a peer. Three cases, each a line of output:
 * - a peer that dies with data unread: one ECONNRESET comes ahead of its last words;
 * - an empty packet looks like EOF, and is none;
 * - a connection that nobody accepted outlives its listener's process if another one holds the
 *   listener, as systemd does: connect() and send() succeed with nobody there.
 *
 *   seqpacket
 */

#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *what(ssize_t n) {
        static char text[64];

        if (n < 0)
                (void)snprintf(text, sizeof(text), "%s", strerrorname_np(errno));
        else
                (void)snprintf(text, sizeof(text), "%zd bytes", n);
        return text;
}

static void unread(void) {
        char bytes[16];
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
                err(1, "socketpair");
        (void)!send(fds[0], "question", 8, 0);
        (void)!send(fds[1], "answer", 6, 0);
        (void)close(fds[1]); /* with the question unread */
        printf("unread at its end: first %s", what(recv(fds[0], bytes, sizeof(bytes), 0)));
        printf(", then %s", what(recv(fds[0], bytes, sizeof(bytes), 0)));
        printf(", then %s\n", what(recv(fds[0], bytes, sizeof(bytes), 0)));
        (void)close(fds[0]);
}

static void empty(void) {
        char bytes[16];
        int fds[2];

        if (socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds) < 0)
                err(1, "socketpair");
        (void)!send(fds[1], "", 0, 0);
        (void)!send(fds[1], "more", 4, 0);
        printf("an empty packet: %s", what(recv(fds[0], bytes, sizeof(bytes), 0)));
        printf(", then %s\n", what(recv(fds[0], bytes, sizeof(bytes), 0)));
        (void)close(fds[0]);
        (void)close(fds[1]);
}

static void nobody(void) {
        struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "\0pvr-seqpacket"};
        int listener = socket(AF_UNIX, SOCK_SEQPACKET, 0), client;
        pid_t pid;

        if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
            listen(listener, 4) < 0)
                err(1, "cannot listen");
        pid = fork(); /* the service; we are systemd, and keep the listener */
        if (pid == 0)
                _exit(0);
        (void)waitpid(pid, NULL, 0);
        client = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
        printf("a dead service: connect() is %d",
               connect(client, (struct sockaddr *)&address, sizeof(address)));
        printf(", send() %s\n", what(send(client, "hello", 5, MSG_NOSIGNAL)));
        (void)close(client);
        (void)close(listener);
}

int main(void) {
        unread();
        empty();
        nobody();
        return 0;
}
