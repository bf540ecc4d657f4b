/* Private keys: the scalar stays in guarded memory, and is read into a libcrypto key for the time
 * of one signature. */
#include "crypto/ecdsa.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ecdsa_backend.h"
#include "crypto/ecdsa_external.h"
#include "crypto/random.h"
#include "x509/der.h"
#include "x509/pem.h"

/* Longest private key text or DER that is looked at. */
#define PRIVATE_MAX_DER 4096

/* OIDs of RFC 5480, section 2.1.1, as content octets. */
#define OID_EC_PUBLIC_KEY DER_OID_BYTES(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01)
#define OID_P256 DER_OID_BYTES(0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07)
#define OID_P384 DER_OID_BYTES(0x2b, 0x81, 0x04, 0x00, 0x22)

struct ecdsa_private {
    ecdsa_curve curve;
    dstack_secret *scalar;
    ecdsa_key *public_key;
    ecdsa_external_sign *sign; /* NULL: the scalar is here */
    void *user;
};

void ecdsa_private_free(ecdsa_private *key) {
    if (key != NULL) {
        dstack_secret_free(key->scalar);
        ecdsa_key_free(key->public_key);
        free(key);
    }
}

static int private_make(ecdsa_private **out, ecdsa_curve curve, dstack_secret **scalar,
                        dstack_error *err) {
    uint8_t point[ECDSA_MAX_POINT_SIZE];
    if (!ecdsa_scalar_in_range(curve, dstack_secret_peek(*scalar))) {
        return error_set(err, DSTACK_E_CRYPTO, "private scalar is zero or not below the order");
    }
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = calloc(1, sizeof *key);
    if (key == NULL || !ecdsa_libcrypto_point(curve, dstack_secret_peek(*scalar), point)) {
        return error_set(err, DSTACK_E_MEMORY, "cannot make a private key");
    }
    key->curve = curve;
    int rc = ecdsa_key_from_point(&key->public_key, curve,
                                  bytes_of(point, 2 * ecdsa_scalar_size(curve) + 1), err);
    if (rc == 0) {
        key->scalar = *scalar;
        *scalar = NULL;
        *out = key;
        key = NULL;
    }
    return rc;
}

int ecdsa_private_external(ecdsa_private **out, dstack_bytes spki, ecdsa_external_sign *sign,
                           void *user, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = calloc(1, sizeof *key);
    if (key == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "cannot make a private key");
    }
    int rc = ecdsa_key_from_spki(&key->public_key, spki, err);
    if (rc == 0) {
        key->curve = ecdsa_key_curve(key->public_key);
        key->sign = sign;
        key->user = user;
        *out = key;
        key = NULL;
    }
    return rc;
}

int ecdsa_private_generate(ecdsa_private **out, ecdsa_curve curve, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *scalar = dstack_secret_new(ecdsa_scalar_size(curve));
    if (scalar == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no guarded memory for a private key");
    }
    do { /* FIPS 186-5, A.2.2: rejection sampling; the odds of a second round are below 2^-32 */
        random_fill(dstack_secret_data(scalar), dstack_secret_len(scalar));
    } while (!ecdsa_scalar_in_range(curve, dstack_secret_peek(scalar)));
    return private_make(out, curve, &scalar, err);
}

int ecdsa_private_from_scalar(ecdsa_private **out, ecdsa_curve curve, dstack_bytes scalar,
                              dstack_error *err) {
    if (scalar.len != ecdsa_scalar_size(curve)) {
        return error_set(err, DSTACK_E_FORMAT, "private scalar: want %zu bytes, found %zu",
                         ecdsa_scalar_size(curve), scalar.len);
    }
    DSTACK_AUTO(secret) dstack_secret *copy = dstack_secret_copy(scalar.data, scalar.len);
    if (copy == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no guarded memory for a private key");
    }
    return private_make(out, curve, &copy, err);
}

static bool curve_from_oid(dstack_bytes oid, ecdsa_curve *curve) {
    *curve = bytes_equal(oid, OID_P384) ? ECDSA_P384 : ECDSA_P256;
    return bytes_equal(oid, OID_P256) || bytes_equal(oid, OID_P384);
}

