/* What the files of this folder share about RA-TLS certificates. */
#ifndef CERT_CERT_H
#define CERT_CERT_H

#include <dstack/cert.h>

#include "attest/attest.h"
#include "base/auto.h"
#include "crypto/ecdsa.h"
#include "x509/cert.h"

/* Last number of the extension's OID, 1.3.6.1.4.1.62397.1.x. */
typedef enum cert_ext {
    CERT_EXT_QUOTE = 1,     /* raw TDX quote; older certificates */
    CERT_EXT_EVENT_LOG = 2, /* its event log; older certificates */
    CERT_EXT_APP_ID = 3,
    CERT_EXT_USAGE = 4,
    CERT_EXT_ATTESTATION = 8,
    CERT_EXT_APP_INFO = 9,
} cert_ext;

#define CERT_OID_SIZE 10
/* Content octets of the extension's OID. */
void cert_ext_oid(cert_ext ext, uint8_t oid[CERT_OID_SIZE]);

/* Most bytes that a compressed event log may unfold to. */
#define CERT_EVENT_LOG_MAX 16384
/* Appends the text of an event log extension: as it is, or unfolded where it is compressed
 * (ELGZv1 ‖ gzip). */
int cert_event_log_text(dstack_bytes value, dstack_buf *out, dstack_error *err);

struct dstack_cert {
    dstack_buf der;
    x509_cert x509; /* borrows der */
    char *usage;
    dstack_bytes app_id; /* borrows der */
    bool has_app_info;
    dstack_identity app_info;
    dstack_attestation *attestation;
};

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(ca, dstack_ca, dstack_ca_free)
DSTACK_AUTO_DEFINE(csr, dstack_csr, dstack_csr_free)

/* Loads a private key: PEM text or DER, P-256 only. */
int cert_key_load(const dstack_secret *key, ecdsa_private **out, dstack_error *err);

/* Certificates of PEM text or one DER certificate, at most CERT_LIST_MAX. */
#define CERT_LIST_MAX 8
typedef struct cert_list {
    dstack_buf der[CERT_LIST_MAX];
    x509_cert certs[CERT_LIST_MAX];
    size_t count;
} cert_list;
int cert_list_parse(dstack_bytes encoded, cert_list *out, dstack_error *err);
void cert_list_clear(cert_list *list);
DSTACK_AUTO_DEFINE_CLEAR(cert_list, cert_list, cert_list_clear)

/* True when pattern (exact, or "*." for one leftmost label) covers the host; no regard to case. */
bool cert_name_covers(dstack_bytes pattern, dstack_bytes host);
/* True for a host name of letters, digits, hyphens and dots, with an optional leftmost "*" label.
 */
bool cert_name_is_host(const char *name);

#endif
