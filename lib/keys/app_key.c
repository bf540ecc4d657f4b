/* Keys that an app asks its guest agent for, and the chains that lead from them to the KMS. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ed25519.h"
#include "crypto/k256.h"
#include "keys/keys.h"

const char *dstack_key_algorithm_name(dstack_key_algorithm algorithm) {
    return algorithm == DSTACK_KEY_ED25519 ? "ed25519" : "secp256k1";
}

void dstack_app_key_clear(dstack_app_key *key) {
    dstack_secret_free(key->secret);
    *key = (dstack_app_key){0};
}

DSTACK_AUTO_DEFINE_CLEAR(app_key, dstack_app_key, dstack_app_key_clear)

static int public_make(dstack_app_key *key, dstack_key_algorithm algorithm, dstack_error *err) {
    const uint8_t *secret = dstack_secret_peek(key->secret);
    if (algorithm == DSTACK_KEY_ED25519) {
        key->public_key_len = ED25519_PUBLIC_SIZE;
        return ed25519_public(secret, key->public_key, err);
    }
    key->public_key_len = K256_COMPRESSED_SIZE;
    int rc = k256_public(secret, key->public_key, err);
    return rc != 0 ? error_prefix(err, rc, "derived key is not a valid scalar") : 0;
}

static dstack_bytes public_view(const dstack_app_key *key) {
    return bytes_of(key->public_key, key->public_key_len);
}

/* ---- v0 ------------------------------------------------------------------------------------- */

/* The signed text of v0: purpose, a colon, the public key in lower-case hex. */
static int claim_v0(dstack_bytes purpose, dstack_bytes public_key, dstack_buf *out,
                    dstack_error *err) {
    buf_put_bytes(out, purpose);
    buf_put_u8(out, ':');
    buf_put_hex(out, public_key);
    return buf_check(out, err);
}

int dstack_app_key_derive(const dstack_secret *k256_key, dstack_bytes path, dstack_bytes purpose,
                          dstack_key_algorithm algorithm, dstack_app_key *out, dstack_error *err) {
    DSTACK_AUTO(app_key) dstack_app_key made = {0};
    DSTACK_AUTO(buf) dstack_buf claim = {0};
    int rc = keys_length_check(keys_view(k256_key), DSTACK_KEY_SIZE, "app key", err);
    if (rc == 0) {
        rc = dstack_key_derive(k256_key, &path, 1, DSTACK_KEY_SIZE, &made.secret, err);
    }
    if (rc == 0) {
        rc = public_make(&made, algorithm, err);
    }
    if (rc == 0) {
        rc = claim_v0(purpose, public_view(&made), &claim, err);
    }
    if (rc == 0) {
        dstack_bytes text = bytes_of_buf(&claim);
        rc = keys_sign(k256_key, &text, 1, made.link, err);
    }
    if (rc == 0) {
        *out = made;
        made = (dstack_app_key){0};
    }
    return rc;
}

/* ---- v1 ------------------------------------------------------------------------------------- */

/* An item behind its length in four bytes, big-endian. */
static int put_prefixed(dstack_buf *out, dstack_bytes item, dstack_error *err) {
    if (item.len > UINT32_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "item of %zu bytes is too long", item.len);
    }
    buf_put_u32be(out, (uint32_t)item.len);
    buf_put_bytes(out, item);
    return buf_check(out, err);
}

static int put_all_prefixed(dstack_buf *out, const dstack_bytes *items, size_t count,
                            dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = put_prefixed(out, items[i], err);
    }
    return rc;
}

static int claim_v1(dstack_bytes domain, dstack_key_algorithm algorithm, dstack_bytes public_key,
                    dstack_buf *out, dstack_error *err) {
    const dstack_bytes items[] = {
        bytes_of_str("dstack-guest-v1-key-claim"),
        bytes_of_str(dstack_key_algorithm_name(algorithm)),
        domain,
        public_key,
    };
    return put_all_prefixed(out, items, 4, err);
}

static int secret_v1(const dstack_secret *k256_key, dstack_bytes domain,
                     dstack_key_algorithm algorithm, dstack_secret **secret, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf info = {0};
    const dstack_bytes items[] = {
        bytes_of_str("dstack-guest-v1-key"),
        bytes_of_str(dstack_key_algorithm_name(algorithm)),
        domain,
    };
    int rc = put_all_prefixed(&info, items, 3, err);
    dstack_bytes view = bytes_of_buf(&info);
    return rc != 0 ? rc
                   : keys_hkdf(k256_key, "dstack-guest-v1", &view, 1, DSTACK_KEY_SIZE, secret, err);
}

