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
#define BASH_FOR_VERB_NOTHING(name)
/* A VMM may claim any name, and compgen -W expands its words. So only plain names are passed on. */
#define BASH_FOR_VERB_VMS(name) "        " name ") words=$(_pv_reaperctl_names) ;;\n"
#define BASH_FOR_VERB_KEYS(name)                                                                   \
        "        " name ")\n"                                                                      \
        "                if [ \"$value\" ]; then\n"                                                \
        "                        words=$(_pv_reaperctl_values \"$prev\")\n"                        \
        "                else\n"                                                                   \
        "                        compopt -o nospace\n"                                             \
        "                        words=$(_pv_reaperctl_keys)\n"                                    \
        "                fi ;;\n"
#define BASH_FOR_VERB(name, min, max, function, complete, help) BASH_FOR_VERB_##complete(name)

#define NAME_OF_VERB(name, min, max, function, complete, help) name,
#define ROW_OF_OPTION(name, has_arg, id, words, verbs)         {name, has_arg, words, verbs},

static const char *const verb_names[] = {VERB_LIST(NAME_OF_VERB)};
static const struct {
        const char *name;
        int has_arg;
        const char *words, *verbs;
} options[] = {OPTION_LIST(ROW_OF_OPTION)};

/*
 * For both shells. The daemon that runs says which keys it lets change, and their values. What else
 * a key takes is in quotes in --print-defaults, and so are examples, which have blanks or digits.
 * All goes through a filter: a VMM may claim any name, and compgen -W expands its words.
 */
static const char functions[] =
        "_pv_reaperctl_plain() { grep -x '[A-Za-z0-9_.%,/=-]*'; }\n"
        "_pv_reaperctl_names() {\n"
        "        pv-reaperctl --no-legend list 2>/dev/null | sed -n 's/  .*//p' |\n"
        "                _pv_reaperctl_plain\n"
        "}\n"
        "_pv_reaperctl_limits() { # KEY=VALUE\n"
        "        pv-reaperctl --json=short status 2>/dev/null |\n"
        "                grep -o '\"key\":\"[a-z-]*\",\"value\":\"[^\"]*\"' |\n"
        "                cut -d '\"' -f 4,8 | tr '\"' =\n"
        "}\n"
        "_pv_reaperctl_keys() { _pv_reaperctl_limits | sed 's/=.*/=/'; }\n"
        "_pv_reaperctl_values() {\n"
        "        local key=$(echo \"$1\" | tr _ - | tr -cd a-z-)\n"
        "        {\n"
        "                _pv_reaperctl_limits | sed -n \"s/^$key=//p\"\n"
        "                pv-reaperd --print-defaults 2>/dev/null |\n"
        "                        sed -n '/^# Value:/,/^#[a-z-]*=/p' |\n"
        "                        awk -v \"key=#$key=\" '\n"
        "                                /^# Value:/ { text = \"\" }\n"
        "                                { text = text $0 }\n"
        "                                index($0, key) == 1 { print text }' |\n"
        "                        grep -o '\"[a-z]*\"' | tr -d '\"'\n"
        "        } | _pv_reaperctl_plain | sort -u\n"
        "}\n\n";

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

/* verb NULL: none is given yet. */
static void print_options_of(const char *verb) {
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                if (!verb || !*options[i].verbs || verb_is_listed(options[i].verbs, verb))
                        printf(" --%s", options[i].name);
}

static void print_options_of_verbs(void) {
        printf("        [[ $cur == -* ]] && case $verb in\n        '') words='-h -q");
        print_options_of(NULL);
        printf("' ;;\n");
        for (size_t i = 0; i < sizeof(verb_names) / sizeof(verb_names[0]); i++) {
                printf("        %s) words='-h -q", verb_names[i]);
                print_options_of(verb_names[i]);
                printf("' ;;\n");
        }
        printf("        esac\n");
}

static void print_bash(void) {
        printf("# bash completion for pv-reaperctl, made of its table of verbs\n\n%s", functions);
        printf("_pv_reaperctl() {\n"
               "        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}\n"
               "        local verbs='%s' verb='' word words='' value=''\n"
               "        # --json=short and KEY=VALUE come as three words\n"
               "        [ \"$cur\" = = ] && cur='' value=1\n"
               "        [ \"$prev\" = = ] && prev=${COMP_WORDS[COMP_CWORD - 2]} value=1\n"
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
               "        esac\n",
               bash_cases);
        print_options_of_verbs();
        printf("        COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
               "}\n"
               "complete -F _pv_reaperctl pv-reaperctl\n");
}

/* ---- zsh ---- */

/* In double quotes: texts have apostrophes, and neither $ nor `. */
#define ZSH_VERB(name, min, max, function, complete, help) "                \"" name ":" help "\"\n"

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

#define ZSH_FOR_VERB_NOTHING(name)
#define ZSH_FOR_VERB_VMS(name) "        " name ") compadd -- $(_pv_reaperctl_names) ;;\n"
#define ZSH_FOR_VERB_KEYS(name)                                                                    \
        "        " name ")\n"                                                                      \
        "                local key=${PREFIX%=*}\n"                                                 \
        "                if compset -P '*='; then\n"                                               \
        "                        compadd -- $(_pv_reaperctl_values $key)\n"                        \
        "                else\n"                                                                   \
        "                        compadd -S '' -- $(_pv_reaperctl_keys)\n"                         \
        "                fi ;;\n"
#define ZSH_FOR_VERB(name, min, max, function, complete, help) ZSH_FOR_VERB_##complete(name)

static const char zsh_verbs[] = VERB_LIST(ZSH_VERB);
static const char zsh_cases[] = VERB_LIST(ZSH_FOR_VERB);

static void print_zsh(void) {
        printf("#compdef pv-reaperctl\n"
               "# made of pv-reaperctl's table of verbs\n\n%s",
               functions);
        printf("_pv_reaperctl_argument() {\n"
               "        case $words[1] in\n"
               "%s"
               "        esac\n"
               "}\n\n",
               zsh_cases);
        printf("_pv_reaperctl_verbs() {\n"
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
               "        '*::argument:_pv_reaperctl_argument'\n");
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
