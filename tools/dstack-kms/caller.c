/* Who calls: the evidence in a client certificate, and the record of what came of it. */
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "kms.h"
#include "service/log.h"

static dstack_bytes value_bytes(const dstack_value *value) {
    return bytes_of(value->data, value->len);
}

typedef struct hex_text {
    char text[129];
} hex_text;

static const char *hex_of(const dstack_value *value, hex_text *room) {
    hex_encode(value_bytes(value), room->text);
    return room->text;
}

/* What each kind of record says in the log. */
static const struct {
    const char *done, *refused;
} record_texts[] = {
    [KMS_RECORD_KEYS] = {"app keys released", "app keys refused"},
    [KMS_RECORD_CERTIFICATE] = {"certificate signed", "certificate refused"},
    [KMS_RECORD_HANDOVER] = {"root keys handed over", "root keys refused"},
};

/* Identities are public. */
int kms_record(const rpc_call *call, kms_record_kind kind, const dstack_verified *verified, int rc,
               dstack_error *err) {
    hex_text app = {""}, instance = {""}, compose = {""}, image = {""};
    if (verified != NULL) {
        const dstack_identity *identity = dstack_verified_identity(verified);
        hex_of(&identity->app_id, &app);
        hex_of(&identity->instance_id, &instance);
        hex_of(&identity->compose_hash, &compose);
        hex_of(&identity->os_image_hash, &image);
    }
    log_write(rc == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN,
              rc == 0 ? record_texts[kind].done : record_texts[kind].refused, "app_id", app.text,
              "instance_id", instance.text, "compose_hash", compose.text, "os_image_hash",
              image.text, "peer", http_request_peer(call->http)->address, "request",
              http_request_id(call->http), "reason", rc == 0 ? NULL : err->message, NULL);
    return rc;
}

/* ---- evidence of callers ----------------------------------------------------------------------
 */

void kms_free_caller(void *identity) {
    kms_caller *caller = identity;
    dstack_cert_free(caller->cert);
    free(caller);
}

/* The evidence is genuine and bound to the certificate's key; whose it is, each method asks with
 * its own vm_config. */
int kms_attest_caller(rpc_call *call, dstack_bytes client_cert, void **identity,
                      dstack_error *err) {
    kms *k = call->app;
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    kms_caller *caller = calloc(1, sizeof *caller);
    if (caller == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    dstack_attestation_options options = kms_judge_options(k, NULL, false, false);
    int rc = dstack_cert_parse(client_cert, &caller->cert, err);
    rc = rc != 0 ? rc
                 : dstack_cert_verify_attestation(k->trust.verifier, caller->cert, &options,
                                                  &verified, err);
    if (rc != 0) {
        kms_free_caller(caller);
        return error_prefix(err, rc, "invalid quote");
    }
    *identity = caller;
    return 0;
}

typedef struct cert_question {
    const kms *kms;
    const dstack_cert *cert;
} cert_question;

static int verify_cert(void *user, const dstack_attestation_options *options, dstack_verified **out,
                       dstack_error *err) {
    cert_question *question = user;
    return dstack_cert_verify_attestation(question->kms->trust.verifier, question->cert, options,
                                          out, err);
}

const char *kms_no_attestation_text(const rpc_method *method) {
    return strcmp(method->name, "GetAppKey") == 0 ? "App not allowed: No attestation provided"
                                                  : "No attestation provided";
}

int kms_authorize_caller(const rpc_call *call, kms_boot_kind kind, const char *vm_config,
                         dstack_verified **verified, kms_decision *decision, dstack_error *err) {
    kms *k = call->app;
    cert_question question = {k, ((const kms_caller *)call->identity)->cert};
    return kms_authorize(k, kind, vm_config, false, verify_cert, &question, verified, decision,
                         err);
}
