#include <dstack/verifier.h>

#include <dstack/refresh.h>

#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "verify/dcap/cache.h"
#include "verify/dcap/check.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/pck.h"

/* Of keys of platforms, 148 KiB each. */
#define PLATFORM_TABLES 16

struct dstack_verifier {
    dcap_anchor *anchors;
    size_t anchor_count;
    dcap_check_flags flags;
    ecdsa_tables tables;
    dcap_cache *cache;
};

/* ---- life ---- */

DSTACK_AUTO_DEFINE(verifier, dstack_verifier, dstack_verifier_free)

static bool names_enforced(dstack_names_rule rule, bool builtin) {
    return rule == DSTACK_NAMES_ENFORCE || (rule == DSTACK_NAMES_DEFAULT && builtin);
}

/* root: NULL for Intel's. */
static int add_anchor(dstack_verifier *v, const dstack_trust_root *root, dstack_names_rule names,
                      dstack_error *err) {
    dcap_anchor *anchor = &v->anchors[v->anchor_count++];
    int rc = root == NULL ? dcap_anchor_builtin(anchor, err)
                          : dcap_anchor_load(anchor, root->name, false, root->cert, err);
    anchor->enforce_names = names_enforced(names, root == NULL);
    return rc;
}

int dstack_verifier_new(dstack_verifier **out, const dstack_verifier_options *options,
                        dstack_error *err) {
    static const dstack_verifier_options defaults = {0};
    const dstack_verifier_options *o = options == NULL ? &defaults : options;
    size_t count = o->root_count + (o->no_builtin_root ? 0 : 1);
    if (count == 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "a verifier needs at least one trust root");
    }
    DSTACK_AUTO(verifier) dstack_verifier *v = calloc(1, sizeof *v);
    if (v != NULL) {
        v->anchors = calloc(count, sizeof *v->anchors);
        v->cache = dcap_cache_new();
    }
    if (v == NULL || v->anchors == NULL || v->cache == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a verifier");
    }
    atomic_init(&v->tables.left, PLATFORM_TABLES);
    v->flags = (dcap_check_flags){o->allow_debug, o->allow_service_td, o->compat};
    int rc = 0;
    if (!o->no_builtin_root) {
        rc = add_anchor(v, NULL, o->names, err);
    }
    for (size_t i = 0; rc == 0 && i < o->root_count; i++) {
        rc = add_anchor(v, &o->roots[i], o->names, err);
    }
    if (rc == 0) {
        *out = v;
        v = NULL;
    }
    return rc;
}

void dstack_verifier_free(dstack_verifier *v) {
    if (v == NULL) {
        return;
    }
    dcap_cache_free(v->cache);
    for (size_t i = 0; i < v->anchor_count; i++) {
        dcap_anchor_clear(&v->anchors[i]);
    }
    free(v->anchors);
    free(v);
}

int dstack_verifier_add_collateral(dstack_verifier *v, dstack_collateral *collateral,
                                   dstack_error *err) {
    dcap_purpose purpose;
    int rc = dcap_purpose_read(collateral, &purpose, err);
    if (rc == 0) {
        dcap_cache_add_bundle(v->cache, collateral, &purpose);
    }
    return rc;
}

/* ---- one verification ---- */

/* The parsed quote, or why it could not be parsed: collateral is judged before it. */
typedef struct subject {
    dstack_quote quote;
    int rc;
    dstack_error err;
    dstack_bytes chain; /* PEM of the PCK chain to use; data NULL when there is none */
    uint8_t key[HASH_SHA256_SIZE];
    int64_t now;
    dcap_compat compat; /* rules waived while parsing */
} subject;

