/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * pv-reaperd: command line, configuration, sockets; then the manager has it. The command line wins
 * over the file, the file over the defaults. Every failure ends here, in an exit code: 0 asked to
 * stop, 1 could not go on, 2 wrong usage or configuration.
 */

#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/bus/bus.h"
#include "daemon/config/config.h"
#include "daemon/config/files.h"
#include "daemon/config/print.h"
#include "daemon/manager.h"
#include "daemon/metrics/metrics.h"
#include "daemon/runtime/log.h"
#include "daemon/service/listen.h"
#include "daemon/service/service.h"
#include "daemon/system-calls.h"

#define DEFAULT_CONFIG CONFIG_SYSCONF_DIR "/" CONFIG_FILE
#define EXIT_USAGE     2

enum {
        OPTION_CONFIG = 256,
        OPTION_CHECK,
        OPTION_PRINT,
        OPTION_DEFAULTS,
        OPTION_VERSION,
        OPTION_HELP,
        OPTION_KEYS
};

struct option_key {
        const char *option, *section, *key, *value, *help;
};

/* The options that are keys of the configuration. */
static const struct option_key option_keys[] = {
        {"handoff-socket", "sockets", "handoff", "PATH",
         "where workers connect, unless systemd passes a socket"},
        {"control-socket", "sockets", "control", "PATH", "where pv-reaperctl connects, likewise"},
        {"cgroup", "cgroup", "path", "PATH|none|auto",
         "a cgroup v2 directory that is ours; none: schedstat alone; auto: that of our unit"},
        {"max-concurrent", "limits", "max-concurrent", "N", "how many teardowns run at once"},
        {"cpu-quota", "cpu", "cpu-quota", "QUOTA", "the CPU time of all workers together"},
};

#define N_KEYS ARRAY_SIZE(option_keys)

struct arguments {
        const char *config_file;
        const char *values[N_KEYS];
        bool check, print;
};

static void help(void) {
        printf("Usage: pv-reaperd [OPTION...]\n\n"
               "Runs the teardown of protected guests, see pv-reaper(8).\n\n"
               "  --config=FILE\n        read FILE alone instead of " DEFAULT_CONFIG
               "\n        and what else pv-reaper.conf(5) names\n");
        for (size_t i = 0; i < N_KEYS; i++)
                printf("  --%s=%s\n        %s\n", option_keys[i].option, option_keys[i].value,
                       option_keys[i].help);
        printf("  --check-config\n"
               "        read configuration and command line, say what is wrong, and exit\n"
               "  --print-config\n"
               "        print what these amount to, with the place of each value, and exit\n"
               "  --print-defaults\n"
               "        print a configuration file with all keys at their defaults, and exit\n"
               "  --version\n        show the version and exit\n"
               "  --help\n        show this and exit\n");
}

static void fill_options(struct option *options) {
        size_t n = 0;

        options[n++] = (struct option){"config", required_argument, NULL, OPTION_CONFIG};
        options[n++] = (struct option){"check-config", no_argument, NULL, OPTION_CHECK};
        options[n++] = (struct option){"print-config", no_argument, NULL, OPTION_PRINT};
        options[n++] = (struct option){"print-defaults", no_argument, NULL, OPTION_DEFAULTS};
        options[n++] = (struct option){"version", no_argument, NULL, OPTION_VERSION};
        options[n++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
        for (size_t i = 0; i < N_KEYS; i++)
                options[n++] = (struct option){option_keys[i].option, required_argument, NULL,
                                               OPTION_KEYS + (int)i};
        options[n] = (struct option){};
}

/* 1: go on; 0: all is said and done; -EINVAL: wrong usage, said on stderr. */
static int parse_arguments(struct arguments *args, int argc, char *argv[]) {
        struct option options[N_KEYS + 7];
        int c;

        fill_options(options);
        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == OPTION_CONFIG)
                        args->config_file = optarg;
                else if (c == OPTION_CHECK)
                        args->check = true;
                else if (c == OPTION_PRINT)
                        args->print = true;
                else if (c == OPTION_DEFAULTS)
                        return config_print_defaults(stdout), 0;
                else if (c == OPTION_VERSION)
                        return printf("pv-reaper %s\n", PVR_VERSION_TEXT), 0;
                else if (c == OPTION_HELP)
                        return help(), 0;
                else if (c >= OPTION_KEYS)
                        args->values[c - OPTION_KEYS] = optarg;
                else
                        return -EINVAL;
        }
        if (optind == argc)
                return 1;
        (void)fprintf(stderr, "pv-reaperd: unexpected argument \"%s\"\n", argv[optind]);
        return -EINVAL;
}

