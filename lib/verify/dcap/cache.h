/* What a verifier remembers, behind one lock: bundles of collateral with their verified contexts,
 * and verified platforms by the hash of the certification data they came from. Entries are
 * immutable; look-ups hand out references, so nothing is verified while the lock is held. */
#ifndef VERIFY_DCAP_CACHE_H
#define VERIFY_DCAP_CACHE_H

#include <pthread.h>

#include "crypto/hash.h"
#include "verify/dcap/context.h"

#define DCAP_MAX_BUNDLES 256 /* added by the operator */
#define DCAP_MAX_PASSING 32  /* contexts of collateral that came with one call */
/* Of 4096 platforms some 15 find their set full; room for twice as many makes it so few. */
#define DCAP_MAX_PLATFORMS 4096
#define DCAP_PLATFORM_SETS 512
#define DCAP_PLATFORM_WAYS 16

/* What a bundle is for, read from it before anything is verified: good for choosing, not for trust.
 */
typedef struct dcap_purpose {
    bool tdx;
    uint8_t fmspc[6];
    uint8_t issuers[HASH_SHA256_SIZE]; /* of both revocation lists */
    uint32_t eval_number;              /* the lower of both texts' */
    int64_t from, until;               /* dates of texts and root list, both inclusive */
} dcap_purpose;

int dcap_purpose_read(const dstack_collateral *collateral, dcap_purpose *out, dstack_error *err);

typedef struct dcap_bundle {
    dstack_collateral *collateral;
    dcap_purpose purpose;
    dcap_context *context; /* NULL until verified */
} dcap_bundle;

/* Platforms whose keys fall together; the youngest replaces one of the others in turn. */
typedef struct dcap_set {
    struct {
        uint8_t key[HASH_SHA256_SIZE];
        dcap_platform *platform;
    } ways[DCAP_PLATFORM_WAYS];
    unsigned next;
} dcap_set;

typedef struct dcap_cache {
    pthread_rwlock_t lock;
    dcap_bundle bundles[DCAP_MAX_BUNDLES]; /* oldest first */
    size_t bundle_count;
    dcap_context *passing[DCAP_MAX_PASSING]; /* a ring */
    size_t passing_next;
    dcap_set *sets[DCAP_PLATFORM_SETS]; /* made at first use */
    size_t platform_count;
} dcap_cache;

/* NULL without memory. */
dcap_cache *dcap_cache_new(void);
void dcap_cache_free(dcap_cache *cache);

/* Adds a bundle, in place of one for the same purpose or, when full, of the oldest. */
void dcap_cache_add_bundle(dcap_cache *cache, dstack_collateral *collateral,
                           const dcap_purpose *purpose);
/* References to bundles for a TEE and FMSPC: those within their dates at `now` first, newest first.
 */
size_t dcap_cache_find_bundles(dcap_cache *cache, bool tdx, const uint8_t fmspc[6], int64_t now,
                               dstack_collateral **out, size_t max);
/* How many of those are within their dates. */
bool dcap_cache_has_current(dcap_cache *cache, bool tdx, const uint8_t fmspc[6], int64_t now);
/* A reference to the only bundle, or NULL when there is none or more than one. */
dstack_collateral *dcap_cache_only_bundle(dcap_cache *cache);

/* References to bundles that end before a time. */
size_t dcap_cache_find_ending(dcap_cache *cache, int64_t before, dstack_collateral **out,
                              size_t max);
/* How many bundles there are, and the earliest end of one; 0 for none. */
size_t dcap_cache_count(dcap_cache *cache, int64_t *until);
/* Puts a verified context with its collateral in the place of that bundle, all at once. False, and
 * nothing changed, when the bundle is no longer kept. */
bool dcap_cache_renew_bundle(dcap_cache *cache, const dstack_collateral *old,
                             const dcap_purpose *purpose, dcap_context *context);
bool dcap_purpose_same(const dcap_purpose *a, const dcap_purpose *b);

/* A reference to the verified context of that very collateral, or NULL. */
dcap_context *dcap_cache_find_context(dcap_cache *cache, const dstack_collateral *collateral);
void dcap_cache_store_context(dcap_cache *cache, dcap_context *context);

/* A reference to a platform verified from that certification data; with collateral NULL, under any
 * added bundle. NULL when there is none. */
dcap_platform *dcap_cache_find_platform(dcap_cache *cache, const uint8_t key[HASH_SHA256_SIZE],
                                        const dstack_collateral *collateral, bool tdx);
void dcap_cache_store_platform(dcap_cache *cache, const uint8_t key[HASH_SHA256_SIZE],
                               dcap_platform *platform);

#endif
