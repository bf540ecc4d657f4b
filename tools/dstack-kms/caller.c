/* Who calls: the evidence in a client certificate. */
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "kms.h"

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
        measures_refused(&k->measures, KMS_CHECK_EVIDENCE);
        return error_prefix(err, rc, "invalid quote");
    }
    hash_sha256(dstack_cert_spki(caller->cert), caller->requester);
    rc = kms_hash_evidence(dstack_cert_attestation(caller->cert), caller->evidence, err);
    if (rc != 0) {
        kms_free_caller(caller);
        return rc;
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
                         kms_asker *asker, kms_decision *decision, dstack_error *err) {
    kms *k = call->app;
    const dstack_cert *cert = ((const kms_caller *)call->identity)->cert;
    cert_question by_cert = {k, cert};
    const kms_question question = {.verify = verify_cert,
                                   .user = &by_cert,
                                   .evidence = dstack_cert_attestation(cert),
                                   .not_before = dstack_cert_not_before(cert),
                                   .vm_config = vm_config};
    return kms_authorize(k, kind, &question, asker, decision, err);
}
