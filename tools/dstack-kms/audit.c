/* The record of every release and refusal: a line in the text log, and an entry in the transparency
 * log, which is on disk and signed before the answer leaves. */
#include <string.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "kms.h"
#include "service/log.h"

static const struct {
    const char *done, *refused; /* in the text log */
    dstack_tlog_type type;
    const char *purposes[3];
    size_t purpose_count;
} kinds[KMS_RECORD_KINDS] = {
    [KMS_RECORD_KEYS] = {"app keys released",
                         "app keys refused",
                         DSTACK_TLOG_KEY_RELEASE,
                         {"disk", "env", "k256"},
                         3},
    [KMS_RECORD_CERTIFICATE] =
        {"certificate signed", "certificate refused", DSTACK_TLOG_CERTIFICATE, {"app-ca"}, 1},
    [KMS_RECORD_HANDOVER] =
        {"root keys handed over", "root keys refused", DSTACK_TLOG_HANDOVER, {"roots"}, 1},
    [KMS_RECORD_ONBOARD] =
        {"root keys copied", "root keys not copied", DSTACK_TLOG_HANDOVER, {"roots-received"}, 1},
    [KMS_RECORD_ADMIN] = {"admin act", "admin act failed", DSTACK_TLOG_ADMIN, {NULL}, 0},
};

static dstack_bytes value_bytes(const dstack_value *value) {
    return bytes_of(value->data, value->len);
}

typedef struct hex_text {
    char text[129];
} hex_text;

static const char *hex_of(dstack_bytes value, hex_text *room) {
    hex_encode(bytes_of(value.data, value.len > 64 ? 64 : value.len), room->text);
    return room->text;
}

int kms_hash_evidence(const dstack_attestation *evidence, uint8_t out[32], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    int rc = evidence != NULL
                 ? dstack_attestation_encode(evidence, DSTACK_ATTESTATION_AS_DECODED, &encoded, err)
                 : 0;
    hash_sha256(bytes_of_buf(&encoded), out);
    return rc;
}

/* ---- entries ----------------------------------------------------------------------------------
 */

static void fill_identity(const dstack_verified *verified, dstack_tlog_entry *entry) {
    const dstack_identity *identity = dstack_verified_identity(verified);
    entry->app_id = value_bytes(&identity->app_id);
    entry->compose_hash = value_bytes(&identity->compose_hash);
    entry->instance_id = value_bytes(&identity->instance_id);
    entry->device_id = value_bytes(&identity->device_id);
    entry->os_image_hash = value_bytes(&identity->os_image_hash);
    entry->mr_aggregated = value_bytes(&identity->mr_aggregated);
    entry->tee_variant = dstack_tee_variant_name(dstack_verified_variant(verified));
    entry->tcb_status = dstack_verified_tcb_status(verified);
    size_t count = dstack_verified_advisory_count(verified);
    for (size_t i = 0; i < count && i < DSTACK_TLOG_TEXTS_MAX; i++) {
        entry->advisories[entry->advisory_count++] = dstack_verified_advisory(verified, i);
    }
}

static dstack_tlog_entry entry_of(const kms *k, const kms_record_of *record, int rc,
                                  const char *reason) {
    dstack_tlog_entry entry = {.type = rc == 0 ? kinds[record->kind].type : DSTACK_TLOG_DENIAL,
                               .time = (uint64_t)clock_unix(),
                               .node_id = bytes_of(k->node_id, sizeof k->node_id),
                               .allowed = rc == 0,
                               .reason = rc == 0 ? record->what : reason,
                               .purpose_count = kinds[record->kind].purpose_count};
    memcpy(entry.purposes, kinds[record->kind].purposes, sizeof kinds[0].purposes);
    if (record->verified != NULL) {
        fill_identity(record->verified, &entry);
    }
    if (record->requester != NULL) {
        entry.requester = bytes_of(record->requester, 32);
    }
    if (record->evidence != NULL) {
        entry.evidence = bytes_of(record->evidence, 32);
    }
    return entry;
}

