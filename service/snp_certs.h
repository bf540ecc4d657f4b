/* Fetches AMD's certificates for SEV-SNP evidence that comes without them, and keeps what it got in
 * memory. One fetch at a time; a chip that nobody certifies is not asked about again for a while:
 * anybody who can show evidence can ask for one. */
#ifndef SERVICE_SNP_CERTS_H
#define SERVICE_SNP_CERTS_H

#include <dstack/attestation.h>
#include <dstack/snp.h>

#include "base/auto.h"

typedef struct snp_fetcher snp_fetcher;

/* urls: servers in order, copied; none gives a fetcher that refuses. cache: folder, "" for none.
 * NULL when memory ran out. */
snp_fetcher *snp_fetcher_new(const char *const *urls, size_t count, int64_t timeout_ms,
                             const char *cache);
void snp_fetcher_free(snp_fetcher *fetcher);
/* A dstack_snp_certs_source whose user is the fetcher. Thread-safe. */
int snp_fetch_for(void *fetcher, dstack_bytes report, const struct dstack_snp_options *options,
                  struct dstack_snp_certs *certs, dstack_error *err);

#endif
