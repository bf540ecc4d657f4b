/* The list of events: memory and access. */
#include "attest/attest.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"

int attest_text(dstack_bytes text, const char *what, char **out, dstack_error *err) {
    if (text.len > 0 && memchr(text.data, 0, text.len) != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "%s holds a zero byte", what);
    }
    /* jansson's strings are checked UTF-8 */
    const char *data = text.len == 0 ? "" : (const char *)text.data;
    DSTACK_AUTO(json) json_t *checked = json_stringn(data, text.len);
    if (checked == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "%s is not UTF-8", what);
    }
    char *copy = strndup(data, text.len);
    if (copy == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for %s", what);
    }
    free(*out);
    *out = copy;
    return 0;
}

int attest_copy(dstack_bytes bytes, dstack_buf *out, dstack_error *err) {
    buf_reset(out);
    buf_put_bytes(out, bytes);
    return buf_check(out, err);
}

void *attest_array(size_t count, size_t size, const char *what, dstack_error *err) {
    if (count > DSTACK_EVENTS_MAX) {
        error_set(err, DSTACK_E_LIMIT, "%s: %zu entries, at most %d are read", what, count,
                  DSTACK_EVENTS_MAX);
        return NULL;
    }
    void *memory = calloc(count == 0 ? 1 : count, size);
    if (memory == NULL) {
        error_set(err, DSTACK_E_MEMORY, "no memory for %s", what);
    }
    return memory;
}

dstack_event_log *dstack_event_log_new(void) {
    return calloc(1, sizeof(dstack_event_log));
}

static void event_clear(attest_event *event) {
    dstack_buf_clear(&event->digest);
    dstack_buf_clear(&event->payload);
    free(event->name);
    free(event->preimage);
}

void dstack_event_log_free(dstack_event_log *log) {
    if (log != NULL) {
        for (size_t i = 0; i < log->count; i++) {
            event_clear(&log->events[i]);
        }
        free(log->events);
        free(log);
    }
}

size_t dstack_event_log_count(const dstack_event_log *log) {
    return log == NULL ? 0 : log->count;
}

bool dstack_event_log_get(const dstack_event_log *log, size_t index, dstack_event *event) {
    if (index >= dstack_event_log_count(log)) {
        return false;
    }
    const attest_event *from = &log->events[index];
    *event = (dstack_event){
        .imr = from->imr,
        .type = from->type,
        .version = from->version,
        .digest = bytes_of_buf(&from->digest),
        .name = from->name,
        .payload = bytes_of_buf(&from->payload),
        .preimage = from->preimage,
    };
    return true;
}

static int make_room(dstack_event_log *log, dstack_error *err) {
    if (log->count >= DSTACK_EVENTS_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "event log: more than %d events", DSTACK_EVENTS_MAX);
    }
    if (log->count < log->cap) {
        return 0;
    }
    size_t cap = log->cap == 0 ? 32 : log->cap * 2;
    attest_event *events = reallocarray(log->events, cap, sizeof *events);
    if (events == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for %zu events", cap);
    }
    log->events = events;
    log->cap = cap;
    return 0;
}

static int event_copy(attest_event *to, const dstack_event *from, dstack_error *err) {
    *to = (attest_event){.imr = from->imr, .type = from->type, .version = from->version};
    int rc = attest_copy(from->digest, &to->digest, err);
    if (rc == 0) {
        rc = attest_copy(from->payload, &to->payload, err);
    }
    if (rc == 0) {
        rc = attest_text(bytes_of_str(from->name == NULL ? "" : from->name), "event name",
                         &to->name, err);
    }
    if (rc == 0 && from->preimage != NULL) {
        rc = attest_text(bytes_of_str(from->preimage), "event preimage", &to->preimage, err);
    }
    if (rc != 0) {
        event_clear(to);
    }
    return rc;
}

int dstack_event_log_add(dstack_event_log *log, const dstack_event *event, dstack_error *err) {
    if (event->version != 1 && event->version != 2) {
        return error_set(err, DSTACK_E_FORMAT, "unknown event log version: %u", event->version);
    }
    int rc = make_room(log, err);
    if (rc == 0) {
        rc = event_copy(&log->events[log->count], event, err);
    }
    if (rc == 0) {
        log->count++;
    }
    return rc;
}

int dstack_event_log_add_runtime(dstack_event_log *log, const char *name, dstack_bytes payload,
                                 uint32_t version, dstack_error *err) {
    return dstack_event_log_add(log,
                                &(dstack_event){.imr = DSTACK_RUNTIME_REGISTER,
                                                .type = DSTACK_RUNTIME_EVENT_TYPE,
                                                .version = version,
                                                .name = name,
                                                .payload = payload},
                                err);
}

int dstack_event_log_append(dstack_event_log *log, const dstack_event_log *more,
                            dstack_error *err) {
    dstack_event event;
    int rc = 0;
    for (size_t i = 0; rc == 0 && dstack_event_log_get(more, i, &event); i++) {
        rc = dstack_event_log_add(log, &event, err);
    }
    return rc;
}

bool attest_event_is_runtime(const attest_event *event) {
    return event->type == DSTACK_RUNTIME_EVENT_TYPE;
}

bool attest_event_is_acpi(const attest_event *event) {
    return event->imr == 0 && event->type == 10 &&
           bytes_equal_str(bytes_of_buf(&event->payload), "ACPI DATA");
}

/* Walks the trusted part of a runtime list: everything before the first "system-ready". */
static const attest_event *next_claim(const dstack_event_log *runtime, const char *name,
                                      size_t *position) {
    while (*position < dstack_event_log_count(runtime)) {
        const attest_event *event = &runtime->events[(*position)++];
        if (!attest_event_is_runtime(event)) {
            continue;
        }
        if (strcmp(event->name, "system-ready") == 0) {
            break;
        }
        if (strcmp(event->name, name) == 0) {
            return event;
        }
    }
    *position = SIZE_MAX;
    return NULL;
}

dstack_bytes attest_claim(const dstack_event_log *runtime, const char *name) {
    size_t position = 0;
    const attest_event *event = next_claim(runtime, name, &position);
    return event == NULL ? (dstack_bytes){0} : bytes_of_buf(&event->payload);
}

size_t attest_claim_count(const dstack_event_log *runtime, const char *name) {
    size_t position = 0, count = 0;
    while (next_claim(runtime, name, &position) != NULL) {
        count++;
    }
    return count;
}
