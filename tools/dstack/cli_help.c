/* Help and shell completion, both made from the command table. */
#include <string.h>

#include "base/error.h"
#include "cli.h"

static void print_option(FILE *out, const struct cli_option *option) {
    char left[64];
    snprintf(left, sizeof left, "%c%c%s--%s%s%s", option->letter != 0 ? '-' : ' ',
             option->letter != 0 ? option->letter : ' ', option->letter != 0 ? ", " : "  ",
             option->name, option->value != NULL ? " " : "",
             option->value != NULL ? option->value : "");
    fprintf(out, "  %-30s %s\n", left, option->help);
}

static void print_options(FILE *out, const struct cli_option *options) {
    for (; options != NULL && options->name != NULL; options++) {
        print_option(out, options);
    }
}

void cli_help(FILE *out, const struct cli_command *const *path, size_t depth) {
    const struct cli_command *command = path[depth - 1];
    fputs("Usage:", out);
    for (size_t i = 0; i < depth; i++) {
        fprintf(out, " %s", path[i]->name);
    }
    fprintf(out, " %s\n\n%s.\n", command->usage != NULL ? command->usage : "", command->summary);
    if (command->help != NULL) {
        fprintf(out, "\n%s\n", command->help);
    }
    if (command->children != NULL) {
        fputs("\nCommands:\n", out);
        for (const struct cli_command *const *child = command->children; *child != NULL; child++) {
            fprintf(out, "  %-14s %s\n", (*child)->name, (*child)->summary);
        }
    }
    fputs("\nOptions:\n", out);
    print_options(out, command->options);
    print_options(out, cli_common_options);
    if (depth == 1) {
        fputs("\nExit status: 0 done or verified, 1 refused or failed check, 2 usage, "
              "3 environment.\n",
              out);
    }
}

/* ---- manual page (man(7) macros) ---- */

static void man_text(FILE *out, const char *text) {
    bool line_start = true;
    for (; *text != 0; text++) {
        if (line_start && (*text == '.' || *text == '\'')) {
            fputs("\\&", out);
        }
        fputs(*text == '-' ? "\\-" : *text == '\\' ? "\\e" : (char[]){*text, 0}, out);
        line_start = *text == '\n';
    }
}

static void man_options(FILE *out, const struct cli_option *option) {
    for (; option != NULL && option->name != NULL; option++) {
        fputs(".TP\n.B ", out);
        if (option->letter != 0) {
            fprintf(out, "\\-%c, ", option->letter);
        }
        fputs("\\-\\-", out);
        man_text(out, option->name);
        if (option->value != NULL) {
            fprintf(out, " \\fI%s\\fR", option->value);
        }
        fputc('\n', out);
        man_text(out, option->help);
        fputc('\n', out);
    }
}

static void man_command(FILE *out, const struct cli_command *command, const char *prefix) {
    char path[128];
    snprintf(path, sizeof path, "%s %s", prefix, command->name);
    if (command->run != NULL) {
        fputs(".SS ", out);
        man_text(out, path);
        fputc(' ', out);
        man_text(out, command->usage != NULL ? command->usage : "");
        fputc('\n', out);
        man_text(out, command->summary);
        fputs(".\n", out);
        if (command->help != NULL) {
            fputs(".PP\n", out);
            man_text(out, command->help);
            fputc('\n', out);
        }
        man_options(out, command->options);
    }
    for (const struct cli_command *const *c = command->children; c != NULL && *c != NULL; c++) {
        man_command(out, *c, path);
    }
}

void cli_man(FILE *out, const struct cli_command *root, const char *version) {
    fprintf(out, ".TH DSTACK 1 \"\" \"dstack %s\"\n.SH NAME\ndstack \\- ", version);
    man_text(out, root->summary);
    fputs("\n.SH SYNOPSIS\n.B dstack\n\\fICOMMAND\\fR [...]\n.SH COMMANDS\n", out);
    for (const struct cli_command *const *c = root->children; *c != NULL; c++) {
        man_command(out, *c, root->name);
    }
    fputs(".SH COMMON OPTIONS\n", out);
    man_options(out, cli_common_options);
    fputs(".SH EXIT STATUS\n0 done or verified; 1 refused or failed check; 2 usage; 3 environment "
          "(missing file, unreachable service).\nWith \\-\\-json a failure prints "
          "{\"error\": {\"check\", \"message\"}}.\n",
          out);
}

