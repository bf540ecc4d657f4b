/* Entries of a KMS's log: one CBOR map with the keys 1 to 20, in deterministic form (RFC 8949,
 * section 4.2). */
#include <string.h>

#include <dstack/tlog.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cbor.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"

#define ENTRY_VERSION 1
#define TEXT_MAX 1024

/* ---- writing ---------------------------------------------------------------------------------- */

static void put_bytes(dstack_buf *out, uint64_t key, dstack_bytes value) {
    cbor_put_uint(out, key);
    cbor_put_bytes(out, value);
}

static void put_uint(dstack_buf *out, uint64_t key, uint64_t value) {
    cbor_put_uint(out, key);
    cbor_put_uint(out, value);
}

static void put_text(dstack_buf *out, uint64_t key, const char *value) {
    cbor_put_uint(out, key);
    cbor_put_text(out, value != NULL ? value : "");
}

static void put_texts(dstack_buf *out, uint64_t key, const char *const *texts, size_t count) {
    cbor_put_uint(out, key);
    cbor_put_array(out, count);
    for (size_t i = 0; i < count; i++) {
        cbor_put_text(out, texts[i]);
    }
}

static void put_policy_view(dstack_buf *out, const dstack_tlog_entry *entry) {
    cbor_put_uint(out, 17);
    cbor_put_map(out, entry->has_policy_view ? 4 : 0);
    if (entry->has_policy_view) {
        put_uint(out, 1, entry->chain_id);
        put_uint(out, 2, entry->block_number);
        put_bytes(out, 3, entry->block_hash);
        put_bytes(out, 4, entry->contract);
    }
}

int dstack_tlog_entry_encode(const dstack_tlog_entry *entry, dstack_buf *out, dstack_error *err) {
    size_t begin = out->len;
    if (entry->purpose_count > DSTACK_TLOG_TEXTS_MAX ||
        entry->advisory_count > DSTACK_TLOG_TEXTS_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "too many purposes or advisories");
    }
    cbor_put_map(out, 20);
    put_uint(out, 1, ENTRY_VERSION);
    put_uint(out, 2, entry->type);
    put_uint(out, 3, entry->time);
    put_bytes(out, 4, entry->node_id);
    put_bytes(out, 5, entry->app_id);
    put_bytes(out, 6, entry->compose_hash);
    put_bytes(out, 7, entry->instance_id);
    put_bytes(out, 8, entry->device_id);
    put_bytes(out, 9, entry->os_image_hash);
    put_bytes(out, 10, entry->mr_aggregated);
    put_text(out, 11, entry->tee_variant);
    put_text(out, 12, entry->tcb_status);
    put_bytes(out, 13, entry->requester);
    put_bytes(out, 14, entry->evidence);
    put_uint(out, 15, entry->allowed ? 1 : 0);
    put_text(out, 16, entry->reason);
    put_policy_view(out, entry);
    put_uint(out, 18, entry->epoch);
    put_texts(out, 19, entry->purposes, entry->purpose_count);
    put_texts(out, 20, entry->advisories, entry->advisory_count);
    int rc = buf_check(out, err);
    if (rc == 0 && out->len - begin > DSTACK_TLOG_ENTRY_MAX) {
        out->len = begin;
        rc = error_set(err, DSTACK_E_LIMIT, "an entry has at most %d bytes", DSTACK_TLOG_ENTRY_MAX);
    }
    return rc;
}

/* ---- reading ---------------------------------------------------------------------------------- */

typedef enum field_kind {
    FIELD_UINT,
    FIELD_TYPE,
    FIELD_BYTES,
    FIELD_TEXT,
    FIELD_BOOL,
    FIELD_TEXTS,
    FIELD_VIEW
} field_kind;

