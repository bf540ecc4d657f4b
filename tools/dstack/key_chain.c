/* dstack key verify-chain: from a derived key, or a signature of it, up to the KMS's root key.
 *
 * The parts come one by one in options, or together as the agent answered them (--answer). */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "key_input.h"

#define ANSWER_MAX ((size_t)256 << 10)
#define SIGN_LINKS 3
#define KEY_LINKS 2

typedef enum chain_kind { CHAIN_V0, CHAIN_V1, CHAIN_SIGN } chain_kind;

typedef struct chain_inputs {
    chain_kind kind;
    dstack_buf public_key, purpose, domain, data, link, issued, signature, app_id, kms_root;
} chain_inputs;

static void chain_inputs_clear(chain_inputs *in) {
    dstack_buf *const all[] = {&in->public_key, &in->purpose, &in->domain,
                               &in->data,       &in->link,    &in->issued,
                               &in->signature,  &in->app_id,  &in->kms_root};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        dstack_buf_clear(all[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(chain_inputs, chain_inputs, chain_inputs_clear)

/* ---- the agent's answer --------------------------------------------------------------------- */

static int public_of_key(const dstack_buf *key, dstack_key_algorithm algorithm, dstack_buf *out,
                         dstack_error *err) {
    uint8_t public_key[33];
    DSTACK_AUTO(secret) dstack_secret *secret = dstack_secret_copy(key->data, key->len);
    if (secret == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "--answer has no key, so --public-key is needed");
    }
    bool ed25519 = algorithm == DSTACK_KEY_ED25519;
    int rc = ed25519 ? dstack_key_ed25519_public(secret, public_key, err)
                     : dstack_key_k256_public(secret, public_key, err);
    if (rc == 0) {
        buf_put_bytes(out, bytes_of(public_key, ed25519 ? 32 : 33));
    }
    return rc != 0 ? error_prefix(err, rc, "key of --answer") : 0;
}

/* The public key: as told, as answered (v1 and Sign), or that of the answered key (v0). Two that
 * are told must agree, or the verdict would be on another key than the caller thinks. */
static int answer_public_key(const json_t *answer, dstack_key_algorithm algorithm,
                             dstack_buf *public_key, dstack_error *err) {
    DSTACK_AUTO(wiped_buf) dstack_buf key = {0};
    DSTACK_AUTO(buf) dstack_buf found = {0};
    int rc = json_hex_or_empty(answer, "public_key", &found, err);
    if (rc == 0) {
        rc = json_hex_or_empty(answer, "key", &key, err);
    }
    if (rc == 0 && key.len == 0) {
        rc = json_hex_or_empty(answer, "k256_key", &key, err); /* the legacy socket's name */
    }
    if (rc == 0 && found.len == 0 && (key.len > 0 || public_key->len == 0)) {
        rc = public_of_key(&key, algorithm, &found, err);
    }
    if (rc != 0 || found.len == 0) {
        return rc;
    }
    if (public_key->len == 0) {
        buf_put_bytes(public_key, bytes_of_buf(&found));
        return buf_check(public_key, err);
    }
    return bytes_equal(bytes_of_buf(public_key), bytes_of_buf(&found))
               ? 0
               : error_set(err, DSTACK_E_CRYPTO, "--answer is about another key than --public-key");
}

static int answer_link(const json_t *text, dstack_buf *out, dstack_error *err) {
    if (!json_is_string(text)) {
        return error_set(err, DSTACK_E_FORMAT, "want hex, found no text");
    }
    return hex_decode(bytes_of(json_string_value(text), json_string_length(text)), out, err);
}

static int answer_chain(const json_t *answer, chain_inputs *in, dstack_error *err) {
    const char *name = json_object_get(answer, "signature_chain") != NULL ? "signature_chain"
                                                                          : "k256_signature_chain";
    json_t *chain = NULL;
    int rc = json_need_array(answer, name, &chain, err);
    if (rc != 0) {
        return rc;
    }
    size_t count = json_array_size(chain), want = in->kind == CHAIN_SIGN ? SIGN_LINKS : KEY_LINKS;
    if (count != want) {
        return error_set(err, DSTACK_E_FORMAT, "%s has %zu elements, not %zu%s", name, count, want,
                         count == SIGN_LINKS ? "; an answer of Sign needs --data" : "");
    }
    dstack_buf *const links[SIGN_LINKS] = {&in->signature, &in->link, &in->issued};
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = answer_link(json_array_get(chain, i), links[SIGN_LINKS - count + i], err);
        rc = rc != 0 ? error_prefix(err, rc, "%s[%zu]", name, i) : 0;
    }
    if (rc == 0 && in->issued.len == 0) {
        rc = error_set(err, DSTACK_E_CRYPTO,
                       "the chain ends without a KMS: the app's agent runs without one");
    }
    return rc;
}

static int answer_read(struct cli *cli, const char *path, chain_inputs *in,
                       dstack_key_algorithm algorithm, dstack_error *err) {
    DSTACK_AUTO(wiped_buf) dstack_buf text = {0};
    DSTACK_AUTO(json) json_t *answer = NULL;
    if (cli_has(cli, "link") || cli_has(cli, "issued") || cli_has(cli, "signature")) {
        return cli_usage(err, "--answer holds the chain: --link, --issued and --signature are not "
                              "for use with it");
    }
    int rc = cli_read(path, ANSWER_MAX, &text, err);
    if (rc == 0) {
        answer = json_parse(bytes_of_buf(&text), ANSWER_MAX, "--answer", err);
        rc = answer == NULL ? DSTACK_E_FORMAT : 0;
    }
    if (rc == 0) {
        rc = answer_chain(answer, in, err);
    }
    return rc == 0 ? answer_public_key(answer, algorithm, &in->public_key, err) : rc;
}

/* ---- the command ---------------------------------------------------------------------------- */

static int options_read(struct cli *cli, chain_inputs *in, dstack_error *err) {
    bool parts = !cli_has(cli, "answer");
    const struct {
        const char *name;
        bool required;
        dstack_buf *out;
    } inputs[] = {
        {"public-key", parts, &in->public_key},
        {"purpose", false, &in->purpose},
        {"domain", false, &in->domain},
        {"data", false, &in->data},
        {"signature", parts && in->kind == CHAIN_SIGN, &in->signature},
        {"link", parts, &in->link},
        {"issued", parts, &in->issued},
        {"app-id", true, &in->app_id},
        {"kms-root", true, &in->kms_root},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof inputs / sizeof inputs[0]; i++) {
        rc = key_input_bytes(cli, inputs[i].name, inputs[i].required, inputs[i].out, err);
    }
    return rc;
}

static int kind_read(struct cli *cli, chain_kind *out, dstack_error *err) {
    static const char *const names[] = {"purpose", "domain", "data"};
    int found = 0;
    for (int i = 0; i < 3; i++) {
        if (cli_has(cli, names[i])) {
            *out = (chain_kind)i;
            found++;
        }
    }
    return found == 1 ? 0
                      : cli_usage(err, "want one of --purpose (GetKey of v0), --domain (GetKey of "
                                       "v1) and --data (Sign)");
}

static int algorithms_read(struct cli *cli, chain_kind kind, dstack_key_algorithm *key,
                           dstack_sign_algorithm *sign, dstack_error *err) {
    if (kind != CHAIN_SIGN) {
        return key_input_algorithm(cli, key, err);
    }
    int rc = dstack_sign_algorithm_parse(cli_value(cli, "algorithm", "secp256k1"), sign, err);
    *key = *sign == DSTACK_SIGN_ED25519 ? DSTACK_KEY_ED25519 : DSTACK_KEY_SECP256K1;
    return rc != 0 ? error_prefix(err, rc, "--algorithm") : 0;
}

static int chain_check(const chain_inputs *in, dstack_key_algorithm key, dstack_sign_algorithm sign,
                       uint8_t app[33], dstack_error *err) {
    dstack_bytes public_key = bytes_of_buf(&in->public_key), app_id = bytes_of_buf(&in->app_id),
                 kms_root = bytes_of_buf(&in->kms_root);
    const dstack_bytes chain[SIGN_LINKS] = {bytes_of_buf(&in->signature), bytes_of_buf(&in->link),
                                            bytes_of_buf(&in->issued)};
    switch (in->kind) {
    case CHAIN_V1:
        return dstack_key_chain_verify_v1(public_key, bytes_of_buf(&in->domain), key, chain[1],
                                          chain[2], app_id, kms_root, app, err);
    case CHAIN_SIGN:
        return dstack_sign_chain_verify(public_key, sign, bytes_of_buf(&in->data), chain, app_id,
                                        kms_root, app, err);
    default:
        return dstack_key_chain_verify(public_key, bytes_of_buf(&in->purpose), chain[1], chain[2],
                                       app_id, kms_root, app, err);
    }
}

static int chain_run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    (void)argc, (void)argv;
    uint8_t app[33];
    dstack_key_algorithm algorithm = DSTACK_KEY_SECP256K1;
    dstack_sign_algorithm sign = DSTACK_SIGN_SECP256K1;
    const char *answer = cli_value(cli, "answer", NULL);
    DSTACK_AUTO(chain_inputs) chain_inputs in = {0};
    DSTACK_AUTO(json) json_t *result = json_object();
    int rc = kind_read(cli, &in.kind, err);
    if (rc == 0) {
        rc = options_read(cli, &in, err);
    }
    if (rc == 0) {
        rc = algorithms_read(cli, in.kind, &algorithm, &sign, err);
    }
    if (rc == 0 && answer != NULL) {
        rc = answer_read(cli, answer, &in, algorithm, err);
    }
    if (rc == 0) {
        rc = chain_check(&in, algorithm, sign, app, err);
    }
    if (rc != 0) {
        return rc;
    }
    json_object_set_new(result, "valid", json_true());
    key_put_hex(result, "public_key", in.public_key.data, in.public_key.len);
    key_put_hex(result, "app_public_key", app, sizeof app);
    key_put_hex(result, "kms_root", in.kms_root.data, in.kms_root.len);
    return key_print(cli, result, err);
}

