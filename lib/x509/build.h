/* Building certificates and CRLs (RFC 5280). The order of extensions is fixed: subjectAltName,
 * keyUsage, extKeyUsage, subjectKeyIdentifier, basicConstraints, then the custom ones as given, so
 * that the same input gives the same TBSCertificate. Signatures: ecdsa-with-SHA256 for P-256 keys,
 * ecdsa-with-SHA384 for P-384 keys. */
#ifndef DSTACK_X509_BUILD_H
#define DSTACK_X509_BUILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "crypto/ecdsa.h"
#include "x509/cert.h"

/* 1975-01-01T00:00:00Z: the notBefore that certificates carry when nobody asks for another. */
#define X509_DEFAULT_NOT_BEFORE 157766400

typedef struct x509_name_spec {
    const char *organization;        /* NULL: not written */
    const char *organizational_unit; /* NULL: not written */
    const char *common_name;         /* NULL: not written */
} x509_name_spec;

/* Appends a Name: O, OU, CN in this order, one RDN each, UTF8String. */
int x509_name_build(const x509_name_spec *spec, dstack_buf *out, dstack_error *err);

typedef struct x509_build {
    dstack_bytes serial;      /* unsigned big-endian, 1 to 20 bytes; empty: x509_default_serial */
    dstack_bytes subject_der; /* a Name, DER; empty: subject is used */
    x509_name_spec subject;
    dstack_bytes issuer_der; /* a Name, DER; empty: the subject (self-issued) */
    int64_t not_before;      /* UNIX seconds, years 1950 to 9999 */
    int64_t not_after;
    dstack_bytes spki;            /* key that is certified */
    const char *const *alt_names; /* IP addresses become iPAddress, others dNSName (must be IA5) */
    size_t alt_name_count;
    uint16_t key_usage;          /* X509_KU_*; 0: no extension; critical otherwise */
    bool nine_bit_key_usage;     /* all nine bits are written, as rcgen does; DER drops zeros */
    unsigned eku;                /* X509_EKU_SERVER_AUTH, X509_EKU_CLIENT_AUTH; 0: no extension */
    bool with_ski;               /* first 20 bytes of SHA-256(SPKI DER) */
    bool with_basic_constraints; /* critical */
    bool is_ca;
    int path_len; /* < 0: none; counts for CAs only */
    const x509_extension *custom;
    size_t custom_count;
} x509_build;

/* First 20 bytes of SHA-256 over the uncompressed point of a P-256/P-384 SPKI, top bit cleared. */
int x509_default_serial(dstack_bytes spki, uint8_t serial[20], dstack_error *err);

/* Builds and signs. Appends DER to out. */
int x509_cert_build(const x509_build *build, const ecdsa_private *signer, bool deterministic,
                    dstack_buf *out, dstack_error *err);

typedef struct x509_crl_entry {
    dstack_bytes serial; /* content octets of the INTEGER */
    int64_t revoked_at;
} x509_crl_entry;

typedef struct x509_crl_build {
    dstack_bytes issuer_der;
    int64_t this_update;
    int64_t next_update;
    uint64_t number;
    dstack_bytes aki; /* key identifier; empty: no extension */
    const x509_crl_entry *entries;
    size_t entry_count;
} x509_crl_build_spec;

int x509_crl_build(const x509_crl_build_spec *build, const ecdsa_private *signer,
                   bool deterministic, dstack_buf *out, dstack_error *err);

/* Wraps a value as the DER OCTET STRING that RA-TLS extensions hold inside extnValue. */
int x509_octet_string(dstack_bytes value, dstack_buf *out, dstack_error *err);
/* The content of a value that is exactly one DER OCTET STRING. */
int x509_octet_string_open(dstack_bytes der, dstack_bytes *value, dstack_error *err);

#endif
