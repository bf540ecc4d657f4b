/* Collateral kept in a folder between calls and programs. What is read back is worth what its
 * signatures are, as what comes over a network: the folder need not be trusted, only the verdicts'
 * freshness is as old as its content. */
#ifndef VERIFY_DCAP_DISK_CACHE_H
#define VERIFY_DCAP_DISK_CACHE_H

#include <dstack/collateral.h>

#define DISK_CACHE_MAX_RECORDS 256
#define DISK_CACHE_NAME_SIZE 96

/* Names of records: one bundle for all platforms of a kind; one PCK chain for certification data
 * without certificates. */
void disk_cache_bundle_name(char out[DISK_CACHE_NAME_SIZE], const char *family,
                            const uint8_t fmspc[6], const char *ca, const char *update);
void disk_cache_chain_name(char out[DISK_CACHE_NAME_SIZE], dstack_bytes certification_data);

/* A bundle that is whole and within its dates at now. *fetched: when it was stored. Everything else
 * is DSTACK_E_NOT_FOUND: a damaged or outdated record is as good as none. */
int disk_cache_load(const char *dir, const char *name, int64_t now, dstack_collateral **out,
                    int64_t *fetched, dstack_error *err);
/* Replaces the record in one step; the folder is made when it is missing, and kept from growing
 * beyond DISK_CACHE_MAX_RECORDS by removing the oldest records. */
int disk_cache_store(const char *dir, const char *name, const dstack_collateral *collateral,
                     int64_t now, dstack_error *err);

/* The same for PEM text: a PCK chain, or what AMD certifies a platform with. Appended to out. */
int disk_cache_load_pem(const char *dir, const char *name, dstack_buf *out, int64_t *fetched,
                        dstack_error *err);
int disk_cache_store_pem(const char *dir, const char *name, dstack_bytes pem, int64_t now,
                         dstack_error *err);

#endif
