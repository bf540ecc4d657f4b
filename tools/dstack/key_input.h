/* What the subcommands of `dstack key` read and print. */
#ifndef DSTACK_CLI_KEY_INPUT_H
#define DSTACK_CLI_KEY_INPUT_H

#include <dstack/keys.h>

#include "cli.h"

/* Bytes of an option's value: hex, or "text:..." for the text itself, or "@FILE" for a file that
 * holds hex (a secret on the command line can be seen by every process of the machine). */
int key_input_value(const char *value, dstack_buf *out, dstack_error *err);
/* The same of a named option; missing is a usage error when required, and nothing otherwise. */
int key_input_bytes(struct cli *cli, const char *name, bool required, dstack_buf *out,
                    dstack_error *err);
int key_input_secret(struct cli *cli, const char *name, dstack_secret **out, dstack_error *err);
/* --algorithm; default secp256k1. */
int key_input_algorithm(struct cli *cli, dstack_key_algorithm *out, dstack_error *err);

void key_put_hex(json_t *out, const char *name, const void *data, size_t len);
/* The document with --json, its members as fields without. */
int key_print(struct cli *cli, json_t *result, dstack_error *err);

extern const struct cli_command cli_command_key_derive;
extern const struct cli_command cli_command_key_verify_chain;

#endif
