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
    /* Optional: multiples of a P-256 point computed beforehand, and the same verdict from them. NULL
     * where there is no way to make them. */
    void *(*table_make)(const uint8_t *point);
    void (*table_free)(void *table);
    bool (*table_verify)(const void *table, dstack_bytes digest, const uint8_t *raw);
} ecdsa_backend_ops;

/* Verifications with one key after which a table is worth what it costs to make: 28 ms against 33
 * microseconds saved each time (libcrypto 3.0.22). A key used less often never pays for one, a key
 * used more often never pays more than twice the best. */
#define ECDSA_TABLE_AFTER 1024
/* Bytes that a table takes: 37 windows of 64 affine points. */
#define ECDSA_TABLE_SIZE (37 * 64 * 64)

extern const ecdsa_backend_ops ecdsa_libcrypto;
extern const ecdsa_backend_ops ecdsa_gnutls;

/* The one that the build chose. */
const ecdsa_backend_ops *ecdsa_backend_default(void);

/* As ecdsa_key_from_point, with a backend of the caller's choice. */
int ecdsa_key_load(ecdsa_key **out, const ecdsa_backend_ops *backend, ecdsa_curve curve,
                   dstack_bytes point, dstack_error *err);

/* True for a big-endian scalar in [1, n-1], in constant time. */
bool ecdsa_scalar_in_range(ecdsa_curve curve, const uint8_t *scalar);

/* The key has a table by now; for tests and measurements. */
bool ecdsa_key_has_table(const ecdsa_key *key);

/* Private-key operations (libcrypto). */
bool ecdsa_libcrypto_point(ecdsa_curve curve, const uint8_t *scalar, uint8_t *point);
bool ecdsa_libcrypto_sign(ecdsa_curve curve, const uint8_t *scalar, dstack_bytes digest,
                          uint8_t *raw);
/* The RFC 6979 nonce (GnuTLS). Appends the DER signature. */
bool ecdsa_gnutls_sign_deterministic(ecdsa_curve curve, const uint8_t *scalar, const uint8_t *point,
                                     dstack_bytes digest, dstack_buf *der);

#endif
