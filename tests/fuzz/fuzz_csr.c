/* Requests for certificates. The signature is looked at before the evidence, so the structure is
 * fed as it is and, to reach the evidence too, with the signature of a key that the target knows.
 */
#include "attest/scale.h"
#include "cert/cert.h"
#include "crypto/hash.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(csr) dstack_csr *plain = NULL;
    (void)dstack_csr_parse(2, bytes_of(data, size), (dstack_bytes){0}, &plain, NULL);
    static const uint8_t scalar[32] = {[31] = 7};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    DSTACK_AUTO(buf) dstack_buf signature = {0};
    if (ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(scalar, 32), NULL) != 0 ||
        ecdsa_key_spki(ecdsa_private_public(key), &spki, NULL) != 0) {
        return 0;
    }
    scale_put_str(&raw, "please sign cert:");
    scale_put_bytes(&raw, bytes_of_buf(&spki));
    buf_put(&raw, data, size);
    uint8_t digest[32];
    hash_sha256(bytes_of_buf(&raw), digest);
    if (ecdsa_sign_der(key, bytes_of(digest, sizeof digest), &signature, NULL) != 0) {
        return 0;
    }
    for (unsigned version = 1; version <= 2; version++) {
        DSTACK_AUTO(csr) dstack_csr *csr = NULL;
        if (dstack_csr_parse(version, bytes_of_buf(&raw), bytes_of_buf(&signature), &csr, NULL) ==
            0) {
            static const char *const reserved[] = {"kms.example.com"};
            (void)dstack_csr_check_names(csr, reserved, 1, NULL);
        }
    }
    return 0;
}
