/* What an attestation result claims. Codes: draft-ietf-rats-ar4si, section 2.3.4. */
#include <dstack/ear.h>
#include <dstack/verifier.h>
#include <dstack/version.h>
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

#define NOTHING 0
#define MALFUNCTION (-1)
#define AFFIRMED 2
#define BOOT_APPROVED 3
#define BEHIND 32
#define UNRECOGNIZED_CODE 33
#define PINNED_ROOT                                                                                \
    (-33) /* own code of the warning tier: not the vendor's hardware, but expected */
#define CONTRAINDICATED 96
#define UNKNOWN_HARDWARE 97
#define CRYPTO_FAILED 99

typedef enum tier { TIER_NONE, TIER_AFFIRMING, TIER_WARNING, TIER_CONTRAINDICATED } tier;

/* Section 2.3.2 of the same document. */
static tier tier_of(int value) {
    if (value >= -1 && value <= 1) {
        return TIER_NONE;
    }
    if ((value >= 2 && value <= 31) || (value >= -32 && value <= -2)) {
        return TIER_AFFIRMING;
    }
    return (value >= 32 && value <= 95) || (value >= -96 && value <= -33) ? TIER_WARNING
                                                                          : TIER_CONTRAINDICATED;
}

typedef struct vector {
    int hardware, executables, file_system, configuration, instance_identity, runtime_opaque;
} vector;

/* Whether the policy has a rule of this name: in an accepted decision it holds. */
static bool has_rule(const dstack_attestation_decision *decision, const char *name) {
    dstack_attestation_rule rule;
    for (size_t i = 0; decision != NULL && dstack_attestation_decision_rule(decision, i, &rule);
         i++) {
        if (strcmp(rule.name, name) == 0 && rule.holds) {
            return true;
        }
    }
    return false;
}

static bool image_is_vouched_for(const dstack_ear_result *r) {
    dstack_anchor anchor = r->decision != NULL
                               ? dstack_attestation_decision_anchor(r->decision, "os_image_hash")
                               : dstack_verified_image_anchor(r->verified);
    return anchor == DSTACK_ANCHOR_REFERENCE_IMAGE || anchor == DSTACK_ANCHOR_POLICY;
}

static int hardware(const dstack_ear_result *r) {
    if (dstack_verified_external_root(r->verified)) {
        return has_rule(r->decision, "hardware_roots") ? PINNED_ROOT : UNKNOWN_HARDWARE;
    }
    return strcmp(dstack_verified_tcb_status(r->verified),
                  dstack_tcb_status_name(DSTACK_TCB_UP_TO_DATE)) == 0
               ? AFFIRMED
               : BEHIND;
}

static int executables(const dstack_ear_result *r) {
    bool app = has_rule(r->decision, "apps") || has_rule(r->decision, "compose_hashes");
    if (r->failure == DSTACK_EAR_IMAGE_REFUSED) {
        return CONTRAINDICATED;
    }
    return !image_is_vouched_for(r) ? UNRECOGNIZED_CODE : app ? AFFIRMED : BOOT_APPROVED;
}

static bool memory_is_encrypted(const dstack_verified *verified) {
    dstack_tee_variant variant = dstack_verified_variant(verified);
    return !dstack_verified_external_root(verified) &&
           (variant == DSTACK_TEE_TDX || variant == DSTACK_TEE_GCP_TDX ||
            variant == DSTACK_TEE_SEV_SNP);
}

static vector appraise(const dstack_ear_result *r) {
    if (r->failure == DSTACK_EAR_NO_VERDICT) {
        return (vector){.hardware = MALFUNCTION, .executables = MALFUNCTION};
    }
    if (r->verified == NULL) {
        int code = r->failure == DSTACK_EAR_IMAGE_REFUSED ? CONTRAINDICATED : CRYPTO_FAILED;
        return (vector){.hardware = CRYPTO_FAILED, .executables = code};
    }
    vector v = {.hardware = hardware(r), .executables = executables(r)};
    bool image = r->failure == DSTACK_EAR_NOT_FAILED && image_is_vouched_for(r);
    v.file_system = image ? AFFIRMED : NOTHING;
    v.runtime_opaque = memory_is_encrypted(r->verified) ? AFFIRMED : NOTHING;
    if (r->decision != NULL) {
        bool accepts = dstack_attestation_decision_accepts(r->decision);
        v.configuration = accepts ? AFFIRMED : CONTRAINDICATED;
        v.instance_identity =
            has_rule(r->decision, "device_ids") || has_rule(r->decision, "instance_ids") ? AFFIRMED
                                                                                         : NOTHING;
    }
    return v;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

/* The vector's members that say something, and the worst tier among them. */
static json_t *vector_json(const vector *v, tier *worst) {
    const struct {
        const char *name;
        int value;
    } members[] = {
        {"instance-identity", v->instance_identity},
        {"configuration", v->configuration},
        {"executables", v->executables},
        {"file-system", v->file_system},
        {"hardware", v->hardware},
        {"runtime-opaque", v->runtime_opaque},
    };
    json_t *object = json_object();
    *worst = TIER_NONE;
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (members[i].value != NOTHING) {
            json_object_set_new(object, members[i].name, json_integer(members[i].value));
            tier one = tier_of(members[i].value);
            *worst = one > *worst ? one : *worst;
        }
    }
    return object;
}

