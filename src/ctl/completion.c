/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Prints the file that bash or zsh sources to complete pv-reaperctl's command line. This program
 * runs during the build, on the building machine, which may differ from the target. So it uses libc
 * and the list of verbs only. It owns nothing.
 */

#include <stdio.h>
#include <string.h>

#include "ctl/verb-list.h"

/* ---- bash ---- */

#define BASH_VERB(name, min, max, function, complete, help) " " name
#define BASH_OPTION(name, has_arg, id, words)               " --" name

#define BASH_FOR_VERB_NOTHING(name)
/* A VMM may claim any name, and compgen -W expands its words. So only plain names are passed on. */
#define BASH_FOR_VERB_VMS(name)                                                                    \
        "        " name ")\n"                                                                      \
        "                words=$(pv-reaperctl --no-legend list 2>/dev/null |\n"                    \
        "                        sed -n 's/^\\([A-Za-z0-9_.-]*\\)  .*/\\1/p') ;;\n"
#define BASH_FOR_VERB_KEYS(name)                                                                   \
        "        " name ")\n"                                                                      \
        "                compopt -o nospace\n"                                                     \
        "                words=$(pv-reaperd --print-defaults 2>/dev/null |\n"                      \
        "                        sed -n 's/^#\\([a-z-]*=\\).*/\\1/p') ;;\n"
#define BASH_FOR_VERB(name, min, max, function, complete, help) BASH_FOR_VERB_##complete(name)

#define BASH_FOR_OPTION(name, has_arg, id, words) {name, has_arg, words},

static const struct {
        const char *name;
        int has_arg;
        const char *words;
} options[] = {OPTION_LIST(BASH_FOR_OPTION)};

static void print_bash_options(void) {
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
                if (options[i].has_arg == 0)
                        continue;
                printf("        --%s)\n", options[i].name);
                if (strcmp(options[i].words, "@file") == 0)
                        printf("                COMPREPLY=($(compgen -f -- \"$cur\"))\n");
                else
                        printf("                COMPREPLY=($(compgen -W '%s' -- \"$cur\"))\n",
                               options[i].words);
                printf("                return ;;\n");
        }
}

static const char bash_verbs[] = VERB_LIST(BASH_VERB);
static const char bash_cases[] = VERB_LIST(BASH_FOR_VERB);
static const char bash_options[] = OPTION_LIST(BASH_OPTION);

static void print_bash(void) {
        printf("# bash completion for pv-reaperctl, made of its table of verbs\n\n"
               "_pv_reaperctl() {\n"
               "        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
               "        local verbs='%s' verb='' word words=''\n"
               "        # --json=short comes as three words\n"
               "        [ \"$cur\" = = ] && cur=''\n"
               "        [ \"$prev\" = = ] && prev=${COMP_WORDS[COMP_CWORD - 2]}\n"
               "        case $prev in\n",
               bash_verbs);
        print_bash_options();
        printf("        esac\n"
               "        for word in \"${COMP_WORDS[@]:1:COMP_CWORD - 1}\"; do\n"
               "                [[ \" $verbs \" == *\" $word \"* ]] && verb=$word\n"
               "        done\n"
               "        case $verb in\n"
               "        '') words=$verbs ;;\n"
               "%s"
               "        esac\n"
               "        [[ $cur == -* ]] && words='%s -h -q'\n"
               "        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
               "}\n"
               "complete -F _pv_reaperctl pv-reaperctl\n",
               bash_cases, bash_options);
}

/* ---- zsh ---- */

#define ZSH_VERB(name, min, max, function, complete, help) "                '" name ":" help "'\n"

static void print_zsh_option(size_t i) {
        const char *words = options[i].words;

        if (options[i].has_arg == 0)
                printf("        '--%s' \\\n", options[i].name);
        else if (strcmp(words, "@file") == 0)
                printf("        '--%s=:path:_files' \\\n", options[i].name);
        else
                printf("        '--%s=%s:value:(%s)' \\\n", options[i].name,
                       options[i].has_arg == 2 ? "-" : "", words);
}

static const char zsh_verbs[] = VERB_LIST(ZSH_VERB);

static void print_zsh(void) {
        printf("#compdef pv-reaperctl\n"
               "# made of pv-reaperctl's table of verbs\n\n"
               "_pv_reaperctl_verbs() {\n"
               "        local -a verbs=(\n"
               "%s"
               "        )\n"
               "        _describe verb verbs\n"
               "}\n\n"
               "_arguments \\\n",
               zsh_verbs);
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                print_zsh_option(i);
        printf("        '-h' '-q' \\\n"
               "        '1:verb:_pv_reaperctl_verbs' \\\n"
               "        '*::argument:_default'\n");
}

int main(int argc, char **argv) {
        if (argc == 2 && strcmp(argv[1], "bash") == 0)
                print_bash();
        else if (argc == 2 && strcmp(argv[1], "zsh") == 0)
                print_zsh();
        else
                return 2;
        return 0;
}
