/* ECDSA over NIST P-256 and P-384 (FIPS 186-5).
 *
 * Verification has two backends, libcrypto and GnuTLS, chosen when the library is built
 * (-Decdsa=libcrypto|gnutls|auto). Both give the same verdict on every input, because everything
 * that libraries disagree about is decided before either of them sees it: a point must be on the
 * curve, r and s must lie in [1, n-1], a DER signature must be the one canonical encoding. The one
 * exception known: nettle, below GnuTLS, refuses a good signature for which e G = r Q; nobody but
 * the owner of the key can make one, and no signer does. */
#ifndef DSTACK_CRYPTO_ECDSA_H
#define DSTACK_CRYPTO_ECDSA_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "base/auto.h"

typedef enum ecdsa_curve {
    ECDSA_P256,
    ECDSA_P384,
} ecdsa_curve;

#define ECDSA_P256_SCALAR_SIZE 32
#define ECDSA_P256_POINT_SIZE 65
#define ECDSA_P256_RAW_SIZE 64
#define ECDSA_P384_RAW_SIZE 96
#define ECDSA_MAX_SCALAR_SIZE 48
#define ECDSA_MAX_POINT_SIZE 97
#define ECDSA_MAX_RAW_SIZE 96
/* Longest DER signature (P-384). */
#define ECDSA_MAX_DER_SIZE 104

/* Bytes of a scalar or of one coordinate: 32 or 48. */
size_t ecdsa_scalar_size(ecdsa_curve curve);

/* ---- public keys ---------------------------------------------------------------------------- */

/* A public key made ready for many verifications. Immutable; may be shared among threads. */
typedef struct ecdsa_key ecdsa_key;

/* Loads x ‖ y (64 or 96 bytes) or 04 ‖ x ‖ y (65 or 97 bytes). The point must be on the curve.
 * DSTACK_E_FORMAT for another length or form, DSTACK_E_CRYPTO for a point off the curve. */
int ecdsa_key_from_point(ecdsa_key **out, ecdsa_curve curve, dstack_bytes point, dstack_error *err);

/* Loads a DER SubjectPublicKeyInfo (RFC 5480): id-ecPublicKey, a named curve (P-256 or P-384), an
 * uncompressed point, nothing after it. DSTACK_E_UNSUPPORTED for other kinds of key. */
int ecdsa_key_from_spki(ecdsa_key **out, dstack_bytes spki, dstack_error *err);

void ecdsa_key_free(ecdsa_key *key);
DSTACK_AUTO_DEFINE(ecdsa_key, ecdsa_key, ecdsa_key_free)

/* How many keys may have a table of their multiples; shared by all keys it was given to, which it
 * outlives. */
typedef struct ecdsa_tables {
    atomic_int left;
} ecdsa_tables;

/* Says that a key may verify very many signatures: after the first thousand or so it gets a table
 * of 148 KiB, as long as `tables` has one left, and then takes half the time. The call that makes it
 * takes some 28 ms. Has no effect on verdicts; none at all for P-384 and with GnuTLS. Before the key
 * is shared among threads. */
void ecdsa_key_expect_reuse(ecdsa_key *key, ecdsa_tables *tables);

/* As ecdsa_key_from_point, for keys that are kept in large numbers: nothing is prepared, which saves
 * 2 KB of memory and costs 2 microseconds each time. Whether the point is on the curve is tested at
 * every verification, which fails where it is not. */
int ecdsa_key_compact(ecdsa_key **out, ecdsa_curve curve, dstack_bytes point, dstack_error *err);

ecdsa_curve ecdsa_key_curve(const ecdsa_key *key);
/* 04 ‖ x ‖ y; borrowed from the key. */
dstack_bytes ecdsa_key_point(const ecdsa_key *key);
/* Appends the SubjectPublicKeyInfo (91 bytes for P-256). */
int ecdsa_key_spki(const ecdsa_key *key, dstack_buf *out, dstack_error *err);