static void write_line(const kms_record_of *record, const dstack_tlog_entry *entry, int rc,
                       const char *reason) {
    hex_text app, instance, compose, image;
    char age[32];
    snprintf(age, sizeof age, "%lld", (long long)record->age.seconds);
    bool known = record->verified != NULL && record->age.source != FRESHNESS_UNKNOWN;
    log_write(rc == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
              rc == 0 ? kinds[record->kind].done : kinds[record->kind].refused, "app_id",
              hex_of(entry->app_id, &app), "instance_id", hex_of(entry->instance_id, &instance),
              "compose_hash", hex_of(entry->compose_hash, &compose), "os_image_hash",
              hex_of(entry->os_image_hash, &image), "evidence_age_s", known ? age : NULL,
              "evidence_age_by", known ? freshness_source_name(record->age.source) : NULL, "time",
              known ? "host time" : NULL, "peer", record->peer, "request", record->request,
              "reason", rc == 0 ? record->what : reason, NULL);
}

static void remember(kms *k, uint64_t index, dstack_bytes encoded, evidence_age age) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (dstack_tlog_entry_to_json(encoded, &text, NULL) != 0) {
        return;
    }
    json_t *object = json_parse(bytes_of_buf(&text), text.len, "entry", NULL);
    json_object_set_new(object, "index", json_integer((json_int_t)index));
    if (age.source != FRESHNESS_UNKNOWN) {
        json_object_set_new(object, "evidence_age_s", json_integer((json_int_t)age.seconds));
        json_object_set_new(object, "evidence_age_by",
                            json_string(freshness_source_name(age.source)));
        json_object_set_new(object, "time_source", json_string("host time"));
    }
    pthread_mutex_lock(&k->recent_lock);
    json_t **slot = &k->recent[index % KMS_RECENT];
    json_decref(*slot);
    *slot = object;
    k->recorded = index + 1 > k->recorded ? index + 1 : k->recorded;
    pthread_mutex_unlock(&k->recent_lock);
}

int kms_record(kms *k, const kms_record_of *record, int rc, dstack_error *err) {
    const char *reason = rc != 0 && err != NULL ? err->message : NULL;
    dstack_tlog_entry entry = entry_of(k, record, rc, reason);
    write_line(record, &entry, rc, reason);
    if (rc != 0 && record->verified == NULL) {
        return rc;
    }
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    dstack_error trouble = {0};
    uint64_t index = 0;
    int kept = dstack_tlog_entry_encode(&entry, &encoded, &trouble);
    kept = kept != 0 ? kept : tlog_store_append(k->log, bytes_of_buf(&encoded), &index, &trouble);
    if (kept == 0) {
        metrics_set(k->measures.log_entries, (int64_t)index + 1);
        remember(k, index, bytes_of_buf(&encoded), record->age);
        return rc;
    }
    LOG_ERROR("log unavailable: nothing is released", "reason", trouble.message);
    return rc != 0 ? rc : error_set(err, DSTACK_E_STATE, "log unavailable");
}

int kms_record_call(const rpc_call *call, kms_record_kind kind, const kms_asker *asker, int rc,
                    dstack_error *err) {
    const kms_caller *caller = call->identity;
    kms_record_of record = {.kind = kind,
                            .verified = asker->verified,
                            .age = asker->age,
                            .requester = caller != NULL ? caller->requester : NULL,
                            .evidence = caller != NULL ? caller->evidence : NULL,
                            .peer = http_request_peer(call->http)->address,
                            .request = http_request_id(call->http)};
    return kms_record(call->app, &record, rc, err);
}

/* ---- the log ----------------------------------------------------------------------------------
 */

