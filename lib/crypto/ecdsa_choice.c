/* Which backend verifies, as the build was told. A file of its own, so that a test can be linked
 * with a choice of its own. */
#include "config.h"
#include "crypto/ecdsa_backend.h"

const ecdsa_backend_ops *ecdsa_backend_default(void) {
#if DSTACK_ECDSA_GNUTLS
    return &ecdsa_gnutls;
#else
    return &ecdsa_libcrypto;
#endif
}