static const struct cli_option chain_options[] = {
    {"answer", 0, "FILE", "JSON that GetKey or Sign answered (- is stdin)"},
    {"public-key", 0, "HEX", "the derived public key, 33 or 32 bytes"},
    {"purpose", 0, "HEX", "purpose the key was asked for (GetKey of v0)"},
    {"domain", 0, "HEX", "domain the key was asked for (GetKey of v1)"},
    {"data", 0, "HEX", "data that was signed (Sign)"},
    {"algorithm", 0, "NAME", "secp256k1 (default), ed25519, or secp256k1_prehashed (Sign)"},
    {"signature", 0, "HEX", "the signature over the data, 64 bytes (Sign)"},
    {"link", 0, "HEX", "the app key's signature over the public key, 65 bytes"},
    {"issued", 0, "HEX", "the KMS's signature over the app key, 65 bytes"},
    {"app-id", 0, "HEX", "app id, 20 bytes"},
    {"kms-root", 0, "HEX", "root key of the KMS from a source you trust, 33 bytes"},
    {0},
};

const struct cli_command cli_command_key_verify_chain = {
    .name = "verify-chain",
    .summary = "Verify the signature chain from a derived key to the KMS",
    .usage = "(--purpose HEX | --domain HEX | --data HEX) --answer FILE --app-id HEX "
             "--kms-root HEX",
    .help = "Exit 0: the chain leads to the given root, and with --data the signature holds too.\n"
            "Inputs as for 'dstack key derive'. Without --answer the parts are given one by one:\n"
            "--public-key, --link, --issued and, for Sign, --signature.",
    .options = chain_options,
    .run = chain_run,
};
