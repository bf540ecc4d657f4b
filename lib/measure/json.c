#include "measure/json.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "measure/events.h"

static const char *const register_names[] = {"rtmr0", "rtmr1", "rtmr2"};

json_t *measure_to_json(const dstack_measurements *m) {
    json_t *events = json_array();
    for (size_t i = 0; i < m->event_count; i++) {
        const dstack_measure_event *event = &m->events[i];
        json_array_append_new(
            events, json_pack("{s:i, s:I, s:s, s:s, s:o, s:s}", "rtmr", (int)event->rtmr, "type",
                              (json_int_t)event->type, "name", event->name, "source", event->source,
                              "digest", json_hex(bytes_of(event->digest, sizeof event->digest)),
                              "payload", event->payload));
    }
    json_t *object = json_object();
    json_object_set_new(object, "mrtd", json_hex(bytes_of(m->mrtd, sizeof m->mrtd)));
    for (size_t i = 0; i < 3; i++) {
        json_object_set_new(object, register_names[i],
                            json_hex(bytes_of(m->rtmr[i], sizeof m->rtmr[i])));
    }
    if (m->has_rtmr1_distributed) {
        json_object_set_new(object, "rtmr1_unpatched",
                            json_hex(bytes_of(m->rtmr1_distributed, sizeof m->rtmr1_distributed)));
    }
    if (json_object_set_new(object, "events", events) != 0 ||
        json_array_size(events) != m->event_count) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static int read_event(const json_t *object, dstack_measure_event *out, dstack_error *err) {
    int64_t rtmr = 0, type = 0;
    const char *payload = NULL;
    int rc;
    if ((rc = json_need_int(object, "rtmr", &rtmr, err)) != 0 ||
        (rc = json_need_int(object, "type", &type, err)) != 0 ||
        (rc = json_need_hex(object, "digest", out->digest, sizeof out->digest, err)) != 0 ||
        (rc = json_str_or(object, "payload", "", &payload, err)) != 0) {
        return rc;
    }
    if (rtmr < 0 || rtmr > 2 || type < 0 || type > UINT32_MAX ||
        strlen(payload) >= sizeof out->payload) {
        return error_set(err, DSTACK_E_FORMAT, "event is out of range");
    }
    out->rtmr = (uint32_t)rtmr;
    out->type = (uint32_t)type;
    out->name = out->source = "";
    strcpy(out->payload, payload);
    return 0;
}

static int read_events(const json_t *object, dstack_measurements *out, dstack_error *err) {
    json_t *events = NULL;
    int rc = json_need_array(object, "events", &events, err);
    if (rc == 0 && json_array_size(events) > DSTACK_MEASURE_MAX_EVENTS) {
        rc = error_set(err, DSTACK_E_LIMIT, "more than %d events", DSTACK_MEASURE_MAX_EVENTS);
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(events); i++) {
        rc = read_event(json_array_get(events, i), &out->events[i], err);
        out->event_count = i + 1;
    }
    return rc;
}

int measure_from_json(const json_t *object, dstack_measurements *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    int rc = json_need_hex(object, "mrtd", out->mrtd, sizeof out->mrtd, err);
    if (rc != 0 || (rc = read_events(object, out, err)) != 0) {
        return rc;
    }
    measure_replay(out);
    for (size_t i = 0; i < 3; i++) {
        uint8_t given[DSTACK_MEASURE_SIZE];
        rc = json_need_hex(object, register_names[i], given, sizeof given, err);
        if (rc != 0) {
            return rc;
        }
        if (memcmp(given, out->rtmr[i], sizeof given) != 0) {
            return error_set(err, DSTACK_E_REFUSED, "%s is not what its events replay to",
                             register_names[i]);
        }
    }
    return 0;
}
