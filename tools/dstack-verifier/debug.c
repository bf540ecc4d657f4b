#include "debug.h"

#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/json.h"

DSTACK_AUTO_DEFINE_CLEAR(acpi, dstack_acpi, dstack_acpi_clear)
DSTACK_AUTO_DEFINE_CLEAR(image, dstack_image, dstack_image_clear)

json_t *debug_acpi(const dstack_vm_shape *shape) {
    DSTACK_AUTO(acpi) dstack_acpi acpi = {0};
    return dstack_acpi_generate(shape, &acpi, NULL) != 0
               ? NULL
               : json_pack("{s:o, s:o, s:o}", "tables", json_hex(bytes_of_buf(&acpi.tables)),
                           "rsdp", json_hex(bytes_of_buf(&acpi.rsdp)), "loader",
                           json_hex(bytes_of_buf(&acpi.loader)));
}

/* The next predicted event of a register at or after *at; NULL past the last. */
static const dstack_measure_event *next_expected(const dstack_measurements *m, unsigned rtmr,
                                                 size_t *at) {
    while (*at < m->event_count) {
        const dstack_measure_event *event = &m->events[(*at)++];
        if (event->rtmr == rtmr) {
            return event;
        }
    }
    return NULL;
}

static json_t *event_json(size_t index, const dstack_event *logged,
                          const dstack_measure_event *expected) {
    bool same = expected != NULL &&
                bytes_equal(logged->digest, bytes_of(expected->digest, DSTACK_MEASURE_SIZE));
    json_t *event = json_pack("{s:I, s:I, s:s, s:o}", "index", (json_int_t)index, "event_type",
                              (json_int_t)logged->type, "event_name",
                              expected != NULL ? expected->name : logged->name, "actual_digest",
                              json_hex(logged->digest));
    if (expected != NULL) {
        json_object_set_new(event, "expected_digest",
                            json_hex(bytes_of(expected->digest, DSTACK_MEASURE_SIZE)));
    }
    json_object_set_new(event, "payload_len", json_integer((json_int_t)logged->payload.len));
    json_object_set_new(event, "status",
                        json_string(expected == NULL ? "extra"
                                    : same           ? "match"
                                                     : "mismatch"));
    return event;
}

static json_t *register_json(unsigned rtmr, const dstack_measurements *m,
                             const dstack_image_question *question) {
    char name[8];
    json_t *events = json_array(), *missing = json_array();
    size_t at = 0;
    dstack_event logged;
    snprintf(name, sizeof name, "RTMR%u", rtmr);
    for (size_t i = 0;
         question->event_log != NULL && dstack_event_log_get(question->event_log, i, &logged);
         i++) {
        if (logged.imr == rtmr) {
            json_array_append_new(events, event_json(i, &logged, next_expected(m, rtmr, &at)));
        }
    }
    for (const dstack_measure_event *left; (left = next_expected(m, rtmr, &at)) != NULL;) {
        json_array_append_new(missing, json_hex(bytes_of(left->digest, DSTACK_MEASURE_SIZE)));
    }
    json_t *entry =
        json_pack("{s:s, s:o, s:o, s:o}", "rtmr", name, "expected",
                  json_hex(bytes_of(m->rtmr[rtmr], DSTACK_MEASURE_SIZE)), "actual",
                  json_hex(bytes_of(question->rtmr[rtmr], DSTACK_MEASURE_SIZE)), "events", events);
    if (json_array_size(missing) > 0) {
        json_object_set(entry, "missing_expected_digests", missing);
    }
    json_decref(missing);
    return entry;
}

json_t *debug_registers(const char *image_dir, const dstack_vm_shape *shape,
                        const dstack_image_question *question) {
    DSTACK_AUTO(image) dstack_image image = {0};
    dstack_measurements m;
    if (dstack_image_load(image_dir, &image, NULL) != 0 ||
        dstack_measure_tdx(&image, shape, &m, NULL) != 0) {
        return NULL;
    }
    json_t *list = json_array();
    for (unsigned i = 0; i < 3; i++) {
        if (memcmp(m.rtmr[i], question->rtmr[i], DSTACK_MEASURE_SIZE) != 0) {
            json_array_append_new(list, register_json(i, &m, question));
        }
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        list = NULL;
    }
    return list;
}
