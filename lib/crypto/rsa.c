#include "crypto/rsa.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "base/auto.h"
#include "base/error.h"

DSTACK_AUTO_DEFINE(pkey, EVP_PKEY, EVP_PKEY_free)
DSTACK_AUTO_DEFINE(md_ctx, EVP_MD_CTX, EVP_MD_CTX_free)
DSTACK_AUTO_DEFINE(bignum, BIGNUM, BN_free)

/* A certificate's holder chooses its key: sizes are bounded before any arithmetic is done. */
static int key_check(EVP_PKEY *key, dstack_error *err) {
    DSTACK_AUTO(bignum) BIGNUM *e = NULL;
    if (EVP_PKEY_get_base_id(key) != EVP_PKEY_RSA) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "the key is not an RSA key");
    }
    const int bits = EVP_PKEY_get_bits(key);
    if (bits < RSA_MIN_BITS || bits > RSA_MAX_BITS) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "RSA key of %d bits, %d to %d are taken", bits,
                         RSA_MIN_BITS, RSA_MAX_BITS);
    }
    if (EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_RSA_E, &e) != 1 || !BN_is_odd(e) ||
        BN_num_bits(e) < 2 || BN_num_bits(e) > 33) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "RSA key with an unusual public exponent");
    }
    return 0;
}

static bool scheme_set(EVP_PKEY_CTX *ctx, rsa_scheme scheme) {
    if (scheme != RSA_PSS_SHA384) {
        return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) == 1;
    }
    return EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PSS_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, 48) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, EVP_sha384()) == 1;
}

int rsa_verify(dstack_bytes spki, rsa_scheme scheme, dstack_bytes data, dstack_bytes signature,
               dstack_error *err) {
    const unsigned char *at = spki.data;
    DSTACK_AUTO(pkey) EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)spki.len);
    if (key == NULL || at != spki.data + spki.len) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "the public key cannot be read");
    }
    int rc = key_check(key, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(md_ctx) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    EVP_PKEY_CTX *pkey_ctx = NULL;
    const EVP_MD *md = scheme == RSA_PKCS1_SHA256 ? EVP_sha256() : EVP_sha384();
    if (ctx == NULL || EVP_DigestVerifyInit(ctx, &pkey_ctx, md, NULL, key) != 1 ||
        !scheme_set(pkey_ctx, scheme)) {
        return error_set(err, DSTACK_E_MEMORY, "RSA verification cannot be set up");
    }
    if (EVP_DigestVerify(ctx, signature.data, signature.len, data.data, data.len) != 1) {
        return error_set(err, DSTACK_E_CRYPTO, "RSA signature does not hold");
    }
    return 0;
}
