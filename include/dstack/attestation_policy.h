/**
 * @file attestation_policy.h
 * @brief Which verified attestations a relying party accepts.
 *
 * A policy is a YAML (or JSON) document. All rules that it states must hold; a list is satisfied by
 * any one of its entries; an empty list, an unknown key or a value of another type is an error, so
 * that a slip never accepts more. Rules that are not stated do not restrict, but for the two that
 * always hold: TCB status UpToDate, and the vendor's own root.
 *
 *     version: 1                      # required
 *     id: production                  # a name for reports; default: "sha256:" and the document's hash
 *     platforms: [dstack-tdx]         # tee_variant
 *     hardware_roots: [vendor]        # "vendor", or the SHA-256 of a pinned root certificate (DER)
 *     tcb:
 *       statuses: [UpToDate]          # accepted statuses
 *       minimum_date: 2026-01-01      # tcbDate of the platform's and the quoting enclave's level
 *       minimum_evaluation_number: 17 # TCB evaluation data number
 *       rejected_advisories: [INTEL-SA-00000]
 *     app_ids: [hex]
 *     compose_hashes: [hex]
 *     apps:                           # pairs that belong together
 *       - {app_id: hex, compose_hashes: [hex], device_ids: [hex]}
 *     os_image_hashes: [hex]          # a listed hash has the anchor "policy"
 *     device_ids: [hex]
 *     instance_ids: [hex]
 *     key_providers:                  # for a KMS: its root key; a gateway is held by its own app id
 *       - {name: kms, id: hex}        # id may be left out: any of that name
 *     anchors:                        # claim: what it may rest on
 *       os_image_hash: [reference-image, policy]
 *
 * Evidence in debug mode never comes as far as a policy: its verification fails.
 */
#ifndef DSTACK_ATTESTATION_POLICY_H
#define DSTACK_ATTESTATION_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/attestation.h>
#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest document. */
#define DSTACK_ATTESTATION_POLICY_MAX ((size_t)1 << 20)

/** A parsed policy; immutable, may be shared among threads. */
typedef struct dstack_attestation_policy dstack_attestation_policy;

/** Parses a document. @return 0; DSTACK_E_FORMAT with a message that names the key; DSTACK_E_LIMIT;
 * DSTACK_E_UNSUPPORTED for YAML that is not JSON in a build without a YAML reader. */
DSTACK_API int dstack_attestation_policy_parse(dstack_attestation_policy **out, dstack_bytes text,
                                               dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_attestation_policy_free(dstack_attestation_policy *policy);
/** The document's `id`, or "sha256:" and the hash of its bytes. Borrowed. */
DSTACK_API const char *dstack_attestation_policy_id(const dstack_attestation_policy *policy);

/** One rule, applied. Borrowed from the decision. */
typedef struct dstack_attestation_rule {
    const char *name; /**< "tcb.statuses", "app_ids", ... */
    bool holds;
    const char *wanted; /**< What the rule accepts. */
    const char *found;  /**< What the attestation has. */
} dstack_attestation_rule;

/** Every rule of a policy applied to one attestation; immutable. */
typedef struct dstack_attestation_decision dstack_attestation_decision;

/**
 * Applies a policy to a verified attestation.
 *
 * @param out  receives all rules with their outcome also when one refuses; may be NULL.
 * @return 0 when every rule holds; DSTACK_E_REFUSED with the first that does not; DSTACK_E_MEMORY,
 *         then without a decision.
 */
DSTACK_API int dstack_attestation_policy_decide(const dstack_attestation_policy *policy,
                                                const dstack_verified *verified,
                                                dstack_attestation_decision **out,
                                                dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_attestation_decision_free(dstack_attestation_decision *decision);
/** True when every rule holds. */
DSTACK_API bool dstack_attestation_decision_accepts(const dstack_attestation_decision *decision);
/** The policy's name. Borrowed. */
DSTACK_API const char *
dstack_attestation_decision_policy_id(const dstack_attestation_decision *decision);
/** Fills `rule` and returns true while `index` is below the number of rules. */
DSTACK_API bool dstack_attestation_decision_rule(const dstack_attestation_decision *decision,
                                                 size_t index, dstack_attestation_rule *rule);
/** What a claim rests on once the policy has spoken: DSTACK_ANCHOR_POLICY for an image hash that it
 * lists and that rested on less, else the verification's own anchor. */
DSTACK_API dstack_anchor
dstack_attestation_decision_anchor(const dstack_attestation_decision *decision, const char *claim);
/** Appends {"policy_id", "accepted", "rules": [{"name", "holds", "wanted", "found"}]}. */
DSTACK_API int dstack_attestation_decision_to_json(const dstack_attestation_decision *decision,
                                                   dstack_buf *out, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
