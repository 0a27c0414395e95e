/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pv-reaperctl: options and verbs. One table of verbs drives dispatch, --help and completion. A
 * verb writes to memory; it is put out here, in one place, and only as a whole: so there is one
 * check for a full disk, and no half a table before an error (only watch prints as it goes). Exit
 * codes are made nowhere else.
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

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NOBODY = 3 };

struct verb {
        const char *name;
        int min_args, max_args; /* after the verb itself */
        int (*run)(const struct options *options, FILE *out);
        const char *help;
};

#define VERB(name, min, max, function, complete, help) {name, min, max, function, help},
static const struct verb verbs[] = {VERB_LIST(VERB)};

/* Makes sure that 0 to 2 are taken: else one of our sockets would become stdout. */
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

/* ---- what is always there ---- */

static int print_help(const struct options *options, FILE *out) {
        (void)fprintf(out, "Usage: pv-reaperctl [OPTION...] VERB [ARGUMENT...]\n\n"
                           "Show and steer what pv-reaperd does about the memory of protected\n"
                           "guests.\n\n"
                           "Verbs:\n");
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
                (void)fprintf(out, "  %-20s %s\n", verbs[i].name, verbs[i].help);
        (void)fprintf(out, "\nOptions:\n"
                           "  --socket PATH        The daemon's control socket\n"
                           "                       (else $PVREAPER_CONTROL, else\n"
                           "                       " DEFAULT_SOCKET ")\n"
                           "  --json[=short|pretty]\n"
                           "                       JSON instead of text\n"
                           "  --no-legend          No column titles\n"
                           "  --no-pager           No pager, also on a terminal\n"
                           "  -q, --quiet          Print nothing but errors\n"
                           "  --root DIR           Where check looks for files\n"
                           "  --pid PID            Which VM wait-quiet waits for, by its VMM\n"
                           "  --timeout TIME       How long to wait (else for ever)\n"
                           "  -h, --help           Show this and exit\n"
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
                return say_error(0, "--json is short or pretty, not \"%s\"", how);
        return 0;
}

#define OPTION_ID(name, has_arg, id, words) OPT_##id,
enum { OPT_FIRST = 256, OPTION_LIST(OPTION_ID) };

/* *ret_verb is set if an option is a verb of its own. */
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
        case OPT_JSON:
                return parse_json(options, optarg);
        case OPT_TIMEOUT:
                if (amount_parse_time(optarg, &options->timeout_usec) < 0)
                        return say_error(0, "--timeout is a time such as 30 or 10min, not \"%s\"",
                                         optarg);
                return 0;
        case OPT_PID:
                if (amount_parse_pid(optarg, &options->pid) < 0)
                        return say_error(0, "--pid is a process number, not \"%s\"", optarg);
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
                return -EINVAL; /* getopt_long() said why */
        }
}

/* NULL: the user was told. */
static const struct verb *find_verb(char **args, int n_args) {
        if (n_args < 1) {
                say_error(0, "what to do? See pv-reaperctl --help");
                return NULL;
        }
        for (size_t i = 0; i < ARRAY_SIZE(verbs); i++) {
                if (strcmp(args[0], verbs[i].name) != 0)
                        continue;
                if (n_args - 1 >= verbs[i].min_args && n_args - 1 <= verbs[i].max_args)
                        return &verbs[i];
                say_error(0, "%s: too %s arguments", args[0],
                          n_args - 1 < verbs[i].min_args ? "few" : "many");
                return NULL;
        }
        say_error(0, "unknown verb \"%s\". See pv-reaperctl --help", args[0]);
        return NULL;
}

#define OPTION_ROW(name, has_arg, id, words) {name, has_arg, NULL, OPT_##id},

/* NULL: the user was told. */
static const struct verb *parse_command_line(struct options *options, int argc, char **argv) {
        static const struct option table[] = {OPTION_LIST(OPTION_ROW){}};
        const struct verb *verb = NULL;
        int option;

        while ((option = getopt_long(argc, argv, "hq", table, NULL)) >= 0)
                if (parse_option(option, options, &verb) < 0)
                        return NULL;
        if (verb)
                return verb;
        verb = find_verb(argv + optind, argc - optind);
        if (!verb)
                return NULL;
        if (options->pid != 0 && verb->run != verb_wait_quiet) {
                say_error(0, "%s: --pid is for wait-quiet", verb->name);
                return NULL;
        }
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
                return say_error(-errno, "cannot start");
        r = verb->run(options, out);
        status = r;
        if (fclose(out) != 0 && r >= 0)
                r = say_error(-ENOMEM, "cannot hold the output");
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
