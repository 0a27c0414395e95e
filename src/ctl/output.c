/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Output of a whole text at once. The pager is the one that systemctl(1) would use: $SYSTEMD_PAGER,
 * else $PAGER, else less(1). An empty name or "cat" means none, and so does a missing program. The
 * pager may not run other programs (LESSSECURE), since pv-reaperctl is run under sudo.
 */

#include "ctl/output.h"

#include <signal.h>
#include <string.h>
#include <sys/wait.h>

#include "ctl/say.h"

#define COMMAND_NOT_FOUND 127 /* sh(1) */

bool output_is_terminal(void) {
        const char *term = getenv("TERM");

        return isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
}

bool output_in_colour(void) {
        const char *no = getenv("NO_COLOR");

        return output_is_terminal() && !(no && *no);
}

static int write_fd(int fd, const char *text, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, text, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return n < 0 ? -errno : -EIO;
                text += n;
                size -= (size_t)n;
        }
        return 0;
}

int output_write(const char *text, size_t size) {
        int r;

        r = write_fd(STDOUT_FILENO, text, size);
        if (r < 0)
                return r == -EPIPE ? r : say_error(r, "cannot write the output");
        /* Network file systems tell only now that the disk was full. */
        if (close(STDOUT_FILENO) < 0 && errno != EINTR)
                return say_error(-errno, "cannot write the output");
        return 0;
}

/* ---- the pager ---- */

#define PAGER "less"

/* Somebody else's rights: what he may run with them is not up to the one who called. */
static bool is_elevated(void) {
        return getenv("SUDO_UID") || getenv("PKEXEC_UID") || getenv("DOAS_USER");
}

static const char *find_pager(void) {
        const char *pager = secure_getenv("SYSTEMD_PAGER");

        if (!pager)
                pager = secure_getenv("PAGER");
        if (!pager)
                return PAGER;
        if (!*pager || strcmp(pager, "cat") == 0)
                return NULL;
        return is_elevated() ? PAGER : pager;
}

static void run_pager(const char *pager, const int fds[2]) {
        if (dup2(fds[0], STDIN_FILENO) < 0)
                _exit(COMMAND_NOT_FOUND);
        (void)close(fds[1]);
        (void)signal(SIGPIPE, SIG_DFL);
        /* F: not for what fits the screen; R: colours; X: it stays on the screen. No S: it cuts. */
        (void)setenv("LESS", "FRXMK", 0);
        (void)setenv("LESSSECURE", "1", 1);
        if (strcmp(pager, PAGER) == 0)
                (void)execlp(PAGER, PAGER, NULL);
        else
                (void)execlp("sh", "sh", "-c", pager, NULL);
        _exit(COMMAND_NOT_FOUND);
}

/* false: there was no pager, and nothing was shown. */
static bool page(const char *pager, const char *text, size_t size) {
        int status = 0, fds[2];
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return false;
        pid = fork();
        if (pid == 0)
                run_pager(pager, fds);
        (void)close(fds[0]);
        if (pid > 0)
                (void)write_fd(fds[1], text, size);
        (void)close(fds[1]); /* its end of file */
        if (pid < 0)
                return false;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        return !(WIFEXITED(status) && WEXITSTATUS(status) == COMMAND_NOT_FOUND);
}

int output_page(const char *text, size_t size) {
        const char *pager = output_is_terminal() ? find_pager() : NULL;

        if (pager && size > 0) {
                void (*old)(int) = signal(SIGINT, SIG_IGN); /* it is the pager's */
                bool paged = page(pager, text, size);

                (void)signal(SIGINT, old);
                if (paged)
                        return 0;
        }
        return output_write(text, size);
}
