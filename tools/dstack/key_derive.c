/* dstack key derive: every derivation and signature of keys, on given inputs. */
#include <ctype.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "key_input.h"

DSTACK_AUTO_DEFINE_CLEAR(app_key, dstack_app_key, dstack_app_key_clear)
DSTACK_AUTO_DEFINE_CLEAR(seed_keys, dstack_seed_keys, dstack_seed_keys_clear)

/* All --context options; buffers[i] owns what items[i] views. */
static int input_context(struct cli *cli, dstack_buf buffers[DSTACK_KEY_CONTEXT_MAX],
                         dstack_bytes items[DSTACK_KEY_CONTEXT_MAX], size_t *count,
                         dstack_error *err) {
    const char *value;
    int rc = 0;
    for (*count = 0; rc == 0 && (value = cli_value_at(cli, "context", *count)) != NULL; ++*count) {
        if (*count == DSTACK_KEY_CONTEXT_MAX) {
            return cli_usage(err, "more than %d --context", DSTACK_KEY_CONTEXT_MAX);
        }
        rc = key_input_value(value, &buffers[*count], err);
        items[*count] = bytes_of_buf(&buffers[*count]);
    }
    return rc;
}

static void put_secret(json_t *out, const char *name, const dstack_secret *secret) {
    key_put_hex(out, name, dstack_secret_peek(secret), dstack_secret_len(secret));
}

/* ---- schemes -------------------------------------------------------------------------------- */

typedef int (*primitive)(const dstack_secret *, const dstack_bytes *, size_t, dstack_secret **,
                         dstack_error *);

static int derive_bytes(const dstack_secret *ikm, const dstack_bytes *items, size_t count,
                        dstack_secret **out, dstack_error *err) {
    return dstack_key_derive(ikm, items, count, DSTACK_KEY_SIZE, out, err);
}

static int run_primitive(struct cli *cli, primitive derive, const char *name, json_t *out,
                         dstack_error *err) {
    dstack_buf buffers[DSTACK_KEY_CONTEXT_MAX] = {{0}};
    dstack_bytes items[DSTACK_KEY_CONTEXT_MAX];
    size_t count = 0;
    DSTACK_AUTO(secret) dstack_secret *ikm = NULL;
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    int rc = key_input_secret(cli, "ikm", &ikm, err);
    if (rc == 0) {
        rc = input_context(cli, buffers, items, &count, err);
    }
    if (rc == 0) {
        rc = derive(ikm, items, count, &key, err);
    }
    if (rc == 0) {
        put_secret(out, name, key);
    }
    for (size_t i = 0; i < DSTACK_KEY_CONTEXT_MAX; i++) {
        dstack_buf_clear(&buffers[i]);
    }
    return rc;
}

static int scheme_hkdf(struct cli *cli, json_t *out, dstack_error *err) {
    return run_primitive(cli, derive_bytes, "key", out, err);
}

static int scheme_p256(struct cli *cli, json_t *out, dstack_error *err) {
    return run_primitive(cli, dstack_key_derive_p256, "key", out, err);
}

static int scheme_dh(struct cli *cli, json_t *out, dstack_error *err) {
    return run_primitive(cli, dstack_key_derive_dh, "key", out, err);
}

/* What all schemes of the KMS start from. */
typedef struct kms_inputs {
    dstack_secret *root;
    dstack_buf app_id;
} kms_inputs;

static void kms_inputs_clear(kms_inputs *inputs) {
    dstack_secret_free(inputs->root);
    dstack_buf_clear(&inputs->app_id);
}
DSTACK_AUTO_DEFINE_CLEAR(kms_inputs, kms_inputs, kms_inputs_clear)

static int kms_inputs_read(struct cli *cli, kms_inputs *inputs, dstack_error *err) {
    int rc = key_input_secret(cli, "root", &inputs->root, err);
    return rc != 0 ? rc : key_input_bytes(cli, "app-id", true, &inputs->app_id, err);
}

static int scheme_app_ca(struct cli *cli, json_t *out, dstack_error *err) {
    DSTACK_AUTO(kms_inputs) kms_inputs in = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    int rc = kms_inputs_read(cli, &in, err);
    if (rc == 0) {
        rc = dstack_key_app_ca(in.root, bytes_of_buf(&in.app_id), &key, err);
    }
    if (rc == 0) {
        put_secret(out, "key", key);
    }
    return rc;
}

static int scheme_disk(struct cli *cli, json_t *out, dstack_error *err) {
    DSTACK_AUTO(kms_inputs) kms_inputs in = {0};
    DSTACK_AUTO(buf) dstack_buf instance = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    int rc = kms_inputs_read(cli, &in, err);
    if (rc == 0) {
        rc = key_input_bytes(cli, "instance-id", false, &instance, err);
    }
    if (rc == 0) {
        rc = dstack_key_app_disk(in.root, bytes_of_buf(&in.app_id), bytes_of_buf(&instance), &key,
                                 err);
    }
    if (rc == 0) {
        put_secret(out, "key", key);
    }
    return rc;
}

