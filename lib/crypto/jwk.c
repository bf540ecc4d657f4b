#include "crypto/jwk.h"

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"

int jwk_write(const ecdsa_key *key, dstack_buf *out, dstack_error *err) {
    if (ecdsa_key_curve(key) != ECDSA_P256) {
        return error_set(err, DSTACK_E_ARGUMENT, "the key must be P-256");
    }
    dstack_bytes point = ecdsa_key_point(key);
    buf_put_str(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"");
    base64_encode(bytes_of(point.data + 1, 32), BASE64_URL_NOPAD, out);
    buf_put_str(out, "\",\"y\":\"");
    base64_encode(bytes_of(point.data + 33, 32), BASE64_URL_NOPAD, out);
    buf_put_str(out, "\"}");
    return buf_check(out, err);
}

int jwk_thumbprint(const ecdsa_key *key, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf jwk = {0};
    uint8_t digest[HASH_SHA256_SIZE];
    int rc = jwk_write(key, &jwk, err);
    if (rc != 0) {
        return rc;
    }
    hash_sha256(bytes_of_buf(&jwk), digest);
    base64_encode(bytes_of(digest, sizeof digest), BASE64_URL_NOPAD, out);
    return buf_check(out, err);
}
