/* dstack chain: the contracts that say which code may have keys. */
#include "cmd_chain.h"

#include <sodium.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "chain_session.h"

/* ---- key -------------------------------------------------------------------------------------- */

static const struct cli_option key_options[] = {
    {"new", 0, NULL, "make the key; an existing file is never replaced"},
    {NULL},
};

static int make_key(const char *path, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *key = dstack_secret_new(K256_SECRET_SIZE);
    DSTACK_AUTO(wiped_buf) dstack_buf text = {0};
    if (key == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    do {
        randombytes_buf(dstack_secret_data(key), K256_SECRET_SIZE);
    } while (!k256_secret_valid(dstack_secret_peek(key)));
    buf_reserve(&text, 2 * K256_SECRET_SIZE + 2);
    buf_put_hex(&text, bytes_of(dstack_secret_peek(key), K256_SECRET_SIZE));
    buf_put_str(&text, "\n");
    int rc = buf_check(&text, err);
    return rc != 0 ? rc : file_write_new(path, bytes_of_buf(&text), 0600, err);
}

static int run_key(struct cli *cli, int argc, char **argv, dstack_error *err) {
    chain_address address;
    char text[CHAIN_ADDRESS_TEXT];
    int rc = cli_has(cli, "new") ? make_key(argv[0], err) : 0;
    DSTACK_AUTO(secret) dstack_secret *key = rc == 0 ? chain_key_read(argv[0], err) : NULL;
    if (rc == 0 && key == NULL) {
        rc = err != NULL && err->status != 0 ? (int)err->status : DSTACK_E_IO;
    }
    rc = rc != 0 ? rc : chain_key_address(dstack_secret_peek(key), &address, err);
    if (rc != 0) {
        return rc;
    }
    chain_address_text(&address, text);
    if (cli->json) {
        DSTACK_AUTO(json) json_t *out = json_pack("{s:s}", "address", text);
        return cli_print_json(cli, out, err);
    }
    cli_field(cli, "address", "%s", text);
    return 0;
}

static const struct cli_command command_key = {
    .name = "key",
    .summary = "Show the account of a private key, or make one",
    .usage = "FILE [--new]",
    .help = "The file holds 64 hex digits and is readable by its owner only (mode 0600).",
    .options = key_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_key,
};

static const struct cli_command *const children[] = {
    &chain_command_deploy,
    &chain_command_app,
    &chain_command_allow,
    &chain_command_revoke,
    &chain_command_set,
    &chain_command_status,
    &chain_command_history,
    &chain_command_owner,
    &chain_command_timelock,
    &command_key,
    NULL,
};

const struct cli_command cli_command_chain = {
    .name = "chain",
    .summary = "Contracts that say which code may have keys",
    .children = children,
    .max_args = -1,
};