static void subject_parse(subject *s, const dstack_verifier *v, dstack_bytes raw, int64_t now) {
    s->compat = (dcap_compat){v->flags.compat, 0};
    s->now = now;
    s->chain = (dstack_bytes){NULL, 0};
    s->rc = dcap_quote_parse(&s->quote, raw, &s->compat, &s->err);
    if (s->rc == 0) {
        s->rc = dcap_check_kind(&s->quote, &s->err);
    }
    if (s->rc == 0 && s->quote.cert_type == DSTACK_QUOTE_CERT_PCK_CHAIN) {
        s->chain = s->quote.cert_data;
    }
}

static void subject_set_key(subject *s) {
    hash_sha256(s->chain, s->key);
}

static int subject_error(const subject *s, dstack_error *err) {
    return error_set(err, (dstack_status)s->rc, "%s", s->err.message);
}

/* The context of a bundle at this time: kept, or made new in the order in which checks are reported
 * (anchor and lists, then the quote's form, then the texts). */
static int open_context(dstack_verifier *v, dstack_collateral *collateral, const subject *s,
                        dcap_context **out, dstack_error *err) {
    DSTACK_AUTO(context) dcap_context *context = dcap_cache_find_context(v->cache, collateral);
    if (context != NULL && dcap_validity_holds(&context->validity, s->now)) {
        *out = context;
        context = NULL;
        return s->rc == 0 ? 0 : subject_error(s, err);
    }
    dcap_context_free(context);
    context = NULL;
    int rc = dcap_context_new(&context, v->anchors, v->anchor_count, collateral, s->now,
                              v->flags.compat, err);
    if (rc == 0 && s->rc != 0) {
        rc = subject_error(s, err);
    }
    if (rc == 0) {
        rc = dcap_context_load_texts(context, s->now, v->flags.compat, err);
    }
    if (rc == 0) {
        dcap_cache_store_context(v->cache, context);
        *out = context;
        context = NULL;
    }
    return rc;
}

int dstack_verifier_check_collateral(dstack_verifier *v, dstack_collateral *collateral, int64_t now,
                                     dstack_error *err) {
    DSTACK_AUTO(context) dcap_context *context = NULL;
    const subject nothing = {.now = now};
    int rc = open_context(v, collateral, &nothing, &context, err);
    return rc != 0 ? rc : dcap_context_check_pck_list(context, now, v->flags.compat, err);
}

/* A platform that is not known, or no longer within its dates. */
static int open_platform(dstack_verifier *v, dstack_collateral *collateral, const subject *s,
                         dcap_platform **out, dstack_error *err) {
    DSTACK_AUTO(context) dcap_context *context = NULL;
    int rc = open_context(v, collateral, s, &context, err);
    if (rc == 0) {
        rc = dcap_check_identity_type(context, &s->quote, err);
    }
    if (rc == 0 && s->chain.data == NULL) {
        rc = error_set(err, DSTACK_E_DCAP_CERT_DATA_TYPE,
                       "the quote's certification data are of type %u, not a PCK chain, and the "
                       "collateral has none",
                       s->quote.cert_type);
    }
    if (rc == 0) {
        rc = dcap_platform_new(out, context, s->chain, s->now, v->flags.compat, &v->tables, err);
    }
    if (rc == 0) {
        dcap_cache_store_platform(v->cache, s->key, *out);
    }
    return rc;
}

static int verify(dstack_verifier *v, dstack_collateral *collateral, const subject *s,
                  dcap_platform *known, dstack_quote_report *report, dstack_error *err) {
    DSTACK_AUTO(platform) dcap_platform *opened = NULL;
    int rc = 0;
    if (known != NULL && dcap_platform_holds(known, s->now)) {
        rc = dcap_check_identity_type(known->context, &s->quote, err);
    } else {
        rc = open_platform(v, collateral, s, &opened, err);
        known = opened;
    }
    return rc != 0 ? rc
                   : dcap_check_quote(known, &s->quote, &v->flags, s->compat.used, report, err);
}

