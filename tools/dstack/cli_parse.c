/* From argv to a filled struct cli, and from its outcome to an exit code. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"

#define MAX_DEPTH 4

const struct cli_option cli_common_options[] = {
    {"json", 0, NULL, "print one JSON document on stdout"},
    {"now", 0, "UNIX", "use this time instead of the clock"},
    {"help", 'h', NULL, "show this help"},
    {NULL},
};

int cli_exit_code(int status) {
    switch (status) {
    case 0:
        return 0;
    case DSTACK_E_ARGUMENT:
        return 2;
    case DSTACK_E_NOT_FOUND:
    case DSTACK_E_IO:
    case DSTACK_E_NETWORK:
    case DSTACK_E_TIMEOUT:
    case DSTACK_E_MEMORY:
        return 3;
    default:
        return 1;
    }
}

int cli_usage(dstack_error *err, const char *fmt, ...) {
    char text[DSTACK_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return error_set(err, DSTACK_E_ARGUMENT, "%s", text);
}

static const struct cli_option *find_long(const struct cli_option *table, const char *name,
                                          size_t len) {
    for (; table != NULL && table->name != NULL; table++) {
        if (strlen(table->name) == len && memcmp(table->name, name, len) == 0) {
            return table;
        }
    }
    return NULL;
}

static const struct cli_option *find_letter(const struct cli_option *table, char letter) {
    for (; table != NULL && table->name != NULL; table++) {
        if (table->letter != 0 && table->letter == letter) {
            return table;
        }
    }
    return NULL;
}

static const struct cli_command *find_command(const struct cli_command *const *table,
                                              const char *name) {
    for (; table != NULL && *table != NULL; table++) {
        if (strcmp((*table)->name, name) == 0) {
            return *table;
        }
    }
    return NULL;
}

static int add_option(struct cli *cli, const struct cli_option *option, const char *value,
                      dstack_error *err) {
    if (cli->option_count == CLI_MAX_OPTIONS) {
        return cli_usage(err, "more than %d options", CLI_MAX_OPTIONS);
    }
    cli->options[cli->option_count].option = option;
    cli->options[cli->option_count].value = value;
    cli->option_count++;
    return 0;
}

/* One "--name", "--name=value", "--name value", "-n value" or "-nvalue" at argv[*i]. The value of a
 * switch ("[BOOL]") may be left out: true. */
static int parse_option(struct cli *cli, int argc, char **argv, int *i, dstack_error *err) {
    const char *text = argv[*i];
    const struct cli_option *own = cli->command->options;
    const struct cli_option *option;
    const char *attached = NULL;
    if (text[1] == '-') {
        const char *name = text + 2;
        size_t len = strcspn(name, "=");
        attached = name[len] == '=' ? name + len + 1 : NULL;
        option = find_long(own, name, len);
        option = option != NULL ? option : find_long(cli_common_options, name, len);
    } else {
        option = find_letter(own, text[1]);
        option = option != NULL ? option : find_letter(cli_common_options, text[1]);
        attached = text[2] != 0 ? text + 2 : NULL;
    }
    if (option == NULL) {
        return cli_usage(err, "unknown option %s", text);
    }
    if (option->value == NULL) {
        if (attached != NULL) {
            return cli_usage(err, "option --%s takes no value", option->name);
        }
        return add_option(cli, option, NULL, err);
    }
    if (attached == NULL && option->value[0] == '[') {
        const char *next = *i + 1 < argc ? argv[*i + 1] : "";
        const bool stated = strcmp(next, "true") == 0 || strcmp(next, "false") == 0;
        attached = stated ? argv[++*i] : "true";
    }
    if (attached == NULL) {
        if (*i + 1 >= argc) {
            return cli_usage(err, "option --%s needs a value (%s)", option->name, option->value);
        }
        attached = argv[++*i];
    }
    return add_option(cli, option, attached, err);
}

static int parse_arguments(struct cli *cli, int argc, char **argv, dstack_error *err) {
    bool options_end = false;
    for (int i = 0; i < argc; i++) {
        if (!options_end && strcmp(argv[i], "--") == 0) {
            options_end = true;
        } else if (!options_end && argv[i][0] == '-' && argv[i][1] != 0) {
            int rc = parse_option(cli, argc, argv, &i, err);
            if (rc != 0) {
                return rc;
            }
        } else {
            cli->args[cli->arg_count++] = argv[i];
        }
    }
    return 0;
}

