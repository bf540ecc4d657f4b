/* What the files of this folder share. */
#ifndef VERIFY_SNP_SNP_H
#define VERIFY_SNP_SNP_H

#include <dstack/snp.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "x509/cert.h"

DSTACK_AUTO_DEFINE_CLEAR(snp_certs, dstack_snp_certs, dstack_snp_certs_clear)

/* The signed part of a report. */
#define SNP_SIGNED_SIZE 0x2a0
/* Longest certificate or table entry that is read. */
#define SNP_MAX_CERT_SIZE ((size_t)16 << 10)

/* The DER of AMD's root of a product. */
dstack_bytes snp_builtin_root(dstack_snp_product product);

/* What the extensions of a VCEK or VLEK certificate say. */
typedef struct snp_vcek {
    dstack_snp_tcb tcb;
    dstack_bytes hardware_id; /* empty in a VLEK */
    dstack_bytes provider;    /* empty in a VCEK */
    bool bare;                /* none of AMD's extensions is there; the rest is empty */
} snp_vcek;

int snp_vcek_read(const x509_cert *cert, snp_vcek *out, dstack_error *err);
/* The certificate is this chip's (or this provider's), and stands for the reported TCB. */
int snp_vcek_check(const snp_vcek *vcek, const dstack_snp_report *report,
                   const dstack_snp_options *options, dstack_error *err);

/* The certificates, and the list if there is one, lead to this product's root and are this report's;
 * about the report itself nothing is said. */
int snp_certs_check(const dstack_snp_report *report, const dstack_snp_certs *certs,
                    dstack_snp_product product, const dstack_snp_options *options,
                    dstack_error *err);

/* The rules about a verified report's own fields. */
int snp_policy_check(const dstack_snp_report *report, const dstack_snp_options *options,
                     dstack_error *err);
bool snp_tcb_equal(const dstack_snp_tcb *a, const dstack_snp_tcb *b);

#endif
