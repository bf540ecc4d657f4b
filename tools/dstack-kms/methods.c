/* The methods of the main listener that apps use. */
#include <string.h>

#include <dstack/keys.h>
#include <dstack/kms.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "kms.h"
#include "service/kms.pb-c.h"
#include "service/log.h"

DSTACK_AUTO_DEFINE(csr, dstack_csr, dstack_csr_free)

static dstack_bytes value_bytes(const dstack_value *value) {
    return bytes_of(value->data, value->len);
}

static dstack_bytes secret_bytes(const dstack_secret *secret) {
    return bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret));
}

/* ---- GetAppKey --------------------------------------------------------------------------------
 */

static int fill_app_keys(const kms *k, const dstack_identity *identity, Kms__AppKeyResponse *out,
                         dstack_error *err) {
    DSTACK_AUTO(kms_app_secrets) kms_app_secrets keys = {0};
    int rc = kms_signer_app_keys(k->signer, value_bytes(&identity->app_id),
                                 value_bytes(&identity->instance_id), &keys, err);
    if (rc == 0) {
        rpc_set_bytes(&out->disk_crypt_key, secret_bytes(keys.disk));
        rpc_set_bytes(&out->env_crypt_key, secret_bytes(keys.env));
        rpc_set_bytes(&out->k256_key, secret_bytes(keys.k256));
        rpc_set_bytes(&out->k256_signature, bytes_of(keys.signature, sizeof keys.signature));
        rpc_set_bytes(&out->os_image_hash, value_bytes(&identity->os_image_hash));
    }
    return rc;
}

static const char *root_text(const kms *k) {
    return buf_text((dstack_buf *)&k->authority.root_pem);
}

/* Evidence made for this very connection is as fresh as can be: the exporter is the nonce. */
static int check_connection(rpc_call *call, const kms_asker *asker, dstack_error *err) {
    kms *k = call->app;
    const Kms__GetAppKeyRequest *in = (Kms__GetAppKeyRequest *)call->request;
    uint8_t binding[32];
    if (in->channel_evidence.len == 0) {
        return 0; /* where it is required, it was asked for before */
    }
    if (!http_request_channel_binding(call->http, binding)) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "evidence for this connection needs TLS 1.3");
    }
    return kms_check_channel(k, bytes_of(in->channel_evidence.data, in->channel_evidence.len),
                             binding, DSTACK_KMS_CHANNEL_TAG,
                             dstack_verified_identity(asker->verified), err);
}

static int judge_app(rpc_call *call, kms_asker *asker, kms_decision *decision, dstack_error *err) {
    const kms *k = call->app;
    const Kms__GetAppKeyRequest *in = (Kms__GetAppKeyRequest *)call->request;
    int rc =
        config_bool(k->config, "core.evidence.require_connection") && in->channel_evidence.len == 0
            ? error_set(err, DSTACK_E_REFUSED, DSTACK_KMS_NEEDS_CHANNEL)
            : 0;
    rc = rc != 0 ? rc
                 : kms_authorize_caller(call, KMS_BOOT_APP, in->vm_config, asker, decision, err);
    if (rc == 0 && (rc = check_connection(call, asker, err)) != 0) {
        measures_refused(&k->measures, KMS_CHECK_CONNECTION);
    }
    return rc != 0 ? error_prefix(err, rc, "App not allowed") : 0;
}

static int get_app_key(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    const Kms__GetAppKeyRequest *in = (Kms__GetAppKeyRequest *)call->request;
    Kms__AppKeyResponse *out = (Kms__AppKeyResponse *)call->response;
    if (in->api_version > 1) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "Unsupported API version: %u", in->api_version);
    }
    DSTACK_AUTO(kms_asker) kms_asker asker = {0};
    kms_decision decision = {0};
    int rc = kms_authorize_self(k, err);
    rc = rc != 0 ? rc : judge_app(call, &asker, &decision, err);
    rc = rc != 0 ? rc : fill_app_keys(k, dstack_verified_identity(asker.verified), out, err);
    if (rc != 0) {
        return kms_record_call(call, KMS_RECORD_KEYS, &asker, rc, err);
    }
    rpc_set_str(&out->ca_cert, root_text(k));
    rpc_set_str(&out->tproxy_app_id, decision.gateway_app_id);
    rpc_set_str(&out->gateway_app_id, decision.gateway_app_id);
    return kms_record_call(call, KMS_RECORD_KEYS, &asker, 0, err);
}