static int check_expectations(const dstack_quote_expectations *want, int64_t now,
                              const dstack_quote_report *report, dstack_error *err) {
    if (want == NULL) {
        return 0;
    }
    if (want->report_data != NULL &&
        memcmp(dstack_quote_report_data_of(report).data, want->report_data, 64) != 0) {
        return error_set(err, DSTACK_E_DCAP_REPORT_DATA,
                         "the quote's report data are not the expected ones");
    }
    return want->policy == NULL ? 0 : dstack_policy_decide(want->policy, report, now, err);
}

int dstack_verifier_check_with(dstack_verifier *v, dstack_bytes quote,
                               dstack_collateral *collateral,
                               const dstack_quote_expectations *expectations, int64_t now,
                               dstack_quote_report *report, dstack_error *err) {
    DSTACK_AUTO(platform) dcap_platform *known = NULL;
    dstack_quote_report own;
    dstack_quote_report *r = report == NULL ? &own : report;
    dstack_collateral_parts parts;
    subject s;
    subject_parse(&s, v, quote, now);
    dstack_collateral_get(collateral, &parts);
    if (parts.has_pck_certificate_chain) {
        s.chain = parts.pck_certificate_chain;
    }
    if (s.rc == 0 && s.chain.data != NULL) {
        subject_set_key(&s);
        known = dcap_cache_find_platform(v->cache, s.key, collateral, false);
    }
    int rc = verify(v, collateral, &s, known, r, err);
    return rc != 0 ? rc : check_expectations(expectations, now, r, err);
}

/* FMSPC of the quote's own PCK leaf, unverified: for choosing collateral. */
static int quote_fmspc(const subject *s, uint8_t fmspc[6], dstack_error *err) {
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    dstack_pck_info pck;
    int rc =
        dcap_chain_load(&chain, s->chain, NULL, DSTACK_E_DCAP_PCK_CHAIN_FORMAT, "PCK chain", err);
    if (rc == 0) {
        rc = dcap_pck_parse(&pck, &chain.certs[0].x509, err);
    }
    if (rc == 0) {
        memcpy(fmspc, pck.fmspc, sizeof pck.fmspc);
    }
    return rc;
}

enum { CANDIDATES = 8 };

/* Bundles that may be for this quote; without a chain in the quote only a single bundle that brings
 * one can be meant. */
static int find_candidates(dstack_verifier *v, subject *s, dstack_collateral **found, size_t *count,
                           dstack_error *err) {
    *count = 0;
    if (s->chain.data == NULL) {
        found[0] = dcap_cache_only_bundle(v->cache);
        if (found[0] != NULL) {
            dstack_collateral_parts parts;
            dstack_collateral_get(found[0], &parts);
            *count = 1;
            if (parts.has_pck_certificate_chain) {
                s->chain = parts.pck_certificate_chain;
                subject_set_key(s);
            }
        }
        return 0;
    }
    uint8_t fmspc[6];
    int rc = quote_fmspc(s, fmspc, err);
    if (rc == 0) {
        *count = dcap_cache_find_bundles(v->cache, s->quote.td != NULL, fmspc, s->now, found,
                                         CANDIDATES);
    }
    return rc;
}

/* Tries the bundles in turn; the first one's refusal is the one reported, being the likeliest. */
static int verify_among(dstack_verifier *v, subject *s, dstack_quote_report *report,
                        dstack_error *err) {
    dstack_collateral *candidates[CANDIDATES];
    size_t count;
    int rc = find_candidates(v, s, candidates, &count, err);
    if (rc == 0 && count == 0) {
        rc = error_set(err, DSTACK_E_DCAP_COLLATERAL_NOT_FOUND,
                       "there is no collateral for this %s platform",
                       dstack_quote_tee_name(&s->quote));
    }
    dstack_error first = {0};
    for (size_t i = 0; i < count; i++) {
        dstack_error this = {0};
        rc = verify(v, candidates[i], s, NULL, report, &this);
        if (rc == 0) {
            break;
        }
        if (i == 0) {
            first = this;
        }
    }
    for (size_t i = 0; i < count; i++) {
        dstack_collateral_free(candidates[i]);
    }
    return count == 0 || rc == 0 ? rc : error_set(err, first.status, "%s", first.message);
}

