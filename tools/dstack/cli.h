/* The frame of the dstack command line.
 *
 * A command is one table entry; the parser, `dstack help`, shell completion and the tests all read
 * the same table. To add `dstack frob`: write cmd_frob.c, which defines `cli_command_frob`, add it
 * to meson.build, and add one line to commands.h. */
#ifndef DSTACK_CLI_H
#define DSTACK_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <jansson.h>

struct cli;

/* One option of a command. Tables end with an entry whose name is NULL. */
struct cli_option {
    const char *name; /* long name without dashes */
    char letter;      /* short form, 0 for none */
    const char
        *value;       /* what the value is called in the help ("FILE"); NULL: a flag; "[BOOL]": true
                          or false, and true when left out */
    const char *help; /* one line */
};

/* One command or subcommand. */
struct cli_command {
    const char *name;
    const char *summary;              /* one line, no full stop */
    const char *usage;                /* what follows the name: "QUOTE --collateral FILE [...]" */
    const char *help;                 /* paragraphs after the usage; may be NULL */
    const struct cli_option *options; /* own options; may be NULL */
    int min_args, max_args;           /* positional arguments; max -1: no limit */
    const struct cli_command *const *children; /* NULL-ended subcommands; then run is NULL */
    /* Does the work: 0, or a negative dstack_status with err set. argv holds the positional
     * arguments only. Results go to stdout through the functions below. */
    int (*run)(struct cli *cli, int argc, char **argv, dstack_error *err);
};

/* How many option occurrences one call may carry. */
#define CLI_MAX_OPTIONS 128

/* State of one invocation, filled by the frame before run is called. */
struct cli {
    const struct cli_command *command;
    bool json;   /* --json: one document on stdout */
    bool colour; /* stdout is a terminal and NO_COLOR is unset */
    bool tty;    /* stderr is a terminal: progress may be drawn there */
    int64_t now; /* --now, or the clock */
    bool now_given;
    FILE *out;      /* where results go */
    FILE *diag;     /* where diagnostics and progress go */
    json_t *detail; /* members added beside "error" in JSON, see cli_detail */
    bool printed;   /* a JSON document has been printed */
    size_t option_count;
    struct {
        const struct cli_option *option;
        const char *value;
    } options[CLI_MAX_OPTIONS];
    int arg_count;
    char **args;
};

/* ---- options ---- */
/* Whether a flag (or an option with a value) was given. */
bool cli_has(const struct cli *cli, const char *name);
/* The last value given, or fallback. */
const char *cli_value(const struct cli *cli, const char *name, const char *fallback);
/* The index-th value of an option that may be repeated, or NULL after the last. */
const char *cli_value_at(const struct cli *cli, const char *name, size_t index);
/* A whole number in [min, max] (decimal or 0x hex); fallback when not given. */
int cli_int(const struct cli *cli, const char *name, int64_t fallback, int64_t min, int64_t max,
            int64_t *out, dstack_error *err);
/* A size: a number with an optional K, M, G or T (1024-based, any case). The plain number counts in
 * units of `unit` bytes. */
int cli_size(const struct cli *cli, const char *name, uint64_t fallback, uint64_t unit,
             uint64_t *out, dstack_error *err);
/* Hex of exactly `len` bytes; *given says whether the option was there (may be NULL). */
int cli_hex_fixed(const struct cli *cli, const char *name, uint8_t *out, size_t len, bool *given,
                  dstack_error *err);
/* Hex of any length appended to out. */
int cli_hex(const struct cli *cli, const char *name, dstack_buf *out, dstack_error *err);
/* A usage error: DSTACK_E_ARGUMENT, exit 2. */
int cli_usage(dstack_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- input ---- */
/* Appends a file's bytes ("-" is stdin). */
int cli_read(const char *path, size_t limit, dstack_buf *out, dstack_error *err);
/* The same, decoded when the content is hex or base64 text; looks_binary as in base/hex.h. */
int cli_read_any(const char *path, size_t limit, bool (*looks_binary)(dstack_bytes),
                 dstack_buf *out, dstack_error *err);
/* A JSON document from a file or stdin; NULL on failure. */
json_t *cli_read_json(const char *path, size_t limit, dstack_error *err);
/* JSON given either inline (first character '{' or '[') or as a file name; NULL on failure. */
json_t *cli_json_or_file(const char *text, size_t limit, dstack_error *err);

/* ---- output ---- */
/* Prints the one JSON document of a --json call. Does not take the reference. */
int cli_print_json(struct cli *cli, const json_t *value, dstack_error *err);
/* Adds a member beside "error" in the JSON of a call that is about to fail, for example the report
 * of a refused verification. Takes the reference. */
void cli_detail(struct cli *cli, const char *key, json_t *value);
/* "key           text" with the texts aligned. */
void cli_field(struct cli *cli, const char *key, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A heading above fields. */
void cli_heading(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints every member of a JSON object as fields, nested objects indented. */
void cli_print_object(struct cli *cli, const json_t *object);
/* A line for people on stderr ("warning: ..." and the like); control characters are escaped. */
void cli_note(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

enum cli_mark { CLI_MARK_NONE, CLI_MARK_OK, CLI_MARK_WARN, CLI_MARK_BAD };
/* One node of a tree: its depth below the root (0), a mark, a title, and text in further lines. */
struct cli_node {
    int depth;
    enum cli_mark mark;
    const char *title;
    const char *text; /* lines separated by \n, printed dimmed below the title; may be NULL */
};
void cli_print_tree(struct cli *cli, const struct cli_node *nodes, size_t count);
/* A table: `rows` of `columns` cells, row by row; the first row is the heading. */
void cli_print_table(struct cli *cli, const char *const *cells, size_t columns, size_t rows);

/* ---- frame (used by main.c and the tests) ---- */
/* Runs a whole command line against a table: parses, dispatches, prints errors. Returns the exit
 * code: 0 done, 1 refused or failed check, 2 usage, 3 environment. */
int cli_main(const struct cli_command *root, int argc, char **argv, FILE *out, FILE *diag);
/* The exit code of a status. */
int cli_exit_code(int status);
/* Options every command has: --json, --now, --help. */
extern const struct cli_option cli_common_options[];
/* Text of the help of a command found by its path. */
void cli_help(FILE *out, const struct cli_command *const *path, size_t depth);
/* Writes the manual page of the whole tree. */
void cli_man(FILE *out, const struct cli_command *root, const char *version);
/* Prints the completion script of a shell: bash, zsh or fish. */
int cli_completion(FILE *out, const struct cli_command *root, const char *shell, dstack_error *err);

#endif
