/* Who this guest is: Info and Version on every surface. */
#include <stdlib.h>
#include <string.h>

#include <dstack/quote.h>

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "config.h"
#include "evidence.h"
#include "guest_v0.pb-c.h"
#include "guest_v1.pb-c.h"
#include "serve/agent.h"
#include "serve/shared_evidence.h"

/* Who asks in a row gets the same refusal: the device is slow, and anybody may ask. */
#define INFO_RETRY_MS 1000

static dstack_bytes value(const dstack_value *v) {
    return bytes_of(v->data, v->len);
}

/* tcb_info: order of members as the reference has it. */
static int tcb_info_write(agent *a, const dstack_attestation *attestation,
                          const dstack_identity *identity, dstack_buf *out, dstack_error *err) {
    static const struct {
        const char *key, *field;
    } registers[] = {
        {"mrtd", "mr_td"},   {"rtmr0", "rt_mr0"}, {"rtmr1", "rt_mr1"},
        {"rtmr2", "rt_mr2"}, {"rtmr3", "rt_mr3"},
    };
    dstack_quote quote;
    DSTACK_AUTO(buf) dstack_buf log = {0};
    int rc;
    if ((rc = dstack_quote_parse(&quote, dstack_attestation_evidence(attestation), err)) != 0 ||
        (rc = dstack_event_log_to_json(dstack_attestation_event_log(attestation), &log, err)) !=
            0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *root = json_object();
    for (size_t i = 0; i < sizeof registers / sizeof *registers; i++) {
        json_object_set_new(root, registers[i].key,
                            json_hex(dstack_quote_field(&quote, registers[i].field)));
    }
    json_object_set_new(root, "mr_aggregated", json_hex(value(&identity->mr_aggregated)));
    json_object_set_new(root, "os_image_hash", json_hex(value(&identity->os_image_hash)));
    json_object_set_new(root, "compose_hash", json_hex(value(&identity->compose_hash)));
    json_object_set_new(root, "device_id", json_hex(value(&identity->device_id)));
    json_object_set_new(root, "event_log",
                        json_parse(bytes_of_buf(&log), (size_t)16 << 20, "event log", err));
    json_object_set_new(root, "app_compose", json_string(a->compose_text));
    return json_object_size(root) == 11 ? json_write(root, true, out, err)
                                        : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

static int info_take(agent *a, agent_info **out, dstack_error *err) {
    DSTACK_AUTO(shared_evidence) shared_evidence *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf tcb = {0};
    static const uint8_t zeros[DSTACK_REPORT_DATA_SIZE];
    agent_info *info = calloc(1, sizeof *info);
    if (info == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc;
    if ((rc = shared_evidence_get(a, zeros, &evidence, err)) != 0 ||
        (rc = dstack_attestation_identity(shared_evidence_peek(evidence), false, NULL,
                                          &info->identity, err)) != 0 ||
        (rc = tcb_info_write(a, shared_evidence_peek(evidence), &info->identity, &tcb, err)) != 0) {
        free(info);
        return rc;
    }
    info->tcb_info = buf_detach_text(&tcb);
    *out = info;
    return 0;
}

int agent_info_get(agent *a, const agent_info **out, dstack_error *err) {
    pthread_mutex_lock(&a->info_lock);
    int64_t now = clock_monotonic_ms();
    if (a->info == NULL && now >= a->info_retry_ms) {
        a->info_error = (dstack_error){0};
        info_take(a, &a->info, &a->info_error);
        a->info_retry_ms = clock_monotonic_ms() + INFO_RETRY_MS;
    }
    int rc =
        a->info != NULL ? 0 : error_set(err, a->info_error.status, "%s", a->info_error.message);
    *out = a->info;
    atomic_store(&a->info_known, a->info != NULL);
    pthread_mutex_unlock(&a->info_lock);
    return rc;
}

bool agent_info_is_known(const agent *a) {
    return atomic_load(&a->info_known);
}

char *agent_app_cert_text(agent *a) {
    DSTACK_AUTO(buf) dstack_buf cert = {0};
    pthread_mutex_lock(&a->info_lock);
    for (size_t i = 0; i < a->app_cert.count; i++) {
        /* Blocks end with a line feed already: clients know the empty line between them. */
        buf_put_str(&cert, i > 0 ? "\n" : "");
        buf_put_str(&cert, a->app_cert.pem[i]);
    }
    pthread_mutex_unlock(&a->info_lock);
    return buf_detach_text(&cert);
}

/* ---- answers ------------------------------------------------------------------------------------ */

/* An Info answer is long, is asked for often, and is the same until the agent's certificate comes:
 * it is encoded once. */
enum { FORM_V0_WHOLE, FORM_V0_SHORT, FORM_V1_WHOLE, FORM_V1_SHORT };

void agent_info_forget_answers(agent *a) {
    for (size_t i = 0; i < AGENT_INFO_FORMS; i++) {
        dstack_buf_clear(&a->info_answers[i][0]);
        dstack_buf_clear(&a->info_answers[i][1]);
    }
}

static bool answer_recall(agent *a, int form, rpc_call *call) {
    pthread_mutex_lock(&a->info_lock);
    const dstack_buf *kept = &a->info_answers[form][call->json];
    bool found = kept->len > 0;
    if (found) {
        buf_put_bytes(&call->encoded, bytes_of_buf(kept));
    }
    pthread_mutex_unlock(&a->info_lock);
    return found;
}

/* Encodes the filled response, for this call and those after it. `cert_count` is the certificate's
 * state that it was filled with. */
static int answer_keep(agent *a, int form, size_t cert_count, rpc_call *call, dstack_error *err) {
    dstack_buf *out = &call->encoded;
    int rc = call->json ? rpc_message_to_json(call->response, out, err)
                        : rpc_message_to_protobuf(call->response, out, err);
    pthread_mutex_lock(&a->info_lock);
    dstack_buf *kept = &a->info_answers[form][call->json];
    if (rc == 0 && kept->len == 0 && a->app_cert.count == cert_count) {
        buf_put_bytes(kept, bytes_of_buf(out));
    }
    pthread_mutex_unlock(&a->info_lock);
    return rc;
}

static size_t cert_count_of(agent *a) {
    pthread_mutex_lock(&a->info_lock);
    size_t count = a->app_cert.count;
    pthread_mutex_unlock(&a->info_lock);
    return count;
}

static int v0_fill(agent *a, DstackGuest__AppInfo *out, bool with_tcb, dstack_error *err) {
    const agent_info *info;
    int rc = agent_info_get(a, &info, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_identity *id = &info->identity;
    DSTACK_AUTO(str) char *cert = agent_app_cert_text(a);
    rpc_set_bytes(&out->app_id, value(&id->app_id));
    rpc_set_bytes(&out->instance_id, value(&id->instance_id));
    rpc_set_str(&out->app_cert, cert);
    rpc_set_str(&out->app_name, a->app->name);
    rpc_set_bytes(&out->device_id, value(&id->device_id));
    rpc_set_bytes(&out->mr_aggregated, value(&id->mr_aggregated));
    rpc_set_bytes(&out->os_image_hash, value(&id->os_image_hash));
    rpc_set_str(&out->key_provider_info, id->key_provider_info);
    rpc_set_bytes(&out->compose_hash, value(&id->compose_hash));
    rpc_set_str(&out->cloud_vendor, a->cloud_vendor);
    rpc_set_str(&out->cloud_product, a->cloud_product);
    if (with_tcb) {
        rpc_set_str(&out->tcb_info, info->tcb_info);
        rpc_set_str(&out->vm_config, a->vm_config);
    }
    return 0;
}

static int v0_answer(rpc_call *call, bool with_tcb, dstack_error *err) {
    agent *a = call->app;
    int form = with_tcb ? FORM_V0_WHOLE : FORM_V0_SHORT;
    if (answer_recall(a, form, call)) {
        return 0;
    }
    size_t certs = cert_count_of(a);
    int rc = v0_fill(a, (void *)call->response, with_tcb, err);
    return rc != 0 ? rc : answer_keep(a, form, certs, call, err);
}

int v0_info(rpc_call *call, dstack_error *err) {
    return v0_answer(call, true, err);
}

int worker_info(rpc_call *call, dstack_error *err) {
    const agent *a = call->app;
    return v0_answer(call, a->app->public_tcbinfo, err);
}

static int v1_fill(agent *a, Dstack__Guest__V1__InfoResponse *out, bool with_documents,
                   dstack_error *err) {
    const agent_info *info;
    int rc = agent_info_get(a, &info, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_identity *id = &info->identity;
    rpc_set_bytes(&out->app_id, value(&id->app_id));
    rpc_set_str(&out->app_name, a->app->name);
    rpc_set_bytes(&out->compose_hash, value(&id->compose_hash));
    rpc_set_bytes(&out->instance_id, value(&id->instance_id));
    rpc_set_bytes(&out->device_id, value(&id->device_id));
    rpc_set_bytes(&out->os_image_hash, value(&id->os_image_hash));
    rpc_set_bytes(&out->mr_aggregated, value(&id->mr_aggregated));
    rpc_set_str(&out->cloud_vendor, a->cloud_vendor);
    rpc_set_str(&out->cloud_product, a->cloud_product);
    if (with_documents) {
        rpc_set_str(&out->app_compose, a->compose_text);
        rpc_set_str(&out->vm_config, a->vm_config);
        rpc_set_str(&out->key_provider_info, id->key_provider_info);
    }
    return 0;
}

static int v1_answer(rpc_call *call, bool with_documents, dstack_error *err) {
    agent *a = call->app;
    int form = with_documents ? FORM_V1_WHOLE : FORM_V1_SHORT;
    if (answer_recall(a, form, call)) {
        return 0;
    }
    size_t certs = cert_count_of(a);
    int rc = v1_fill(a, (void *)call->response, with_documents, err);
    return rc != 0 ? rc : answer_keep(a, form, certs, call, err);
}

int v1_info(rpc_call *call, dstack_error *err) {
    return v1_answer(call, true, err);
}

int worker_info_v1(rpc_call *call, dstack_error *err) {
    const agent *a = call->app;
    return v1_answer(call, a->app->public_tcbinfo, err);
}

int agent_version(rpc_call *call, dstack_error *err) {
    DstackGuest__WorkerVersion *out = (void *)call->response;
    rpc_set_str(&out->version, AGENT_VERSION);
    rpc_set_str(&out->rev, DSTACK_REVISION);
    return 0;
}

int agent_version_v1(rpc_call *call, dstack_error *err) {
    Dstack__Guest__V1__VersionResponse *out = (void *)call->response;
    rpc_set_str(&out->version, AGENT_VERSION);
    rpc_set_str(&out->rev, DSTACK_REVISION);
    return 0;
}

int v0_emit_event(rpc_call *call, dstack_error *err) {
    return error_set(err, DSTACK_E_UNSUPPORTED,
                     "EmitEvent was removed in dstack 0.6.0; runtime RTMR3 events are system-owned "
                     "and cannot be extended by apps");
}

int worker_health(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    Dstack__Guest__V1__HealthResponse *out = (void *)call->response;
    out->healthy = !a->app->health_check;
    if (a->app->health_check) {
        rpc_set_str(&out->error, "this agent does not watch the app's health");
    }
    return 0;
}