static int scheme_env(struct cli *cli, json_t *out, dstack_error *err) {
    uint8_t public_key[32];
    DSTACK_AUTO(kms_inputs) kms_inputs in = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    int rc = kms_inputs_read(cli, &in, err);
    if (rc == 0) {
        rc = dstack_key_app_env(in.root, bytes_of_buf(&in.app_id), &key, err);
    }
    if (rc == 0) {
        rc = dstack_key_x25519_public(key, public_key, err);
    }
    if (rc == 0) {
        put_secret(out, "key", key);
        key_put_hex(out, "public_key", public_key, sizeof public_key);
    }
    return rc;
}

static int scheme_k256(struct cli *cli, json_t *out, dstack_error *err) {
    uint8_t public_key[33], root_public[33], signature[65];
    DSTACK_AUTO(kms_inputs) kms_inputs in = {0};
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    int rc = kms_inputs_read(cli, &in, err);
    if (rc == 0) {
        rc = dstack_key_app_k256(in.root, bytes_of_buf(&in.app_id), &key, err);
    }
    if (rc == 0) {
        rc = dstack_key_k256_public(key, public_key, err);
    }
    if (rc == 0) {
        rc = dstack_key_k256_public(in.root, root_public, err);
    }
    if (rc == 0) {
        rc = dstack_key_sign_app(in.root, bytes_of_buf(&in.app_id), bytes_of(public_key, 33),
                                 signature, err);
    }
    if (rc == 0) {
        put_secret(out, "key", key);
        key_put_hex(out, "public_key", public_key, sizeof public_key);
        key_put_hex(out, "k256_signature", signature, sizeof signature);
        key_put_hex(out, "root_public_key", root_public, sizeof root_public);
    }
    return rc;
}

static int scheme_env_signature(struct cli *cli, json_t *out, dstack_error *err) {
    uint8_t legacy[65], stamped[65];
    int64_t timestamp = 0;
    DSTACK_AUTO(kms_inputs) kms_inputs in = {0};
    DSTACK_AUTO(buf) dstack_buf public_key = {0};
    int rc = kms_inputs_read(cli, &in, err);
    if (rc == 0) {
        rc = key_input_bytes(cli, "public-key", true, &public_key, err);
    }
    if (rc == 0) {
        rc = cli_int(cli, "timestamp", cli->now, 0, INT64_MAX, &timestamp, err);
    }
    if (rc == 0) {
        rc = dstack_key_sign_env_legacy(in.root, bytes_of_buf(&in.app_id),
                                        bytes_of_buf(&public_key), legacy, err);
    }
    if (rc == 0) {
        rc = dstack_key_sign_env(in.root, bytes_of_buf(&in.app_id), (uint64_t)timestamp,
                                 bytes_of_buf(&public_key), stamped, err);
    }
    if (rc == 0) {
        key_put_hex(out, "signature", legacy, sizeof legacy);
        key_put_hex(out, "signature_v1", stamped, sizeof stamped);
        json_object_set_new(out, "timestamp", json_integer(timestamp));
    }
    return rc;
}

static int scheme_seed(struct cli *cli, json_t *out, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *seed = NULL;
    DSTACK_AUTO(seed_keys) dstack_seed_keys keys = {0};
    int rc = key_input_secret(cli, "seed", &seed, err);
    if (rc == 0) {
        rc = dstack_seed_keys_derive(seed, &keys, err);
    }
    if (rc == 0) {
        put_secret(out, "app_root_key", keys.app_root);
        put_secret(out, "disk_crypt_key", keys.disk);
        put_secret(out, "k256_key", keys.k256);
    }
    return rc;
}

static void put_app_key(json_t *out, const dstack_app_key *key) {
    put_secret(out, "key", key->secret);
    key_put_hex(out, "public_key", key->public_key, key->public_key_len);
    key_put_hex(out, "signature", key->link, sizeof key->link);
}

static int scheme_get_key(struct cli *cli, json_t *out, dstack_error *err) {
    dstack_key_algorithm algorithm = DSTACK_KEY_SECP256K1;
    DSTACK_AUTO(secret) dstack_secret *app = NULL;
    DSTACK_AUTO(buf) dstack_buf path = {0};
    DSTACK_AUTO(buf) dstack_buf purpose = {0};
    DSTACK_AUTO(app_key) dstack_app_key key = {0};
    int rc = key_input_secret(cli, "app-key", &app, err);
    if (rc == 0) {
        rc = key_input_bytes(cli, "path", false, &path, err);
    }
    if (rc == 0) {
        rc = key_input_bytes(cli, "purpose", false, &purpose, err);
    }
    if (rc == 0) {
        rc = key_input_algorithm(cli, &algorithm, err);
    }
    if (rc == 0) {
        rc = dstack_app_key_derive(app, bytes_of_buf(&path), bytes_of_buf(&purpose), algorithm,
                                   &key, err);
    }
    if (rc == 0) {
        put_app_key(out, &key);
    }
    return rc;
}

