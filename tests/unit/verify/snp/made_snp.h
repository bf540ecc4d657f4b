/* An SNP world made here: a root, an ASK, a VCEK and a report, each of which a test may bend before
 * it is signed. The chain is ECDSA P-384, which roots of the operator's own may be. */
#ifndef TESTS_MADE_SNP_H
#define TESTS_MADE_SNP_H

#include <dstack/snp.h>

#define MADE_SNP_NOW 1767225600
#define MADE_SNP_ASK_SERIAL 0x10

typedef struct made_snp {
    uint8_t report[DSTACK_SNP_REPORT_SIZE]; /* the signature is filled by made_snp_build */
    uint8_t spl[4];                         /* boot loader, TEE, SNP, microcode of the VCEK */
    uint8_t hardware_id[64];
    bool ask_not_ca, foreign_ask; /* the ASK is no CA; is signed by another key */
    int64_t vcek_from, vcek_until;
    bool revoke_ask;   /* the list names the ASK */
    int64_t crl_until; /* 0: no list */
    dstack_buf root;
    dstack_snp_certs certs;
} made_snp;

/* A good version 3 Milan report. */
void made_snp_init(made_snp *m);
/* Signs everything as it stands now. */
void made_snp_build(made_snp *m);
void made_snp_clear(made_snp *m);
/* Verifies it against its own root; `options` may be NULL. */
int made_snp_verify(const made_snp *m, const dstack_snp_options *options, dstack_snp_verdict *out,
                    dstack_error *err);

#endif
