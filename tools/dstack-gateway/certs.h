/* Certificates that the gateway ends TLS with, found by base domain. Immutable entries behind one
 * lock; a replaced certificate stays alive while connections use it. */
#ifndef GATEWAY_CERTS_H
#define GATEWAY_CERTS_H

#include <gnutls/gnutls.h>

#include <dstack/bytes.h>

typedef struct cert_entry cert_entry;
typedef struct cert_store cert_store;

cert_store *cert_store_new(void);
void cert_store_free(cert_store *store);

/* Sets the certificate of `*.base`: PEM chain (leaf first) and PKCS#8 PEM key. Refuses a key that
 * does not match, and a leaf that is expired at `now` or does not cover `*.base`. */
int cert_store_set(cert_store *store, const char *base, dstack_bytes chain_pem,
                   const dstack_secret *key_pem, int64_t now, dstack_error *err);

/* A new reference to the entry of a base domain, or NULL. */
cert_entry *cert_store_find(cert_store *store, const char *base);
void cert_entry_unref(cert_entry *entry);

gnutls_certificate_credentials_t cert_entry_credentials(const cert_entry *entry);
int64_t cert_entry_not_after(const cert_entry *entry);
/* SubjectPublicKeyInfo DER of the leaf; borrowed. */
dstack_bytes cert_entry_spki(const cert_entry *entry);

#endif
