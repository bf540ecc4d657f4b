/* The allow-list: which measured things may have keys. docs/kms.md documents the file. Pure: bytes
 * in, decision out. */
#ifndef KMS_POLICY_H
#define KMS_POLICY_H

#include <jansson.h>

#include "base/auto.h"

#include <dstack/bytes.h>

typedef enum kms_boot_kind { KMS_BOOT_APP, KMS_BOOT_KMS } kms_boot_kind;

typedef struct kms_decision {
    bool allowed;
    char gateway_app_id[512];
    char reason[512];      /* of a refusal */
    int64_t policy_time;   /* as of when the policy speaks, UNIX time; 0: not told */
    uint64_t block_number; /* of a policy on a chain */
    char block_hash[67];   /* "" where there is none */
} kms_decision;

/* Everything a decision is made on: the JSON object that goes to webhooks too (teeVariant,
 * mrAggregated, osImageHash, mrSystem, appId, composeHash, instanceId, deviceId, keyProviderInfo,
 * tcbStatus, advisoryIds). */
typedef struct kms_policy kms_policy;

/* YAML or JSON text. DSTACK_E_FORMAT names the member that is wrong; unknown members are refused.
 */
int kms_policy_parse(dstack_bytes text, kms_policy **out, dstack_error *err);
void kms_policy_free(kms_policy *policy);
DSTACK_AUTO_DEFINE(kms_policy, kms_policy, kms_policy_free)
const char *kms_policy_gateway_app_id(const kms_policy *policy);
void kms_policy_decide(const kms_policy *policy, kms_boot_kind kind, const json_t *boot_info,
                       kms_decision *decision);

#endif
