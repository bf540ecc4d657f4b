/* runtime.json: what the supervisor of a VM saw. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "vm.h"

#define RUNTIME_LIMIT (2U << 20)

void vm_runtime_clear(struct vm_runtime *runtime) {
    for (size_t i = 0; i < runtime->event_count; i++) {
        free(runtime->events[i].body);
    }
    memset(runtime, 0, sizeof *runtime);
}

static void set_text(char *out, size_t size, const char *text) {
    snprintf(out, size, "%s", text);
}

static void append_event(struct vm_runtime *runtime, const char *event, const char *body,
                         int64_t timestamp_ms) {
    char *copy = strdup(body);
    if (copy == NULL) {
        return;
    }
    if (runtime->event_count == VM_EVENT_MAX) {
        free(runtime->events[0].body);
        memmove(&runtime->events[0], &runtime->events[1],
                (VM_EVENT_MAX - 1) * sizeof runtime->events[0]);
        runtime->event_count--;
    }
    struct vm_event *slot = &runtime->events[runtime->event_count++];
    set_text(slot->event, sizeof slot->event, event);
    slot->body = copy;
    slot->timestamp_ms = timestamp_ms;
}

void vm_runtime_event(struct vm_runtime *runtime, const char *event, const char *body,
                      int64_t now_ms) {
    append_event(runtime, event, body, now_ms);
    if (strcmp(event, "boot.progress") == 0) {
        set_text(runtime->boot_progress, sizeof runtime->boot_progress, body);
    } else if (strcmp(event, "boot.error") == 0) {
        set_text(runtime->boot_error, sizeof runtime->boot_error, body);
    } else if (strcmp(event, "shutdown.progress") == 0) {
        set_text(runtime->shutdown_progress, sizeof runtime->shutdown_progress, body);
        runtime->powered_off = runtime->powered_off || strcmp(body, "powering off") == 0;
    }
}

static json_t *to_json(const struct vm_runtime *r) {
    json_t *events = json_array();
    for (size_t i = 0; i < r->event_count; i++) {
        json_array_append_new(events, json_pack("{s:s, s:s, s:I}", "event", r->events[i].event,
                                                "body", r->events[i].body, "timestamp",
                                                (json_int_t)r->events[i].timestamp_ms));
    }
    return json_pack("{s:I, s:I, s:i, s:s, s:s, s:s, s:b, s:o}", "started_at",
                     (json_int_t)r->started_at, "exited_at", (json_int_t)r->exited_at,
                     "exit_status", r->exit_status, "boot_progress", r->boot_progress, "boot_error",
                     r->boot_error, "shutdown_progress", r->shutdown_progress, "powered_off",
                     r->powered_off, "events", events);
}

static int from_json(const json_t *json, struct vm_runtime *out, dstack_error *err) {
    const char *progress, *error, *shutdown;
    int64_t status = 0;
    int rc = json_int_or(json, "started_at", 0, &out->started_at, err);
    rc = rc != 0 ? rc : json_int_or(json, "exited_at", 0, &out->exited_at, err);
    rc = rc != 0 ? rc : json_int_or(json, "exit_status", 0, &status, err);
    rc = rc != 0 ? rc : json_str_or(json, "boot_progress", "", &progress, err);
    rc = rc != 0 ? rc : json_str_or(json, "boot_error", "", &error, err);
    rc = rc != 0 ? rc : json_str_or(json, "shutdown_progress", "", &shutdown, err);
    rc = rc != 0 ? rc : json_bool_or(json, "powered_off", false, &out->powered_off, err);
    if (rc != 0) {
        return rc;
    }
    out->exit_status = (int)status;
    set_text(out->boot_progress, sizeof out->boot_progress, progress);
    set_text(out->boot_error, sizeof out->boot_error, error);
    set_text(out->shutdown_progress, sizeof out->shutdown_progress, shutdown);
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(json, "events"), i, item) {
        const char *event, *body;
        int64_t timestamp;
        if (json_need_str(item, "event", &event, NULL) == 0 &&
            json_need_str(item, "body", &body, NULL) == 0 &&
            json_int_or(item, "timestamp", 0, &timestamp, NULL) == 0) {
            append_event(out, event, body, timestamp);
        }
    }
    return 0;
}

int vm_runtime_read(const char *dir, struct vm_runtime *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(str) char *path = vm_path(dir, VM_RUNTIME_FILE);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = file_read(path, RUNTIME_LIMIT, &text, err);
    if (rc == DSTACK_E_NOT_FOUND) {
        return 0;
    }
    if (rc != 0) {
        return rc;
    }
    dstack_error local = {0};
    DSTACK_AUTO(json) json_t *json = json_parse(bytes_of_buf(&text), RUNTIME_LIMIT, path, &local);
    rc = json != NULL ? from_json(json, out, err)
                      : error_set(err, local.status, "%s", local.message);
    if (rc != 0) {
        vm_runtime_clear(out);
    }
    return rc;
}

int vm_runtime_write(const char *dir, const struct vm_runtime *runtime, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, VM_RUNTIME_FILE);
    DSTACK_AUTO(json) json_t *json = to_json(runtime);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL || json == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = json_write(json, true, &text, err);
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0600, err);
}