int dstack_verifier_check(dstack_verifier *v, dstack_bytes quote,
                          const dstack_quote_expectations *expectations, int64_t now,
                          dstack_quote_report *report, dstack_error *err) {
    DSTACK_AUTO(platform) dcap_platform *known = NULL;
    dstack_quote_report own;
    dstack_quote_report *r = report == NULL ? &own : report;
    subject s;
    subject_parse(&s, v, quote, now);
    if (s.rc != 0) {
        return subject_error(&s, err);
    }
    if (s.chain.data != NULL) {
        subject_set_key(&s);
        known = dcap_cache_find_platform(v->cache, s.key, NULL, s.quote.td != NULL);
    }
    bool warm = known != NULL && dcap_platform_holds(known, now);
    int rc = warm ? verify(v, NULL, &s, known, r, err) : verify_among(v, &s, r, err);
    return rc != 0 ? rc : check_expectations(expectations, now, r, err);
}

bool dstack_verifier_has_collateral(dstack_verifier *v, dstack_bytes quote, int64_t now) {
    subject s;
    uint8_t fmspc[6];
    subject_parse(&s, v, quote, now);
    return s.rc == 0 && s.chain.data != NULL && quote_fmspc(&s, fmspc, NULL) == 0 &&
           dcap_cache_has_current(v->cache, s.quote.td != NULL, fmspc, now);
}

size_t dstack_verifier_collateral_count(dstack_verifier *v, int64_t *until) {
    return dcap_cache_count(v->cache, until);
}

/* ---- renewal ---- */

static int renew(dstack_verifier *v, const dstack_collateral *old, dstack_collateral *fresh,
                 int64_t now, bool *renewed, dstack_error *err) {
    DSTACK_AUTO(context) dcap_context *context = NULL;
    dcap_purpose was, is;
    int rc = dcap_purpose_read(old, &was, err);
    if (rc == 0) {
        rc = dcap_purpose_read(fresh, &is, err);
    }
    if (rc == 0 && (!dcap_purpose_same(&was, &is) || is.until <= was.until)) {
        rc = error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                       "what was fetched is for other platforms, or ends no later");
    }
    if (rc == 0) {
        rc = dcap_context_new(&context, v->anchors, v->anchor_count, fresh, now, v->flags.compat,
                              err);
    }
    if (rc == 0) {
        rc = dcap_context_load_texts(context, now, v->flags.compat, err);
    }
    if (rc == 0) {
        rc = dcap_context_check_pck_list(context, now, v->flags.compat, err);
    }
    *renewed = rc == 0 && dcap_cache_renew_bundle(v->cache, old, &is, context);
    return rc;
}

int dstack_verifier_refresh(dstack_verifier *v, int64_t now, int64_t ahead, dstack_refetch refetch,
                            void *user, size_t *renewed, dstack_error *err) {
    dstack_collateral *ending[DCAP_MAX_BUNDLES];
    size_t count = dcap_cache_find_ending(v->cache, now + ahead, ending, DCAP_MAX_BUNDLES);
    size_t done = 0;
    int first = 0;
    for (size_t i = 0; i < count; i++) {
        DSTACK_AUTO(collateral) dstack_collateral *fresh = NULL;
        dstack_error this = {0};
        bool replaced = false;
        int rc = refetch(user, ending[i], &fresh, &this);
        if (rc == 0) {
            rc = renew(v, ending[i], fresh, now, &replaced, &this);
        }
        if (rc != 0 && first == 0) {
            first = error_set(err, (dstack_status)rc, "%s", this.message);
        }
        done += replaced;
        dstack_collateral_free(ending[i]);
    }
    if (renewed != NULL) {
        *renewed = done;
    }
    return first;
}
