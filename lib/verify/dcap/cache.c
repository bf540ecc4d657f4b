#include "verify/dcap/cache.h"

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"

dcap_cache *dcap_cache_new(void) {
    dcap_cache *cache = calloc(1, sizeof *cache);
    if (cache != NULL && pthread_rwlock_init(&cache->lock, NULL) != 0) {
        free(cache);
        cache = NULL;
    }
    return cache;
}

static void bundle_clear(dcap_bundle *bundle) {
    dcap_context_free(bundle->context);
    dstack_collateral_free(bundle->collateral);
    *bundle = (dcap_bundle){0};
}

void dcap_cache_free(dcap_cache *cache) {
    if (cache == NULL) {
        return;
    }
    for (size_t i = 0; i < DCAP_PLATFORM_SETS; i++) {
        for (size_t w = 0; cache->sets[i] != NULL && w < DCAP_PLATFORM_WAYS; w++) {
            dcap_platform_free(cache->sets[i]->ways[w].platform);
        }
        free(cache->sets[i]);
    }
    for (size_t i = 0; i < cache->bundle_count; i++) {
        bundle_clear(&cache->bundles[i]);
    }
    for (size_t i = 0; i < DCAP_MAX_PASSING; i++) {
        dcap_context_free(cache->passing[i]);
    }
    pthread_rwlock_destroy(&cache->lock);
    free(cache);
}

/* ---- bundles ---- */

int dcap_purpose_read(const dstack_collateral *collateral, dcap_purpose *out, dstack_error *err) {
    DSTACK_AUTO(tcb_info) dcap_tcb_info tcb = {0};
    DSTACK_AUTO(qe_identity) dcap_qe_identity qe = {0};
    dstack_collateral_parts parts;
    x509_crl root, pck;
    dstack_collateral_get(collateral, &parts);
    int rc = dcap_tcb_info_parse(&tcb, parts.tcb_info, err);
    if (rc == 0 && hex_decode_bytes(tcb.fmspc, out->fmspc, sizeof out->fmspc, err) != 0) {
        rc = dcap_reclass(err, DSTACK_E_DCAP_TCB_INFO_FORMAT, "TCB info, fmspc");
    }
    if (rc == 0) {
        rc = dcap_qe_identity_parse(&qe, parts.qe_identity, err);
    }
    if (rc == 0) {
        rc = dcap_crl_parse(&root, parts.root_ca_crl, "root CRL", err);
    }
    if (rc == 0) {
        rc = dcap_crl_parse(&pck, parts.pck_crl, "PCK CRL", err);
    }
    if (rc != 0) {
        return rc;
    }
    out->tdx = bytes_equal_str(tcb.text.id, "TDX");
    out->eval_number = tcb.text.eval_data_number < qe.text.eval_data_number
                           ? tcb.text.eval_data_number
                           : qe.text.eval_data_number;
    dstack_bytes issuers[] = {root.issuer, pck.issuer};
    hash_parts(HASH_SHA256, issuers, 2, out->issuers);
    dcap_validity v = dcap_validity_all;
    dcap_validity_add(&v, tcb.text.issue_date, tcb.text.next_update);
    dcap_validity_add(&v, qe.text.issue_date, qe.text.next_update);
    dcap_validity_add_crl(&v, &root);
    dcap_validity_add_crl(&v, &pck);
    out->from = v.from;
    out->until = v.until;
    return 0;
}

bool dcap_purpose_same(const dcap_purpose *a, const dcap_purpose *b) {
    return a->tdx == b->tdx && memcmp(a->fmspc, b->fmspc, sizeof a->fmspc) == 0 &&
           memcmp(a->issuers, b->issuers, sizeof a->issuers) == 0;
}

static void forget_platform(dcap_cache *cache, dcap_platform **place) {
    cache->platform_count -= *place != NULL;
    dcap_platform_free(*place);
    *place = NULL;
}

/* Platforms of a context that is going away. */
static void forget_platforms(dcap_cache *cache, const dcap_context *context) {
    for (size_t i = 0; context != NULL && i < DCAP_PLATFORM_SETS; i++) {
        for (size_t w = 0; cache->sets[i] != NULL && w < DCAP_PLATFORM_WAYS; w++) {
            dcap_platform **place = &cache->sets[i]->ways[w].platform;
            if (*place != NULL && (*place)->context == context) {
                forget_platform(cache, place);
            }
        }
    }
}

static void remove_bundle(dcap_cache *cache, size_t at) {
    forget_platforms(cache, cache->bundles[at].context);
    bundle_clear(&cache->bundles[at]);
    cache->bundle_count--;
    memmove(&cache->bundles[at], &cache->bundles[at + 1],
            (cache->bundle_count - at) * sizeof *cache->bundles);
}

