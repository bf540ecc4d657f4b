/* A policy applied: one row per rule, in the order of the document's description. */
#include <string.h>
#include <strings.h>

#include <dstack/nitro.h>
#include <dstack/snp.h>
#include <dstack/tpm.h>

#include "attest/attest.h"
#include "attest/policy.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "verify/dcap/date.h"

/* What is shown of a long list. */
#define SHOWN_MAX 8

typedef struct decided_rule {
    char *name, *wanted, *found;
    bool holds;
} decided_rule;

struct dstack_attestation_decision {
    char *policy_id;
    decided_rule *rules;
    size_t count;
    bool accepts;
    char **claims; /* of the attestation, with what each rests on now */
    dstack_anchor *anchors;
    size_t claim_count;
};

typedef struct decider {
    const dstack_attestation_policy *policy;
    const dstack_verified *verified;
    dstack_attestation_decision *decision;
    bool failed; /* memory ran out */
} decider;

void dstack_attestation_decision_free(dstack_attestation_decision *decision) {
    if (decision != NULL) {
        for (size_t i = 0; i < decision->count; i++) {
            free(decision->rules[i].name);
            free(decision->rules[i].wanted);
            free(decision->rules[i].found);
        }
        for (size_t i = 0; i < decision->claim_count; i++) {
            free(decision->claims[i]);
        }
        free(decision->rules);
        free(decision->claims);
        free(decision->anchors);
        free(decision->policy_id);
        free(decision);
    }
}

/* ---- rows ---------------------------------------------------------------------------------------- */

/* Takes the buffers' content. */
static void add(decider *d, const char *name, bool holds, dstack_buf *wanted, dstack_buf *found) {
    dstack_attestation_decision *to = d->decision;
    decided_rule *rules = realloc(to->rules, (to->count + 1) * sizeof *rules);
    if (rules == NULL) {
        d->failed = true;
        return;
    }
    to->rules = rules;
    decided_rule *rule = &rules[to->count++];
    *rule = (decided_rule){.name = strdup(name),
                           .wanted = buf_detach_text(wanted),
                           .found = buf_detach_text(found),
                           .holds = holds};
    d->failed = d->failed || rule->name == NULL || rule->wanted == NULL || rule->found == NULL;
    to->accepts = to->accepts && holds;
}

static void put_next(dstack_buf *out, const char *text) {
    buf_put_fmt(out, "%s%s", out->len > 0 ? ", " : "", text);
}

static void put_value(dstack_buf *out, const dstack_value *value) {
    put_next(out, "");
    buf_put_hex(out, attest_value(value));
}

