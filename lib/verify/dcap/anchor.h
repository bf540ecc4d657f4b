/* Pinned roots, and what every certificate below them is asked. */
#ifndef VERIFY_DCAP_ANCHOR_H
#define VERIFY_DCAP_ANCHOR_H

#include <dstack/verifier.h>

#include "verify/dcap/compat.h"
#include "crypto/ecdsa.h"
#include "x509/cert.h"

/* A pinned root. */
typedef struct dcap_anchor {
    dstack_anchor_info info;
    bool enforce_names;
    bool shared; /* der, pem and key belong to the process */
    dstack_buf der;
    dstack_buf pem; /* one block, as chains usually end with it */
    x509_cert cert;
    ecdsa_key *key;
} dcap_anchor;

/* Form alone: one self-issued P-256 certificate. DSTACK_E_DCAP_ROOT_CA_FORMAT. The anchor is
 * cleared by the caller also after a failure. */
int dcap_anchor_load(dcap_anchor *out, const char *name, bool builtin, dstack_bytes der,
                     dstack_error *err);
/* Intel's root under its usual name, the same for the whole process: read once, and its key, under
 * which every collateral stands, is the one whose table is worth most. */
int dcap_anchor_builtin(dcap_anchor *out, dstack_error *err);
void dcap_anchor_clear(dcap_anchor *anchor);
/* Its dates at `now`, and its name where names are enforced. */
int dcap_anchor_check(const dcap_anchor *anchor, int64_t now, dcap_compat *compat,
                      dstack_error *err);

/* A certificate's dates hold at now. */
int dcap_cert_check_dates(const x509_cert *cert, int64_t now, dstack_error *err);
/* DSTACK_E_DCAP_CERT_NAME: the certificate does not have the name of that role. */
int dcap_cert_bad_name(const x509_cert *cert, const char *role, dstack_error *err);

/* Gives an error already set another status and puts "what: " before its message. */
int dcap_reclass(dstack_error *err, dstack_status status, const char *what);

#endif