/* ---- completion ---- */

static void print_words(FILE *out, const struct cli_command *command) {
    for (const struct cli_command *const *c = command->children; c != NULL && *c != NULL; c++) {
        fprintf(out, "%s ", (*c)->name);
    }
    for (const struct cli_option *o = command->options; o != NULL && o->name != NULL; o++) {
        fprintf(out, "--%s ", o->name);
    }
    for (const struct cli_option *o = cli_common_options; o->name != NULL; o++) {
        fprintf(out, "--%s ", o->name);
    }
}

/* One case per command: the path of words typed so far gives the words that may follow. */
static void print_cases(FILE *out, const struct cli_command *command, const char *prefix) {
    for (const struct cli_command *const *c = command->children; c != NULL && *c != NULL; c++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s%s", prefix, prefix[0] != 0 ? " " : "", (*c)->name);
        print_cases(out, *c, path);
        fprintf(out, "    \"%s\"*) next='", path);
        print_words(out, *c);
        fputs("' ;;\n", out);
    }
}

static void print_shell_function(FILE *out, const struct cli_command *root, const char *line) {
    fprintf(out, "  local next\n  case \"%s\" in\n", line);
    print_cases(out, root, "");
    fputs("    *) next='", out);
    print_words(out, root);
    fputs("' ;;\n  esac\n", out);
}

static void print_bash(FILE *out, const struct cli_command *root) {
    fputs("# bash completion for dstack\n_dstack() {\n", out);
    print_shell_function(out, root, "${COMP_WORDS[*]:1}");
    fputs("  if [[ ${COMP_WORDS[COMP_CWORD]} == -* || -n $next ]]; then\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$next\" -- \"${COMP_WORDS[COMP_CWORD]}\")\n"
          "  fi\n}\ncomplete -o default -F _dstack dstack\n",
          out);
}

static void print_zsh(FILE *out, const struct cli_command *root) {
    fputs("#compdef dstack\n_dstack() {\n", out);
    print_shell_function(out, root, "${words[2,-1]}");
    fputs("  compadd -- ${=next}\n  _files\n}\ncompdef _dstack dstack\n", out);
}

static void print_quoted(FILE *out, const char *text) {
    fputc('\'', out);
    for (; *text != 0; text++) {
        fputs(*text == '\'' ? "\\'" : (char[]){*text, 0}, out);
    }
    fputc('\'', out);
}

static void print_fish_command(FILE *out, const struct cli_command *command,
                               const char *condition) {
    for (const struct cli_command *const *c = command->children; c != NULL && *c != NULL; c++) {
        fprintf(out, "complete -c dstack -f -n '%s' -a %s -d ", condition, (*c)->name);
        print_quoted(out, (*c)->summary);
        fputc('\n', out);
    }
    for (const struct cli_option *o = command->options; o != NULL && o->name != NULL; o++) {
        fprintf(out, "complete -c dstack -n '%s' -l %s%s -d ", condition, o->name,
                o->value != NULL ? " -r" : "");
        print_quoted(out, o->help);
        fputc('\n', out);
    }
}

static void print_fish(FILE *out, const struct cli_command *root) {
    fputs("# fish completion for dstack\n", out);
    for (const struct cli_option *o = cli_common_options; o->name != NULL; o++) {
        fprintf(out, "complete -c dstack -l %s -d ", o->name);
        print_quoted(out, o->help);
        fputc('\n', out);
    }
    print_fish_command(out, root, "__fish_use_subcommand");
    for (const struct cli_command *const *c = root->children; *c != NULL; c++) {
        char condition[96];
        snprintf(condition, sizeof condition, "__fish_seen_subcommand_from %s", (*c)->name);
        print_fish_command(out, *c, condition);
    }
}

int cli_completion(FILE *out, const struct cli_command *root, const char *shell,
                   dstack_error *err) {
    static const struct {
        const char *name;
        void (*print)(FILE *, const struct cli_command *);
    } shells[] = {{"bash", print_bash}, {"zsh", print_zsh}, {"fish", print_fish}};
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(shells[i].name, shell) == 0) {
            shells[i].print(out, root);
            return 0;
        }
    }
    return cli_usage(err, "unknown shell %s: expected bash, zsh or fish", shell);
}