static bool value_equal(const dstack_value *a, const dstack_value *b) {
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool has_value(const policy_values *list, const dstack_value *value) {
    for (size_t i = 0; i < list->count; i++) {
        if (value_equal(&list->items[i], value)) {
            return true;
        }
    }
    return false;
}

static void rule_values(decider *d, const char *name, const policy_values *list,
                        const dstack_value *value) {
    if (list->count == 0) {
        return;
    }
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    for (size_t i = 0; i < list->count && i < SHOWN_MAX; i++) {
        put_value(&wanted, &list->items[i]);
    }
    if (list->count > SHOWN_MAX) {
        buf_put_fmt(&wanted, " and %zu more", list->count - SHOWN_MAX);
    }
    buf_put_hex(&found, attest_value(value));
    add(d, name, has_value(list, value), &wanted, &found);
}

static void put_texts(dstack_buf *out, const policy_texts *list) {
    for (size_t i = 0; i < list->count && i < SHOWN_MAX; i++) {
        put_next(out, list->items[i]);
    }
}

static bool has_text(const policy_texts *list, const char *text) {
    for (size_t i = 0; i < list->count; i++) {
        if (strcasecmp(list->items[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- platform and TCB ---------------------------------------------------------------------------- */

static void rule_platforms(decider *d) {
    const policy_texts *list = &d->policy->platforms;
    if (list->count == 0) {
        return;
    }
    const char *variant = dstack_tee_variant_name(dstack_verified_variant(d->verified));
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    put_texts(&wanted, list);
    buf_put_str(&found, variant);
    add(d, "platforms", has_text(list, variant), &wanted, &found);
}

/* The quote verifier's report; NULL where the evidence is of another kind. */
static const dstack_quote_report *quote_of(const decider *d) {
    dstack_tee_variant variant = dstack_verified_variant(d->verified);
    bool has = variant == DSTACK_TEE_TDX || variant == DSTACK_TEE_GCP_TDX;
    return has ? dstack_verified_quote(d->verified) : NULL;
}

/* The roots that the evidence rests on: two where a vTPM vouches beside the processor. */
static size_t roots_of(const decider *d, const dstack_anchor_info *roots[2]) {
    const dstack_quote_report *quote = quote_of(d);
    const dstack_snp_verdict *snp = dstack_verified_snp(d->verified);
    const dstack_nitro_verdict *nitro = dstack_verified_nitro(d->verified);
    const dstack_tpm_verdict *tpm = dstack_verified_tpm(d->verified);
    size_t count = 0;
    if (quote != NULL) {
        roots[count++] = &quote->anchor;
    } else if (snp != NULL) {
        roots[count++] = &snp->anchor;
    } else if (nitro != NULL) {
        roots[count++] = &nitro->anchor;
    }
    if (tpm != NULL) {
        roots[count++] = &tpm->anchor;
    }
    return count;
}

static void rule_roots(decider *d) {
    const dstack_attestation_policy *p = d->policy;
    const dstack_anchor_info *roots[2];
    const size_t count = roots_of(d, roots);
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    if (p->vendor_root) {
        put_next(&wanted, "vendor");
    }
    for (size_t i = 0; i < p->pinned_roots.count && i < SHOWN_MAX; i++) {
        put_value(&wanted, &p->pinned_roots.items[i]);
    }
    bool holds = count > 0;
    for (size_t i = 0; i < count; i++) {
        if (roots[i]->builtin) {
            put_next(&found, "vendor");
            holds = holds && p->vendor_root;
            continue;
        }
        dstack_value pinned = {.len = 32};
        memcpy(pinned.data, roots[i]->cert_sha256, 32);
        put_value(&found, &pinned);
        holds = holds && has_value(&p->pinned_roots, &pinned);
    }
    add(d, "hardware_roots", holds, &wanted, &found);
}

static void rule_statuses(decider *d) {
    const char *name = dstack_verified_tcb_status(d->verified);
    dstack_tcb_status status;
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    for (unsigned i = 0; i < DSTACK_TCB_REVOKED; i++) {
        if ((d->policy->statuses >> i & 1) != 0) {
            put_next(&wanted, dstack_tcb_status_name((dstack_tcb_status)i));
        }
    }
    buf_put_str(&found, name);
    bool holds = policy_status_from_name(name, &status) && (d->policy->statuses >> status & 1) != 0;
    add(d, "tcb.statuses", holds, &wanted, &found);
}

static void put_date(dstack_buf *out, bool known, int64_t date) {
    char text[32] = "none";
    if (known) {
        dcap_date_text(date, text);
    }
    put_next(out, text);
}

static void rule_date(decider *d) {
    if (!d->policy->has_minimum_date) {
        return;
    }
    int64_t least = d->policy->minimum_date;
    const dstack_quote_report *q = quote_of(d);
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    put_date(&wanted, true, least);
    put_date(&found, q != NULL && q->has_platform_tcb_date, q != NULL ? q->platform_tcb_date : 0);
    put_date(&found, q != NULL && q->has_qe_tcb_date, q != NULL ? q->qe_tcb_date : 0);
    bool holds = q != NULL && q->has_platform_tcb_date && q->has_qe_tcb_date &&
                 q->platform_tcb_date >= least && q->qe_tcb_date >= least;
    add(d, "tcb.minimum_date", holds, &wanted, &found);
}

static void rule_number(decider *d) {
    if (d->policy->minimum_evaluation_number == 0) {
        return;
    }
    const dstack_quote_report *q = quote_of(d);
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    buf_put_fmt(&wanted, "%lld", (long long)d->policy->minimum_evaluation_number);
    if (q != NULL) {
        buf_put_fmt(&found, "%u", q->tcb_eval_data_number);
    } else {
        buf_put_str(&found, "none");
    }
    bool holds = q != NULL && q->tcb_eval_data_number >= d->policy->minimum_evaluation_number;
    add(d, "tcb.minimum_evaluation_number", holds, &wanted, &found);
}

static void rule_advisories(decider *d) {
    const policy_texts *list = &d->policy->rejected_advisories;
    if (list->count == 0) {
        return;
    }
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    bool holds = true;
    buf_put_str(&wanted, "none of ");
    for (size_t i = 0; i < list->count && i < SHOWN_MAX; i++) {
        buf_put_fmt(&wanted, "%s%s", i > 0 ? ", " : "", list->items[i]);
    }
    for (size_t i = 0; i < dstack_verified_advisory_count(d->verified); i++) {
        put_next(&found, dstack_verified_advisory(d->verified, i));
        holds = holds && !has_text(list, dstack_verified_advisory(d->verified, i));
    }
    add(d, "tcb.rejected_advisories", holds, &wanted, &found);
}

/* ---- workload ------------------------------------------------------------------------------------ */

static bool app_matches(const policy_app *app, const dstack_identity *id) {
    return value_equal(&app->app_id, &id->app_id) &&
           (app->compose_hashes.count == 0 || has_value(&app->compose_hashes, &id->compose_hash)) &&
           (app->device_ids.count == 0 || has_value(&app->device_ids, &id->device_id));
}

static void rule_apps(decider *d) {
    const dstack_attestation_policy *p = d->policy;
    const dstack_identity *id = dstack_verified_identity(d->verified);
    if (p->app_count == 0) {
        return;
    }
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
    bool holds = false;
    for (size_t i = 0; i < p->app_count; i++) {
        holds = holds || app_matches(&p->apps[i], id);
        if (i < SHOWN_MAX) {
            put_value(&wanted, &p->apps[i].app_id);
        }
    }
    buf_put_str(&found, "app ");
    buf_put_hex(&found, attest_value(&id->app_id));
    buf_put_str(&found, ", compose ");
    buf_put_hex(&found, attest_value(&id->compose_hash));
    buf_put_str(&found, ", device ");
    buf_put_hex(&found, attest_value(&id->device_id));
    add(d, "apps", holds, &wanted, &found);
}

static void rule_providers(decider *d) {
    const dstack_attestation_policy *p = d->policy;
    const dstack_identity *id = dstack_verified_identity(d->verified);
    if (p->provider_count == 0) {
        return;
    }
    DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0}, key = {0};
    char name[32] = "";
    bool known =
        id->key_provider_info[0] != '\0' && dstack_identity_key_provider(id, name, &key, NULL) == 0;
    bool holds = false;
    for (size_t i = 0; i < p->provider_count; i++) {
        const policy_provider *one = &p->providers[i];
        bool same_id = !one->has_id || bytes_equal(bytes_of_buf(&one->id), bytes_of_buf(&key));
        holds = holds || (known && strcmp(one->name, name) == 0 && same_id);
        if (i < SHOWN_MAX) {
            buf_put_fmt(&wanted, "%s%s%s", i > 0 ? ", " : "", one->name, one->has_id ? " " : "");
            buf_put_hex(&wanted, bytes_of_buf(&one->id));
        }
    }
    buf_put_str(&found, known ? id->key_provider_info : "none is told");
    add(d, "key_providers", holds, &wanted, &found);
}

/* ---- anchors ------------------------------------------------------------------------------------- */

static bool list_claims(decider *d) {
    dstack_attestation_decision *to = d->decision;
    size_t count = dstack_verified_claim_count(d->verified);
    const dstack_identity *id = dstack_verified_identity(d->verified);
    to->claims = calloc(count + 1, sizeof *to->claims);
    to->anchors = calloc(count + 1, sizeof *to->anchors);
    if (to->claims == NULL || to->anchors == NULL) {
        return false;
    }
    dstack_attestation_claim claim;
    for (size_t i = 0; dstack_verified_claim(d->verified, i, &claim); i++) {
        /* A hash that the policy names is vouched for by it, provided that the registers follow from
         * it: without that check the claim rests on nothing. */
        if (strcmp(claim.name, "os_image_hash") == 0 &&
            claim.anchor == DSTACK_ANCHOR_SELF_ASSERTED &&
            dstack_verified_image_checked(d->verified) &&
            has_value(&d->policy->os_image_hashes, &id->os_image_hash)) {
            claim.anchor = DSTACK_ANCHOR_POLICY;
        }
        to->claims[i] = strdup(claim.name);
        to->anchors[i] = claim.anchor;
        to->claim_count++;
        if (to->claims[i] == NULL) {
            return false;
        }
    }
    return true;
}

static void rule_anchors(decider *d) {
    for (size_t i = 0; i < d->policy->anchor_count; i++) {
        const policy_anchor *rule = &d->policy->anchors[i];
        dstack_anchor anchor = dstack_attestation_decision_anchor(d->decision, rule->claim);
        DSTACK_AUTO(buf) dstack_buf name = {0}, wanted = {0}, found = {0};
        buf_put_fmt(&name, "anchors.%s", rule->claim);
        for (unsigned a = DSTACK_ANCHOR_MEASURED; a <= DSTACK_ANCHOR_SELF_ASSERTED; a++) {
            if ((rule->accepted >> a & 1) != 0) {
                put_next(&wanted, dstack_anchor_name((dstack_anchor)a));
            }
        }
        buf_put_str(&found, dstack_anchor_name(anchor));
        const char *text = buf_text(&name);
        add(d, text != NULL ? text : "anchors", (rule->accepted >> anchor & 1) != 0, &wanted,
            &found);
    }
}

/* The list says which images are good; that the registers are those of one needs the check. */
static void rule_images(decider *d) {
    const dstack_identity *id = dstack_verified_identity(d->verified);
    if (d->policy->os_image_hashes.count > 0 && !dstack_verified_image_checked(d->verified)) {
        DSTACK_AUTO(buf) dstack_buf wanted = {0}, found = {0};
        buf_put_str(&wanted, "an image that the registers follow from");
        buf_put_str(&found, "none was established");
        add(d, "os_image_hashes", false, &wanted, &found);
        return;
    }
    rule_values(d, "os_image_hashes", &d->policy->os_image_hashes, &id->os_image_hash);
}

/* ---- the whole ----------------------------------------------------------------------------------- */

static void apply(decider *d) {
    const dstack_attestation_policy *p = d->policy;
    const dstack_identity *id = dstack_verified_identity(d->verified);
    rule_platforms(d);
    rule_roots(d);
    rule_statuses(d);
    rule_date(d);
    rule_number(d);
    rule_advisories(d);
    rule_values(d, "app_ids", &p->app_ids, &id->app_id);
    rule_values(d, "compose_hashes", &p->compose_hashes, &id->compose_hash);
    rule_apps(d);
    rule_images(d);
    rule_values(d, "device_ids", &p->device_ids, &id->device_id);
    rule_values(d, "instance_ids", &p->instance_ids, &id->instance_id);
    rule_providers(d);
    rule_anchors(d);
}

int dstack_attestation_policy_decide(const dstack_attestation_policy *policy,
                                     const dstack_verified *verified,
                                     dstack_attestation_decision **out, dstack_error *err) {
    if (out != NULL) {
        *out = NULL;
    }
    DSTACK_AUTO(decision) dstack_attestation_decision *decision = calloc(1, sizeof *decision);
    decider d = {.policy = policy, .verified = verified, .decision = decision};
    if (decision != NULL) {
        decision->accepts = true;
        decision->policy_id = strdup(policy->id);
    }
    if (decision == NULL || decision->policy_id == NULL || !list_claims(&d)) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a decision");
    }
    apply(&d);
    if (d.failed) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a decision");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < decision->count; i++) {
        const decided_rule *rule = &decision->rules[i];
        if (!rule->holds) {
            rc = error_set(err, DSTACK_E_REFUSED, "policy %.80s: %s: found %.160s, wanted %.160s",
                           policy->id, rule->name, rule->found, rule->wanted);
        }
    }
    if (out != NULL) {
        *out = decision;
        decision = NULL;
    }
    return rc;
}

bool dstack_attestation_decision_accepts(const dstack_attestation_decision *decision) {
    return decision->accepts;
}

const char *dstack_attestation_decision_policy_id(const dstack_attestation_decision *decision) {
    return decision->policy_id;
}

bool dstack_attestation_decision_rule(const dstack_attestation_decision *decision, size_t index,
                                      dstack_attestation_rule *rule) {
    if (index >= decision->count) {
        return false;
    }
    const decided_rule *from = &decision->rules[index];
    *rule = (dstack_attestation_rule){from->name, from->holds, from->wanted, from->found};
    return true;
}

dstack_anchor dstack_attestation_decision_anchor(const dstack_attestation_decision *decision,
                                                 const char *claim) {
    for (size_t i = 0; i < decision->claim_count; i++) {
        if (strcmp(decision->claims[i], claim) == 0) {
            return decision->anchors[i];
        }
    }
    return DSTACK_ANCHOR_NONE;
}

int dstack_attestation_decision_to_json(const dstack_attestation_decision *decision,
                                        dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *object = json_pack("{s:s, s:b, s:[]}", "policy_id", decision->policy_id, "accepted",
                               decision->accepts, "rules");
    for (size_t i = 0; i < decision->count; i++) {
        const decided_rule *rule = &decision->rules[i];
        json_array_append_new(json_object_get(object, "rules"),
                              json_pack("{s:s, s:b, s:s, s:s}", "name", rule->name, "holds",
                                        rule->holds, "wanted", rule->wanted, "found", rule->found));
    }
    return object != NULL ? json_write(object, false, out, err)
                          : error_set(err, DSTACK_E_MEMORY, "no memory for a decision");
}