/* ---- SignCert ---------------------------------------------------------------------------------
 */

typedef struct csr_question {
    kms *kms;
    const dstack_csr *csr;
} csr_question;

static int verify_csr(void *user, const dstack_attestation_options *options, dstack_verified **out,
                      dstack_error *err) {
    csr_question *question = user;
    int rc = dstack_csr_verify_attestation(question->kms->trust.verifier, question->csr, options,
                                           out, err);
    return rc != 0 ? error_prefix(err, rc, "Quote verification failed") : 0;
}

static bool is_gateway(const kms_decision *decision, const dstack_identity *identity) {
    char app[2 * DSTACK_APP_ID_SIZE + 1];
    const char *wanted = decision->gateway_app_id;
    wanted += wanted[0] == '0' && (wanted[1] == 'x' || wanted[1] == 'X') ? 2 : 0;
    if (identity->app_id.len != DSTACK_APP_ID_SIZE) {
        return false;
    }
    hex_encode(value_bytes(&identity->app_id), app);
    return strcasecmp(wanted, app) == 0;
}

static int check_names(const kms *k, const dstack_csr *csr, const dstack_identity *identity,
                       const kms_decision *decision, dstack_error *err) {
    const char *const *reserved;
    size_t count = config_list(k->config, "core.sign.reserved_names", &reserved);
    int rc = dstack_csr_check_names(csr, (const char *const *)&k->store.domain, 1, err);
    return rc != 0 ? rc
                   : kms_issue_check_names(dstack_csr_get(csr), k->store.domain, reserved, count,
                                           is_gateway(decision, identity), err);
}

static int sign(kms *k, const Kms__SignCertRequest *in, const dstack_csr *csr,
                Kms__SignCertResponse *out, kms_asker *asker, dstack_error *err) {
    csr_question by_csr = {k, csr};
    const kms_question question = {.verify = verify_csr,
                                   .user = &by_csr,
                                   .evidence = dstack_csr_attestation(csr),
                                   .vm_config = in->vm_config,
                                   .boot_time = true};
    kms_decision decision = {0};
    DSTACK_AUTO(verified) dstack_verified *present = NULL;
    DSTACK_AUTO(buf) dstack_buf leaf = {0};
    DSTACK_AUTO(buf) dstack_buf app_ca = {0};
    int rc = kms_authorize(k, KMS_BOOT_APP, &question, asker, &decision, err);
    /* What goes into the certificate is what was verified now, not what the request claims. */
    dstack_attestation_options options = kms_judge_options(k, in->vm_config, false, false);
    rc = rc != 0 ? rc : verify_csr(&by_csr, &options, &present, err);
    rc = rc != 0 ? rc : check_names(k, csr, dstack_verified_identity(present), &decision, err);
    rc = rc != 0 ? rc
                 : kms_issue_app(&k->authority, csr, dstack_verified_identity(present),
                                 clock_unix(), &leaf, &app_ca, err);
    if (rc == 0) {
        rpc_add_str(&out->n_certificate_chain, &out->certificate_chain, buf_text(&leaf));
        rpc_add_str(&out->n_certificate_chain, &out->certificate_chain, buf_text(&app_ca));
        rpc_add_str(&out->n_certificate_chain, &out->certificate_chain, root_text(k));
    }
    return rc;
}

