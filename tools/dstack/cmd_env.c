/* dstack env encrypt|verify-key */
#include <string.h>

#include <dstack/envelope.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"

DSTACK_AUTO_DEFINE(env, dstack_env, dstack_env_free)

/* The file holds secrets: it is wiped from memory in every case. */
static int read_env(const char *path, dstack_env **out, dstack_error *err) {
    dstack_buf text = {0};
    buf_reserve(&text, DSTACK_ENV_TOTAL_MAX + 1);
    int rc = cli_read(path, DSTACK_ENV_TOTAL_MAX, &text, err);
    if (rc == 0) {
        rc = dstack_env_parse_file(bytes_of_buf(&text), out, err);
    }
    buf_wipe(&text);
    return rc;
}

static int read_key(struct cli *cli, uint8_t key[32], dstack_error *err) {
    const char *text = cli_value(cli, "key", NULL);
    if (text == NULL) {
        return cli_usage(err, "--key HEX is needed");
    }
    if (strncmp(text, "0x", 2) == 0) {
        text += 2;
    }
    return hex_decode_fixed(text, key, 32, err) == 0
               ? 0
               : cli_usage(err, "--key must be 32 bytes of hex: an X25519 public key");
}

static int run_encrypt(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(env) dstack_env *env = NULL;
    DSTACK_AUTO(buf) dstack_buf blob = {0};
    uint8_t key[32];
    int rc = read_key(cli, key, err);
    if (rc == 0) {
        rc = read_env(argv[0], &env, err);
    }
    if (rc == 0) {
        rc = dstack_env_encrypt(env, bytes_of(key, sizeof key), &blob, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (cli->json) {
        json_t *keys = json_array();
        for (size_t i = 0; i < dstack_env_count(env); i++) {
            json_array_append_new(keys, json_string(dstack_env_key(env, i)));
        }
        DSTACK_AUTO(json)
        json_t *object =
            json_pack("{s:o, s:o}", "encrypted_env", json_hex(bytes_of_buf(&blob)), "keys", keys);
        return cli_print_json(cli, object, err);
    }
    const char *output = cli_value(cli, "output", NULL);
    if (output != NULL) {
        return file_write_atomic(output, bytes_of_buf(&blob), 0600, err);
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_hex(&text, bytes_of_buf(&blob));
    fprintf(cli->out, "%s\n", buf_text(&text));
    return 0;
}

static int compare_signer(struct cli *cli, const uint8_t signer[33], dstack_error *err) {
    uint8_t trusted[33];
    bool given = false;
    int rc = cli_hex_fixed(cli, "signer", trusted, sizeof trusted, &given, err);
    if (rc == 0 && given && memcmp(trusted, signer, sizeof trusted) != 0) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        buf_put_hex(&text, bytes_of(signer, 33));
        rc = error_set(err, DSTACK_E_REFUSED, "the key is signed by %s, not by the given signer",
                       buf_text(&text));
    }
    return rc;
}

static int find_signer(struct cli *cli, uint8_t signer[33], dstack_error *err) {
    uint8_t key[32], app_id[20], signature[65];
    int64_t timestamp = 0;
    bool app_given = false, signature_given = false;
    int rc = read_key(cli, key, err);
    if (rc == 0) {
        rc = cli_hex_fixed(cli, "app-id", app_id, sizeof app_id, &app_given, err);
    }
    if (rc == 0) {
        rc = cli_hex_fixed(cli, "signature", signature, sizeof signature, &signature_given, err);
    }
    if (rc == 0 && !(app_given && signature_given)) {
        rc = cli_usage(err, "--app-id and --signature are needed");
    }
    if (rc == 0) {
        rc = cli_int(cli, "timestamp", 0, 0, INT64_MAX, &timestamp, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (!cli_has(cli, "timestamp")) {
        return dstack_env_key_signer_legacy(bytes_of(key, 32), bytes_of(signature, 65),
                                            bytes_of(app_id, 20), signer, err);
    }
    return dstack_env_key_signer(bytes_of(key, 32), bytes_of(signature, 65), bytes_of(app_id, 20),
                                 (uint64_t)timestamp, cli->now, signer, err);
}

static int run_verify_key(struct cli *cli, int argc, char **argv, dstack_error *err) {
    uint8_t signer[33];
    int rc = find_signer(cli, signer, err);
    if (rc == 0) {
        rc = compare_signer(cli, signer, err);
    }
    if (rc != 0) {
        return rc;
    }
    bool trusted = cli_has(cli, "signer");
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *object = json_pack("{s:o, s:b, s:b}", "signer", json_hex(bytes_of(signer, 33)),
                                   "trusted", trusted, "fresh", cli_has(cli, "timestamp"));
        return cli_print_json(cli, object, err);
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_hex(&text, bytes_of(signer, 33));
    cli_field(cli, "signer", "%s%s", buf_text(&text),
              trusted ? "  (the given one)" : "  (compare it with the KMS root key you trust)");
    if (!cli_has(cli, "timestamp")) {
        cli_note(cli, "warning: without --timestamp the signature proves no freshness");
    }
    return 0;
}

static const struct cli_option encrypt_options[] = {
    {"key", 'k', "HEX", "X25519 public key of the app, 32 bytes (needed)"},
    {"output", 'o', "FILE", "write the binary blob there instead of hex to stdout"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command env_encrypt = {
    .name = "encrypt",
    .summary = "Encrypt environment variables for an app",
    .usage = "--key HEX FILE",
    .help = "FILE holds KEY=VALUE lines; values are taken byte for byte. Verify the key first.",
    .options = encrypt_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_encrypt,
};

static const struct cli_option verify_key_options[] = {
    {"key", 'k', "HEX", "X25519 public key, 32 bytes (needed)"},
    {"app-id", 0, "HEX", "app that the key is for, 20 bytes (needed)"},
    {"signature", 0, "HEX", "signature by the KMS, 65 bytes (needed)"},
    {"timestamp", 0, "UNIX", "time in the signature; without it the older form is checked"},
    {"signer", 0, "HEX", "refuse unless this key signed: 33-byte compressed secp256k1 point"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command env_verify_key = {
    .name = "verify-key",
    .summary = "Find who vouches for an encryption key",
    .usage = "--key HEX --app-id HEX --signature HEX [--timestamp UNIX] [--signer HEX]",
    .options = verify_key_options,
    .max_args = 0,
    .run = run_verify_key,
};

static const struct cli_command *const env_children[] = {&env_encrypt, &env_verify_key, NULL};

const struct cli_command cli_command_env = {
    .name = "env",
    .summary = "Encrypted environment variables",
    .children = env_children,
};
