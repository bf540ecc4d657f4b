#include "crypto/aes_gcm.h"

#include <nettle/gcm.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"

typedef union aead_ctx {
    struct gcm_aes128_ctx aes128;
    struct gcm_aes256_ctx aes256;
} aead_ctx;

static int start(aead_ctx *ctx, dstack_bytes key, dstack_bytes nonce, dstack_bytes aad,
                 dstack_error *err) {
    if ((key.len != 16 && key.len != 32) || nonce.len != AES_GCM_NONCE_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "AES-GCM wants a key of 16 or 32 bytes and a nonce of 12, found %zu and "
                         "%zu",
                         key.len, nonce.len);
    }
    if (key.len == 16) {
        gcm_aes128_set_key(&ctx->aes128, key.data);
        gcm_aes128_set_iv(&ctx->aes128, nonce.len, nonce.data);
        gcm_aes128_update(&ctx->aes128, aad.len, aad.data);
    } else {
        gcm_aes256_set_key(&ctx->aes256, key.data);
        gcm_aes256_set_iv(&ctx->aes256, nonce.len, nonce.data);
        gcm_aes256_update(&ctx->aes256, aad.len, aad.data);
    }
    return 0;
}

static void finish(aead_ctx *ctx, size_t key_len, uint8_t tag[AES_GCM_TAG_SIZE]) {
    if (key_len == 16) {
        gcm_aes128_digest(&ctx->aes128, AES_GCM_TAG_SIZE, tag);
    } else {
        gcm_aes256_digest(&ctx->aes256, AES_GCM_TAG_SIZE, tag);
    }
    sodium_memzero(ctx, sizeof *ctx);
}

int aes_gcm_seal(dstack_bytes key, dstack_bytes nonce, dstack_bytes aad, dstack_bytes plaintext,
                 dstack_buf *out, dstack_error *err) {
    aead_ctx ctx;
    uint8_t tag[AES_GCM_TAG_SIZE];
    buf_reserve(out, plaintext.len + AES_GCM_TAG_SIZE);
    int rc = buf_check(out, err);
    if (rc == 0) {
        rc = start(&ctx, key, nonce, aad, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (key.len == 16) {
        gcm_aes128_encrypt(&ctx.aes128, plaintext.len, out->data + out->len, plaintext.data);
    } else {
        gcm_aes256_encrypt(&ctx.aes256, plaintext.len, out->data + out->len, plaintext.data);
    }
    out->len += plaintext.len;
    finish(&ctx, key.len, tag);
    buf_put(out, tag, sizeof tag);
    return 0;
}

int aes_gcm_open(dstack_bytes key, dstack_bytes nonce, dstack_bytes aad, dstack_bytes sealed,
                 dstack_buf *out, dstack_error *err) {
    aead_ctx ctx;
    uint8_t tag[AES_GCM_TAG_SIZE];
    if (sealed.len < AES_GCM_TAG_SIZE) {
        return error_set(err, DSTACK_E_CRYPTO, "sealed text of %zu bytes has no room for its tag",
                         sealed.len);
    }
    size_t len = sealed.len - AES_GCM_TAG_SIZE;
    buf_reserve(out, len);
    int rc = buf_check(out, err);
    if (rc == 0) {
        rc = start(&ctx, key, nonce, aad, err);
    }
    if (rc != 0) {
        return rc;
    }
    uint8_t *plaintext = out->data == NULL ? tag : out->data + out->len; /* len is 0 if NULL */
    if (key.len == 16) {
        gcm_aes128_decrypt(&ctx.aes128, len, plaintext, sealed.data);
    } else {
        gcm_aes256_decrypt(&ctx.aes256, len, plaintext, sealed.data);
    }
    finish(&ctx, key.len, tag);
    if (sodium_memcmp(tag, sealed.data + len, sizeof tag) != 0) {
        sodium_memzero(plaintext, len);
        return error_set(err, DSTACK_E_CRYPTO, "decryption failed: key, nonce or text is wrong");
    }
    out->len += len;
    return 0;
}
