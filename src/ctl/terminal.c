/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The terminal passes single keys: no echo, no lines, but ^C and ^Z stay signals. The alternate
 * screen keeps the old content. The settings to restore are static, since a handler of SIGSEGV can
 * reach nothing else. It may call write(2) and tcsetattr(3).
 */

#include "ctl/terminal.h"

#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>

#define ENTER "\033[?1049h\033[?25l\033[H\033[2J"
#define LEAVE "\033[?25h\033[?1049l"

static struct termios saved;
static volatile sig_atomic_t entered;

void terminal_leave(void) {
        if (!entered)
                return;
        entered = 0;
        (void)!write(STDOUT_FILENO, LEAVE, strlen(LEAVE));
        (void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &saved);
}

/* SA_RESETHAND: the second signal ends the process as usual. */
static void on_fatal(int number) {
        terminal_leave();
        (void)raise(number);
}

static void leave_when_dying(void) {
        static const int fatal[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGSYS};
        struct sigaction action = {.sa_handler = on_fatal, .sa_flags = (int)SA_RESETHAND};
        static bool done;

        if (done)
                return;
        done = true;
        for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
                (void)sigaction(fatal[i], &action, NULL);
        (void)atexit(terminal_leave);
}

int terminal_enter(void) {
        struct termios raw;

        if (tcgetattr(STDIN_FILENO, &saved) < 0)
                return negative_errno();
        leave_when_dying();
        raw = saved;
        raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
        raw.c_cc[VMIN] = 1;
        raw.c_cc[VTIME] = 0;
        entered = 1;
        if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &raw) < 0)
                return negative_errno();
        (void)!write(STDOUT_FILENO, ENTER, strlen(ENTER));
        return 0;
}

void terminal_get_size(unsigned *ret_rows, unsigned *ret_columns) {
        struct winsize size = {};

        (void)ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
        *ret_rows = size.ws_row > 0 ? size.ws_row : 24;
        *ret_columns = size.ws_col > 0 ? size.ws_col : 80;
}

unsigned terminal_columns(void) {
        unsigned rows, columns;

        terminal_get_size(&rows, &columns);
        return columns;
}

/* ---- keys ---- */

static const struct {
        const char *sequence; /* after ESC */
        int key;
} sequences[] = {
        {"[A", KEY_UP},       {"OA", KEY_UP},         {"[B", KEY_DOWN}, {"OB", KEY_DOWN},
        {"[C", KEY_RIGHT},    {"OC", KEY_RIGHT},      {"[D", KEY_LEFT}, {"OD", KEY_LEFT},
        {"[5~", KEY_PAGE_UP}, {"[6~", KEY_PAGE_DOWN}, {"[H", KEY_HOME}, {"OH", KEY_HOME},
        {"[1~", KEY_HOME},    {"[F", KEY_END},        {"OF", KEY_END},  {"[4~", KEY_END},
};

int terminal_next_key(const char **text, size_t *n) {
        const char *at = *text;

        if (*n == 0)
                return KEY_NONE;
        for (size_t i = 0; at[0] == '\033' && i < ARRAY_SIZE(sequences); i++) {
                size_t length = strlen(sequences[i].sequence);

                if (*n <= length || memcmp(at + 1, sequences[i].sequence, length) != 0)
                        continue;
                *text += 1 + length;
                *n -= 1 + length;
                return sequences[i].key;
        }
        *text += 1;
        *n -= 1;
        return (unsigned char)at[0];
}