void dcap_cache_add_bundle(dcap_cache *cache, dstack_collateral *collateral,
                           const dcap_purpose *purpose) {
    pthread_rwlock_wrlock(&cache->lock);
    for (size_t i = cache->bundle_count; i > 0; i--) {
        if (dcap_purpose_same(&cache->bundles[i - 1].purpose, purpose)) {
            remove_bundle(cache, i - 1);
        }
    }
    if (cache->bundle_count == DCAP_MAX_BUNDLES) {
        remove_bundle(cache, 0);
    }
    cache->bundles[cache->bundle_count++] =
        (dcap_bundle){.collateral = dstack_collateral_ref(collateral), .purpose = *purpose};
    pthread_rwlock_unlock(&cache->lock);
}

static bool bundle_fits(const dcap_bundle *bundle, bool tdx, const uint8_t fmspc[6]) {
    return bundle->purpose.tdx == tdx && memcmp(bundle->purpose.fmspc, fmspc, 6) == 0;
}

static bool bundle_current(const dcap_bundle *bundle, int64_t now) {
    return bundle->purpose.from <= now && now <= bundle->purpose.until;
}

size_t dcap_cache_find_bundles(dcap_cache *cache, bool tdx, const uint8_t fmspc[6], int64_t now,
                               dstack_collateral **out, size_t max) {
    size_t count = 0;
    pthread_rwlock_rdlock(&cache->lock);
    for (int current = 1; current >= 0; current--) {
        for (size_t i = cache->bundle_count; i > 0 && count < max; i--) {
            const dcap_bundle *bundle = &cache->bundles[i - 1];
            if (bundle_fits(bundle, tdx, fmspc) && bundle_current(bundle, now) == (current == 1)) {
                out[count++] = dstack_collateral_ref(bundle->collateral);
            }
        }
    }
    pthread_rwlock_unlock(&cache->lock);
    return count;
}

bool dcap_cache_has_current(dcap_cache *cache, bool tdx, const uint8_t fmspc[6], int64_t now) {
    bool found = false;
    pthread_rwlock_rdlock(&cache->lock);
    for (size_t i = 0; !found && i < cache->bundle_count; i++) {
        found =
            bundle_fits(&cache->bundles[i], tdx, fmspc) && bundle_current(&cache->bundles[i], now);
    }
    pthread_rwlock_unlock(&cache->lock);
    return found;
}

dstack_collateral *dcap_cache_only_bundle(dcap_cache *cache) {
    pthread_rwlock_rdlock(&cache->lock);
    dstack_collateral *only =
        cache->bundle_count == 1 ? dstack_collateral_ref(cache->bundles[0].collateral) : NULL;
    pthread_rwlock_unlock(&cache->lock);
    return only;
}

/* ---- contexts ---- */

static bool same_collateral(const dstack_collateral *a, const dstack_collateral *b) {
    return a == b || bytes_equal(dstack_collateral_id(a), dstack_collateral_id(b));
}

dcap_context *dcap_cache_find_context(dcap_cache *cache, const dstack_collateral *collateral) {
    dcap_context *found = NULL;
    pthread_rwlock_rdlock(&cache->lock);
    for (size_t i = 0; found == NULL && i < cache->bundle_count; i++) {
        if (cache->bundles[i].context != NULL &&
            same_collateral(cache->bundles[i].collateral, collateral)) {
            found = cache->bundles[i].context;
        }
    }
    for (size_t i = 0; found == NULL && i < DCAP_MAX_PASSING; i++) {
        if (cache->passing[i] != NULL &&
            same_collateral(cache->passing[i]->collateral, collateral)) {
            found = cache->passing[i];
        }
    }
    if (found != NULL) {
        (void)dcap_context_ref(found);
    }
    pthread_rwlock_unlock(&cache->lock);
    return found;
}

/* Puts a context in a place, together with the platforms that stood on its predecessor. */
static void replace_context(dcap_cache *cache, dcap_context **place, dcap_context *context) {
    forget_platforms(cache, *place);
    dcap_context_free(*place);
    *place = dcap_context_ref(context);
}

size_t dcap_cache_find_ending(dcap_cache *cache, int64_t before, dstack_collateral **out,
                              size_t max) {
    size_t count = 0;
    pthread_rwlock_rdlock(&cache->lock);
    for (size_t i = 0; i < cache->bundle_count && count < max; i++) {
        if (cache->bundles[i].purpose.until < before) {
            out[count++] = dstack_collateral_ref(cache->bundles[i].collateral);
        }
    }
    pthread_rwlock_unlock(&cache->lock);
    return count;
}

size_t dcap_cache_count(dcap_cache *cache, int64_t *until) {
    *until = 0;
    pthread_rwlock_rdlock(&cache->lock);
    size_t count = cache->bundle_count;
    for (size_t i = 0; i < count; i++) {
        int64_t end = cache->bundles[i].purpose.until;
        *until = i == 0 || end < *until ? end : *until;
    }
    pthread_rwlock_unlock(&cache->lock);
    return count;
}