static json_t *claims_json(const dstack_ear_result *r) {
    json_t *object = json_object();
    dstack_attestation_claim claim;
    for (size_t i = 0; r->verified != NULL && dstack_verified_claim(r->verified, i, &claim); i++) {
        dstack_anchor anchor = r->decision != NULL
                                   ? dstack_attestation_decision_anchor(r->decision, claim.name)
                                   : claim.anchor;
        json_object_set_new(
            object, claim.name,
            json_pack("{s:s, s:s}", "value", claim.value, "anchor", dstack_anchor_name(anchor)));
    }
    return object;
}

static const char *policy_id(const dstack_ear_result *r) {
    return r->policy_id != NULL  ? r->policy_id
           : r->decision != NULL ? dstack_attestation_decision_policy_id(r->decision)
                                 : "dstack:verification";
}

/* What the forms name differently. */
static const struct form_names {
    const char *profile, *status, *vector, *policy, *verifier, *claims, *refusal, *insecure;
    bool policies; /* in a list */
} forms[] = {
    [DSTACK_EAR_FORM_TRUSTEE] = {DSTACK_EAR_PROFILE, "ear.status", "ear.trustworthiness-vector",
                                 "ear.appraisal-policy-id", "ear.verifier-id", "ear.dstack.claims",
                                 "ear.dstack.refusal", "ear.dstack.insecure_dev", false},
    [DSTACK_EAR_FORM_IETF] = {DSTACK_EAR_PROFILE_IETF, "ear_status", "ear_trustworthiness_vector",
                              "ear_appraisal_policy_ids", "ear_verifier_id", "ear_dstack_claims",
                              "ear_dstack_refusal", "ear_dstack_insecure_dev", true},
};

static json_t *submod_json(const dstack_ear_result *r, const struct form_names *names) {
    static const char *const tiers[] = {"none", "affirming", "warning", "contraindicated"};
    vector v = appraise(r);
    tier worst = TIER_NONE;
    json_t *values = vector_json(&v, &worst);
    json_t *policy = json_string(policy_id(r));
    policy = names->policies ? json_pack("[o]", policy) : policy;
    json_t *submod = json_pack("{s:s, s:o, s:o, s:o}", names->status, tiers[worst], names->vector,
                               values, names->policy, policy, names->claims, claims_json(r));
    if (r->reason != NULL && r->reason[0] != '\0') {
        json_object_set_new(submod, names->refusal, json_pack("{s:s}", "reason", r->reason));
    }
    return submod;
}

static int add_nonce(const dstack_ear_result *r, json_t *claims, dstack_error *err) {
    if (r->nonce.len == 0) {
        return 0;
    }
    if (r->nonce.len < 8 || r->nonce.len > 64) {
        return error_set(err, DSTACK_E_ARGUMENT, "a nonce must be 8 to 64 bytes");
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    base64_encode(r->nonce, BASE64_URL_NOPAD, &text);
    json_object_set_new(claims, "eat_nonce", json_string(buf_text(&text)));
    return 0;
}

int dstack_ear_claims(const dstack_ear_result *r, dstack_buf *json, dstack_error *err) {
    if ((unsigned)r->form >= sizeof forms / sizeof *forms) {
        return error_set(err, DSTACK_E_ARGUMENT, "no such form of attestation results");
    }
    const struct form_names *names = &forms[r->form];
    DSTACK_AUTO(json)
    json_t *claims = json_pack("{s:s, s:I, s:{s:s, s:s}, s:{s:o}}", "eat_profile", names->profile,
                               "iat", (json_int_t)r->now, names->verifier, "developer",
                               r->developer != NULL ? r->developer : "dstack", "build",
                               r->build != NULL ? r->build : "libdstack " DSTACK_VERSION, "submods",
                               "cpu0", submod_json(r, names));
    if (claims == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for an attestation result");
    }
    if (r->issuer != NULL) {
        json_object_set_new(claims, "iss", json_string(r->issuer));
    }
    if (r->lifetime > 0) {
        json_object_set_new(claims, "exp", json_integer(r->now + r->lifetime));
    }
    if (r->insecure_dev) {
        json_object_set_new(claims, names->insecure, json_true());
    }
    int rc = add_nonce(r, claims, err);
    return rc != 0 ? rc : json_write(claims, false, json, err);
}
