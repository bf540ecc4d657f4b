#include "crypto/hmac.h"

#include <nettle/hmac.h>
#include <sodium.h>

#include "base/error.h"

void hmac_sha256(dstack_bytes key, dstack_bytes data, uint8_t out[32]) {
    struct hmac_sha256_ctx ctx;
    hmac_sha256_set_key(&ctx, key.len, key.data);
    hmac_sha256_update(&ctx, data.len, data.data);
    hmac_sha256_digest(&ctx, SHA256_DIGEST_SIZE, out);
    sodium_memzero(&ctx, sizeof ctx);
}

void hmac_sha384(dstack_bytes key, dstack_bytes data, uint8_t out[48]) {
    struct hmac_sha384_ctx ctx;
    hmac_sha384_set_key(&ctx, key.len, key.data);
    hmac_sha384_update(&ctx, data.len, data.data);
    hmac_sha384_digest(&ctx, SHA384_DIGEST_SIZE, out);
    sodium_memzero(&ctx, sizeof ctx);
}

/* RFC 5869, section 2.3. Written with the incremental HMAC rather than nettle's hkdf_expand, which
 * wants the info string in one piece. */
static void hkdf_expand_parts(struct hmac_sha256_ctx *prk, const dstack_bytes *info,
                              size_t info_count, uint8_t *out, size_t len) {
    uint8_t block[SHA256_DIGEST_SIZE];
    for (uint8_t counter = 1; len > 0; counter++) {
        if (counter > 1) {
            hmac_sha256_update(prk, sizeof block, block);
        }
        for (size_t i = 0; i < info_count; i++) {
            hmac_sha256_update(prk, info[i].len, info[i].data);
        }
        hmac_sha256_update(prk, 1, &counter);
        hmac_sha256_digest(prk, sizeof block, block); /* also starts the next message */
        size_t take = len < sizeof block ? len : sizeof block;
        for (size_t i = 0; i < take; i++) {
            out[i] = block[i];
        }
        out += take;
        len -= take;
    }
    sodium_memzero(block, sizeof block);
}

int hkdf_sha256(dstack_bytes ikm, dstack_bytes salt, const dstack_bytes *info, size_t info_count,
                uint8_t *out, size_t len, dstack_error *err) {
    if (len == 0 || len > HKDF_SHA256_MAX_OUTPUT) {
        return error_set(err, DSTACK_E_ARGUMENT, "HKDF-SHA256 output of %zu bytes: want 1 to %d",
                         len, HKDF_SHA256_MAX_OUTPUT);
    }
    uint8_t prk[SHA256_DIGEST_SIZE];
    struct hmac_sha256_ctx ctx;
    hmac_sha256(salt, ikm, prk);
    hmac_sha256_set_key(&ctx, sizeof prk, prk);
    hkdf_expand_parts(&ctx, info, info_count, out, len);
    sodium_memzero(&ctx, sizeof ctx);
    sodium_memzero(prk, sizeof prk);
    return 0;
}