bool dcap_cache_renew_bundle(dcap_cache *cache, const dstack_collateral *old,
                             const dcap_purpose *purpose, dcap_context *context) {
    dcap_bundle *place = NULL;
    pthread_rwlock_wrlock(&cache->lock);
    for (size_t i = 0; place == NULL && i < cache->bundle_count; i++) {
        if (same_collateral(cache->bundles[i].collateral, old)) {
            place = &cache->bundles[i];
        }
    }
    if (place != NULL) {
        forget_platforms(cache, place->context);
        bundle_clear(place);
        *place = (dcap_bundle){
            .collateral = dstack_collateral_ref(context->collateral),
            .purpose = *purpose,
            .context = dcap_context_ref(context),
        };
    }
    pthread_rwlock_unlock(&cache->lock);
    return place != NULL;
}

void dcap_cache_store_context(dcap_cache *cache, dcap_context *context) {
    dcap_context **place = NULL;
    pthread_rwlock_wrlock(&cache->lock);
    for (size_t i = 0; place == NULL && i < cache->bundle_count; i++) {
        if (same_collateral(cache->bundles[i].collateral, context->collateral)) {
            place = &cache->bundles[i].context;
        }
    }
    for (size_t i = 0; place == NULL && i < DCAP_MAX_PASSING; i++) {
        if (cache->passing[i] != NULL &&
            same_collateral(cache->passing[i]->collateral, context->collateral)) {
            place = &cache->passing[i];
        }
    }
    if (place == NULL) {
        place = &cache->passing[cache->passing_next];
        cache->passing_next = (cache->passing_next + 1) % DCAP_MAX_PASSING;
    }
    replace_context(cache, place, context);
    pthread_rwlock_unlock(&cache->lock);
}

/* ---- platforms ---- */

static size_t set_of(const uint8_t key[HASH_SHA256_SIZE]) {
    return ((size_t)key[0] | (size_t)key[1] << 8) % DCAP_PLATFORM_SETS;
}

static bool is_added(const dcap_cache *cache, const dcap_context *context) {
    for (size_t i = 0; i < cache->bundle_count; i++) {
        if (cache->bundles[i].context == context) {
            return true;
        }
    }
    return false;
}

dcap_platform *dcap_cache_find_platform(dcap_cache *cache, const uint8_t key[HASH_SHA256_SIZE],
                                        const dstack_collateral *collateral, bool tdx) {
    dcap_platform *found = NULL;
    pthread_rwlock_rdlock(&cache->lock);
    const dcap_set *set = cache->sets[set_of(key)];
    for (size_t w = 0; set != NULL && found == NULL && w < DCAP_PLATFORM_WAYS; w++) {
        dcap_platform *p = set->ways[w].platform;
        if (p != NULL && memcmp(set->ways[w].key, key, HASH_SHA256_SIZE) == 0 &&
            (collateral != NULL ? same_collateral(p->context->collateral, collateral)
                                : bytes_equal_str(p->context->tcb.text.id, tdx ? "TDX" : "SGX") &&
                                      is_added(cache, p->context))) {
            found = dcap_platform_ref(p);
        }
    }
    pthread_rwlock_unlock(&cache->lock);
    return found;
}

/* The place in a set for a platform: its own, a free one while there may be more, or another's. */
static size_t place_in_set(const dcap_cache *cache, dcap_set *set,
                           const uint8_t key[HASH_SHA256_SIZE], const dcap_platform *platform) {
    size_t vacant = DCAP_PLATFORM_WAYS, taken = 0;
    for (size_t w = 0; w < DCAP_PLATFORM_WAYS; w++) {
        const dcap_platform *there = set->ways[w].platform;
        if (there == NULL) {
            vacant = w;
        } else if (memcmp(set->ways[w].key, key, HASH_SHA256_SIZE) == 0 &&
                   there->context == platform->context) {
            return w;
        } else {
            taken++;
        }
    }
    if (vacant < DCAP_PLATFORM_WAYS && (taken == 0 || cache->platform_count < DCAP_MAX_PLATFORMS)) {
        return vacant;
    }
    do {
        set->next = (set->next + 1) % DCAP_PLATFORM_WAYS;
    } while (set->ways[set->next].platform == NULL);
    return set->next;
}

void dcap_cache_store_platform(dcap_cache *cache, const uint8_t key[HASH_SHA256_SIZE],
                               dcap_platform *platform) {
    pthread_rwlock_wrlock(&cache->lock);
    dcap_set **set = &cache->sets[set_of(key)];
    if (*set == NULL) {
        *set = calloc(1, sizeof **set);
    }
    if (*set != NULL) { /* without memory the platform is verified again next time */
        size_t at = place_in_set(cache, *set, key, platform);
        forget_platform(cache, &(*set)->ways[at].platform);
        (*set)->ways[at].platform = dcap_platform_ref(platform);
        memcpy((*set)->ways[at].key, key, HASH_SHA256_SIZE);
        cache->platform_count++;
    }
    pthread_rwlock_unlock(&cache->lock);
}