static int sign_cert(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    const Kms__SignCertRequest *in = (Kms__SignCertRequest *)call->request;
    DSTACK_AUTO(csr) dstack_csr *csr = NULL;
    DSTACK_AUTO(kms_asker) kms_asker asker = {0};
    int rc = kms_authorize_self(k, err);
    if (rc == 0 && in->api_version != 1 && in->api_version != 2) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "Unsupported API version: %u", in->api_version);
    }
    if (rc == 0) {
        rc = dstack_csr_parse(in->api_version, bytes_of(in->csr.data, in->csr.len),
                              bytes_of(in->signature.data, in->signature.len), &csr, err);
        const char *step =
            rc == DSTACK_E_CRYPTO ? "Failed to verify csr signature" : "Failed to parse csr";
        rc = rc != 0 ? error_prefix(err, rc, "%s", step) : 0;
    }
    rc = rc != 0 ? rc : sign(k, in, csr, (Kms__SignCertResponse *)call->response, &asker, err);
    uint8_t requester[32], evidence[32];
    kms_record_of record = {.kind = KMS_RECORD_CERTIFICATE,
                            .verified = asker.verified,
                            .age = asker.age,
                            .peer = http_request_peer(call->http)->address,
                            .request = http_request_id(call->http)};
    if (asker.verified != NULL) {
        hash_sha256(dstack_csr_spki(csr), requester);
        int hashed = kms_hash_evidence(dstack_csr_attestation(csr), evidence, err);
        rc = rc != 0 ? rc : hashed;
        record.requester = requester;
        record.evidence = hashed == 0 ? evidence : NULL;
    }
    return kms_record(k, &record, rc, err);
}

/* ---- public methods ---------------------------------------------------------------------------
 */

static int get_app_env_encrypt_pub_key(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    const Kms__AppId *in = (Kms__AppId *)call->request;
    Kms__PublicKeyResponse *out = (Kms__PublicKeyResponse *)call->response;
    dstack_bytes app_id = bytes_of(in->app_id.data, in->app_id.len);
    kms_env_key key;
    uint64_t timestamp = (uint64_t)clock_unix();
    int rc = kms_authorize_self(k, err);
    if (rc == 0 && app_id.len != DSTACK_APP_ID_SIZE) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "app_id must be 20 bytes");
    }
    rc = rc != 0 ? rc : kms_signer_env_key(k->signer, app_id, timestamp, &key, err);
    if (rc == 0) {
        rpc_set_bytes(&out->public_key, bytes_of(key.public_key, sizeof key.public_key));
        rpc_set_bytes(&out->signature, bytes_of(key.signature, sizeof key.signature));
        out->timestamp = timestamp;
        rpc_set_bytes(&out->signature_v1, bytes_of(key.signature_v1, sizeof key.signature_v1));
    }
    return rc;
}

static int fill_bootstrap_info(const kms *k, Kms__GetMetaResponse *out, dstack_error *err) {
    if (k->store.bootstrap_info.len == 0) {
        return 0;
    }
    ProtobufCMessage *info = NULL;
    int rc = rpc_message_from_json(&kms__bootstrap_info__descriptor,
                                   bytes_of_buf(&k->store.bootstrap_info), &info, err);
    out->bootstrap_info = (Kms__BootstrapInfo *)info;
    return rc != 0 ? error_prefix(err, rc, "bootstrap-info.json") : 0;
}

/* Optional texts: unset fields of one-member oneofs start as NULL. */
static void set_optional(char **field, const char *text) {
    *field = NULL;
    rpc_set_str(field, text);
}

