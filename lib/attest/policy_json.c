/* Reads a policy document. One table names the keys; whatever is not in it is an error. */
#include <string.h>

#include "attest/attest.h"
#include "attest/policy.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "verify/dcap/date.h"

#define ITEMS_MAX 65536

static int wrong(dstack_error *err, const char *path, const char *due) {
    return error_set(err, DSTACK_E_FORMAT, "policy: %s must be %s", path, due);
}

static int no_memory(dstack_error *err) {
    return error_set(err, DSTACK_E_MEMORY, "no memory for a policy");
}

/* ---- shapes -------------------------------------------------------------------------------------- */

/* An array with at least one item: an empty one could be meant as "none" or as "any". */
static int need_items(const json_t *value, const char *path, size_t *count, dstack_error *err) {
    *count = json_array_size(value);
    return json_is_array(value) && *count > 0 && *count <= ITEMS_MAX
               ? 0
               : wrong(err, path, "a list that is not empty");
}

/* Hex with or without 0x, of `size` bytes. */
static int read_value(const json_t *value, const char *path, size_t size, dstack_value *out,
                      dstack_error *err) {
    const char *text = json_string_value(value);
    if (text != NULL && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        text += 2;
    }
    if (text == NULL || hex_decode_fixed(text, out->data, size, NULL) != 0) {
        char due[80];
        snprintf(due, sizeof due, "%zu bytes as hex text (digits alone need quotes)", size);
        return wrong(err, path, due);
    }
    out->len = size;
    return 0;
}

static int read_values(const json_t *value, const char *path, size_t size, policy_values *out,
                       dstack_error *err) {
    size_t count = 0;
    int rc = need_items(value, path, &count, err);
    if (rc != 0) {
        return rc;
    }
    out->items = calloc(count, sizeof *out->items);
    if (out->items == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_value(json_array_get(value, i), path, size, &out->items[i], err);
        out->count += rc == 0;
    }
    return rc;
}

static int read_text(const json_t *value, const char *path, char **out, dstack_error *err) {
    const char *text = json_string_value(value);
    if (text == NULL || text[0] == '\0' || strlen(text) != json_string_length(value)) {
        return wrong(err, path, "text that is not empty");
    }
    *out = strdup(text);
    return *out != NULL ? 0 : no_memory(err);
}

static int read_texts(const json_t *value, const char *path, policy_texts *out, dstack_error *err) {
    size_t count = 0;
    int rc = need_items(value, path, &count, err);
    if (rc != 0) {
        return rc;
    }
    out->items = calloc(count, sizeof *out->items);
    if (out->items == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_text(json_array_get(value, i), path, &out->items[i], err);
        out->count += rc == 0;
    }
    return rc;
}

/* ---- keys ---------------------------------------------------------------------------------------- */

typedef struct key {
    const char *name;
    int (*read)(const json_t *value, const char *path, void *target, dstack_error *err);
} key;

static int read_object(const json_t *object, const char *path, const key *keys, size_t count,
                       void *target, dstack_error *err) {
    if (!json_is_object(object)) {
        return wrong(err, path[0] != '\0' ? path : "the document", "a mapping of keys");
    }
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        char full[160];
        snprintf(full, sizeof full, "%s%s%.64s", path, path[0] != '\0' ? "." : "", name);
        size_t i = 0;
        while (i < count && strcmp(keys[i].name, name) != 0) {
            i++;
        }
        if (i == count) {
            return error_set(err, DSTACK_E_FORMAT, "policy: unknown key %s", full);
        }
        int rc = keys[i].read(value, full, target, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}
#define KEYS(table) table, sizeof table / sizeof *table

static int read_version(const json_t *value, const char *path, void *target, dstack_error *err) {
    return json_is_integer(value) && json_integer_value(value) == 1 ? 0 : wrong(err, path, "1");
}

static int read_id(const json_t *value, const char *path, void *target, dstack_error *err) {
    dstack_attestation_policy *p = target;
    return read_text(value, path, &p->id, err);
}

static int read_platforms(const json_t *value, const char *path, void *target, dstack_error *err) {
    dstack_attestation_policy *p = target;
    int rc = read_texts(value, path, &p->platforms, err);
    for (size_t i = 0; rc == 0 && i < p->platforms.count; i++) {
        int known = 0;
        for (int v = DSTACK_TEE_TDX; v <= DSTACK_TEE_AWS_NITRO_TPM; v++) {
            known |=
                strcmp(dstack_tee_variant_name((dstack_tee_variant)v), p->platforms.items[i]) == 0;
        }
        rc = known ? 0 : wrong(err, path, "names of platforms such as dstack-tdx");
    }
    return rc;
}

static int read_roots(const json_t *value, const char *path, void *target, dstack_error *err) {
    dstack_attestation_policy *p = target;
    size_t count = 0;
    int rc = need_items(value, path, &count, err);
    p->vendor_root = false;
    p->pinned_roots.items = rc == 0 ? calloc(count, sizeof *p->pinned_roots.items) : NULL;
    if (rc == 0 && p->pinned_roots.items == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const json_t *item = json_array_get(value, i);
        if (json_is_string(item) && strcmp(json_string_value(item), "vendor") == 0) {
            p->vendor_root = true;
            continue;
        }
        rc = read_value(item, path, 32, &p->pinned_roots.items[p->pinned_roots.count], err);
        p->pinned_roots.count += rc == 0;
    }
    return rc;
}

static int read_statuses(const json_t *value, const char *path, void *target, dstack_error *err) {
    dstack_attestation_policy *p = target;
    size_t count = 0;
    int rc = need_items(value, path, &count, err);
    p->statuses = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *name = json_string_value(json_array_get(value, i));
        dstack_tcb_status status;
        if (name == NULL || !policy_status_from_name(name, &status)) {
            return wrong(err, path, "names of TCB statuses such as UpToDate; Revoked never passes");
        }
        p->statuses |= 1U << status;
    }
    return rc;
}

