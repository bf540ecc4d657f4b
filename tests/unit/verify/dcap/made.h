/* Quotes and collateral of our own making, in the shape of Intel's, with a handle on everything
 * that a verifier must look at. */
#ifndef TESTS_VERIFY_DCAP_MADE_H
#define TESTS_VERIFY_DCAP_MADE_H

#include "check.h"

#include <dstack/verifier.h>

#include "verify/dcap/collateral.h"

#define MADE_NOW 1790000000 /* 2026-09-21 */

enum made_role { MADE_ROOT, MADE_CA, MADE_LEAF, MADE_SIGNER, MADE_ATTESTATION, MADE_STRANGER };
#define MADE_BIT(x) (1u << (x))

/* Things that carry a signature; a forged one is signed by a stranger's key. */
enum made_signed {
    MADE_SIGNED_CA,
    MADE_SIGNED_LEAF,
    MADE_SIGNED_SIGNER,
    MADE_SIGNED_ROOT_CRL,
    MADE_SIGNED_PCK_CRL,
    MADE_SIGNED_TCB_INFO,
    MADE_SIGNED_QE_IDENTITY,
    MADE_SIGNED_QE_REPORT,
    MADE_SIGNED_QUOTE,
};

typedef struct made_cert {
    const char *name;
    int64_t from, until;
    bool is_ca;
    uint16_t key_usage;
    unsigned eku;
} made_cert;

typedef struct made_list {
    int64_t from, until;
} made_list;

/* Permitted subtrees that a CA names: of DNS names (which certificates here do not have), of
 * directory names (others than theirs), of a form that is not known. */
enum made_constraints { MADE_FREE, MADE_DNS_ONLY, MADE_OTHER_DIRECTORY, MADE_UNKNOWN_FORM };

typedef struct made_spec {
    made_cert certs[4]; /* root to signer */
    made_list root_crl, pck_crl;
    unsigned forged;     /* bits of made_signed */
    unsigned revoked;    /* bits of made_role */
    unsigned swap_lists; /* each list in the other's member */
    int64_t texts_from, texts_until;
    const char *tcb_edits[16]; /* pairs: text, replacement; applied before signing */
    const char *qe_edits[16];
    uint8_t components[16], pce_svn; /* of the PCK certificate */
    uint16_t version;
    dstack_td_report td;
    bool with_td15;
    dstack_td_report_15 td15;
    dstack_enclave_report qe;
    size_t auth_size;
    bool unbound_key;         /* the QE report vouches for another key */
    const char *root_crl_uri; /* distribution point in the root certificate, or NULL */
    enum made_constraints name_constraints; /* in the PCK CA */
    bool no_chain;                          /* certification data without certificates */
} made_spec;

typedef struct made {
    dstack_buf quote, root;
    dstack_collateral *collateral;
} made;

/* A sound TDX 1.0 quote, UpToDate. */
void made_spec_init(made_spec *spec);
void made_build(const made_spec *spec, made *out);
void made_clear(made *m);
static inline void auto_made(made *m) {
    made_clear(m);
}
/* A verifier that trusts the made root as "made root", and nothing else. */
dstack_verifier *made_verifier(const made *m, dstack_verifier_options options);

#endif
