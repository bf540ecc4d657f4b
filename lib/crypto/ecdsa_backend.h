/* What a backend of ECDSA verification does; both are always built, so that tests can hold them
 * against each other. Callers of lib/crypto use ecdsa.h. */
#ifndef DSTACK_CRYPTO_ECDSA_BACKEND_H
#define DSTACK_CRYPTO_ECDSA_BACKEND_H

#include "crypto/ecdsa.h"

typedef struct ecdsa_backend_ops {
    const char *name;
    /* point: 04 ‖ x ‖ y of the right size. NULL where it is not on the curve (or memory ran out).
     */
    void *(*load)(ecdsa_curve curve, const uint8_t *point);
    void (*unload)(void *key);
    /* raw: r ‖ s, each in [1, n-1]. digest: 32, 48 or 64 bytes. */
    bool (*verify)(const void *key, ecdsa_curve curve, dstack_bytes digest, const uint8_t *raw);
} ecdsa_backend_ops;

extern const ecdsa_backend_ops ecdsa_libcrypto;
extern const ecdsa_backend_ops ecdsa_gnutls;

/* As ecdsa_key_from_point, with a backend of the caller's choice. */
int ecdsa_key_load(ecdsa_key **out, const ecdsa_backend_ops *backend, ecdsa_curve curve,
                   dstack_bytes point, dstack_error *err);

/* True for a big-endian scalar in [1, n-1]; variable time in public values, constant time in the
 * scalar. */
bool ecdsa_scalar_in_range(ecdsa_curve curve, const uint8_t *scalar);

/* Private-key operations (libcrypto). */
bool ecdsa_libcrypto_point(ecdsa_curve curve, const uint8_t *scalar, uint8_t *point);
bool ecdsa_libcrypto_sign(ecdsa_curve curve, const uint8_t *scalar, dstack_bytes digest,
                          uint8_t *raw);
/* The RFC 6979 nonce (GnuTLS). Appends the DER signature. */
bool ecdsa_gnutls_sign_deterministic(ecdsa_curve curve, const uint8_t *scalar, const uint8_t *point,
                                     dstack_bytes digest, dstack_buf *der);

#endif
