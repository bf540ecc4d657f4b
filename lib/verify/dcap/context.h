/* What verification makes once and keeps: a bundle of collateral under an anchor, and a platform
 * under that. Both are immutable once made, counted by reference, and carry the time over which
 * they hold. */
#ifndef VERIFY_DCAP_CONTEXT_H
#define VERIFY_DCAP_CONTEXT_H

#include <stdatomic.h>

#include "verify/dcap/chain.h"
#include "verify/dcap/tcb_info.h"

/* One bundle, verified; nothing of it changes but known_ca, once. Borrows the anchor, which the
 * verifier keeps for its whole life. */
typedef struct dcap_context {
    atomic_uint references;
    const dcap_anchor *anchor;
    dstack_collateral *collateral;
    dstack_collateral_parts parts;
    x509_crl root_crl, pck_crl;
    uint32_t root_crl_number, pck_crl_number;
    uint32_t compat_used; /* DSTACK_COMPAT_* without which it would have been refused */
    dcap_tcb_info tcb;
    dcap_qe_identity qe;
    dcap_validity validity;            /* anchor, root CRL, both texts with their paths */
    _Atomic(dcap_known_ca *) known_ca; /* set once, by the first platform */
    dcap_validity qe_validity;         /* for the report: QE identity, its path, the anchor */
} dcap_context;

/* compat: DSTACK_COMPAT_* rules that are waived.
 * First part: chooses the anchor whose CRL the bundle holds, checks anchor and root CRL at now. */
int dcap_context_new(dcap_context **out, const dcap_anchor *anchors, size_t anchor_count,
                     dstack_collateral *collateral, int64_t now, uint32_t compat,
                     dstack_error *err);
/* Second part: TCB info and QE identity with their dates, paths and signatures at now. */
int dcap_context_load_texts(dcap_context *context, int64_t now, uint32_t compat, dstack_error *err);
/* The PCK CRL under the chain that the bundle has for it. */
int dcap_context_check_pck_list(const dcap_context *context, int64_t now, uint32_t compat,
                                dstack_error *err);
dcap_context *dcap_context_ref(dcap_context *context);
void dcap_context_free(dcap_context *context);
DSTACK_AUTO_DEFINE(context, dcap_context, dcap_context_free)

#define DCAP_ATTESTATION_KEYS 2

/* One platform: its PCK certificate verified under a context's anchor and lists. */
typedef struct dcap_platform {
    atomic_uint references;
    dcap_context *context;
    ecdsa_key *key; /* of the PCK certificate */
    /* Attestation keys of quotes that passed, each set once: a quoting enclave keeps its key, and a
     * new one comes with an update, as new collateral does. */
    _Atomic(ecdsa_key *) attestation_keys[DCAP_ATTESTATION_KEYS];
    ecdsa_tables *tables; /* for keys that come again and again */
    dstack_pck_info pck;
    uint32_t compat_used;
    dcap_validity validity; /* PCK path and PCK CRL */
} dcap_platform;

/* chain: PEM. tables outlives the platform. */
int dcap_platform_new(dcap_platform **out, dcap_context *context, dstack_bytes chain, int64_t now,
                      uint32_t compat, ecdsa_tables *tables, dstack_error *err);
/* The platform's key with these 64 bytes, or NULL. */
const ecdsa_key *dcap_platform_attestation_key(const dcap_platform *platform, dstack_bytes point);
/* Keeps a key under which a quote of this platform passed every check. */
void dcap_platform_keep_key(dcap_platform *platform, dstack_bytes point);
dcap_platform *dcap_platform_ref(dcap_platform *platform);
void dcap_platform_free(dcap_platform *platform);
DSTACK_AUTO_DEFINE(platform, dcap_platform, dcap_platform_free)

/* True while everything that was verified holds. */
static inline bool dcap_platform_holds(const dcap_platform *p, int64_t now) {
    return dcap_validity_holds(&p->validity, now) &&
           dcap_validity_holds(&p->context->validity, now);
}

#endif