static int log_folder(const kms *k, char **out, dstack_error *err) {
    const char *dir = config_str(k->config, "core.log.dir");
    int n = dir[0] != 0 ? asprintf(out, "%s", dir)
                        : asprintf(out, "%s/log", config_str(k->config, "core.cert_dir"));
    if (n < 0) {
        *out = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return 0;
}

/* A name of its own for each node, unless the operator has one. */
static void choose_name(const kms *k, char out[64]) {
    uint8_t random[8];
    char hex[17];
    randombytes_buf(random, sizeof random);
    hex_encode(bytes_of(random, sizeof random), hex);
    snprintf(out, 64, "dstack-kms-%s", hex);
    if (config_str(k->config, "core.log.name")[0] != 0) {
        snprintf(out, 64, "%s", config_str(k->config, "core.log.name"));
    }
}

int kms_audit_open(kms *k, dstack_error *err) {
    DSTACK_AUTO(str) char *dir = NULL;
    char name[64];
    choose_name(k, name);
    pthread_mutex_init(&k->recent_lock, NULL);
    int rc = log_folder(k, &dir, err);
    rc = rc != 0 ? rc : tlog_store_open(&k->log, dir, name, err);
    if (rc != 0) {
        return rc;
    }
    hash_sha256(bytes_of(tlog_store_key(k->log)->public_key, 32), k->node_id);
    uint64_t size = tlog_store_size(k->log);
    for (uint64_t i = size > KMS_RECENT ? size - KMS_RECENT : 0; i < size; i++) {
        DSTACK_AUTO(buf) dstack_buf entry = {0};
        if (tlog_store_entry(k->log, i, &entry, NULL) == 0) {
            remember(k, i, bytes_of_buf(&entry), (evidence_age){0});
        }
    }
    return 0;
}

void kms_audit_close(kms *k) {
    if (k->log != NULL) {
        tlog_store_free(k->log);
        pthread_mutex_destroy(&k->recent_lock);
    }
    for (size_t i = 0; i < KMS_RECENT; i++) {
        json_decref(k->recent[i]);
    }
    dstack_buf_clear(&k->log_evidence);
}

int kms_audit_attest(kms *k, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    if (!kms_has_evidence(k)) {
        return 0;
    }
    int rc = dstack_report_data("kms-log-v1", NULL,
                                bytes_of(tlog_store_key(k->log)->public_key, 32), report_data, err);
    rc = rc != 0 ? rc : kms_own_attest(k, report_data, &evidence, err);
    return rc != 0
               ? rc
               : dstack_attestation_encode(evidence, DSTACK_ATTESTATION_V1, &k->log_evidence, err);
}

json_t *kms_audit_recent(kms *k) {
    json_t *list = json_array();
    pthread_mutex_lock(&k->recent_lock);
    uint64_t count = k->recorded < KMS_RECENT ? k->recorded : KMS_RECENT;
    for (uint64_t i = 0; i < count; i++) {
        json_array_append(list, k->recent[(k->recorded - 1 - i) % KMS_RECENT]);
    }
    pthread_mutex_unlock(&k->recent_lock);
    return list;
}

static void serve_key(kms *k, http_response *response) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    (void)dstack_tlog_key_text(tlog_store_key(k->log), &text, NULL);
    DSTACK_AUTO(json)
    json_t *answer = json_pack("{s:s,s:o}", "vkey", buf_text(&text), "attestation",
                               json_hex(bytes_of_buf(&k->log_evidence)));
    http_response_json(response, 200, answer);
}

void kms_audit_serve(http_request *request, http_response *response, void *user) {
    kms *k = user;
    const char *path = http_request_capture(request, 0);
    dstack_buf body = {0};
    if (path != NULL && strcmp(path, "key") == 0) {
        serve_key(k, response);
    } else if (path != NULL && tlog_store_read(k->log, path, &body, NULL) == 0) {
        bool text = strcmp(path, "checkpoint") == 0;
        http_response_buf(response, 200,
                          text ? "text/plain; charset=utf-8" : "application/octet-stream", &body,
                          false);
    } else {
        dstack_buf_clear(&body);
        http_response_text(response, 404, "Not Found\n");
    }
}
