/* dstack measure: what an image must measure to. */
#include <dstack/measure.h>

#include "base/auto.h"
#include "base/json.h"
#include "cli.h"
#include "cmd_measure.h"
#include "cmd_measure_snp.h"

static int print_digest(struct cli *cli, const char *digest, dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(json) json_t *object = json_pack("{s:s}", "os_image_hash", digest);
        return cli_print_json(cli, object, err);
    }
    fprintf(cli->out, "%s\n", digest);
    return 0;
}

static int run_digest(struct cli *cli, int argc, char **argv, dstack_error *err) {
    char digest[65];
    const int rc = dstack_measure_digest(argv[0], digest, err);
    return rc != 0 ? rc : print_digest(cli, digest, err);
}

static int run_write(struct cli *cli, int argc, char **argv, dstack_error *err) {
    char digest[65];
    const int rc = dstack_measure_write(argv[0], digest, err);
    return rc != 0 ? rc : print_digest(cli, digest, err);
}

static const struct cli_command command_digest = {
    .name = "digest",
    .summary = "Print the identity of an image: SHA-256 of its sha256sum.txt",
    .usage = "DIR",
    .min_args = 1,
    .max_args = 1,
    .run = run_digest,
};

static const struct cli_command command_write = {
    .name = "write",
    .summary = "Write measurement document, checksum file and digest into an image folder",
    .usage = "DIR",
    .min_args = 1,
    .max_args = 1,
    .run = run_write,
};

static const struct cli_command *const children[] = {&cli_command_measure_tdx,
                                                     &cli_command_measure_snp,
                                                     &cli_command_measure_acpi,
                                                     &cli_command_measure_uki,
                                                     &command_digest,
                                                     &command_write,
                                                     NULL};

const struct cli_command cli_command_measure = {
    .name = "measure",
    .summary = "Predict what an image measures to",
    .children = children,
};
