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
#include "daemon/runtime/log.h"
#include "daemon/service/listen.h"
#include "daemon/service/service.h"
#include "daemon/system-calls.h"

#define DEFAULT_CONFIG CONFIG_SYSCONF_DIR "/" CONFIG_FILE
#define EXIT_USAGE     2

/* In the order of --help. Those with a key are keys of the configuration. */
static const struct row {
        const char *section, *key, *name, *value, *help;
} rows[] = {
        {NULL, NULL, "config", "FILE",
         "read only FILE, instead of " DEFAULT_CONFIG
         "\n        and all other files of pv-reaper.conf(5)"},
        {"sockets", "handoff", "handoff-socket", "PATH",
         "where workers connect, unless systemd passes a socket"},
        {"sockets", "control", "control-socket", "PATH",
         "where pv-reaperctl connects, unless systemd passes a socket"},
        {"cgroup", "path", "cgroup", "PATH|none|auto",
         "PATH: a cgroup v2 directory for the daemon alone\n"
         "        none: workers stay where they are\n"
         "        auto (the default): the cgroup of pv-reaper-workers.service"},
        {"limits", "max-concurrent", "max-concurrent", "N", "how many teardowns run at once"},
        {"cpu", "cpu-quota", "cpu-quota", "QUOTA", "the CPU time of all workers together"},
        {NULL, NULL, "check-config", NULL,
         "read configuration files and command line, print errors, and exit\n"
         "        Exit status 2: an error, or an unknown section or key"},
        {NULL, NULL, "print-config", NULL,
         "print the resulting values, and where each was set, and exit"},
        {NULL, NULL, "print-defaults", NULL,
         "print a configuration file with all keys at their defaults, and exit"},
        {NULL, NULL, "version", NULL, "show the version and exit"},
        {NULL, NULL, "help", NULL, "show this text and exit"},
};

#define N_ROWS ARRAY_SIZE(rows)

struct arguments {
        const char *config_file;
        const char *values[N_ROWS]; /* of those with a key */
        bool check, print;
};

static void help(void) {
        printf("Usage: pv-reaperd [OPTION...]\n\n"
               "Clears and frees the memory of guests that have rebooted or ended, for the\n"
               "whole host. See pv-reaper(8).\n\n");
        for (size_t i = 0; i < N_ROWS; i++)
                printf("  --%s%s%s\n        %s\n", rows[i].name, rows[i].value ? "=" : "",
                       rows[i].value ? rows[i].value : "", rows[i].help);
}

/* 1: go on; 0: all is said and done; -EINVAL: wrong usage, said on stderr. */
static int take_option(struct arguments *args, const struct row *row) {
        if (row->key)
                args->values[row - rows] = optarg;
        else if (strcmp(row->name, "config") == 0)
                args->config_file = optarg;
        else if (strcmp(row->name, "check-config") == 0)
                args->check = true;
        else if (strcmp(row->name, "print-config") == 0)
                args->print = true;
        else if (strcmp(row->name, "print-defaults") == 0)
                return config_print_defaults(stdout), 0;
        else if (strcmp(row->name, "version") == 0)
                return printf("pv-reaper %s\n", PVR_VERSION_TEXT), 0;
        else
                return help(), 0;
        return 1;
}

static int parse_arguments(struct arguments *args, int argc, char *argv[]) {
        struct option options[N_ROWS + 1] = {};
        int c, r = 1, i = 0;

        for (size_t n = 0; n < N_ROWS; n++)
                options[n] = (struct option){
                        rows[n].name, rows[n].value ? required_argument : no_argument, NULL, 1};
        while (r > 0 && (c = getopt_long(argc, argv, "", options, &i)) >= 0)
                r = c == 1 ? take_option(args, &rows[i]) : -EINVAL;
        if (r <= 0 || optind == argc)
                return r;
        (void)fprintf(stderr, "pv-reaperd: unexpected argument \"%s\"; see --help\n", argv[optind]);
        return -EINVAL;
}

static int read_files(struct config *config, const struct arguments *args) {
        const char *root = getenv("PVREAPER_CONFIG_ROOT");
        int r;

        if (!args->config_file)
                return config_read_host(config, root ? root : "");
        r = config_read_file(config, args->config_file);
        return r == -ENOENT ? log_error_errno(r, "cannot read %s", args->config_file) : r;
}

static int fill_config(struct config *config, const struct arguments *args) {
        const char *why;
        int r;

        r = read_files(config, args);
        if (r < 0)
                return r;
        for (size_t i = 0; i < N_ROWS; i++) {
                struct config_setting setting = {rows[i].section, rows[i].key, args->values[i],
                                                 "command line", 0};

                if (!setting.value)
                        continue;
                r = config_set(config, &setting, &why);
                if (r < 0)
                        return log_error_errno(r, "--%s=%s: must be %s", rows[i].name,
                                               setting.value, why);
        }
        return config_check(config);
}

/* Of struct config_source: at start and again whenever we are asked to reload. */
static int load_config(struct config **ret, void *userdata) {
        _cleanup_(config_freep) struct config *config = NULL;
        int r;

        r = config_new(&config);
        if (r < 0)
                return log_error_errno(r, "cannot make a configuration");
        r = fill_config(config, userdata);
        if (r < 0)
                return r;
        *ret = take_ptr(&config);
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
};

static int start(struct daemon *d, struct listeners *listeners) {
        int r;

        r = service_new(&d->service, d->manager);
        if (r < 0)
                return log_error_errno(r, "cannot start");
        manager_restore(d->manager, &listeners->history);
        if (listeners->handoff_path[0] != '\0')
                d->manager->handoff_path = listeners->handoff_path;
        r = manager_start(d->manager, &listeners->handoff);
        if (r < 0)
                return r;
        r = bus_new(&d->bus, d->manager, d->service, &listeners->control);
        if (r < 0)
                return log_error_errno(r, "cannot listen on the control socket");
        return confine(d->manager->config);
}

static int run(struct daemon *d) {
        service_ready(d->service);
        return manager_run(d->manager);
}

static void stop(struct daemon *d) {
        bus_free(d->bus);
        service_free(d->service);
        manager_free(d->manager);
}

/* Takes config over. */
static int serve(struct config *config, const struct config_source *source) {
        struct listeners listeners;
        struct daemon d = {};
        int r;

        /* First of all: if there is a daemon it has the cgroups, and nothing there is ours. */
        r = listeners_open(&listeners, config);
        if (r >= 0) {
                r = manager_new(&d.manager, config, source);
                if (r >= 0)
                        r = start(&d, &listeners);
                if (r >= 0)
                        r = run(&d);
                listeners_unlink(&listeners, config);
                close_fd(&listeners.handoff);
                close_fd(&listeners.control);
                close_fd(&listeners.history);
        }
        if (!d.manager)
                config_free(config);
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
        if (!config)
                return r == -ENOMEM ? EXIT_FAILURE : EXIT_USAGE;
        if (args.print)
                config_print(config, stdout);
        if (args.check || args.print) {
                r = args.check && config->n_unknown > 0 ? EXIT_USAGE : EXIT_SUCCESS;
                return config_free(config), r;
        }
        r = prepare_signals();
        if (r < 0) {
                config_free(config);
                return log_error_errno(r, "cannot start"), EXIT_FAILURE;
        }
        return serve(config, &source) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
