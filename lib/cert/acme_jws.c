#include "cert/acme_jws.h"

#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "crypto/jwk.h"

int acme_jwk(const ecdsa_key *key, dstack_buf *out, dstack_error *err) {
    int rc = jwk_write(key, out, err);
    return error_prefix(err, rc, "ACME account");
}

static void put_digest_base64(dstack_bytes text, dstack_buf *out) {
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(text, digest);
    base64_encode(bytes_of(digest, sizeof digest), BASE64_URL_NOPAD, out);
}

int acme_thumbprint(const ecdsa_key *key, dstack_buf *out, dstack_error *err) {
    return jwk_thumbprint(key, out, err);
}

int acme_dns01_value(const ecdsa_key *key, const char *token, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf authorization = {0};
    buf_put_str(&authorization, token);
    buf_put_u8(&authorization, '.');
    int rc = acme_thumbprint(key, &authorization, err);
    if (rc != 0) {
        return rc;
    }
    put_digest_base64(bytes_of_buf(&authorization), out);
    return buf_check(out, err);
}

/* The protected header. URLs and nonces come from the server, so they are escaped by the JSON
 * writer; the JWK is made here and inserted as an object. */
static int protected_header(const ecdsa_private *key, const char *account_url, const char *nonce,
                            const char *url, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *header = json_pack("{s:s,s:s,s:s}", "alg", "ES256", "nonce", nonce, "url", url);
    if (header == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "ACME server sent a URL or nonce that is not text");
    }
    if (account_url != NULL) {
        json_object_set_new(header, "kid", json_string(account_url));
    } else {
        DSTACK_AUTO(buf) dstack_buf jwk = {0};
        int rc = acme_jwk(ecdsa_private_public(key), &jwk, err);
        if (rc != 0) {
            return rc;
        }
        json_object_set_new(header, "jwk", json_loadb((char *)jwk.data, jwk.len, 0, NULL));
    }
    return json_write(header, false, out, err);
}

int acme_jws_sign(const ecdsa_private *key, const char *account_url, const char *nonce,
                  const char *url, const char *payload, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf header = {0};
    int rc = protected_header(key, account_url, nonce, url, &header, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(buf) dstack_buf signed_text = {0};
    base64_encode(bytes_of_buf(&header), BASE64_URL_NOPAD, &signed_text);
    size_t header_len = signed_text.len;
    buf_put_u8(&signed_text, '.');
    if (payload != NULL) {
        base64_encode(bytes_of_str(payload), BASE64_URL_NOPAD, &signed_text);
    }
    rc = buf_check(&signed_text, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(bytes_of_buf(&signed_text), digest);
    uint8_t signature[ECDSA_P256_RAW_SIZE];
    rc = ecdsa_sign_raw(key, bytes_of(digest, sizeof digest), signature, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_str(out, "{\"protected\":\"");
    buf_put(out, signed_text.data, header_len);
    buf_put_str(out, "\",\"payload\":\"");
    buf_put(out, signed_text.data + header_len + 1, signed_text.len - header_len - 1);
    buf_put_str(out, "\",\"signature\":\"");
    base64_encode(bytes_of(signature, sizeof signature), BASE64_URL_NOPAD, out);
    buf_put_str(out, "\"}");
    return buf_check(out, err);
}
