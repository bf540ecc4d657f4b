/* Certificates by keys that may be somewhere else. */
#ifndef CERT_EXTERNAL_H
#define CERT_EXTERNAL_H

#include <dstack/cert.h>

#include "crypto/ecdsa.h"

/* As dstack_ca_new() and dstack_cert_self_signed(). The CA takes *key over when it is made. */
int cert_ca_of_key(dstack_bytes cert, ecdsa_private **key, dstack_ca **out, dstack_error *err);
int cert_self_signed_by(const dstack_cert_spec *spec, const ecdsa_private *key, dstack_buf *pem,
                        dstack_error *err);

#endif