static int apply_common(struct cli *cli, dstack_error *err) {
    cli->json = cli_has(cli, "json");
    cli->now_given = cli_has(cli, "now");
    cli->now = clock_unix();
    return cli_int(cli, "now", cli->now, 0, (int64_t)1 << 40, &cli->now, err);
}

static int check_argument_count(const struct cli *cli, dstack_error *err) {
    const struct cli_command *command = cli->command;
    if (cli->arg_count < command->min_args) {
        return cli_usage(err, "missing argument: %s %s", command->name,
                         command->usage != NULL ? command->usage : "");
    }
    if (command->max_args >= 0 && cli->arg_count > command->max_args) {
        return cli_usage(err, "unexpected argument %s", cli->args[command->max_args]);
    }
    return 0;
}

static void print_error(struct cli *cli, int status, const dstack_error *err) {
    const char *message = err->message[0] != 0 ? err->message : dstack_status_name(status);
    if (!cli->json) {
        fprintf(cli->diag, "%sdstack: %s%s\n", cli->colour ? "\033[31m" : "", message,
                cli->colour ? "\033[0m" : "");
        if (status == DSTACK_E_ARGUMENT) {
            fprintf(cli->diag, "Try `dstack help`.\n");
        }
        return;
    }
    if (cli->printed) {
        return;
    }
    DSTACK_AUTO(json) json_t *document = json_object();
    json_object_set_new(
        document, "error",
        json_pack("{s:s, s:s}", "check", dstack_status_name(status), "message", message));
    if (cli->detail != NULL) {
        json_object_update(document, cli->detail);
    }
    dstack_error ignored;
    cli_print_json(cli, document, &ignored);
}

/* Follows argv down the command tree; *used counts the words taken. */
static size_t descend(const struct cli_command *root, int argc, char **argv, int *used,
                      const struct cli_command **path) {
    size_t depth = 0;
    path[depth++] = root;
    *used = 1;
    while (depth < MAX_DEPTH && *used < argc && path[depth - 1]->children != NULL) {
        const struct cli_command *child = find_command(path[depth - 1]->children, argv[*used]);
        if (child == NULL) {
            break;
        }
        path[depth++] = child;
        ++*used;
    }
    return depth;
}

static int run_command(struct cli *cli, const struct cli_command *const *path, size_t depth,
                       int argc, char **argv, dstack_error *err) {
    int rc = parse_arguments(cli, argc, argv, err);
    if (rc == 0 && cli_has(cli, "help")) {
        cli_help(cli->out, path, depth);
        return 0;
    }
    if (rc == 0) {
        rc = apply_common(cli, err);
    } else {
        cli->json = cli->json || cli_has(cli, "json");
    }
    if (rc == 0 && cli->command->run == NULL) {
        rc = cli->arg_count > 0 ? cli_usage(err, "unknown command %s", cli->args[0])
                                : cli_usage(err, "%s needs a subcommand", cli->command->name);
    }
    if (rc == 0) {
        rc = check_argument_count(cli, err);
    }
    return rc != 0 ? rc : cli->command->run(cli, cli->arg_count, cli->args, err);
}

int cli_main(const struct cli_command *root, int argc, char **argv, FILE *out, FILE *diag) {
    struct cli cli = {.out = out, .diag = diag};
    cli.colour = isatty(fileno(out)) && getenv("NO_COLOR") == NULL;
    cli.tty = isatty(fileno(diag));
    const struct cli_command *path[MAX_DEPTH];
    int used = 1;
    size_t depth = descend(root, argc, argv, &used, path);
    cli.command = path[depth - 1];
    /* --json may stand after a mistake: the error still has to be JSON. */
    for (int i = used; i < argc && strcmp(argv[i], "--") != 0; i++) {
        cli.json = cli.json || strcmp(argv[i], "--json") == 0;
    }
    cli.args = calloc((size_t)argc + 1, sizeof *cli.args);
    dstack_error err = {0};
    int rc = cli.args == NULL ? error_set(&err, DSTACK_E_MEMORY, "no memory")
                              : run_command(&cli, path, depth, argc - used, argv + used, &err);
    if (rc == 0 && (fflush(out) != 0 || ferror(out))) {
        rc = error_set_errno(&err, DSTACK_E_IO, "writing the output");
    }
    if (rc != 0) {
        print_error(&cli, rc, &err);
    }
    fflush(out);
    free(cli.args);
    json_decref(cli.detail);
    return cli_exit_code(rc);
}