static int read_minimum_date(const json_t *value, const char *path, void *target,
                             dstack_error *err) {
    dstack_attestation_policy *p = target;
    const char *text = json_string_value(value);
    char full[40];
    snprintf(full, sizeof full, "%.30s%s", text != NULL ? text : "",
             text != NULL && strlen(text) == 10 ? "T00:00:00Z" : "");
    p->has_minimum_date = dcap_date_parse(bytes_of_str(full), &p->minimum_date);
    return p->has_minimum_date ? 0 : wrong(err, path, "a date such as 2026-01-31");
}

static int read_minimum_number(const json_t *value, const char *path, void *target,
                               dstack_error *err) {
    dstack_attestation_policy *p = target;
    p->minimum_evaluation_number = json_integer_value(value);
    return json_is_integer(value) && p->minimum_evaluation_number > 0 &&
                   p->minimum_evaluation_number <= UINT32_MAX
               ? 0
               : wrong(err, path, "a number above 0");
}

static int read_advisories(const json_t *value, const char *path, void *target, dstack_error *err) {
    return read_texts(value, path, &((dstack_attestation_policy *)target)->rejected_advisories,
                      err);
}

static const key tcb_keys[] = {
    {"statuses", read_statuses},
    {"minimum_date", read_minimum_date},
    {"minimum_evaluation_number", read_minimum_number},
    {"rejected_advisories", read_advisories},
};

static int read_tcb(const json_t *value, const char *path, void *target, dstack_error *err) {
    return read_object(value, path, KEYS(tcb_keys), target, err);
}

#define LIST_READER(name, member, size)                                                            \
    static int name(const json_t *value, const char *path, void *target, dstack_error *err) {      \
        return read_values(value, path, size, &((dstack_attestation_policy *)target)->member,      \
                           err);                                                                   \
    }
LIST_READER(read_app_ids, app_ids, 20)
LIST_READER(read_compose_hashes, compose_hashes, 32)
LIST_READER(read_image_hashes, os_image_hashes, 32)
LIST_READER(read_device_ids, device_ids, 32)
LIST_READER(read_instance_ids, instance_ids, 20)

static int read_pair_app(const json_t *value, const char *path, void *target, dstack_error *err) {
    return read_value(value, path, 20, &((policy_app *)target)->app_id, err);
}

static int read_pair_hashes(const json_t *value, const char *path, void *target,
                            dstack_error *err) {
    return read_values(value, path, 32, &((policy_app *)target)->compose_hashes, err);
}

static int read_pair_devices(const json_t *value, const char *path, void *target,
                             dstack_error *err) {
    return read_values(value, path, 32, &((policy_app *)target)->device_ids, err);
}

static const key app_keys[] = {
    {"app_id", read_pair_app},
    {"compose_hashes", read_pair_hashes},
    {"device_ids", read_pair_devices},
};

/* An array of objects of `size` bytes each; *entries and *count belong to the policy, and count those
 * that were begun. */
typedef struct entry_form {
    size_t size;
    const key *keys;
    size_t key_count;
    bool (*complete)(const void *entry);
    const char *wanted; /* of an entry that is not complete */
} entry_form;

