/* Attestation results as JSON Web Tokens (RFC 7519, JWS compact form of RFC 7515, ES256). */
#include <dstack/ear.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/ecdsa.h"
#include "crypto/hash.h"
#include "crypto/jwk.h"

#define CLOCK_TOLERANCE 60
#define KEYS_MAX 64

struct dstack_ear_signer {
    ecdsa_private *key;
    char *kid; /* thumbprint of the key */
};

DSTACK_AUTO_DEFINE(signer, dstack_ear_signer, dstack_ear_signer_free)

void dstack_ear_signer_free(dstack_ear_signer *signer) {
    if (signer != NULL) {
        ecdsa_private_free(signer->key);
        free(signer->kid);
        free(signer);
    }
}

static dstack_bytes text_of_secret(const dstack_secret *secret) {
    return bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret));
}

int dstack_ear_signer_new(dstack_ear_signer **out, const dstack_secret *pem, dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(buf) dstack_buf kid = {0};
    DSTACK_AUTO(signer) dstack_ear_signer *signer = calloc(1, sizeof *signer);
    if (signer == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a signer");
    }
    int rc = pem == NULL ? ecdsa_private_generate(&signer->key, ECDSA_P256, err)
                         : ecdsa_private_from_pem(&signer->key, text_of_secret(pem), err);
    rc = rc != 0 ? rc : jwk_thumbprint(ecdsa_private_public(signer->key), &kid, err);
    if (rc == 0 && (signer->kid = buf_detach_text(&kid)) == NULL) {
        rc = error_set(err, DSTACK_E_MEMORY, "no memory for a signer");
    }
    if (rc == 0) {
        *out = signer;
        signer = NULL;
    }
    return error_prefix(err, rc, "signing key");
}

int dstack_ear_signer_jwks(const dstack_ear_signer *signer, dstack_buf *json, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = jwk_write(ecdsa_private_public(signer->key), &text, err);
    DSTACK_AUTO(json)
    json_t *key = rc == 0 ? json_parse(bytes_of_buf(&text), SIZE_MAX, "key", err) : NULL;
    DSTACK_AUTO(json)
    json_t *set = key == NULL
                      ? NULL
                      : json_pack("{s:[{s:O, s:O, s:O, s:O, s:s, s:s, s:s}]}", "keys", "kty",
                                  json_object_get(key, "kty"), "crv", json_object_get(key, "crv"),
                                  "x", json_object_get(key, "x"), "y", json_object_get(key, "y"),
                                  "alg", "ES256", "use", "sig", "kid", signer->kid);
    if (set == NULL) {
        return rc != 0 ? rc : error_set(err, DSTACK_E_MEMORY, "no memory for a key set");
    }
    return json_write(set, false, json, err);
}

int dstack_ear_sign(const dstack_ear_signer *signer, const dstack_ear_result *result,
                    dstack_buf *token, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf claims = {0}, header = {0}, text = {0};
    uint8_t digest[HASH_SHA256_SIZE], signature[ECDSA_P256_RAW_SIZE];
    buf_put_fmt(&header, "{\"alg\":\"ES256\",\"typ\":\"eat+jwt\",\"kid\":\"%s\"}", signer->kid);
    int rc = dstack_ear_claims(result, &claims, err);
    if (rc != 0) {
        return rc;
    }
    base64_encode(bytes_of_buf(&header), BASE64_URL_NOPAD, &text);
    buf_put_u8(&text, '.');
    base64_encode(bytes_of_buf(&claims), BASE64_URL_NOPAD, &text);
    rc = buf_check(&text, err);
    if (rc != 0) {
        return rc;
    }
    hash_sha256(bytes_of_buf(&text), digest);
    rc = ecdsa_sign_raw(signer->key, bytes_of(digest, sizeof digest), signature, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_bytes(token, bytes_of_buf(&text));
    buf_put_u8(token, '.');
    base64_encode(bytes_of(signature, sizeof signature), BASE64_URL_NOPAD, token);
    return buf_check(token, err);
}

/* ---- reading -------------------------------------------------------------------------------------- */

typedef struct token_parts {
    dstack_bytes header, claims, signature; /* base64url text */
    dstack_bytes signed_text;
} token_parts;

static dstack_bytes until_dot(cursor *c) {
    dstack_bytes rest = bytes_of(c->data + c->pos, cursor_left(c));
    const uint8_t *dot = rest.len == 0 ? NULL : memchr(rest.data, '.', rest.len);
    size_t len = dot == NULL ? rest.len : (size_t)(dot - rest.data);
    dstack_bytes part = cursor_take(c, len);
    if (dot != NULL) {
        cursor_skip(c, 1);
    }
    return part;
}

static int split(dstack_bytes token, token_parts *out, dstack_error *err) {
    if (token.len > DSTACK_EAR_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "token of %zu bytes is too long", token.len);
    }
    cursor c = cursor_init(token);
    out->header = until_dot(&c);
    out->claims = until_dot(&c);
    out->signature = until_dot(&c);
    if (!cursor_done(&c) || out->header.len == 0 || out->claims.len == 0 ||
        out->signature.len == 0) {
        return error_set(err, DSTACK_E_FORMAT, "a token must have three parts");
    }
    out->signed_text = bytes_of(token.data, out->header.len + 1 + out->claims.len);
    return 0;
}