static int read_files(struct config *config, const struct arguments *args) {
        const char *root = getenv("PVREAPER_CONFIG_ROOT");
        int r;

        if (!args->config_file)
                return config_read_host(config, root ? root : "");
        r = config_read_file(config, args->config_file);
        return r == -ENOENT ? log_error_errno(r, "%s", args->config_file) : r;
}

static int fill_config(struct config *config, const struct arguments *args) {
        const char *why;
        int r;

        r = read_files(config, args);
        if (r < 0)
                return r;
        for (size_t i = 0; i < N_KEYS; i++) {
                if (!args->values[i])
                        continue;
                r = config_set(config,
                               &(struct config_setting){option_keys[i].section, option_keys[i].key,
                                                        args->values[i], "command line", 0},
                               &why);
                if (r < 0)
                        return log_error_errno(r, "--%s=%s: %s", option_keys[i].option,
                                               args->values[i], why);
        }
        return config_check(config);
}

/* Of struct config_source: at start and again whenever we are asked to reload. */
static int load_config(struct config **ret, void *userdata) {
        struct config *config = NULL;
        int r;

        r = config_new(&config);
        if (r < 0)
                return log_error_errno(r, "cannot make a configuration");
        r = fill_config(config, userdata);
        if (r < 0) {
                config_free(config);
                return r;
        }
        *ret = config;
        return 0;
}

/* All fds, cgroups and limits are there: what follows needs no more than the list. */
static int confine(const struct config *config) {
        int r;

        r = sandbox_install(&daemon_calls, (enum sandbox_mode)config->seccomp);
        if (r < 0)
                return log_error_errno(r, "cannot filter system calls (seccomp=%s)",
                                       sandbox_words[config->seccomp]);
        return 0;
}

/* The core, and its faces, which know the core; it does not know them. */
struct daemon {
        struct manager *manager;
        struct service *service;
        struct bus *bus;
        struct metrics_file *metrics_file; /* NULL: none is written */
};

static int start(struct daemon *d, struct listeners *listeners) {
        int r;

        r = service_new(&d->service, d->manager);
        if (r < 0)
                return log_error_errno(r, "cannot start");
        r = manager_start(d->manager, &listeners->handoff);
        if (r < 0)
                return r;
        r = bus_new(&d->bus, d->manager, d->service, &listeners->control);
        if (r < 0)
                return log_error_errno(r, "cannot listen on the control socket");
        r = metrics_file_new(&d->metrics_file, d->manager);
        if (r < 0)
                return log_error_errno(r, "cannot prepare to write the metrics");
        return confine(d->manager->config);
}

static int run(struct daemon *d) {
        service_ready(d->service);
        return manager_run(d->manager);
}

static void stop(struct daemon *d) {
        metrics_file_free(d->metrics_file);
        bus_free(d->bus);
        service_free(d->service);
        manager_free(d->manager);
}

/* Takes config over. */
static int serve(struct config *config, const struct config_source *source) {
        struct listeners listeners;
        struct daemon d = {};
        int r;

        r = manager_new(&d.manager, config, source);
        if (r < 0) {
                config_free(config);
                return r;
        }
        r = listeners_open(&listeners, config);
        if (r >= 0) {
                r = start(&d, &listeners);
                if (r >= 0)
                        r = run(&d);
                listeners_unlink(&listeners, config);
                close_fd(&listeners.handoff);
                close_fd(&listeners.control);
        }
        stop(&d);
        return r;
}

static int prepare_signals(void) {
        sigset_t set;

        /* Children only ever close what may not be closed here (peer.c): nobody waits for them. */
        if (signal(SIGCHLD, SIG_IGN) == SIG_ERR || signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return negative_errno();
        (void)sigemptyset(&set);
        (void)sigaddset(&set, SIGTERM);
        (void)sigaddset(&set, SIGINT);
        (void)sigaddset(&set, SIGHUP);
        return sigprocmask(SIG_BLOCK, &set, NULL) < 0 ? negative_errno() : 0;
}

int main(int argc, char *argv[]) {
        struct arguments args = {};
        struct config_source source = {load_config, &args};
        struct config *config = NULL;
        int r;

        r = parse_arguments(&args, argc, argv);
        if (r <= 0)
                return r < 0 ? EXIT_USAGE : EXIT_SUCCESS;
        r = load_config(&config, &args);
        if (r < 0)
                return r == -ENOMEM ? EXIT_FAILURE : EXIT_USAGE;
        if (args.print)
                config_print(config, stdout);
        if (args.check || args.print)
                return config_free(config), EXIT_SUCCESS;
        r = prepare_signals();
        if (r < 0) {
                config_free(config);
                return log_error_errno(r, "cannot start"), EXIT_FAILURE;
        }
        return serve(config, &source) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
