/* JSON Web Signatures as ACME uses them: flattened, ES256 (RFC 7515, RFC 8555 section 6.2). */
#ifndef CERT_ACME_JWS_H
#define CERT_ACME_JWS_H

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "crypto/ecdsa.h"

/* Appends the public key as a JWK with its members in the order that RFC 7638 hashes. */
int acme_jwk(const ecdsa_key *key, dstack_buf *out, dstack_error *err);

/* Appends base64url(SHA-256(JWK)), the account key's thumbprint. */
int acme_thumbprint(const ecdsa_key *key, dstack_buf *out, dstack_error *err);

/* Text of a dns-01 TXT record: base64url(SHA-256(token "." thumbprint)) (RFC 8555 section 8.4). */
int acme_dns01_value(const ecdsa_key *key, const char *token, dstack_buf *out, dstack_error *err);

/* Appends the signed request body. account_url NULL puts the JWK in the header instead of "kid".
 * payload NULL makes a POST-as-GET (empty payload). */
int acme_jws_sign(const ecdsa_private *key, const char *account_url, const char *nonce,
                  const char *url, const char *payload, dstack_buf *out, dstack_error *err);

#endif
