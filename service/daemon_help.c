#include "service/daemon_help.h"

#include <string.h>

#include <config.h> /* the build's, not service/config.h */

#include "base/buf.h"

/* ---- options that every daemon has ---- */

typedef enum value_kind { NO_VALUE, A_FILE, A_LEVEL, A_SHELL } value_kind;

static const struct {
    const char *name;
    value_kind value;
    const char *help;
} options[] = {
    {"config", A_FILE, "YAML file; without it every key has its default"},
    {"check-config", NO_VALUE, "check the file and end"},
    {"print-config", NO_VALUE, "print the configuration in effect and end"},
    {"log-level", A_LEVEL, "error, warn, info (default) or debug"},
    {"insecure-dev", NO_VALUE,
     "allow settings that are only for development; everything that this process issues or reports "
     "is marked"},
    {"man", NO_VALUE, "print the manual page and end"},
    {"completion", A_SHELL, "print the completion script of bash, zsh or fish and end"},
    {"version", NO_VALUE, "print the version and end"},
    {"help", NO_VALUE, "print the options and every key, and end"},
};
#define OPTION_COUNT (sizeof options / sizeof options[0])

static const char *const value_names[] = {
    [NO_VALUE] = "",
    [A_FILE] = " FILE",
    [A_LEVEL] = " LEVEL",
    [A_SHELL] = " SHELL",
};

/* ---- help ---- */

/* Breaks at blanks, before column 100. */
static void print_wrapped(FILE *out, size_t indent, const char *text) {
    size_t room = 100 - indent;
    while (strlen(text) > room) {
        size_t end = room;
        while (end > 0 && text[end] != ' ') {
            end--;
        }
        fprintf(out, "%.*s\n%*s", (int)end, text, (int)indent, "");
        text += end + 1;
    }
    fprintf(out, "%s\n", text);
}

void daemon_help(const daemon_description *d, FILE *out) {
    fprintf(out, "%s: %s\n\nusage: %s [--config FILE] [options]\n\n", d->name, d->summary, d->name);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        char left[40];
        snprintf(left, sizeof left, "--%s%s", options[i].name, value_names[options[i].value]);
        fprintf(out, "  %-20s ", left);
        print_wrapped(out, 23, options[i].help);
    }
    for (size_t i = 0; d->flags != NULL && d->flags[i] != NULL; i++) {
        fprintf(out, "  --%s\n", d->flags[i]);
    }
    DSTACK_AUTO(buf) dstack_buf keys = {0};
    config_describe(d->keys, d->key_count, &keys);
    const char *text = buf_text(&keys);
    fprintf(out, "\nkeys (name, type, default, meaning):\n%s", text != NULL ? text : "");
}

/* ---- manual page ---- */

static void man_text(FILE *out, const char *text) {
    for (bool start = true; *text != 0; text++) {
        if (start && (*text == '.' || *text == '\'')) {
            fputs("\\&", out);
        }
        fputs(*text == '-' ? "\\-" : *text == '\\' ? "\\e" : (char[]){*text, 0}, out);
        start = *text == '\n';
    }
}

static void man_key(FILE *out, const config_key *key) {
    fputs(".TP\n.B ", out);
    man_text(out, key->path);
    fprintf(out, " \\fR(%s, ", config_type_name(key->type));
    if (key->fallback == NULL) {
        fputs("required", out);
    } else if (key->fallback[0] == 0) {
        fputs("empty", out);
    } else {
        man_text(out, key->fallback);
    }
    fputs(")\n", out);
    man_text(out, key->help);
    fputc('\n', out);
}