static json_t *decode_json(dstack_bytes text, const char *what, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    int rc = base64_decode(text, BASE64_URL_NOPAD, &raw, err);
    if (rc != 0) {
        error_prefix(err, rc, "%s of the token", what);
        return NULL;
    }
    json_t *value = json_parse(bytes_of_buf(&raw), DSTACK_EAR_MAX_SIZE, what, err);
    if (value != NULL && !json_is_object(value)) {
        json_decref(value);
        error_set(err, DSTACK_E_FORMAT, "%s of the token must be an object", what);
        return NULL;
    }
    return value;
}

static int coordinate(const json_t *jwk, const char *name, uint8_t out[32], dstack_error *err) {
    const char *text = NULL;
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    int rc = json_need_str(jwk, name, &text, err);
    rc = rc != 0 ? rc : base64_decode(bytes_of_str(text), BASE64_URL_NOPAD, &raw, err);
    if (rc == 0 && raw.len != 32) {
        rc = error_set(err, DSTACK_E_FORMAT, "coordinate %s must be 32 bytes", name);
    }
    if (rc == 0) {
        memcpy(out, raw.data, 32);
    }
    return rc;
}

static int load_key(const json_t *jwk, ecdsa_key **out, dstack_error *err) {
    const char *kty = "", *crv = "";
    uint8_t point[64];
    int rc = json_need_str(jwk, "kty", &kty, err);
    rc = rc != 0 ? rc : json_need_str(jwk, "crv", &crv, err);
    if (rc == 0 && (strcmp(kty, "EC") != 0 || strcmp(crv, "P-256") != 0)) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "the key is not P-256");
    }
    rc = rc != 0 ? rc : coordinate(jwk, "x", point, err);
    rc = rc != 0 ? rc : coordinate(jwk, "y", point + 32, err);
    return rc != 0 ? rc : ecdsa_key_from_point(out, ECDSA_P256, bytes_of(point, 64), err);
}

/* The key that the header names; without a name, the set's only key. */
static int find_key(const json_t *header, dstack_bytes jwks, ecdsa_key **out, dstack_error *err) {
    const char *kid = NULL;
    json_t *keys = NULL;
    DSTACK_AUTO(json) json_t *set = json_parse(jwks, DSTACK_EAR_MAX_SIZE, "key set", err);
    int rc = set == NULL ? DSTACK_E_FORMAT : json_need_array(set, "keys", &keys, err);
    rc = rc != 0 ? rc : json_str_or(header, "kid", NULL, &kid, err);
    if (rc != 0) {
        return rc;
    }
    size_t count = json_array_size(keys);
    for (size_t i = 0; i < count && count <= KEYS_MAX; i++) {
        const json_t *key = json_array_get(keys, i);
        const char *name = json_string_value(json_object_get(key, "kid"));
        if (kid == NULL ? count == 1 : name != NULL && strcmp(name, kid) == 0) {
            return error_prefix(err, load_key(key, out, err), "key set");
        }
    }
    return error_set(err, DSTACK_E_NOT_FOUND, "the key set has no key for this token");
}

static int check_signature(const token_parts *parts, dstack_bytes jwks, dstack_error *err) {
    DSTACK_AUTO(json) json_t *header = decode_json(parts->header, "header", err);
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    const char *algorithm = "";
    if (header == NULL) {
        return DSTACK_E_FORMAT;
    }
    int rc = json_need_str(header, "alg", &algorithm, err);
    if (rc == 0 && (strcmp(algorithm, "ES256") != 0 || json_object_get(header, "crit") != NULL)) {
        rc = error_set(err, DSTACK_E_FORMAT, "a token must be signed with ES256");
    }
    rc = rc != 0 ? rc : find_key(header, jwks, &key, err);
    rc = rc != 0 ? rc : base64_decode(parts->signature, BASE64_URL_NOPAD, &signature, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(parts->signed_text, digest);
    return ecdsa_verify_raw(key, bytes_of(digest, sizeof digest), bytes_of_buf(&signature), err);
}

static int check_claims(const json_t *claims, int64_t now, dstack_error *err) {
    const char *profile = "";
    int64_t issued = 0, ends = INT64_MAX;
    int rc = json_need_str(claims, "eat_profile", &profile, err);
    rc = rc != 0 ? rc : json_need_int(claims, "iat", &issued, err);
    rc = rc != 0 ? rc : json_int_or(claims, "exp", INT64_MAX, &ends, err);
    if (rc == 0 && strcmp(profile, DSTACK_EAR_PROFILE) != 0 &&
        strcmp(profile, DSTACK_EAR_PROFILE_IETF) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "the token is of another profile");
    }
    if (rc == 0 && issued > now && issued - now > CLOCK_TOLERANCE) {
        rc = error_set(err, DSTACK_E_REFUSED, "the token is from the future");
    }
    if (rc == 0 && now > ends) {
        rc = error_set(err, DSTACK_E_REFUSED, "the token has expired");
    }
    return rc;
}

int dstack_ear_verify(dstack_bytes token, dstack_bytes jwks, int64_t now, dstack_buf *out,
                      dstack_error *err) {
    token_parts parts = {0};
    int rc = split(token, &parts, err);
    rc = rc != 0 ? rc : check_signature(&parts, jwks, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *claims = decode_json(parts.claims, "claims", err);
    rc = claims == NULL ? DSTACK_E_FORMAT : check_claims(claims, now, err);
    return rc != 0 ? rc : json_write(claims, false, out, err);
}
