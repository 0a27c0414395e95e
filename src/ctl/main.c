/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pv-reaperctl: options and verbs. One table of verbs drives dispatch, --help and completion. A
 * verb writes to memory. main.c prints that in one place, and only after the verb has succeeded: so
 * one check finds a full disk, and no half table precedes an error. Only watch prints as it goes.
 * Errors become exit codes here.
 */

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "ctl/amount.h"
#include "ctl/connection.h"
#include "ctl/output.h"
#include "ctl/say.h"
#include "ctl/verb-list.h"
#include "ctl/verbs.h"
#include "ctl/watch.h"

#define DEFAULT_SOCKET "/run/pv-reaper/control.sock"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOBODY = 3, EXIT_IN_VAIN = 7 };

struct verb {
        const char *name;
        int min_args, max_args; /* after the verb itself */
        int (*run)(const struct options *options, FILE *out);
        const char *help;
};

#define VERB(name, min, max, function, complete, help) {name, min, max, function, help},
static const struct verb verbs[] = {VERB_LIST(VERB)};

/* Opens fds 0 to 2 if they are closed. Otherwise a socket of this program would become stdout. */
static int reserve_stdio(void) {
        int fd;

        do
                fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* not for writing: that fails */
        while (fd >= 0 && fd <= STDERR_FILENO);
        if (fd < 0)
                return negative_errno();
        close_fd(&fd);
        return 0;
}

/* ---- --help and --version ---- */

static int print_help(const struct options *options, FILE *out) {
        (void)fprintf(out, "Usage: pv-reaperctl [OPTION...] VERB [ARGUMENT...]\n\n"
                           "Shows and controls how pv-reaperd clears and frees the memory of\n"
                           "guests that have rebooted or ended.\n\n"
                           "Verbs:\n");
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                (void)fprintf(out, "  %-20s %s\n", verbs[i].name, verbs[i].help);
        (void)fprintf(out,
                      "\nOptions:\n"
                      "  --socket PATH        Connect to the daemon's control socket PATH\n"
                      "                       (default: $PVREAPER_CONTROL, else\n"
                      "                       " DEFAULT_SOCKET ")\n"
                      "  --json[=short|pretty]\n"
                      "                       Print JSON instead of text\n"
                      "  --no-legend          Print no column titles\n"
                      "  --no-pager           Use no pager, also on a terminal\n"
                      "  -q, --quiet          Print errors only\n"
                      "  --all                hurry, cancel-hurry: all jobs; check: also what\n"
                      "                       does not apply to this host\n"
                      "  --textfile           metrics: in the text format that node_exporter\n"
                      "                       reads\n"
                      "  --root DIR           check: look for files below DIR\n"
                      "  --pid PID            wait-quiet: the VM of this VMM or worker\n"
                      "  --timeout TIME       wait-memory, wait-quiet: give up after TIME\n"
                      "                       (default: never)\n"
                      "  -h, --help           Show this text and exit\n"
                      "  --version            Show the version and exit\n");
        return 0;
}

static int print_version(const struct options *options, FILE *out) {
        (void)fprintf(out, "pv-reaperctl %s\n", PVR_VERSION_TEXT);
        return 0;
}

static const struct verb help_verb = {"--help", 0, 0, print_help, NULL};
static const struct verb version_verb = {"--version", 0, 0, print_version, NULL};

/* ---- the command line ---- */

static int parse_json(struct options *options, const char *how) {
        if (!how || strcmp(how, "short") == 0)
                options->json = JSON_SHORT;
        else if (strcmp(how, "pretty") == 0)
                options->json = JSON_PRETTY;
        else
                return say_usage("--json is short or pretty, not \"%s\"", how);
        return 0;
}

#define OPTION_ID(name, has_arg, id, words, verbs) OPT_##id,
enum { OPT_FIRST = 256, OPTION_LIST(OPTION_ID) OPT_END };

/* Sets *ret_verb if the option is --help or --version, which replace the verb. */
static int parse_option(int option, struct options *options, const struct verb **ret_verb) {
        switch (option) {
        case OPT_HELP:
        case 'h':
                *ret_verb = &help_verb;
                return 0;
        case OPT_VERSION:
                *ret_verb = &version_verb;
                return 0;
        case OPT_SOCKET:
                options->socket = optarg;
                return 0;
        case OPT_ROOT:
                options->root = optarg;
                return 0;
        case OPT_ALL:
                options->all = true;
                return 0;
        case OPT_TEXTFILE:
                options->textfile = true;
                return 0;
        case OPT_JSON:
                return parse_json(options, optarg);
        case OPT_TIMEOUT:
                if (amount_parse_time(optarg, &options->timeout_usec) < 0)
                        return say_usage("--timeout is a time such as 30 or 10min, not \"%s\"",
                                         optarg);
                return 0;
        case OPT_PID:
                if (amount_parse_pid(optarg, &options->pid) < 0)
                        return say_usage("--pid is a process number, not \"%s\"", optarg);
                return 0;
        case OPT_NO_LEGEND:
                options->legend = false;
                return 0;
        case OPT_NO_PAGER:
                options->pager = false;
                return 0;
        case OPT_QUIET:
        case 'q':
                options->quiet = true;
                return 0;
        default:
                return SAY_USAGE; /* getopt_long() said why */
        }
}

