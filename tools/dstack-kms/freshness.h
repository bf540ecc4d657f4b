/* How old evidence is, by whatever tells.
 *
 * An Intel quote and an AMD report say nothing of time, and a certificate around them may be made
 * anew by whoever has its key. What a KMS can know by itself is when it first released something for
 * this evidence: evidence that was good once is not good for ever, also in the hands of a thief.
 * Times are of the host's clock, which no platform vouches for. Shared among threads. */
#ifndef KMS_FRESHNESS_H
#define KMS_FRESHNESS_H

#include <dstack/attestation.h>

#include "base/auto.h"

typedef struct freshness freshness;

/* What tells the age: the greatest of what is known counts. */
typedef enum freshness_source {
    FRESHNESS_UNKNOWN,     /* nothing does: seen for the first time */
    FRESHNESS_CERTIFICATE, /* the certificate around it begins then, says who made it */
    FRESHNESS_FIRST_USE,   /* something was released for it then */
    FRESHNESS_SIGNED,      /* signed with it by the platform */
} freshness_source;
const char *freshness_source_name(freshness_source source);

typedef struct evidence_age {
    int64_t seconds; /* 0 where the source is unknown */
    freshness_source source;
} evidence_age;

/* Remembers the first use of about `capacity` pieces of evidence; the oldest make room. */
freshness *freshness_new(size_t capacity);
void freshness_free(freshness *f);
DSTACK_AUTO_DEFINE(freshness, freshness, freshness_free)

/* A name that evidence keeps however it is encoded or wrapped: SHA-256 over what the platform signed
 * and the part of the signature that only the platform can make another of. */
void freshness_name(const dstack_attestation *evidence, uint8_t name[32]);

/* The age at `now`. not_before: of the certificate, or 0 where there is none; signed_at: or 0. */
evidence_age freshness_age(freshness *f, const uint8_t name[32], int64_t not_before,
                           int64_t signed_at, int64_t now);
/* Something is released for it. */
void freshness_used(freshness *f, const uint8_t name[32], int64_t now);

#endif
