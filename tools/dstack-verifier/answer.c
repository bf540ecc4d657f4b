#include "answer.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/json.h"

/* Everything about the evidence itself held; a policy may still have refused it. */
static bool held(const verdict *v) {
    return v->stage >= STAGE_POLICY;
}

static json_t *text_or_null(const char *text) {
    return text != NULL && text[0] != '\0' ? json_string(text) : json_null();
}

static json_t *parsed(const dstack_buf *text) {
    return json_parse(bytes_of_buf(text), SIZE_MAX, "answer", NULL);
}

static json_t *advisories(const dstack_verified *v) {
    json_t *list = json_array();
    for (size_t i = 0; v != NULL && i < dstack_verified_advisory_count(v); i++) {
        json_array_append_new(list, json_string(dstack_verified_advisory(v, i)));
    }
    return list;
}

static json_t *key_provider(const verdict *v) {
    if (!held(v)) {
        return json_null();
    }
    char name[32];
    DSTACK_AUTO(buf) dstack_buf id = {0};
    const dstack_identity *identity = dstack_verified_identity(v->verified);
    if (identity->key_provider_info[0] == '\0' ||
        dstack_identity_key_provider(identity, name, &id, NULL) != 0) {
        return json_null();
    }
    return json_pack("{s:s, s:o}", "name", name, "id", json_hex(bytes_of_buf(&id)));
}

static json_t *app_info(const verdict *v) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (!held(v) ||
        dstack_identity_to_json(dstack_verified_identity(v->verified), &text, NULL) != 0) {
        return json_null();
    }
    return parsed(&text);
}

static void put(json_t *object, const char *key, json_t *value) {
    json_object_set_new(object, key, value != NULL ? value : json_null());
}

static json_t *details(const verdict *v) {
    const dstack_verified *known = v->verified;
    json_t *d = json_object();
    put(d, "quote_verified", json_boolean(known != NULL));
    put(d, "event_log_verified", json_boolean(held(v)));
    put(d, "os_image_hash_verified", json_boolean(held(v) && v->source != IMAGE_NONE));
    put(d, "acpi_tables_verified", json_boolean(held(v) && v->acpi_recomputed));
    put(d, "os_image_is_dev", v->image_known ? json_boolean(v->is_dev) : json_null());
    put(d, "os_image_version", text_or_null(v->image_known ? v->version : NULL));
    put(d, "tee_variant",
        known != NULL ? json_string(dstack_tee_variant_name(dstack_verified_variant(known)))
                      : json_null());
    put(d, "report_data",
        known != NULL ? json_hex(dstack_verified_report_data(known)) : json_null());
    put(d, "tcb_status", text_or_null(known != NULL ? dstack_verified_tcb_status(known) : NULL));
    put(d, "advisory_ids", advisories(known));
    put(d, "key_provider", key_provider(v));
    put(d, "app_info", app_info(v));
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (v->valid && dstack_verified_boot_info(known, &text, NULL) == 0) {
        put(d, "boot_info", parsed(&text));
    }
    if (v->acpi_tables != NULL) {
        put(d, "acpi_tables", json_incref(v->acpi_tables));
    }
    if (v->register_debug != NULL) {
        put(d, "rtmr_debug", json_incref(v->register_debug));
    }
    return d;
}

json_t *answer_json(const verdict *v, bool insecure) {
    json_t *answer = json_object();
    put(answer, "is_valid", json_boolean(v->valid));
    put(answer, "details", details(v));
    put(answer, "reason", text_or_null(v->reason));
    if (v->attestation != NULL) {
        put(answer, "trust", trust_json(v));
    }
    if (insecure) {
        put(answer, "insecure_dev", json_true());
    }
    return answer;
}
