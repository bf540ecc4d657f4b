/* dstack image: the guest image, through the recipe in os/ of the source tree. */
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <dstack/measure.h>

#include "base/auto.h"
#include "base/error.h"
#include "cli.h"

#define RECIPE "os/build"
#define MAX_WORDS 32

extern char **environ;

static const struct cli_option build_options[] = {
    {"output", 'o', "DIR", "folder of the image (default: under the recipe's cache)"},
    {"name", 0, "NAME", "name of the image"},
    {"version", 0, "M.m.p", "version of the image (default: that of the source tree)"},
    {"sim-root", 0, "FILE|HEX", "simulated flavour, pinned to this simulation root"},
    {"agent", 0, "FILE", "take this dstack-agent instead of compiling the tree's"},
    {"dev", 0, NULL, "development flavour"},
    {"overlay", 0, "DIR", "development flavour: files laid over the root file system"},
    {"cache", 0, "DIR", "downloads, unpacked roots and work files"},
    {"mirror", 0, "URL", "Debian mirror"},
    {"jobs", 'j', "N", "parallel jobs"},
    {"source", 0, "DIR", "source tree with the recipe (default: the one this program lies in)"},
    {NULL},
};

static const struct cli_option verify_options[] = {
    {"cache", 0, "DIR", "downloads, unpacked roots and work files"},
    {"mirror", 0, "URL", "Debian mirror"},
    {"jobs", 'j', "N", "parallel jobs"},
    {"source", 0, "DIR", "source tree with the recipe (default: the one this program lies in)"},
    {NULL},
};

/* The recipe's path: in the tree that --source names, else in a folder above this program. */
static int recipe_find(struct cli *cli, char path[PATH_MAX], dstack_error *err) {
    char base[PATH_MAX] = "";
    const char *source = cli_value(cli, "source", NULL);
    if (source != NULL) {
        if (snprintf(path, PATH_MAX, "%s/" RECIPE, source) >= PATH_MAX) {
            return error_set(err, DSTACK_E_LIMIT, "--source is too long");
        }
        return access(path, X_OK) == 0
                   ? 0
                   : error_set(err, DSTACK_E_NOT_FOUND, "no image recipe " RECIPE " in %s", source);
    }
    const ssize_t len = readlink("/proc/self/exe", base, sizeof base - 1);
    base[len > 0 ? len : 0] = 0;
    for (char *slash = strrchr(base, '/'); slash != NULL; slash = strrchr(base, '/')) {
        *slash = 0;
        if (snprintf(path, PATH_MAX, "%s/" RECIPE, base) < PATH_MAX && access(path, X_OK) == 0) {
            return 0;
        }
    }
    return error_set(err, DSTACK_E_NOT_FOUND,
                     "no image recipe above this program: name the source tree with --source DIR");
}

/* Runs the recipe; what it prints are progress and diagnostics, so both go to standard error. */
static int recipe_run(char *const argv[], const char *what, dstack_error *err) {
    posix_spawn_file_actions_t actions;
    pid_t pid = -1;
    int status = 0;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
    const int rc = posix_spawn(&pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    if (rc != 0) {
        return error_set(err, DSTACK_E_IO, "%s: %s", argv[0], strerror(rc));
    }
    while (waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) {
            return error_set(err, DSTACK_E_IO, "cannot wait for %s: %s", argv[0], strerror(errno));
        }
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "%s: the recipe says above why", what);
    }
    return 0;
}

/* Passes every given option on under its own name. Words are borrowed; `names` holds "--name". */
static int recipe_words(struct cli *cli, char *words[MAX_WORDS], size_t count,
                        char names[MAX_WORDS][16], dstack_error *err) {
    for (size_t i = 0; i < cli->option_count; i++) {
        const struct cli_option *option = cli->options[i].option;
        bool passed = false;
        for (const struct cli_option *own = cli->command->options; own->name != NULL; own++) {
            passed |= own == option && strcmp(own->name, "source") != 0;
        }
        if (!passed) {
            continue;
        }
        if (count + 3 > MAX_WORDS) {
            return cli_usage(err, "too many options");
        }
        snprintf(names[count], sizeof names[count], "--%s", option->name);
        words[count] = names[count];
        count++;
        if (option->value != NULL) {
            words[count++] = (char *)cli->options[i].value;
        }
    }
    words[count] = NULL;
    return 0;
}

static int print_image(struct cli *cli, const char *dir, const char *digest, dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *object = json_pack("{s:s, s:s}", "image", dir, "os_image_hash", digest);
        return cli_print_json(cli, object, err);
    }
    cli_field(cli, "image", "%s", dir);
    cli_field(cli, "os_image_hash", "%s", digest);
    return 0;
}

static int run_build(struct cli *cli, int argc, char **argv, dstack_error *err) {
    char recipe[PATH_MAX];
    char names[MAX_WORDS][16];
    char digest[65];
    char *words[MAX_WORDS] = {recipe};
    const char *output = cli_value(cli, "output", NULL);
    if (output == NULL) {
        return cli_usage(err, "--output DIR is needed");
    }
    int rc;
    if ((rc = recipe_find(cli, recipe, err)) != 0 ||
        (rc = recipe_words(cli, words, 1, names, err)) != 0 ||
        (rc = recipe_run(words, "the image is not built", err)) != 0 ||
        (rc = dstack_measure_digest(output, digest, err)) != 0) {
        return rc;
    }
    return print_image(cli, output, digest, err);
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    char recipe[PATH_MAX];
    char names[MAX_WORDS][16];
    char digest[65];
    char *words[MAX_WORDS] = {recipe, "--verify", argv[0]};
    int rc;
    if ((rc = recipe_find(cli, recipe, err)) != 0 ||
        (rc = dstack_measure_digest(argv[0], digest, err)) != 0 ||
        (rc = recipe_words(cli, words, 3, names, err)) != 0 ||
        (rc = recipe_run(words, "the image is not what this source tree builds", err)) != 0) {
        return rc;
    }
    return print_image(cli, argv[0], digest, err);
}

static const struct cli_command build_command = {
    .name = "build",
    .summary = "Build the guest image from locked packages and this source tree",
    .usage = "--output DIR [--sim-root FILE|HEX] [...]",
    .help = "The same inputs give the same bytes on every machine. Packages are fetched from the\n"
            "Debian mirror of this machine exactly as os/packages.lock names them.",
    .options = build_options,
    .run = run_build,
};

static const struct cli_command verify_command = {
    .name = "verify",
    .summary = "Rebuild an image from this source tree and compare every byte",
    .usage = "DIR",
    .help = "Exit code 1 when a file differs; the rebuilt image is kept for comparison then.",
    .options = verify_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command *const image_commands[] = {&build_command, &verify_command, NULL};

const struct cli_command cli_command_image = {
    .name = "image",
    .summary = "Build the guest image, or prove that one is what the sources make",
    .usage = "build|verify [...]",
    .children = image_commands,
};
