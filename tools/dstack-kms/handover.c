/* Root keys for another KMS: the source's side of replication. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "kms.h"
#include "service/kms.pb-c.h"

/* PEM text from guarded memory into a message, whose memory is wiped when it is freed. */
static int put_pem(char **field, const dstack_secret *pem, dstack_error *err) {
    size_t len = dstack_secret_len(pem);
    char *text = rpc_allocator.alloc(rpc_allocator.allocator_data, len + 1);
    if (text == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    memcpy(text, dstack_secret_peek(pem), len);
    text[len] = 0;
    *field = text;
    return 0;
}

static int fill_roots(const kms *k, Kms__KmsKeyResponse *out, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *root_pem = NULL;
    DSTACK_AUTO(secret) dstack_secret *k256 = NULL;
    Kms__KmsKeys *keys =
        (Kms__KmsKeys *)rpc_add_message(&out->n_keys, &out->keys, &kms__kms_keys__descriptor);
    if (keys == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = kms_signer_handover(k->signer, &root_pem, &k256, err);
    rc = rc != 0 ? rc : put_pem(&out->temp_ca_key, k->store.temp_pem, err);
    rc = rc != 0 ? rc : put_pem(&keys->ca_key, root_pem, err);
    if (rc == 0) {
        rpc_set_bytes(&keys->k256_key, bytes_of(dstack_secret_peek(k256), dstack_secret_len(k256)));
    }
    return rc;
}

/* ---- evidence for the connection --------------------------------------------------------------
 */

int kms_check_channel(kms *k, dstack_bytes encoded, const uint8_t binding[32], const char *tag,
                      const dstack_identity *expected, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    dstack_attestation_options options = kms_judge_options(k, NULL, false, false);
    options.report_data = report_data;
    int rc = dstack_report_data(tag, NULL, bytes_of(binding, 32), report_data, err);
    rc = rc != 0 ? rc : dstack_attestation_decode(encoded, &evidence, err);
    rc = rc != 0 ? rc
                 : dstack_attestation_verify(k->trust.verifier, evidence, &options, &verified, err);
    if (rc == 0) {
        const dstack_identity *found = dstack_verified_identity(verified);
        bool same =
            bytes_equal(bytes_of(found->mr_aggregated.data, found->mr_aggregated.len),
                        bytes_of(expected->mr_aggregated.data, expected->mr_aggregated.len)) &&
            bytes_equal(bytes_of(found->device_id.data, found->device_id.len),
                        bytes_of(expected->device_id.data, expected->device_id.len));
        rc = same ? 0 : error_set(err, DSTACK_E_REFUSED, "it is of another machine");
    }
    return rc != 0 ? error_prefix(err, rc, "evidence for this connection") : 0;
}

int kms_make_channel(kms *k, const uint8_t binding[32], const char *tag, dstack_buf *out,
                     dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_report_data(tag, NULL, bytes_of(binding, 32), report_data, err);
    rc = rc != 0 ? rc : kms_own_attest(k, report_data, &evidence, err);
    return rc != 0 ? rc : dstack_attestation_encode(evidence, DSTACK_ATTESTATION_V1, out, err);
}

/* Where the caller proves that it is there now, it is told the same in return. */
static int exchange_channel(rpc_call *call, const dstack_identity *caller, dstack_error *err) {
    kms *k = call->app;
    const Kms__GetKmsKeyRequest *in = (Kms__GetKmsKeyRequest *)call->request;
    Kms__KmsKeyResponse *out = (Kms__KmsKeyResponse *)call->response;
    DSTACK_AUTO(buf) dstack_buf own = {0};
    uint8_t binding[32];
    if (in->channel_evidence.len == 0) {
        return config_bool(k->config, "core.onboard.require_channel_evidence")
                   ? error_set(err, DSTACK_E_REFUSED, "evidence for this connection is required")
                   : 0;
    }
    if (!http_request_channel_binding(call->http, binding)) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "evidence for this connection needs TLS 1.3");
    }
    int rc = kms_check_channel(k, bytes_of(in->channel_evidence.data, in->channel_evidence.len),
                               binding, KMS_CHANNEL_TARGET, caller, err);
    rc = rc == 0 && kms_has_evidence(k)
             ? kms_make_channel(k, binding, KMS_CHANNEL_SOURCE, &own, err)
             : rc;
    if (rc == 0 && own.len > 0) {
        rpc_set_bytes(&out->channel_evidence, bytes_of_buf(&own));
    }
    return rc;
}

/* ---- GetKmsKey --------------------------------------------------------------------------------
 */

int kms_get_kms_key(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    const Kms__GetKmsKeyRequest *in = (Kms__GetKmsKeyRequest *)call->request;
    DSTACK_AUTO(kms_asker) kms_asker asker = {0};
    kms_decision decision = {0};
    int rc = kms_authorize_self(k, err);
    rc = rc != 0 ? rc
                 : kms_authorize_caller(call, KMS_BOOT_KMS, in->vm_config, &asker, &decision, err);
    rc = rc != 0 ? rc : exchange_channel(call, dstack_verified_identity(asker.verified), err);
    rc = kms_record_call(call, KMS_RECORD_HANDOVER, &asker, rc, err);
    return rc != 0 ? rc : fill_roots(k, (Kms__KmsKeyResponse *)call->response, err);
}

int kms_get_kms_key_public(rpc_call *call, dstack_error *err) {
    const kms *k = call->app;
    if (!config_bool(k->config, "core.onboard.public_key_handover")) {
        return error_set(err, DSTACK_E_REFUSED,
                         "public KMS key handover is disabled; use the admin listener");
    }
    return kms_get_kms_key(call, err);
}
