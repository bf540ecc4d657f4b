/* Attestation policies: the document, and what it owns. */
#include "attest/policy.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "base/yaml.h"
#include "crypto/hash.h"

bool policy_status_from_name(const char *name, dstack_tcb_status *out) {
    for (unsigned i = 0; i < DSTACK_TCB_REVOKED; i++) {
        if (strcmp(dstack_tcb_status_name((dstack_tcb_status)i), name) == 0) {
            *out = (dstack_tcb_status)i;
            return true;
        }
    }
    return false;
}

bool policy_anchor_from_name(const char *name, dstack_anchor *out) {
    for (unsigned i = DSTACK_ANCHOR_MEASURED; i <= DSTACK_ANCHOR_SELF_ASSERTED; i++) {
        if (strcmp(dstack_anchor_name((dstack_anchor)i), name) == 0) {
            *out = (dstack_anchor)i;
            return true;
        }
    }
    return false;
}

static void texts_free(policy_texts *texts) {
    for (size_t i = 0; i < texts->count; i++) {
        free(texts->items[i]);
    }
    free(texts->items);
}

void dstack_attestation_policy_free(dstack_attestation_policy *policy) {
    if (policy == NULL) {
        return;
    }
    policy_values *const values[] = {&policy->pinned_roots,   &policy->app_ids,
                                     &policy->compose_hashes, &policy->os_image_hashes,
                                     &policy->device_ids,     &policy->instance_ids};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        free(values[i]->items);
    }
    texts_free(&policy->platforms);
    texts_free(&policy->rejected_advisories);
    for (size_t i = 0; i < policy->app_count; i++) {
        free(policy->apps[i].compose_hashes.items);
        free(policy->apps[i].device_ids.items);
    }
    for (size_t i = 0; i < policy->provider_count; i++) {
        free(policy->providers[i].name);
        dstack_buf_clear(&policy->providers[i].id);
    }
    for (size_t i = 0; i < policy->anchor_count; i++) {
        free(policy->anchors[i].claim);
    }
    free(policy->apps);
    free(policy->providers);
    free(policy->anchors);
    free(policy->id);
    free(policy);
}

const char *dstack_attestation_policy_id(const dstack_attestation_policy *policy) {
    return policy->id;
}

static int name_by_hash(dstack_attestation_policy *policy, dstack_bytes text, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf name = {0};
    uint8_t hash[32];
    hash_sha256(text, hash);
    buf_put_str(&name, "sha256:");
    buf_put_hex(&name, bytes_of(hash, sizeof hash));
    policy->id = buf_detach_text(&name);
    return policy->id != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "no memory for a policy");
}

/* JSON has a stricter reader, and needs no YAML library. */
static json_t *read_document(dstack_bytes text, dstack_error *err) {
    size_t i = 0;
    while (i < text.len && strchr(" \t\r\n", text.data[i]) != NULL && text.data[i] != '\0') {
        i++;
    }
    return i < text.len && text.data[i] == '{'
               ? json_parse(text, DSTACK_ATTESTATION_POLICY_MAX, "policy", err)
               : yaml_to_json(text, DSTACK_ATTESTATION_POLICY_MAX, "policy", err);
}

int dstack_attestation_policy_parse(dstack_attestation_policy **out, dstack_bytes text,
                                    dstack_error *err) {
    dstack_error local = {0};
    dstack_error *e = err != NULL ? err : &local;
    *out = NULL;
    DSTACK_AUTO(attestation_policy) dstack_attestation_policy *policy = calloc(1, sizeof *policy);
    if (policy == NULL) {
        return error_set(e, DSTACK_E_MEMORY, "no memory for a policy");
    }
    DSTACK_AUTO(json) json_t *document = read_document(text, e);
    int rc = document == NULL ? (int)e->status : policy_from_json(document, policy, e);
    if (rc == 0 && policy->id == NULL) {
        rc = name_by_hash(policy, text, e);
    }
    if (rc == 0) {
        *out = policy;
        policy = NULL;
    }
    return rc;
}