/* ECPrivateKey of RFC 5915, section 3. curve_known: the curve stands outside (PKCS#8). */
static bool sec1_read(cursor *c, bool curve_known, ecdsa_curve *curve, dstack_bytes *scalar,
                      dstack_bytes *point) {
    ecdsa_curve named = ECDSA_P256;
    cursor wrapped, inner = der_enter(c, DER_SEQUENCE);
    bool sound = der_uint(&inner) == 1;
    *scalar = der_take(&inner, DER_OCTET_STRING);
    if (der_enter_optional(&inner, DER_CONTEXT_CONSTRUCTED(0), &wrapped)) {
        sound =
            sound && curve_from_oid(der_oid(&wrapped), &named) && (!curve_known || named == *curve);
        *curve = named;
        curve_known = true;
        der_leave(&inner, &wrapped);
    }
    if (der_enter_optional(&inner, DER_CONTEXT_CONSTRUCTED(1), &wrapped)) {
        *point = der_bit_string(&wrapped);
        der_leave(&inner, &wrapped);
    }
    der_leave(c, &inner);
    return sound && curve_known && cursor_ok(c);
}

/* PrivateKeyInfo of RFC 5958, section 2 (attributes and a second public key are skipped). */
static bool pkcs8_read(cursor *c, ecdsa_curve *curve, dstack_bytes *scalar, dstack_bytes *point) {
    cursor inner = der_enter(c, DER_SEQUENCE);
    uint64_t version = der_uint(&inner);
    cursor algorithm = der_enter(&inner, DER_SEQUENCE);
    bool sound = version <= 1 && bytes_equal(der_oid(&algorithm), OID_EC_PUBLIC_KEY) &&
                 curve_from_oid(der_oid(&algorithm), curve);
    der_leave(&inner, &algorithm);
    cursor wrapped = der_enter(&inner, DER_OCTET_STRING);
    sound = sound && sec1_read(&wrapped, true, curve, scalar, point);
    der_leave(&inner, &wrapped);
    while (cursor_left(&inner) > 0) {
        der_read(&inner);
    }
    der_leave(c, &inner);
    return sound && cursor_ok(c);
}

int ecdsa_private_from_der(ecdsa_private **out, dstack_bytes der, dstack_error *err) {
    ecdsa_curve curve = ECDSA_P256;
    dstack_bytes scalar = {0}, point = {0};
    cursor as_pkcs8 = cursor_init(der), as_sec1 = as_pkcs8;
    bool read = der.len <= PRIVATE_MAX_DER && pkcs8_read(&as_pkcs8, &curve, &scalar, &point) &&
                cursor_done(&as_pkcs8);
    if (!read) {
        point = (dstack_bytes){0};
        read = der.len <= PRIVATE_MAX_DER && sec1_read(&as_sec1, false, &curve, &scalar, &point) &&
               cursor_done(&as_sec1);
    }
    if (!read) {
        return error_set(err, DSTACK_E_FORMAT,
                         "not a PKCS#8 or SEC 1 private key on P-256 or P-384");
    }
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    int rc = ecdsa_private_from_scalar(&key, curve, scalar, err);
    if (rc == 0 && point.len > 0 && !bytes_equal(point, ecdsa_key_point(key->public_key))) {
        rc = error_set(err, DSTACK_E_CRYPTO, "private key carries a public key of another");
    }
    if (rc == 0) {
        *out = key;
        key = NULL;
    }
    return rc;
}

int ecdsa_private_from_pem(ecdsa_private **out, dstack_bytes pem, dstack_error *err) {
    pem_reader reader;
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = true;
    pem_reader_init(&reader, pem);
    while (found) {
        int rc = pem_next(&reader, &block, &found, err);
        if (rc != 0) {
            return rc;
        }
        if (found && (bytes_equal_str(block.label, "PRIVATE KEY") ||
                      bytes_equal_str(block.label, "EC PRIVATE KEY"))) {
            return ecdsa_private_from_der(out, bytes_of_buf(&block.der), err);
        }
    }
    return error_set(err, DSTACK_E_FORMAT, "PEM text holds no private key");
}

const ecdsa_key *ecdsa_private_public(const ecdsa_private *key) {
    return key->public_key;
}

dstack_bytes ecdsa_private_scalar(const ecdsa_private *key) {
    return key->scalar != NULL
               ? bytes_of(dstack_secret_peek(key->scalar), dstack_secret_len(key->scalar))
               : (dstack_bytes){0};
}

/* Appends PrivateKeyInfo { 0, { id-ecPublicKey, curve }, ECPrivateKey { 1, scalar, [1] point } }.
 */
