/* An attestation for people to read. */
#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"

static json_t *log_json(const dstack_event_log *log) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (log == NULL || dstack_event_log_to_json(log, &text, NULL) != 0) {
        return json_null();
    }
    return json_loadb((const char *)text.data, text.len, 0, NULL);
}

static json_t *runtime_json(const dstack_event_log *log) {
    json_t *list = json_array();
    for (size_t i = 0; i < log->count; i++) {
        const attest_event *event = &log->events[i];
        json_t *item = json_pack("{s:s, s:o}", "event", event->name, "payload",
                                 json_hex(bytes_of_buf(&event->payload)));
        if (event->version != 1) {
            json_object_set_new(item, "version", json_integer(event->version));
        }
        json_array_append_new(list, item);
    }
    return list;
}

int dstack_attestation_to_json(const dstack_attestation *a, dstack_buf *out, dstack_error *err) {
    dstack_identity identity;
    bool known = dstack_attestation_identity(a, false, NULL, &identity, NULL) == 0;
    DSTACK_AUTO(json)
    json_t *object =
        json_pack("{s:i, s:s, s:o, s:o, s:s, s:o, s:o, s:o}", "version",
                  a->decoded_form == DSTACK_ATTESTATION_V1 ? 1 : 0, "tee_variant",
                  dstack_tee_variant_name(a->variant), "report_data",
                  json_hex(bytes_of(a->report_data, sizeof a->report_data)), "app_info",
                  known ? attest_identity_json(&identity) : json_null(), "config", a->config,
                  "runtime_events", runtime_json(a->runtime), "event_log", log_json(a->event_log),
                  "evidence", json_hex(bytes_of_buf(&a->evidence)));
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the attestation's JSON");
    }
    if (a->payload != NULL) {
        json_object_set_new(object, "report_data_payload", json_string(a->payload));
    }
    return json_write(object, true, out, err);
}