static int scheme_get_key_v1(struct cli *cli, json_t *out, dstack_error *err) {
    dstack_key_algorithm algorithm = DSTACK_KEY_SECP256K1;
    DSTACK_AUTO(secret) dstack_secret *app = NULL;
    DSTACK_AUTO(buf) dstack_buf domain = {0};
    DSTACK_AUTO(app_key) dstack_app_key key = {0};
    int rc = key_input_secret(cli, "app-key", &app, err);
    if (rc == 0) {
        rc = key_input_bytes(cli, "domain", false, &domain, err);
    }
    if (rc == 0) {
        rc = key_input_algorithm(cli, &algorithm, err);
    }
    if (rc == 0) {
        rc = dstack_app_key_derive_v1(app, bytes_of_buf(&domain), algorithm, &key, err);
    }
    if (rc == 0) {
        put_app_key(out, &key);
    }
    return rc;
}

static const struct {
    const char *name;
    int (*run)(struct cli *cli, json_t *out, dstack_error *err);
} schemes[] = {
    {"hkdf", scheme_hkdf},
    {"p256", scheme_p256},
    {"dh", scheme_dh},
    {"app-ca-key", scheme_app_ca},
    {"disk-crypt-key", scheme_disk},
    {"env-crypt-key", scheme_env},
    {"k256-key", scheme_k256},
    {"env-signature", scheme_env_signature},
    {"seed", scheme_seed},
    {"get-key", scheme_get_key},
    {"get-key-v1", scheme_get_key_v1},
};

/* Scheme names are compared by their letters and digits alone, so that GetKey, get-key and
 * disk_crypt_key are all understood. */
static bool names_match(const char *a, const char *b) {
    for (;; a++, b++) {
        while (*a != 0 && !isalnum((unsigned char)*a)) {
            a++;
        }
        while (*b != 0 && !isalnum((unsigned char)*b)) {
            b++;
        }
        if (*a == 0 || *b == 0) {
            return *a == *b;
        }
        if (tolower((unsigned char)*a) != tolower((unsigned char)*b)) {
            return false;
        }
    }
}

static int derive_run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    (void)argc, (void)argv;
    const char *name = cli_value(cli, "scheme", NULL);
    DSTACK_AUTO(json) json_t *result = json_object();
    if (name == NULL) {
        return cli_usage(err, "--scheme is missing; see 'dstack help key derive'");
    }
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (names_match(name, schemes[i].name)) {
            int rc = schemes[i].run(cli, result, err);
            return rc != 0 ? rc : key_print(cli, result, err);
        }
    }
    return cli_usage(err, "unknown scheme '%s'; see 'dstack help key derive'", name);
}

static const struct cli_option derive_options[] = {
    {"scheme", 's', "NAME", "what to derive"},
    {"ikm", 0, "HEX", "input key (hkdf, p256, dh)"},
    {"context", 0, "HEX", "context item, may be repeated (hkdf, p256, dh)"},
    {"root", 0, "HEX", "root scalar of the KMS: P-256, or k256 for k256-key and env-signature"},
    {"app-id", 0, "HEX", "app id, 20 bytes"},
    {"instance-id", 0, "HEX", "instance id, 20 bytes or absent (disk-crypt-key)"},
    {"public-key", 0, "HEX", "environment public key, 32 bytes (env-signature)"},
    {"timestamp", 0, "UNIX", "time of the signature; default now (env-signature)"},
    {"seed", 0, "HEX", "seed of an app without a KMS"},
    {"app-key", 0, "HEX", "the app's k256 key (get-key, get-key-v1)"},
    {"path", 0, "HEX", "path (get-key)"},
    {"purpose", 0, "HEX", "purpose (get-key)"},
    {"domain", 0, "HEX", "domain (get-key-v1)"},
    {"algorithm", 0, "NAME", "secp256k1 (default) or ed25519"},
    {0},
};

const struct cli_command cli_command_key_derive = {
    .name = "derive",
    .summary = "Derive keys and signatures from given inputs",
    .usage = "--scheme NAME [inputs]",
    .help =
        "Schemes: hkdf, p256, dh (the primitives); app-ca-key, disk-crypt-key, env-crypt-key,\n"
        "k256-key, env-signature (a KMS); seed (an app without a KMS); get-key, get-key-v1 (the\n"
        "guest agent). Dashes, underscores and case do not matter.\n\n"
        "Inputs are hex; text:WORDS is the text itself, @FILE reads hex from a file (- is stdin).\n"
        "Give real secrets by file: arguments are visible to every process of the machine.",
    .options = derive_options,
    .run = derive_run,
};
