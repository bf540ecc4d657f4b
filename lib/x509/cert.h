/* X.509 certificates (RFC 5280), strict DER, parsed without copying.
 *
 * A parsed certificate borrows the bytes it was parsed from. Parsing checks form alone; signatures,
 * dates and chains are the business of x509/path.h. */
#ifndef DSTACK_X509_CERT_H
#define DSTACK_X509_CERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>

#include "crypto/ecdsa.h"

#define X509_MAX_CERT_SIZE (64 * 1024)
#define X509_MAX_EXTENSIONS 32

typedef enum x509_signature_algorithm {
    X509_SIG_OTHER, /* parsed, but not one this library verifies */
    X509_SIG_ECDSA_SHA256,
    X509_SIG_ECDSA_SHA384,
} x509_signature_algorithm;

/* Bits of x509_cert.key_usage (RFC 5280, 4.2.1.3), bit 0 first. */
enum {
    X509_KU_DIGITAL_SIGNATURE = 1 << 0,
    X509_KU_NON_REPUDIATION = 1 << 1,
    X509_KU_KEY_ENCIPHERMENT = 1 << 2,
    X509_KU_DATA_ENCIPHERMENT = 1 << 3,
    X509_KU_KEY_AGREEMENT = 1 << 4,
    X509_KU_CERT_SIGN = 1 << 5,
    X509_KU_CRL_SIGN = 1 << 6,
};

/* Bits of x509_cert.eku (RFC 5280, 4.2.1.12). */
enum {
    X509_EKU_SERVER_AUTH = 1 << 0,
    X509_EKU_CLIENT_AUTH = 1 << 1,
    X509_EKU_ANY = 1 << 2,
    X509_EKU_OTHER = 1 << 3,
};

typedef struct x509_extension {
    dstack_bytes oid;   /* content octets of the OBJECT IDENTIFIER */
    dstack_bytes value; /* content octets of extnValue */
    bool critical;
} x509_extension;

typedef struct x509_cert {
    dstack_bytes der;     /* the whole certificate */
    dstack_bytes tbs;     /* TBSCertificate with its header: what is signed */
    dstack_bytes serial;  /* content octets of the INTEGER, sign and all */
    dstack_bytes issuer;  /* Name, DER with header */
    dstack_bytes subject; /* Name, DER with header */
    int64_t not_before;   /* UNIX seconds, both inclusive; negative before 1970 */
    int64_t not_after;
    dstack_bytes spki; /* SubjectPublicKeyInfo, DER with header */
    x509_signature_algorithm signature_algorithm;
    dstack_bytes signature_oid;
    dstack_bytes signature; /* content of the BIT STRING, whole octets */

    x509_extension extensions[X509_MAX_EXTENSIONS];
    size_t extension_count;

    /* Decoded from the extensions above; has_* tells absent from empty. */
    bool has_basic_constraints, is_ca, has_path_len;
    uint32_t path_len;
    bool has_key_usage;
    uint16_t key_usage;
    bool has_eku;
    unsigned eku;
    bool has_name_constraints;
    bool unknown_critical; /* a critical extension that is none of the decoded ones */
    dstack_bytes san;      /* value of subjectAltName (SEQUENCE with header) or empty */
    dstack_bytes ski;      /* key identifier or empty */
    dstack_bytes aki;      /* key identifier of the issuer or empty */
} x509_cert;

/* Parses one certificate; nothing may follow it. DSTACK_E_FORMAT says what is wrong and where. */
int x509_cert_parse(x509_cert *out, dstack_bytes der, dstack_error *err);

/* The extension with that OID (content octets), or NULL. Extensions are unique per certificate
 * except those with OIDs unknown to this library: x509_cert_extension_count tells. */
const x509_extension *x509_cert_extension(const x509_cert *cert, dstack_bytes oid);
size_t x509_cert_extension_count(const x509_cert *cert, dstack_bytes oid);
/* True for the extensions that x509_cert_parse decodes and x509/path.h honours. */
bool x509_extension_is_decoded(dstack_bytes oid);

/* The last commonName of a Name, as its raw characters; empty where there is none. */
dstack_bytes x509_name_common_name(dstack_bytes name);
/* One attribute of a Name by OID content octets (the last where it repeats). */
dstack_bytes x509_name_attribute(dstack_bytes name, dstack_bytes oid);
/* "CN=..., O=..." for people; quotes nothing, replaces all but printable ASCII by '?'. Always ends
 * with NUL; cuts what does not fit. Returns out. */
char *x509_name_text(dstack_bytes name, char *out, size_t size);

/* Walks the subject alternative names. *position starts at 0. Returns false at the end. */
typedef enum x509_san_kind {
    X509_SAN_DNS,
    X509_SAN_IP,
    X509_SAN_URI,
    X509_SAN_EMAIL,
    X509_SAN_OTHER
} x509_san_kind;
typedef struct x509_san {
    x509_san_kind kind;
    dstack_bytes value; /* characters; 4 or 16 bytes for an IP address */
} x509_san;
bool x509_cert_san_next(const x509_cert *cert, size_t *position, x509_san *out);

/* Loads the subject's key for verification. DSTACK_E_UNSUPPORTED where it is not P-256/P-384. */
int x509_cert_key(const x509_cert *cert, ecdsa_key **out, dstack_error *err);

/* Verifies the certificate's signature with the issuer's key. */
int x509_cert_verify_signature(const x509_cert *cert, const ecdsa_key *issuer_key,
                               dstack_error *err);

/* Verifies a signature over data by algorithm (hash inside); used by certificates, CRLs, CSRs. */
int x509_verify_signature(x509_signature_algorithm algorithm, const ecdsa_key *key,
                          dstack_bytes data, dstack_bytes signature, dstack_error *err);

#endif
