/* Keys that the app derives: GetKey of both versions, Sign, Verify. */
#include <string.h>

#include <dstack/keys.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"
#include "crypto/k256.h"
#include "guest_v0.pb-c.h"
#include "guest_v1.pb-c.h"
#include "serve/agent.h"
#include "serve/guard.h"
#include "serve/key_cache.h"
#include "serve/quotes.h"

DSTACK_AUTO_DEFINE_CLEAR(app_key, dstack_app_key, dstack_app_key_clear)

/* What callers of Sign and GetAttestationForAppKey are served with. */
#define SIGN_PATH "vms"
#define SIGN_PURPOSE "signing"

static dstack_bytes view(const dstack_secret *secret) {
    return bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret));
}

static dstack_bytes view_of(ProtobufCBinaryData data) {
    return bytes_of(data.data, data.len);
}

static int v0_algorithm(const char *name, dstack_key_algorithm *out, dstack_error *err) {
    static const struct {
        const char *name;
        dstack_key_algorithm algorithm;
    } names[] = {
        {"", DSTACK_KEY_SECP256K1},
        {"secp256k1", DSTACK_KEY_SECP256K1},
        {"k256", DSTACK_KEY_SECP256K1},
        {"ed25519", DSTACK_KEY_ED25519},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].algorithm;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_ARGUMENT, "Unsupported algorithm");
}

static int v0_derive(agent *a, dstack_bytes path, dstack_bytes purpose, const char *algorithm,
                     dstack_app_key *out, dstack_error *err) {
    dstack_key_algorithm kind = DSTACK_KEY_SECP256K1;
    int rc = v0_algorithm(algorithm, &kind, err);
    return rc != 0 ? rc
                   : key_cache_get(a->kept_keys, a->keys.k256_key,
                                   &(key_question){0, kind, path, purpose}, out, err);
}

/* The key of Sign is the same in every call: derived at the first, kept until the agent ends. */
static int sign_key(agent *a, bool ed25519, const dstack_app_key **out, dstack_error *err) {
    pthread_mutex_lock(&a->sign_lock);
    dstack_app_key *kept = &a->sign_keys[ed25519];
    int rc = 0;
    if (kept->secret == NULL) {
        rc = v0_derive(a, bytes_of_str(SIGN_PATH), bytes_of_str(SIGN_PURPOSE),
                       ed25519 ? "ed25519" : "secp256k1", kept, err);
    }
    *out = kept;
    pthread_mutex_unlock(&a->sign_lock);
    return rc;
}

int v0_get_key(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    const DstackGuest__GetKeyArgs *args = (const void *)call->request;
    DstackGuest__GetKeyResponse *out = (void *)call->response;
    DSTACK_AUTO(app_key) dstack_app_key key = {0};
    int rc = guard_path(call, view_of(args->path), err);
    rc = rc != 0 ? rc
                 : v0_derive(a, view_of(args->path), view_of(args->purpose), args->algorithm, &key,
                             err);
    if (rc != 0) {
        return rc;
    }
    rpc_set_bytes(&out->key, view(key.secret));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain, bytes_of(key.link, 65));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain,
                  bytes_of_buf(&a->keys.k256_signature));
    return 0;
}

int tappd_derive_k256_key(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    const DstackGuest__GetKeyArgs *args = (const void *)call->request;
    DstackGuest__DeriveK256KeyResponse *out = (void *)call->response;
    DSTACK_AUTO(app_key) dstack_app_key key = {0};
    int rc = guard_path(call, view_of(args->path), err);
    rc = rc != 0 ? rc
                 : v0_derive(a, view_of(args->path), view_of(args->purpose), args->algorithm, &key,
                             err);
    if (rc != 0) {
        return rc;
    }
    rpc_set_bytes(&out->k256_key, view(key.secret));
    rpc_add_bytes(&out->n_k256_signature_chain, &out->k256_signature_chain, bytes_of(key.link, 65));
    rpc_add_bytes(&out->n_k256_signature_chain, &out->k256_signature_chain,
                  bytes_of_buf(&a->keys.k256_signature));
    return 0;
}

int v1_get_key(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    const Dstack__Guest__V1__GetKeyRequest *args = (const void *)call->request;
    Dstack__Guest__V1__GetKeyResponse *out = (void *)call->response;
    dstack_key_algorithm kind = DSTACK_KEY_SECP256K1;
    if (args->algorithm[0] == '\0') {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "algorithm is required, use `secp256k1` or `ed25519`");
    }
    if (strcmp(args->algorithm, "secp256k1") == 0) {
        kind = DSTACK_KEY_SECP256K1;
    } else if (strcmp(args->algorithm, "ed25519") == 0) {
        kind = DSTACK_KEY_ED25519;
    } else {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "unsupported algorithm `%.64s`, use `secp256k1` or `ed25519`",
                         args->algorithm);
    }
    DSTACK_AUTO(app_key) dstack_app_key key = {0};
    dstack_bytes domain = view_of(args->domain);
    int rc = guard_domain(call, domain, err);
    rc = rc != 0 ? rc
                 : key_cache_get(a->kept_keys, a->keys.k256_key,
                                 &(key_question){1, kind, domain, {0}}, &key, err);
    if (rc != 0) {
        return rc;
    }
    rpc_set_bytes(&out->key, view(key.secret));
    rpc_set_bytes(&out->public_key, bytes_of(key.public_key, key.public_key_len));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain, bytes_of(key.link, 65));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain,
                  bytes_of_buf(&a->keys.k256_signature));
    return 0;
}

/* ---- Sign and Verify -------------------------------------------------------------------------- */

typedef enum sign_kind { SIGN_ED25519, SIGN_K256, SIGN_K256_PREHASHED } sign_kind;