static int get_meta(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    Kms__GetMetaResponse *out = (Kms__GetMetaResponse *)call->response;
    kms_auth_info info;
    dstack_error unknown = {0};
    int rc = fill_bootstrap_info(k, out, err);
    if (rc != 0) {
        return rc;
    }
    rpc_set_str(&out->ca_cert, root_text(k));
    rpc_set_bytes(&out->k256_pubkey, bytes_of(kms_signer_k256(k->signer), DSTACK_K256_PUBLIC_SIZE));
    out->allow_any_upgrade = out->is_dev = kms_auth_is_dev(k->auth);
    out->os_image_verification = config_bool(k->config, "core.image.verify");
    out->opt_os_image_verification_case =
        KMS__GET_META_RESPONSE__OPT_OS_IMAGE_VERIFICATION_OS_IMAGE_VERIFICATION;
    if (k->insecure) {
        out->insecure_dev = true;
        out->opt_insecure_dev_case = KMS__GET_META_RESPONSE__OPT_INSECURE_DEV_INSECURE_DEV;
    }
    /* What is known is told also while the policy's server is away. */
    if (kms_auth_info_get(k->auth, &info, &unknown) != 0) {
        LOG_WARN("policy information is not available", "reason", unknown.message);
        return 0;
    }
    set_optional(&out->gateway_app_id, info.gateway_app_id);
    out->opt_gateway_app_id_case = KMS__GET_META_RESPONSE__OPT_GATEWAY_APP_ID_GATEWAY_APP_ID;
    if (info.has_contract) {
        set_optional(&out->kms_contract_address, info.contract_address);
        out->opt_kms_contract_address_case =
            KMS__GET_META_RESPONSE__OPT_KMS_CONTRACT_ADDRESS_KMS_CONTRACT_ADDRESS;
        out->chain_id = info.chain_id;
        out->opt_chain_id_case = KMS__GET_META_RESPONSE__OPT_CHAIN_ID_CHAIN_ID;
        set_optional(&out->app_auth_implementation, info.app_implementation);
        out->opt_app_auth_implementation_case =
            KMS__GET_META_RESPONSE__OPT_APP_AUTH_IMPLEMENTATION_APP_AUTH_IMPLEMENTATION;
    }
    return 0;
}

/* Kept for guests that mint their client certificate from it. The key authenticates nobody: callers
 * are known by their evidence alone. */
static int get_temp_ca_cert(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    Kms__GetTempCaCertResponse *out = (Kms__GetTempCaCertResponse *)call->response;
    int rc = kms_authorize_self(k, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(buf) dstack_buf key = {0};
    buf_put_bytes(&key, secret_bytes(k->store.temp_pem));
    rpc_set_str(&out->temp_ca_cert, buf_text(&k->authority.temp_pem));
    rpc_set_str(&out->temp_ca_key, buf_text(&key));
    rpc_set_str(&out->ca_cert, root_text(k));
    buf_wipe(&key);
    return 0;
}

/* Who may call what. SignCert's evidence is inside the request, and verified by the method. */
static int evidence_in_request(rpc_call *call, dstack_error *err) {
    (void)call;
    (void)err;
    return 0;
}

static const rpc_method methods[] = {
    {"GetAppKey", &kms__get_app_key_request__descriptor, &kms__app_key_response__descriptor,
     RPC_CALLER_ATTESTED, get_app_key, (size_t)1 << 20},
    {"GetAppEnvEncryptPubKey", &kms__app_id__descriptor, &kms__public_key_response__descriptor,
     RPC_CALLER_ANYONE, get_app_env_encrypt_pub_key, 4096},
    {"GetMeta", NULL, &kms__get_meta_response__descriptor, RPC_CALLER_ANYONE, get_meta, 4096},
    {"GetTempCaCert", NULL, &kms__get_temp_ca_cert_response__descriptor, RPC_CALLER_ANYONE,
     get_temp_ca_cert, 4096},
    {"GetKmsKey", &kms__get_kms_key_request__descriptor, &kms__kms_key_response__descriptor,
     RPC_CALLER_ATTESTED, kms_get_kms_key_public, (size_t)1 << 20},
    {"SignCert", &kms__sign_cert_request__descriptor, &kms__sign_cert_response__descriptor,
     RPC_CALLER_CUSTOM, sign_cert, (size_t)4 << 20},
};

const rpc_service kms_rpc_service = {
    .name = "kms",
    .prefix = "KMS.",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
    .attest = kms_attest_caller,
    .free_identity = kms_free_caller,
    .custom = evidence_in_request,
    .no_attestation_text = kms_no_attestation_text,
};