static void pkcs8_put(const ecdsa_private *key, dstack_buf *out) {
    size_t outer = der_begin(out, DER_SEQUENCE);
    der_put_uint(out, 0);
    size_t algorithm = der_begin(out, DER_SEQUENCE);
    der_put_oid(out, OID_EC_PUBLIC_KEY);
    der_put_oid(out, key->curve == ECDSA_P256 ? OID_P256 : OID_P384);
    der_end(out, algorithm);
    size_t wrapped = der_begin(out, DER_OCTET_STRING);
    size_t inner = der_begin(out, DER_SEQUENCE);
    der_put_uint(out, 1);
    der_put(out, DER_OCTET_STRING, ecdsa_private_scalar(key));
    size_t public_key = der_begin(out, DER_CONTEXT_CONSTRUCTED(1));
    der_put_bit_string(out, ecdsa_key_point(key->public_key));
    der_end(out, public_key);
    der_end(out, inner);
    der_end(out, wrapped);
    der_end(out, outer);
}

static int secret_from_buf(const dstack_buf *buf, dstack_secret **out, dstack_error *err) {
    int rc = buf_check(buf, err);
    if (rc != 0) {
        return rc;
    }
    *out = dstack_secret_copy(buf->data, buf->len);
    return *out != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no guarded memory for a key");
}

static int check_here(const ecdsa_private *key, dstack_error *err) {
    return key->sign == NULL
               ? 0
               : error_set(err, DSTACK_E_UNSUPPORTED, "the key is not in this process");
}

int ecdsa_private_pkcs8(const ecdsa_private *key, dstack_secret **out, dstack_error *err) {
    if (check_here(key, err) != 0) {
        return DSTACK_E_UNSUPPORTED;
    }
    DSTACK_AUTO(wiped_buf) dstack_buf der = {0};
    buf_reserve(&der, 512);
    pkcs8_put(key, &der);
    return secret_from_buf(&der, out, err);
}

int ecdsa_private_pem(const ecdsa_private *key, dstack_secret **out, dstack_error *err) {
    if (check_here(key, err) != 0) {
        return DSTACK_E_UNSUPPORTED;
    }
    DSTACK_AUTO(wiped_buf) dstack_buf der = {0};
    DSTACK_AUTO(wiped_buf) dstack_buf text = {0};
    buf_reserve(&der, 512);
    buf_reserve(&text, 1024);
    pkcs8_put(key, &der);
    int rc = buf_check(&der, err);
    if (rc == 0) {
        rc = pem_append(&text, "PRIVATE KEY", bytes_of_buf(&der), err);
    }
    return rc != 0 ? rc : secret_from_buf(&text, out, err);
}

static int digest_check(dstack_bytes digest, dstack_error *err) {
    if (digest.len != 32 && digest.len != 48 && digest.len != 64) {
        return error_set(err, DSTACK_E_ARGUMENT, "digest of %zu bytes: want 32, 48 or 64",
                         digest.len);
    }
    return 0;
}

int ecdsa_sign_raw(const ecdsa_private *key, dstack_bytes digest, uint8_t *raw, dstack_error *err) {
    int rc = digest_check(digest, err);
    if (rc == 0 && key->sign != NULL) {
        DSTACK_AUTO(buf) dstack_buf der = {0};
        rc = key->sign(key->user, digest, &der, err);
        return rc != 0 ? rc : ecdsa_der_to_raw(key->curve, bytes_of_buf(&der), raw, err);
    }
    if (rc == 0 &&
        !ecdsa_libcrypto_sign(key->curve, dstack_secret_peek(key->scalar), digest, raw)) {
        rc = error_set(err, DSTACK_E_CRYPTO, "signing failed");
    }
    return rc;
}

int ecdsa_sign_der(const ecdsa_private *key, dstack_bytes digest, dstack_buf *out,
                   dstack_error *err) {
    uint8_t raw[ECDSA_MAX_RAW_SIZE];
    int rc = ecdsa_sign_raw(key, digest, raw, err);
    return rc != 0 ? rc
                   : ecdsa_raw_to_der(key->curve, bytes_of(raw, 2 * ecdsa_scalar_size(key->curve)),
                                      out, err);
}

int ecdsa_sign_deterministic(const ecdsa_private *key, dstack_bytes digest, uint8_t *raw,
                             dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    if (key->sign != NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "a key elsewhere does not sign so");
    }
    if (digest.len != ecdsa_scalar_size(key->curve)) {
        return error_set(err, DSTACK_E_ARGUMENT, "digest of %zu bytes: want %zu", digest.len,
                         ecdsa_scalar_size(key->curve));
    }
    if (!ecdsa_gnutls_sign_deterministic(key->curve, dstack_secret_peek(key->scalar),
                                         ecdsa_key_point(key->public_key).data, digest, &der)) {
        return error_set(err, DSTACK_E_CRYPTO, "deterministic signing failed");
    }
    return ecdsa_der_to_raw(key->curve, bytes_of_buf(&der), raw, err);
}
