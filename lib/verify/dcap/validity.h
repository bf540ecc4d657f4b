/* How long a verdict holds, and the dates that a report shows for it. */
#ifndef VERIFY_DCAP_VALIDITY_H
#define VERIFY_DCAP_VALIDITY_H

#include "x509/crl.h"

/* The time over which a verdict holds (both ends inclusive), and the dates a report shows. Starts
 * with dcap_validity_all. */
typedef struct dcap_validity {
    int64_t from, until;
    int64_t earliest_issue, latest_issue, earliest_expiration;
} dcap_validity;

extern const dcap_validity dcap_validity_all;
void dcap_validity_add(dcap_validity *v, int64_t from, int64_t until);
/* A list's last second is the one before nextUpdate; reports show nextUpdate itself. */
void dcap_validity_add_crl(dcap_validity *v, const x509_crl *crl);
/* Dates for the report alone. */
void dcap_validity_show(dcap_validity *v, int64_t from, int64_t until);
void dcap_validity_merge(dcap_validity *v, const dcap_validity *other);
static inline bool dcap_validity_holds(const dcap_validity *v, int64_t now) {
    return v->from <= now && now <= v->until;
}

#endif
