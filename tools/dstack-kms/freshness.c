#include "freshness.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/cert.h>
#include <dstack/quote.h>

#include "base/cursor.h"
#include "crypto/hash.h"
#include "x509/build.h"

#define WAYS 8
/* AMD SEV-SNP ABI, table "ATTESTATION_REPORT": the signature begins at 2A0h with R, 72 bytes. */
#define SNP_SIGNATURE_AT 0x2a0
#define SNP_R_SIZE 72
#define ECDSA_R_SIZE 32

typedef struct entry {
    uint8_t name[32];
    int64_t first; /* 0: free */
} entry;

struct freshness {
    pthread_mutex_t lock;
    size_t sets;
    entry entries[];
};

const char *freshness_source_name(freshness_source source) {
    static const char *const names[] = {"unknown", "certificate", "first use", "signed"};
    return names[source];
}

freshness *freshness_new(size_t capacity) {
    size_t sets = capacity / WAYS > 0 ? capacity / WAYS : 1;
    freshness *f = calloc(1, sizeof *f + sets * WAYS * sizeof(entry));
    if (f != NULL) {
        pthread_mutex_init(&f->lock, NULL);
        f->sets = sets;
    }
    return f;
}

void freshness_free(freshness *f) {
    if (f != NULL) {
        pthread_mutex_destroy(&f->lock);
        free(f);
    }
}

/* The second half of an ECDSA signature can be negated, and certificates beside it written in other
 * ways, by anybody; the first half binds the quoting key's random number. */
void freshness_name(const dstack_attestation *evidence, uint8_t name[32]) {
    dstack_bytes raw = dstack_attestation_evidence(evidence);
    dstack_quote quote;
    hash_ctx ctx;
    hash_init(&ctx, HASH_SHA256);
    if (dstack_attestation_variant(evidence) == DSTACK_TEE_SEV_SNP &&
        raw.len >= SNP_SIGNATURE_AT + SNP_R_SIZE) {
        hash_update(&ctx, bytes_of(raw.data, SNP_SIGNATURE_AT + SNP_R_SIZE));
    } else if (dstack_quote_parse(&quote, raw, NULL) == 0 && quote.signature.len >= ECDSA_R_SIZE) {
        hash_update(&ctx, quote.signed_bytes);
        hash_update(&ctx, bytes_of(quote.signature.data, ECDSA_R_SIZE));
    } else {
        hash_update(&ctx, raw);
    }
    hash_final(&ctx, name);
}

static entry *set_of(freshness *f, const uint8_t name[32]) {
    uint64_t at;
    memcpy(&at, name, sizeof at);
    return &f->entries[(size_t)(at % f->sets) * WAYS];
}

static int64_t first_use(freshness *f, const uint8_t name[32]) {
    int64_t first = 0;
    pthread_mutex_lock(&f->lock);
    const entry *set = set_of(f, name);
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].first != 0 && memcmp(set[i].name, name, sizeof set[i].name) == 0) {
            first = set[i].first;
        }
    }
    pthread_mutex_unlock(&f->lock);
    return first;
}

static void consider(evidence_age *age, int64_t since, int64_t now, freshness_source source) {
    int64_t seconds = now > since ? now - since : 0;
    if (age->source == FRESHNESS_UNKNOWN || seconds > age->seconds) {
        *age = (evidence_age){seconds, source};
    }
}

evidence_age freshness_age(freshness *f, const uint8_t name[32], int64_t not_before,
                           int64_t signed_at, int64_t now) {
    evidence_age age = {0};
    int64_t first = first_use(f, name);
    if (signed_at > 0) {
        consider(&age, signed_at, now, FRESHNESS_SIGNED);
    }
    if (first > 0) {
        consider(&age, first, now, FRESHNESS_FIRST_USE);
    }
    /* Certificates of the reference's clients begin in 1975, which is to say: no date. */
    if (not_before > X509_DEFAULT_NOT_BEFORE) {
        consider(&age, not_before, now, FRESHNESS_CERTIFICATE);
    }
    return age;
}

void freshness_used(freshness *f, const uint8_t name[32], int64_t now) {
    pthread_mutex_lock(&f->lock);
    entry *set = set_of(f, name);
    entry *place = &set[0];
    for (size_t i = 0; i < WAYS; i++) {
        if (set[i].first != 0 && memcmp(set[i].name, name, sizeof set[i].name) == 0) {
            pthread_mutex_unlock(&f->lock);
            return;
        }
        place = set[i].first < place->first ? &set[i] : place;
    }
    memcpy(place->name, name, sizeof place->name);
    place->first = now;
    pthread_mutex_unlock(&f->lock);
}
