/* Private keys that are somewhere else: another process, a hardware module. */
#ifndef DSTACK_CRYPTO_ECDSA_EXTERNAL_H
#define DSTACK_CRYPTO_ECDSA_EXTERNAL_H

#include "crypto/ecdsa.h"

/* Appends the DER signature over a digest. */
typedef int ecdsa_external_sign(void *user, dstack_bytes digest, dstack_buf *der,
                                dstack_error *err);

/* A key that signs by `sign`; it has no scalar here, and neither is written out nor signs
 * deterministically. `user` must outlive it. */
int ecdsa_private_external(ecdsa_private **out, dstack_bytes spki, ecdsa_external_sign *sign,
                           void *user, dstack_error *err);

#endif
