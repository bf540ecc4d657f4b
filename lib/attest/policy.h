/* An attestation policy as its document states it. */
#ifndef ATTEST_POLICY_H
#define ATTEST_POLICY_H

#include <dstack/attestation_policy.h>
#include <dstack/verifier.h>

#include "base/auto.h"

/* A list that was stated; count 0: the rule was not. */
typedef struct policy_values {
    dstack_value *items;
    size_t count;
} policy_values;

typedef struct policy_texts {
    char **items;
    size_t count;
} policy_texts;

typedef struct policy_app {
    dstack_value app_id; /* empty: any */
    policy_values compose_hashes;
    policy_values device_ids;
} policy_app;

typedef struct policy_provider {
    char *name;
    bool has_id;
    dstack_buf id;
} policy_provider;

typedef struct policy_anchor {
    char *claim;
    unsigned accepted; /* bit per dstack_anchor */
} policy_anchor;

struct dstack_attestation_policy {
    char *id;
    policy_texts platforms;
    bool vendor_root;           /* always true unless hardware_roots leaves it out */
    policy_values pinned_roots; /* SHA-256 of certificates */
    unsigned statuses;          /* bit per dstack_tcb_status */
    bool has_minimum_date;
    int64_t minimum_date;
    int64_t minimum_evaluation_number; /* 0: any */
    policy_texts rejected_advisories;
    policy_values app_ids, compose_hashes, os_image_hashes, device_ids, instance_ids;
    policy_app *apps;
    size_t app_count;
    policy_provider *providers;
    size_t provider_count;
    policy_anchor *anchors;
    size_t anchor_count;
};

DSTACK_AUTO_DEFINE(attestation_policy, dstack_attestation_policy, dstack_attestation_policy_free)
DSTACK_AUTO_DEFINE(decision, dstack_attestation_decision, dstack_attestation_decision_free)

/* The names of statuses as a bit set's members, and of anchors. False for an unknown one. */
bool policy_status_from_name(const char *name, dstack_tcb_status *out);
bool policy_anchor_from_name(const char *name, dstack_anchor *out);

/* A document already read. */
int policy_from_json(const json_t *document, dstack_attestation_policy *out, dstack_error *err);

#endif
