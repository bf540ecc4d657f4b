/* dstack: the command line. Commands live in cmd_*.c; commands.h lists them. */
#include <signal.h>
#include <string.h>

#include "base/auto.h"
#include "base/error.h"
#include "cli.h"
#include "config.h"

#define CLI_COMMAND(name) extern const struct cli_command cli_command_##name;
#include "commands.h"
#undef CLI_COMMAND

static const struct cli_command *const commands[] = {
#define CLI_COMMAND(name) &cli_command_##name,
#include "commands.h"
#undef CLI_COMMAND
    NULL,
};

static const struct cli_option root_options[] = {
    {"version", 'V', NULL, "print the version"},
    {NULL},
};

static int run_root(struct cli *cli, int argc, char **argv, dstack_error *err);

static const struct cli_command root = {
    .name = "dstack",
    .summary = "Run compose apps in confidential virtual machines and prove what runs there",
    .usage = "COMMAND [...]",
    .options = root_options,
    .max_args = -1,
    .children = commands,
    .run = run_root,
};

static int run_root(struct cli *cli, int argc, char **argv, dstack_error *err) {
    if (cli_has(cli, "version")) {
        if (cli->json) {
            DSTACK_AUTO(json)
            json_t *version = json_pack("{s:s, s:s}", "version", DSTACK_PROJECT_VERSION, "revision",
                                        DSTACK_REVISION);
            return cli_print_json(cli, version, err);
        }
        fprintf(cli->out, "dstack v%s (%s)\n", DSTACK_PROJECT_VERSION, DSTACK_REVISION);
        return 0;
    }
    if (argc > 0) {
        return cli_usage(err, "unknown command %s", argv[0]);
    }
    const struct cli_command *path[] = {&root};
    cli_help(cli->diag, path, 1);
    return cli_usage(err, "a command is needed");
}

static int run_help(struct cli *cli, int argc, char **argv, dstack_error *err) {
    if (cli_has(cli, "man")) {
        cli_man(cli->out, &root, DSTACK_PROJECT_VERSION);
        return 0;
    }
    const struct cli_command *path[8] = {&root};
    size_t depth = 1;
    for (int i = 0; i < argc && depth < 8; i++) {
        const struct cli_command *const *child = path[depth - 1]->children;
        while (child != NULL && *child != NULL && strcmp((*child)->name, argv[i]) != 0) {
            child++;
        }
        if (child == NULL || *child == NULL) {
            return cli_usage(err, "unknown command %s", argv[i]);
        }
        path[depth++] = *child;
    }
    cli_help(cli->out, path, depth);
    return 0;
}

static const struct cli_option help_options[] = {
    {"man", 0, NULL, "write the manual page of all commands"},
    {NULL},
};

const struct cli_command cli_command_help = {
    .name = "help",
    .summary = "Show how a command is used",
    .usage = "[COMMAND...]",
    .options = help_options,
    .max_args = 4,
    .run = run_help,
};

static int run_completion(struct cli *cli, int argc, char **argv, dstack_error *err) {
    return cli_completion(cli->out, &root, argv[0], err);
}

const struct cli_command cli_command_completion = {
    .name = "completion",
    .summary = "Print a completion script for a shell",
    .usage = "bash|zsh|fish",
    .help = "For bash: source <(dstack completion bash)",
    .min_args = 1,
    .max_args = 1,
    .run = run_completion,
};

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    return cli_main(&root, argc, argv, stdout, stderr);
}
