#include "verify/dcap/validity.h"

const dcap_validity dcap_validity_all = {
    .from = INT64_MIN,
    .until = INT64_MAX,
    .earliest_issue = INT64_MAX,
    .latest_issue = INT64_MIN,
    .earliest_expiration = INT64_MAX,
};

static int64_t lower(int64_t a, int64_t b) {
    return a < b ? a : b;
}

static int64_t higher(int64_t a, int64_t b) {
    return a > b ? a : b;
}

void dcap_validity_show(dcap_validity *v, int64_t from, int64_t until) {
    v->earliest_issue = lower(v->earliest_issue, from);
    v->latest_issue = higher(v->latest_issue, from);
    v->earliest_expiration = lower(v->earliest_expiration, until);
}

void dcap_validity_add(dcap_validity *v, int64_t from, int64_t until) {
    v->from = higher(v->from, from);
    v->until = lower(v->until, until);
    dcap_validity_show(v, from, until);
}

void dcap_validity_add_crl(dcap_validity *v, const x509_crl *crl) {
    v->from = higher(v->from, crl->this_update);
    v->until = lower(v->until, crl->next_update - 1);
    dcap_validity_show(v, crl->this_update, crl->next_update);
}

void dcap_validity_merge(dcap_validity *v, const dcap_validity *other) {
    v->from = higher(v->from, other->from);
    v->until = lower(v->until, other->until);
    v->earliest_issue = lower(v->earliest_issue, other->earliest_issue);
    v->latest_issue = higher(v->latest_issue, other->latest_issue);
    v->earliest_expiration = lower(v->earliest_expiration, other->earliest_expiration);
}