/* Verifies over a digest (20 to 64 bytes; longer than the curve's order is cut on the right, as
 * FIPS 186-5 says). 0 where the signature is good, DSTACK_E_CRYPTO otherwise.
 * raw: r ‖ s, 64 or 96 bytes. der: SEQUENCE { r INTEGER, s INTEGER }. */
int ecdsa_verify_raw(const ecdsa_key *key, dstack_bytes digest, dstack_bytes signature,
                     dstack_error *err);
int ecdsa_verify_der(const ecdsa_key *key, dstack_bytes digest, dstack_bytes signature,
                     dstack_error *err);

/* As ecdsa_key_from_point and ecdsa_verify_raw in one, keeping nothing. */
int ecdsa_verify_point(ecdsa_curve curve, dstack_bytes point, dstack_bytes digest,
                       dstack_bytes signature, dstack_error *err);

/* The name of the backend that verifies: "libcrypto" or "gnutls". */
const char *ecdsa_backend(void);

/* ---- signature encodings -------------------------------------------------------------------- */

/* Canonical DER to r ‖ s. raw takes 64 or 96 bytes. Refuses anything but the one encoding. */
int ecdsa_der_to_raw(ecdsa_curve curve, dstack_bytes der, uint8_t *raw, dstack_error *err);
/* r ‖ s to DER, appended to out. */
int ecdsa_raw_to_der(ecdsa_curve curve, dstack_bytes raw, dstack_buf *out, dstack_error *err);

/* ---- private keys --------------------------------------------------------------------------- */

/* A private key. Its scalar lives in guarded memory; may be shared among threads. */
typedef struct ecdsa_private ecdsa_private;

/* A fresh key. */
int ecdsa_private_generate(ecdsa_private **out, ecdsa_curve curve, dstack_error *err);
/* From a big-endian scalar of 32 or 48 bytes. DSTACK_E_CRYPTO for zero or >= n. */
int ecdsa_private_from_scalar(ecdsa_private **out, ecdsa_curve curve, dstack_bytes scalar,
                              dstack_error *err);
/* From DER: PKCS#8 (RFC 5958) or SEC 1 (RFC 5915) with a named curve. Where the key carries its
 * public point, that point must match. */
int ecdsa_private_from_der(ecdsa_private **out, dstack_bytes der, dstack_error *err);
/* From PEM text: one block "PRIVATE KEY" or "EC PRIVATE KEY". */
int ecdsa_private_from_pem(ecdsa_private **out, dstack_bytes pem, dstack_error *err);
void ecdsa_private_free(ecdsa_private *key);
DSTACK_AUTO_DEFINE(ecdsa_private, ecdsa_private, ecdsa_private_free)

/* The public half, borrowed; lives as long as the private key. */
const ecdsa_key *ecdsa_private_public(const ecdsa_private *key);
/* The scalar, borrowed; lives as long as the private key. */
dstack_bytes ecdsa_private_scalar(const ecdsa_private *key);

/* PKCS#8 DER with the public key and no attributes (138 bytes for P-256; the layout is pinned: key
 * derivations hash it). */
int ecdsa_private_pkcs8(const ecdsa_private *key, dstack_secret **out, dstack_error *err);
/* The same as a PEM block "PRIVATE KEY", with a line feed at its end (no NUL counted). */
int ecdsa_private_pem(const ecdsa_private *key, dstack_secret **out, dstack_error *err);

/* Signs a digest (at least 20, at most 64 bytes).
 * raw: writes r ‖ s (64 or 96 bytes). der: appends SEQUENCE { r, s }. */
int ecdsa_sign_raw(const ecdsa_private *key, dstack_bytes digest, uint8_t *raw, dstack_error *err);
int ecdsa_sign_der(const ecdsa_private *key, dstack_bytes digest, dstack_buf *out,
                   dstack_error *err);
/* As ecdsa_sign_raw with the deterministic nonce of RFC 6979. The digest must be of the size that
 * belongs to the curve (SHA-256 for P-256, SHA-384 for P-384). */
int ecdsa_sign_deterministic(const ecdsa_private *key, dstack_bytes digest, uint8_t *raw,
                             dstack_error *err);

#endif