static int read_entries(const json_t *value, const char *path, const entry_form *form,
                        void **entries, size_t *count, dstack_error *err) {
    size_t items = 0;
    int rc = need_items(value, path, &items, err);
    *entries = rc == 0 ? calloc(items, form->size) : NULL;
    if (rc == 0 && *entries == NULL) {
        return no_memory(err);
    }
    for (size_t i = 0; rc == 0 && i < items; i++) {
        void *entry = (uint8_t *)*entries + form->size * (*count)++;
        rc = read_object(json_array_get(value, i), path, form->keys, form->key_count, entry, err);
        if (rc == 0 && !form->complete(entry)) {
            rc = wrong(err, path, form->wanted);
        }
    }
    return rc;
}

static bool app_complete(const void *entry) {
    return ((const policy_app *)entry)->app_id.len > 0;
}

static int read_apps(const json_t *value, const char *path, void *target, dstack_error *err) {
    static const entry_form form = {sizeof(policy_app), KEYS(app_keys), app_complete,
                                    "entries with an app_id"};
    dstack_attestation_policy *p = target;
    void *entries = NULL;
    int rc = read_entries(value, path, &form, &entries, &p->app_count, err);
    p->apps = entries;
    return rc;
}

static int read_provider_name(const json_t *value, const char *path, void *target,
                              dstack_error *err) {
    static const char *const names[] = {"none", "local-sgx", "kms", "tpm"};
    policy_provider *provider = target;
    int rc = read_text(value, path, &provider->name, err);
    for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], provider->name) == 0) {
            return 0;
        }
    }
    return rc != 0 ? rc : wrong(err, path, "none, local-sgx, kms or tpm");
}

static int read_provider_id(const json_t *value, const char *path, void *target,
                            dstack_error *err) {
    policy_provider *provider = target;
    const char *text = json_string_value(value);
    provider->has_id = true;
    return text != NULL && hex_decode(bytes_of_str(text), &provider->id, NULL) == 0
               ? buf_check(&provider->id, err)
               : wrong(err, path, "hex text");
}

static const key provider_keys[] = {{"name", read_provider_name}, {"id", read_provider_id}};

static bool provider_complete(const void *entry) {
    return ((const policy_provider *)entry)->name != NULL;
}

static int read_providers(const json_t *value, const char *path, void *target, dstack_error *err) {
    static const entry_form form = {sizeof(policy_provider), KEYS(provider_keys), provider_complete,
                                    "entries with a name"};
    dstack_attestation_policy *p = target;
    void *entries = NULL;
    int rc = read_entries(value, path, &form, &entries, &p->provider_count, err);
    p->providers = entries;
    return rc;
}

static int read_accepted(const json_t *value, const char *path, unsigned *out, dstack_error *err) {
    size_t count = 0;
    int rc = need_items(value, path, &count, err);
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const char *name = json_string_value(json_array_get(value, i));
        dstack_anchor anchor;
        if (name == NULL || !policy_anchor_from_name(name, &anchor)) {
            return wrong(err, path, "of measured, reference-image, policy, self-asserted");
        }
        *out |= 1U << anchor;
    }
    return rc;
}

static int read_anchors(const json_t *value, const char *path, void *target, dstack_error *err) {
    dstack_attestation_policy *p = target;
    size_t count = json_object_size(value);
    if (!json_is_object(value) || count == 0) {
        return wrong(err, path, "a mapping of claims");
    }
    p->anchors = calloc(count, sizeof *p->anchors);
    if (p->anchors == NULL) {
        return no_memory(err);
    }
    const char *claim;
    json_t *accepted;
    json_object_foreach((json_t *)value, claim, accepted) {
        char full[160];
        policy_anchor *anchor = &p->anchors[p->anchor_count++];
        snprintf(full, sizeof full, "%s.%.64s", path, claim);
        anchor->claim = strdup(claim);
        int rc = anchor->claim == NULL ? no_memory(err)
                                       : read_accepted(accepted, full, &anchor->accepted, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static const key document_keys[] = {
    {"version", read_version},
    {"id", read_id},
    {"platforms", read_platforms},
    {"hardware_roots", read_roots},
    {"tcb", read_tcb},
    {"app_ids", read_app_ids},
    {"compose_hashes", read_compose_hashes},
    {"apps", read_apps},
    {"os_image_hashes", read_image_hashes},
    {"device_ids", read_device_ids},
    {"instance_ids", read_instance_ids},
    {"key_providers", read_providers},
    {"anchors", read_anchors},
};

int policy_from_json(const json_t *document, dstack_attestation_policy *out, dstack_error *err) {
    out->vendor_root = true;
    out->statuses = 1U << DSTACK_TCB_UP_TO_DATE;
    int rc = read_object(document, "", KEYS(document_keys), out, err);
    if (rc == 0 && json_object_get(document, "version") == NULL) {
        rc = wrong(err, "version", "stated: 1");
    }
    return rc;
}