/* NULL: the user was told why. */
static const struct verb *find_verb(char **args, int n_args) {
        if (n_args < 1) {
                say_usage("no verb is given; see pv-reaperctl --help");
                return NULL;
        }
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                if (strcmp(args[0], verbs[i].name) != 0)
                        continue;
                if (n_args - 1 >= verbs[i].min_args && n_args - 1 <= verbs[i].max_args)
                        return &verbs[i];
                say_usage("%s: too %s arguments; see pv-reaperctl --help", args[0],
                          n_args - 1 < verbs[i].min_args ? "few" : "many");
                return NULL;
        }
        say_usage("unknown verb \"%s\"; see pv-reaperctl --help", args[0]);
        return NULL;
}

#define OPTION_VERBS(name, has_arg, id, words, verbs) {"--" name, verbs},

/* Refuses options that the verb would ignore. given: by their ids. */
static int check_options(const struct verb *verb, const bool *given) {
        static const struct { const char *name, *verbs; } rows[] = {OPTION_LIST(OPTION_VERBS)};

        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (given[i] && *rows[i].verbs && !verb_is_listed(rows[i].verbs, verb->name))
                        return say_usage("%s: %s is for %s", verb->name, rows[i].name,
                                         rows[i].verbs);
        return 0;
}

#define OPTION_ROW(name, has_arg, id, words, verbs) {name, has_arg, NULL, OPT_##id},

/* NULL: the user was told why. */
static const struct verb *parse_command_line(struct options *options, int argc, char **argv) {
        static const struct option table[] = {OPTION_LIST(OPTION_ROW){}};
        bool given[OPT_END - OPT_FIRST - 1] = {};
        const struct verb *verb = NULL;
        int option;

        while ((option = getopt_long(argc, argv, "hq", table, NULL)) >= 0) {
                if (parse_option(option, options, &verb) < 0)
                        return NULL;
                if (option > OPT_FIRST)
                        given[option - OPT_FIRST - 1] = true;
        }
        if (verb)
                return verb;
        verb = find_verb(argv + optind, argc - optind);
        if (!verb || check_options(verb, given) < 0)
                return NULL;
        options->args = argv + optind + 1;
        options->n_args = argc - optind - 1;
        return verb;
}

static int run_verb(const struct verb *verb, const struct options *options) {
        char *text = NULL;
        size_t size = 0;
        FILE *out;
        int r, status;

        out = open_memstream(&text, &size);
        if (!out)
                return say_error(-errno, "cannot allocate memory for the output");
        r = verb->run(options, out);
        status = r;
        if (fclose(out) != 0 && r >= 0)
                r = say_error(-ENOMEM, "cannot allocate memory for the output");
        if (r >= 0 && options->quiet && verb->help)
                size = 0;
        if (r >= 0)
                r = options->pager ? output_page(text, size) : output_write(text, size);
        free(text);
        return r < 0 ? r : status;
}

static int exit_code(int r) {
        if (r >= 0)
                return r;
        if (r == SAY_USAGE)
                return EXIT_USAGE;
        if (r == CONNECTION_IN_VAIN)
                return EXIT_IN_VAIN;
        return r == CONNECTION_NOBODY ? EXIT_NOBODY : EXIT_FAILED;
}

int main(int argc, char **argv) {
        struct options options = {
                .root = "", .legend = true, .pager = true, .timeout_usec = USEC_INFINITY};
        const struct verb *verb;
        const char *environment = getenv("PVREAPER_CONTROL");

        if (reserve_stdio() < 0)
                return EXIT_FAILED;
        (void)signal(SIGPIPE, SIG_IGN);
        options.socket = environment && *environment ? environment : DEFAULT_SOCKET;
        options.terminal = output_is_terminal();
        options.colour = output_in_colour();
        verb = parse_command_line(&options, argc, argv);
        if (!verb)
                return EXIT_USAGE;
        return exit_code(run_verb(verb, &options));
}
