/* Fetching AMD's certificates over a transport that the caller chooses: "Versioned Chip Endorsement
 * Key Certificate and KDS Interface Specification", AMD publication 57230. */
#ifndef VERIFY_SNP_KDS_H
#define VERIFY_SNP_KDS_H

#include "verify/dcap/fetch.h"
#include "verify/snp/snp.h"

/* dstack_snp_certs_fetch over this transport. */
int kds_fetch(dstack_bytes report, const dstack_snp_options *options,
              const dstack_snp_servers *servers, const fetch_transport *transport,
              dstack_snp_certs *certs, dstack_error *err);

/* ---- text: no network here ---- */

typedef enum kds_piece { KDS_LEAF, KDS_ASK, KDS_CRL, KDS_PIECES } kds_piece;

/* The address of a piece below a base URL. */
int kds_url(kds_piece piece, const char *base, dstack_snp_product product,
            const dstack_snp_report *report, dstack_buf *out, dstack_error *err);
/* The name under which a piece is kept. */
#define KDS_NAME_SIZE 96
void kds_record_name(kds_piece piece, dstack_snp_product product, const dstack_snp_report *report,
                     char out[KDS_NAME_SIZE]);
/* DER of a piece from an answer: certificate or list, DER or PEM; of several certificates the first
 * (the ASK stands before the ARK, which is nobody's anchor). Replaces what was in out. */
int kds_read(kds_piece piece, dstack_bytes body, dstack_buf *out, dstack_error *err);

#endif