int dstack_app_key_derive_v1(const dstack_secret *k256_key, dstack_bytes domain,
                             dstack_key_algorithm algorithm, dstack_app_key *out,
                             dstack_error *err) {
    DSTACK_AUTO(app_key) dstack_app_key made = {0};
    DSTACK_AUTO(buf) dstack_buf claim = {0};
    int rc = keys_length_check(keys_view(k256_key), DSTACK_KEY_SIZE, "app key", err);
    if (rc == 0 && !k256_secret_valid(dstack_secret_peek(k256_key))) {
        rc = error_set(err, DSTACK_E_CRYPTO,
                       "the app root k256 key is not a valid secp256k1 scalar");
    }
    if (rc == 0) {
        rc = secret_v1(k256_key, domain, algorithm, &made.secret, err);
    }
    if (rc == 0) {
        rc = public_make(&made, algorithm, err);
    }
    if (rc == 0) {
        rc = claim_v1(domain, algorithm, public_view(&made), &claim, err);
    }
    if (rc == 0) {
        dstack_bytes text = bytes_of_buf(&claim);
        rc = keys_sign(k256_key, &text, 1, made.link, err);
    }
    if (rc == 0) {
        *out = made;
        made = (dstack_app_key){0};
    }
    return rc;
}

/* ---- chains --------------------------------------------------------------------------------- */

/* From a signed claim to the KMS: who signed it is the app's key, which the KMS must have issued.
 */
static int chain_verify(dstack_bytes claim, dstack_bytes link, dstack_bytes issued,
                        dstack_bytes app_id, dstack_bytes kms_root, uint8_t app_public[33],
                        dstack_error *err) {
    uint8_t app[DSTACK_K256_PUBLIC_SIZE];
    uint8_t signer[DSTACK_K256_PUBLIC_SIZE];
    int rc = keys_length_check(kms_root, DSTACK_K256_PUBLIC_SIZE, "KMS root key", err);
    if (rc != 0) {
        return rc;
    }
    rc = keys_signer(&claim, 1, link, app, err);
    if (rc != 0) {
        return error_prefix(err, rc, "signature of the app key over the derived key");
    }
    rc = dstack_key_app_signer(app_id, bytes_of(app, sizeof app), issued, signer, err);
    if (rc != 0) {
        return error_prefix(err, rc, "signature of the KMS over the app key");
    }
    if (!bytes_equal(bytes_of(signer, sizeof signer), kms_root)) {
        return error_set(err, DSTACK_E_CRYPTO,
                         "the chain does not lead to the expected KMS root key");
    }
    if (app_public != NULL) {
        memcpy(app_public, app, sizeof app);
    }
    return 0;
}

int dstack_key_chain_verify(dstack_bytes public_key, dstack_bytes purpose, dstack_bytes link,
                            dstack_bytes issued, dstack_bytes app_id, dstack_bytes kms_root,
                            uint8_t app_public[33], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf claim = {0};
    if (public_key.len != K256_COMPRESSED_SIZE && public_key.len != ED25519_PUBLIC_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "public key has %zu bytes, not 33 or 32",
                         public_key.len);
    }
    int rc = claim_v0(purpose, public_key, &claim, err);
    return rc != 0 ? rc
                   : chain_verify(bytes_of_buf(&claim), link, issued, app_id, kms_root, app_public,
                                  err);
}

int dstack_key_chain_verify_v1(dstack_bytes public_key, dstack_bytes domain,
                               dstack_key_algorithm algorithm, dstack_bytes link,
                               dstack_bytes issued, dstack_bytes app_id, dstack_bytes kms_root,
                               uint8_t app_public[33], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf claim = {0};
    size_t want = algorithm == DSTACK_KEY_ED25519 ? ED25519_PUBLIC_SIZE : K256_COMPRESSED_SIZE;
    int rc = keys_length_check(public_key, want, "public key", err);
    if (rc == 0) {
        rc = claim_v1(domain, algorithm, public_key, &claim, err);
    }
    return rc != 0 ? rc
                   : chain_verify(bytes_of_buf(&claim), link, issued, app_id, kms_root, app_public,
                                  err);
}