static const struct {
    const char *name;
    field_kind kind;
} fields[] = {
    {"version", FIELD_UINT},        {"type", FIELD_TYPE},        {"time", FIELD_UINT},
    {"node_id", FIELD_BYTES},       {"app_id", FIELD_BYTES},     {"compose_hash", FIELD_BYTES},
    {"instance_id", FIELD_BYTES},   {"device_id", FIELD_BYTES},  {"os_image_hash", FIELD_BYTES},
    {"mr_aggregated", FIELD_BYTES}, {"tee_variant", FIELD_TEXT}, {"tcb_status", FIELD_TEXT},
    {"requester", FIELD_BYTES},     {"evidence", FIELD_BYTES},   {"allowed", FIELD_BOOL},
    {"reason", FIELD_TEXT},         {"policy_view", FIELD_VIEW}, {"epoch", FIELD_UINT},
    {"purposes", FIELD_TEXTS},      {"advisories", FIELD_TEXTS},
};
enum { FIELDS = sizeof fields / sizeof fields[0] };

static const char *type_name(uint64_t type) {
    static const char *const names[] = {"",      "key release",   "certificate",   "handover",
                                        "share", "denial",        "policy change", "epoch change",
                                        "admin", "wipe statement"};
    return type < sizeof names / sizeof names[0] ? names[type] : "";
}

static json_t *read_text(cursor *c) {
    dstack_bytes text = cbor_read_text(c);
    c->failed = c->failed || text.len > TEXT_MAX;
    return cursor_ok(c) ? json_stringn((const char *)text.data, text.len) : NULL;
}

static json_t *read_texts(cursor *c) {
    json_t *list = json_array();
    uint64_t count = cbor_read_array(c);
    c->failed = c->failed || count > DSTACK_TLOG_TEXTS_MAX;
    for (uint64_t i = 0; cursor_ok(c) && i < count; i++) {
        if (json_array_append_new(list, read_text(c)) != 0) {
            c->failed = true;
        }
    }
    return list;
}

static json_t *read_view(cursor *c) {
    uint64_t pairs = cbor_read_map(c);
    if (!cursor_ok(c) || (pairs != 0 && pairs != 4)) {
        c->failed = true;
        return NULL;
    }
    if (pairs == 0) {
        return json_null();
    }
    static const char *const names[] = {"chain_id", "block_number", "block_hash", "contract"};
    json_t *view = json_object();
    for (uint64_t i = 0; cursor_ok(c) && i < pairs; i++) {
        c->failed = cbor_read_uint(c) != i + 1 || c->failed;
        json_t *value =
            i < 2 ? json_integer((json_int_t)cbor_read_uint(c)) : json_hex(cbor_read_bytes(c));
        json_object_set_new(view, names[i], value);
    }
    return view;
}

static json_t *read_field(cursor *c, field_kind kind) {
    switch (kind) {
    case FIELD_UINT:
        return json_integer((json_int_t)cbor_read_uint(c));
    case FIELD_TYPE:
        return json_string(type_name(cbor_read_uint(c)));
    case FIELD_BYTES:
        return json_hex(cbor_read_bytes(c));
    case FIELD_TEXT:
        return read_text(c);
    case FIELD_BOOL:
        return json_boolean(cbor_read_uint(c) != 0);
    case FIELD_TEXTS:
        return read_texts(c);
    case FIELD_VIEW:
        return read_view(c);
    }
    return NULL;
}

int dstack_tlog_entry_to_json(dstack_bytes encoded, dstack_buf *out, dstack_error *err) {
    cursor c = cursor_init(encoded);
    DSTACK_AUTO(json) json_t *object = json_object();
    uint64_t pairs = cbor_read_map(&c), previous = 0;
    c.failed = c.failed || pairs > 64;
    for (uint64_t i = 0; cursor_ok(&c) && i < pairs; i++) {
        uint64_t key = cbor_read_uint(&c);
        if (!cursor_ok(&c) || key <= previous) {
            c.failed = true;
        } else if (key > FIELDS) {
            cbor_skip(&c);
        } else {
            json_t *value = read_field(&c, fields[key - 1].kind);
            c.failed = json_object_set_new(object, fields[key - 1].name, value) != 0 || c.failed;
        }
        previous = key;
    }
    if (!cursor_done(&c)) {
        return error_set(err, DSTACK_E_FORMAT, "an entry is one map with rising keys");
    }
    return json_write(object, false, out, err);
}