void daemon_man(const daemon_description *d, FILE *out) {
    fputs(".TH ", out);
    for (const char *c = d->name; *c != 0; c++) {
        fputc(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c, out);
    }
    fprintf(out, " 1 \"\" \"dstack %s\"\n.SH NAME\n", DSTACK_PROJECT_VERSION);
    man_text(out, d->name);
    fputs(" \\- ", out);
    man_text(out, d->summary);
    fputs("\n.SH SYNOPSIS\n.B ", out);
    man_text(out, d->name);
    fputs("\n[\\-\\-config \\fIFILE\\fR] [\\fIOPTIONS\\fR]\n.SH OPTIONS\n", out);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        fputs(".TP\n.B \\-\\-", out);
        man_text(out, options[i].name);
        fprintf(out, "\\fI%s\\fR\n", value_names[options[i].value]);
        man_text(out, options[i].help);
        fputs(".\n", out);
    }
    for (size_t i = 0; d->flags != NULL && d->flags[i] != NULL; i++) {
        fputs(".TP\n.B \\-\\-", out);
        man_text(out, d->flags[i]);
        fputc('\n', out);
    }
    fputs(
        ".SH CONFIGURATION\nYAML. A dot in a name below stands for one level of nesting. A key "
        "that is not listed is an error. Durations are written 500ms, 5s, 10m, 12h, 30d or never, "
        "sizes 32K, 10M, 1G; relative paths are relative to the file's folder.\n",
        out);
    for (size_t i = 0; i < d->key_count; i++) {
        man_key(out, &d->keys[i]);
    }
    fputs(".SH SIGNALS\nSIGTERM and SIGINT: what is being answered is finished, then the process "
          "ends. SIGHUP: files that may change are read again.\n.SH ENVIRONMENT\n.B "
          "NOTIFY_SOCKET\nis told when the service is ready, as systemd wants it.\n"
          ".SH EXIT STATUS\n0: ended as asked. 1: could not start or go on; the last line of the "
          "log says why. 2: the command line or the configuration is wrong.\n"
          ".SH SEE ALSO\n.BR dstack (1)\n",
          out);
}

/* ---- completion ---- */

static void print_flags(const daemon_description *d, FILE *out, const char *before,
                        const char *after) {
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        fprintf(out, "%s%s%s", before, options[i].name, after);
    }
    for (size_t i = 0; d->flags != NULL && d->flags[i] != NULL; i++) {
        fprintf(out, "%s%s%s", before, d->flags[i], after);
    }
}

static void bash_completion(const daemon_description *d, FILE *out) {
    fprintf(
        out,
        "# bash completion for %s\n_%s() {\n    local word=${COMP_WORDS[COMP_CWORD]} "
        "before=${COMP_WORDS[COMP_CWORD - 1]}\n    case $before in\n"
        "    --config) mapfile -t COMPREPLY < <(compgen -f -- \"$word\") ;;\n"
        "    --log-level) mapfile -t COMPREPLY < <(compgen -W 'error warn info debug' -- "
        "\"$word\") ;;\n"
        "    --completion) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- \"$word\") ;;\n"
        "    *) mapfile -t COMPREPLY < <(compgen -W '",
        d->name, d->name);
    print_flags(d, out, "--", " ");
    fprintf(out, "' -- \"$word\") ;;\n    esac\n}\ncomplete -o filenames -F _%s %s\n", d->name,
            d->name);
}

static void zsh_completion(const daemon_description *d, FILE *out) {
    static const char *const zsh_values[] = {
        [NO_VALUE] = "",
        [A_FILE] = ":file:_files",
        [A_LEVEL] = ":level:(error warn info debug)",
        [A_SHELL] = ":shell:(bash zsh fish)",
    };
    fprintf(out, "#compdef %s\n_arguments \\\n", d->name);
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        fprintf(out, "    '--%s[%s]%s' \\\n", options[i].name, options[i].help,
                zsh_values[options[i].value]);
    }
    for (size_t i = 0; d->flags != NULL && d->flags[i] != NULL; i++) {
        fprintf(out, "    '--%s' \\\n", d->flags[i]);
    }
    fputs("    '*: :'\n", out);
}

static void fish_completion(const daemon_description *d, FILE *out) {
    static const char *const fish_values[] = {
        [NO_VALUE] = " -f",
        [A_FILE] = " -r",
        [A_LEVEL] = " -x -a 'error warn info debug'",
        [A_SHELL] = " -x -a 'bash zsh fish'",
    };
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        fprintf(out, "complete -c %s -l %s -d '%s'%s\n", d->name, options[i].name, options[i].help,
                fish_values[options[i].value]);
    }
    for (size_t i = 0; d->flags != NULL && d->flags[i] != NULL; i++) {
        fprintf(out, "complete -c %s -l %s -f\n", d->name, d->flags[i]);
    }
}

bool daemon_completion(const daemon_description *d, const char *shell, FILE *out) {
    static const struct {
        const char *shell;
        void (*print)(const daemon_description *d, FILE *out);
    } shells[] = {{"bash", bash_completion}, {"zsh", zsh_completion}, {"fish", fish_completion}};
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(shells[i].shell, shell) == 0) {
            shells[i].print(d, out);
            return true;
        }
    }
    return false;
}