static int sign_kind_of(const char *name, sign_kind *out, dstack_error *err) {
    static const struct {
        const char *name;
        sign_kind kind;
    } names[] = {
        {"ed25519", SIGN_ED25519},
        {"secp256k1", SIGN_K256},
        {"k256", SIGN_K256},
        {"secp256k1_prehashed", SIGN_K256_PREHASHED},
    };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i].name) == 0) {
            *out = names[i].kind;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_ARGUMENT, "Unsupported algorithm");
}

static int sign_with(const dstack_app_key *key, sign_kind kind, dstack_bytes data,
                     uint8_t signature[64], dstack_error *err) {
    uint8_t digest[32];
    if (kind == SIGN_ED25519) {
        return ed25519_sign(dstack_secret_peek(key->secret), data, signature, err);
    }
    if (kind == SIGN_K256) {
        hash_sha256(data, digest);
    } else if (data.len == 32) {
        memcpy(digest, data.data, 32);
    } else {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "Pre-hashed signing requires a 32-byte digest, but received %zu bytes",
                         data.len);
    }
    return k256_sign(dstack_secret_peek(key->secret), digest, signature, err);
}

int v0_sign(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    const DstackGuest__SignRequest *args = (const void *)call->request;
    DstackGuest__SignResponse *out = (void *)call->response;
    const dstack_app_key *key = NULL;
    sign_kind kind = SIGN_K256;
    uint8_t signature[64];
    int rc;
    if ((rc = guard_right_of(call, GUARD_SIGN, err)) != 0 ||
        (rc = sign_kind_of(args->algorithm, &kind, err)) != 0 ||
        (rc = sign_key(a, kind == SIGN_ED25519, &key, err)) != 0 ||
        (rc = sign_with(key, kind, view_of(args->data), signature, err)) != 0) {
        return rc;
    }
    rpc_set_bytes(&out->signature, bytes_of(signature, 64));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain, bytes_of(signature, 64));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain, bytes_of(key->link, 65));
    rpc_add_bytes(&out->n_signature_chain, &out->signature_chain,
                  bytes_of_buf(&a->keys.k256_signature));
    rpc_set_bytes(&out->public_key, bytes_of(key->public_key, key->public_key_len));
    return 0;
}

/* The digest that the reference system takes from prehashed data of other lengths than 32. */
static bool prehashed_digest(dstack_bytes data, uint8_t digest[32]) {
    memset(digest, 0, 32);
    if (data.len < 16) {
        return false;
    }
    size_t len = data.len < 32 ? data.len : 32;
    memcpy(digest + 32 - len, data.data, len);
    return true;
}

int v0_verify(rpc_call *call, dstack_error *err) {
    const DstackGuest__VerifyRequest *args = (const void *)call->request;
    DstackGuest__VerifyResponse *out = (void *)call->response;
    sign_kind kind = SIGN_K256;
    int rc = sign_kind_of(args->algorithm, &kind, err);
    dstack_bytes key = view_of(args->public_key), signature = view_of(args->signature);
    if (rc != 0) {
        return rc;
    }
    if (kind == SIGN_ED25519) {
        if (key.len != 32) {
            return error_set(err, DSTACK_E_ARGUMENT, "invalid public key");
        }
        if (!ed25519_point_decodes(key.data)) {
            return error_set(err, DSTACK_E_ARGUMENT,
                             "signature error: Cannot decompress Edwards point");
        }
        if (signature.len != 64) {
            return error_set(err, DSTACK_E_ARGUMENT, "signature error");
        }
        /* The caller chose the key: what a key of odd order is good for is his business. */
        out->valid =
            ed25519_verify_lenient(key.data, view_of(args->data), signature.data, NULL) == 0;
        return 0;
    }
    uint8_t digest[32], compressed[K256_COMPRESSED_SIZE];
    if (k256_compress(key, compressed, NULL) != 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "signature error");
    }
    bool usable = true;
    if (kind == SIGN_K256) {
        hash_sha256(view_of(args->data), digest);
    } else {
        usable = prehashed_digest(view_of(args->data), digest);
    }
    rc = k256_verify(key, digest, signature, NULL);
    if (rc == DSTACK_E_FORMAT) {
        return error_set(err, DSTACK_E_ARGUMENT, "signature error");
    }
    out->valid = usable && rc == 0;
    return 0;
}

/* ---- the app key's own attestation ------------------------------------------------------------- */

int worker_attest_app_key(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    const DstackGuest__GetAttestationForAppKeyRequest *args = (const void *)call->request;
    DstackGuest__GetQuoteResponse *out = (void *)call->response;
    const dstack_app_key *key = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    sign_kind kind = SIGN_K256;
    int rc;
    if ((rc = sign_kind_of(args->algorithm, &kind, err)) != 0 ||
        (rc = sign_key(a, kind == SIGN_ED25519, &key, err)) != 0) {
        return rc;
    }
    /* Anybody may ask, and each answer holds the device for a while. */
    pthread_mutex_lock(&a->public_lock);
    bool granted = evidence_budget_take(a, clock_monotonic_ms());
    pthread_mutex_unlock(&a->public_lock);
    if (!granted) {
        call->http_status = 429;
        return error_set(err, DSTACK_E_LIMIT, "too many requests for evidence, ask again later");
    }
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    buf_put_str(&text, kind == SIGN_ED25519 ? "dip1::ed25519-pk:" : "dip1::secp256k1c-pk:");
    base64_encode(bytes_of(key->public_key, key->public_key_len), BASE64_URL_NOPAD, &text);
    if ((rc = buf_check(&text, err)) != 0 ||
        (rc = dstack_report_data_pad(bytes_of_buf(&text), report_data, err)) != 0) {
        return rc;
    }
    return quote_answer(a, report_data, out, err);
}
