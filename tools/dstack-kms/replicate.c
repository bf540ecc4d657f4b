/* Root keys from another KMS: the target's side of replication. One connection carries the keys, and
 * on it the source is judged before a byte is sent: its certificate's evidence, bound to the key that
 * the handshake proves, is put to this KMS's own policy. */
#include <string.h>

#include <dstack/cert.h>
#include <dstack/keys.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "client/http_client.h"
#include "crypto/ecdsa.h"
#include "crypto/hash.h"
#include "kms.h"
#include "x509/cert.h"

#define ANSWER_LIMIT ((size_t)1 << 20)
#define CERTIFICATE_LIFETIME 3600
#define SOURCE_TIMEOUT_MS 30000

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(ca, dstack_ca, dstack_ca_free)

typedef struct source {
    kms *kms;
    char *url;                 /* ends in /prpc */
    dstack_verified *verified; /* who it is, of the last connection */
    dstack_cert *cert;         /* its leaf on that connection */
    uint8_t spki_hash[32];     /* of the first one; later ones must be the same */
    bool seen;
} source;

static void source_clear(source *s) {
    free(s->url);
    dstack_verified_free(s->verified);
    dstack_cert_free(s->cert);
}
DSTACK_AUTO_DEFINE_CLEAR(source, source, source_clear)

typedef struct identity {
    dstack_buf pem;
    dstack_secret *key;
} identity;

static void identity_clear(identity *own) {
    dstack_buf_clear(&own->pem);
    dstack_secret_free(own->key);
}
DSTACK_AUTO_DEFINE_CLEAR(identity, identity, identity_clear)

static int set_url(source *s, const char *given, dstack_error *err) {
    size_t len = strlen(given);
    while (len > 0 && given[len - 1] == '/') {
        len--;
    }
    bool complete = len >= 5 && strncmp(given + len - 5, "/prpc", 5) == 0;
    if (strncmp(given, "https://", 8) != 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "source_url must begin with https://");
    }
    if (asprintf(&s->url, "%.*s%s", (int)len, given, complete ? "" : "/prpc") < 0) {
        s->url = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return 0;
}

/* ---- judging the source, within the handshake -------------------------------------------------
 */

static int check_policy(source *s, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf boot_info = {0};
    kms_decision decision;
    int rc = dstack_verified_boot_info(s->verified, &boot_info, err);
    rc = rc != 0 ? rc
                 : kms_auth_decide(s->kms->auth, KMS_BOOT_KMS, bytes_of_buf(&boot_info), &decision,
                                   err);
    if (rc == 0 && !decision.allowed) {
        rc = error_set(err, DSTACK_E_REFUSED, "boot denied: %s", decision.reason);
    }
    return rc != 0 ? error_prefix(err, rc, "Source KMS is not allowed for onboarding") : 0;
}

static int same_as_before(source *s, dstack_error *err) {
    uint8_t hash[32];
    hash_sha256(dstack_cert_spki(s->cert), hash);
    if (s->seen && memcmp(hash, s->spki_hash, sizeof hash) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "Source KMS changed its key between connections");
    }
    memcpy(s->spki_hash, hash, sizeof hash);
    s->seen = true;
    return 0;
}

static int check_evidence(source *s, dstack_error *err) {
    bool image = config_bool(s->kms->config, "core.image.verify");
    dstack_attestation_options options = kms_judge_options(s->kms, NULL, false, image);
    const char *usage = dstack_cert_usage(s->cert);
    int64_t now = clock_unix();
    if (dstack_cert_attestation(s->cert) == NULL) {
        return error_set(err, DSTACK_E_REFUSED,
                         "Source KMS certificate does not contain attestation");
    }
    if (now < dstack_cert_not_before(s->cert) || now > dstack_cert_not_after(s->cert)) {
        return error_set(err, DSTACK_E_REFUSED, "Source KMS certificate is not valid now");
    }
    if (usage == NULL || strcmp(usage, DSTACK_USAGE_KMS_RPC) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "Source KMS certificate is not one of a KMS");
    }
    return dstack_cert_verify_attestation(s->kms->trust.verifier, s->cert, &options, &s->verified,
                                          err);
}

static int judge(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    source *s = user;
    dstack_verified_free(s->verified);
    dstack_cert_free(s->cert);
    s->verified = NULL;
    s->cert = NULL;
    int rc = count == 0
                 ? error_set(err, DSTACK_E_REFUSED, "Source KMS did not present a TLS certificate")
                 : dstack_cert_parse(chain[0], &s->cert, err);
    rc = rc != 0 ? rc : check_evidence(s, err);
    if (rc != 0) {
        return error_prefix(err, rc, "failed to validate the server attestation of %s", s->url);
    }
    rc = same_as_before(s, err);
    return rc != 0 ? rc : check_policy(s, err);
}

/* ---- own identity -----------------------------------------------------------------------------
 */

/* ca NULL: self-issued. */
static int make_identity(kms *k, const dstack_ca *ca, identity *own, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_key_new(&own->key, err);
    rc = rc != 0 ? rc : dstack_cert_key_public(own->key, &spki, err);
    rc = rc != 0 ? rc : dstack_cert_report_data(bytes_of_buf(&spki), report_data, err);
    rc = rc != 0 ? rc : kms_own_attest(k, report_data, &evidence, err);
    int64_t now = clock_unix();
    dstack_cert_spec spec = {.subject = "RA-TLS TEMP Cert",
                             .client_auth = true,
                             .not_before = now - CERTIFICATE_LIFETIME,
                             .not_after = now + CERTIFICATE_LIFETIME,
                             .attestation = evidence};
    if (rc != 0) {
        return rc;
    }
    return ca != NULL ? dstack_ca_sign(ca, &spec, bytes_of_buf(&spki), &own->pem, err)
                      : dstack_cert_self_signed(&spec, own->key, &own->pem, err);
}

static http_client *connect_source(source *s, const identity *own, dstack_error *err) {
    http_client_config config = {.url = s->url,
                                 .total_timeout_ms = SOURCE_TIMEOUT_MS,
                                 .body_limit = ANSWER_LIMIT,
                                 .trust = HTTP_CLIENT_TRUST_NONE,
                                 .verify = judge,
                                 .user = s};
    if (own != NULL) {
        config.certificate_pem = bytes_of_buf(&own->pem);
        config.key_pem = bytes_of(dstack_secret_peek(own->key), dstack_secret_len(own->key));
    }
    return http_client_new(&config, err);
}

/* ---- calls ------------------------------------------------------------------------------------
 */

/* Binary bodies: no copy of a key stays behind in a JSON document. */
static int call(http_client *client, const char *path, const char *headers,
                const ProtobufCMessage *request, const ProtobufCMessageDescriptor *descriptor,
                ProtobufCMessage **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf body = {0};
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    int rc = request != NULL ? rpc_message_to_protobuf(request, &body, err) : 0;
    http_client_request post = {.method = "POST",
                                .path = path,
                                .content_type = "application/octet-stream",
                                .headers = headers,
                                .body = bytes_of_buf(&body)};
    rc = rc != 0 ? rc : http_client_send(client, &post, &answer, err);
    if (rc != 0) {
        return rc;
    }
    if (answer.status != 200) {
        /* message { string message = 1; }: the text follows two bytes of head, or three */
        dstack_bytes text = bytes_of_buf(&answer.body);
        size_t skip = text.len > 2 && text.data[0] == 0x0a ? (text.data[1] & 0x80 ? 3 : 2) : 0;
        skip = skip < text.len ? skip : text.len;
        return error_set(err, DSTACK_E_PEER, "Request failed with status=%d, error=%.*s",
                         answer.status, (int)(text.len - skip < 400 ? text.len - skip : 400),
                         text.len > skip ? (const char *)text.data + skip : "");
    }
    return rpc_message_from_protobuf(descriptor, bytes_of_buf(&answer.body), out, err);
}

static char *authorization(const char *token, dstack_error *err) {
    char *header = NULL;
    if (token[strcspn(token, "\r\n")] != 0) {
        error_set(err, DSTACK_E_ARGUMENT, "source_token holds a line break");
    } else if (asprintf(&header, "Authorization: Bearer %s\r\n", token) < 0) {
        header = NULL;
        error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return header;
}

static int ask_keys(source *s, http_client *client, const char *token, Kms__KmsKeyResponse **out,
                    dstack_error *err) {
    kms *k = s->kms;
    const char *path = token[0] != 0 ? "/Admin.GetKmsKey" : "/KMS.GetKmsKey";
    Kms__GetKmsKeyRequest request = KMS__GET_KMS_KEY_REQUEST__INIT;
    DSTACK_AUTO(buf) dstack_buf evidence = {0};
    ProtobufCMessage *answer = NULL;
    uint8_t binding[32];
    bool bound = http_client_channel_binding(client, binding, NULL) == 0;
    int rc = bound ? kms_make_channel(k, binding, KMS_CHANNEL_TARGET, &evidence, err) : 0;
    char *header = rc == 0 && token[0] != 0 ? authorization(token, err) : NULL;
    if (rc == 0 && token[0] != 0 && header == NULL) {
        rc = err != NULL ? (int)err->status : DSTACK_E_ARGUMENT;
    }
    request.vm_config = k->workload != NULL ? (char *)workload_vm_config(k->workload) : "";
    request.channel_evidence = (ProtobufCBinaryData){.len = evidence.len, .data = evidence.data};
    rc = rc != 0 ? rc
                 : call(client, path, header, &request.base, &kms__kms_key_response__descriptor,
                        &answer, err);
    if (header != NULL) {
        explicit_bzero(header, strlen(header));
        free(header);
    }
    *out = (Kms__KmsKeyResponse *)answer;
    bool told = rc == 0 && (*out)->channel_evidence.len > 0;
    if (told && bound) {
        rc = kms_check_channel(
            k, bytes_of((*out)->channel_evidence.data, (*out)->channel_evidence.len), binding,
            KMS_CHANNEL_SOURCE, dstack_verified_identity(s->verified), err);
    } else if (rc == 0 && config_bool(k->config, "core.onboard.require_channel_evidence")) {
        rc = error_set(err, DSTACK_E_REFUSED, "Source KMS gives no evidence for this connection");
    }
    return rc;
}

/* The certificate is judged in the handshake of a first, empty question; the next one goes over the
 * same connection, or its evidence does not fit. */
static int open_connection(http_client *client, dstack_error *err) {
    ProtobufCMessage *meta = NULL;
    int rc =
        call(client, "/KMS.GetMeta", NULL, NULL, &kms__get_meta_response__descriptor, &meta, err);
    rpc_free_message(meta);
    return rc == DSTACK_E_PEER ? 0 : rc; /* the admin listener has no such method */
}

static int fetch(source *s, const dstack_ca *ca, const char *token, Kms__KmsKeyResponse **out,
                 dstack_error *err) {
    DSTACK_AUTO(identity) identity own = {0};
    int rc = make_identity(s->kms, ca, &own, err);
    DSTACK_AUTO(http_client) http_client *client = rc == 0 ? connect_source(s, &own, err) : NULL;
    if (client == NULL) {
        return rc != 0 ? rc : (err != NULL ? (int)err->status : DSTACK_E_ARGUMENT);
    }
    rc = open_connection(client, err);
    return rc != 0 ? rc : ask_keys(s, client, token, out, err);
}

/* A source of the time when servers took only certificates of their temporary CA. */
static int fetch_by_temp_ca(source *s, Kms__KmsKeyResponse **out, dstack_error *err) {
    ProtobufCMessage *answer = NULL;
    DSTACK_AUTO(ca) dstack_ca *ca = NULL;
    DSTACK_AUTO(secret) dstack_secret *key = NULL;
    DSTACK_AUTO(http_client) http_client *client = connect_source(s, NULL, err);
    int rc = client != NULL ? call(client, "/KMS.GetTempCaCert", NULL, NULL,
                                   &kms__get_temp_ca_cert_response__descriptor, &answer, err)
                            : DSTACK_E_ARGUMENT;
    if (rc == 0) {
        const Kms__GetTempCaCertResponse *temp = (Kms__GetTempCaCertResponse *)answer;
        size_t len = strlen(temp->temp_ca_key);
        key = len > 0 ? dstack_secret_copy((const uint8_t *)temp->temp_ca_key, len) : NULL;
        rc = key == NULL ? error_set(err, DSTACK_E_FORMAT, "Source KMS has no temporary CA")
                         : dstack_ca_new(bytes_of_str(temp->temp_ca_cert), key, &ca, err);
    }
    rpc_free_message(answer);
    return rc != 0 ? rc : fetch(s, ca, "", out, err);
}

/* ---- what came --------------------------------------------------------------------------------
 */

static int take_text(const char *text, const char *what, dstack_secret **out, dstack_error *err) {
    size_t len = strlen(text);
    *out = len > 0 ? dstack_secret_copy((const uint8_t *)text, len) : NULL;
    return *out != NULL ? 0 : error_set(err, DSTACK_E_FORMAT, "Invalid keys: no %s", what);
}

/* The certificate that was judged is signed by the root key that came: both are of one KMS. */
static int check_root(const source *s, const dstack_secret *root_pem, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    x509_cert leaf;
    int rc = dstack_cert_key_public(root_pem, &spki, err);
    rc = rc != 0 ? rc : ecdsa_key_from_spki(&key, bytes_of_buf(&spki), err);
    rc = rc != 0 ? rc : x509_cert_parse(&leaf, dstack_cert_der(s->cert), err);
    rc = rc != 0 ? rc : x509_cert_verify_signature(&leaf, key, err);
    return rc != 0 ? error_set(err, DSTACK_E_REFUSED,
                               "Invalid keys: the source's certificate is not of this root")
                   : 0;
}

static int check_expected(const kms *k, const Kms__OnboardRequest *in, const uint8_t public_key[33],
                          dstack_error *err) {
    char found[67];
    char wanted[67] = "";
    const char *configured = config_str(k->config, "core.onboard.expected_k256_pubkey");
    hex_encode(bytes_of(public_key, DSTACK_K256_PUBLIC_SIZE), found);
    if (in->expected_k256_pubkey.len == DSTACK_K256_PUBLIC_SIZE) {
        hex_encode(bytes_of(in->expected_k256_pubkey.data, DSTACK_K256_PUBLIC_SIZE), wanted);
    } else if (in->expected_k256_pubkey.len != 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "expected_k256_pubkey must be 33 bytes");
    }
    configured += strncmp(configured, "0x", 2) == 0 ? 2 : 0;
    if ((configured[0] != 0 && strcasecmp(configured, found) != 0) ||
        (wanted[0] != 0 && strcmp(wanted, found) != 0)) {
        return error_set(err, DSTACK_E_REFUSED,
                         "Source KMS has another root key: expected %s, is %s",
                         wanted[0] != 0 ? wanted : configured, found);
    }
    return 0;
}

static int take_keys(const source *s, const Kms__OnboardRequest *in,
                     const Kms__KmsKeyResponse *answer, kms_keys *keys, uint8_t k256_public[33],
                     dstack_error *err) {
    if (answer->n_keys != 1 || answer->keys[0]->k256_key.len != DSTACK_KEY_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "Invalid keys");
    }
    int rc = take_text(answer->temp_ca_key, "temporary CA key", &keys->temp_pem, err);
    rc = rc != 0 ? rc : take_text(answer->keys[0]->ca_key, "CA key", &keys->root_pem, err);
    keys->k256 = dstack_secret_copy(answer->keys[0]->k256_key.data, DSTACK_KEY_SIZE);
    rc = rc == 0 && keys->k256 == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : rc;
    rc = rc != 0 ? rc : dstack_key_k256_public(keys->k256, k256_public, err);
    rc = rc != 0 ? rc : check_root(s, keys->root_pem, err);
    rc = rc != 0 ? rc : check_expected(s->kms, in, k256_public, err);
    return rc != 0 ? rc : kms_keys_make(keys, err); /* the RPC key is each node's own */
}

int kms_replicate(kms *k, const Kms__OnboardRequest *in, uint8_t k256_public[33],
                  dstack_error *err) {
    DSTACK_AUTO(source) source s = {.kms = k};
    DSTACK_AUTO(kms_keys) kms_keys keys = {0};
    Kms__KmsKeyResponse *answer = NULL;
    dstack_error first = {0};
    int rc =
        kms_store_check_new(config_str(k->config, "core.cert_dir"), in->domain, "onboarded", err);
    if (rc != 0) {
        return rc;
    }
    rc = kms_has_evidence(k) ? set_url(&s, in->source_url, err)
                             : error_set(err, DSTACK_E_STATE, "this KMS has no evidence to show");
    if (rc == 0) {
        rc = fetch(&s, NULL, in->source_token, &answer, &first);
        if (rc == DSTACK_E_NETWORK && s.seen && in->source_token[0] == 0) {
            rc = fetch_by_temp_ca(&s, &answer, err);
        } else if (rc != 0) {
            error_set(err, first.status, "%s", first.message);
        }
    }
    rc = rc != 0 ? rc : take_keys(&s, in, answer, &keys, k256_public, err);
    rpc_free_message((ProtobufCMessage *)answer);
    /* The record first: keys that are there were told about. */
    kms_record_of record = {.kind = KMS_RECORD_ONBOARD,
                            .verified = s.verified,
                            .requester = s.seen ? s.spki_hash : NULL,
                            .peer = in->source_url,
                            .what = "root keys from this KMS"};
    rc = kms_record(k, &record, rc, err);
    rc = rc != 0 ? rc : kms_keep(k, in->domain, &keys, (dstack_bytes){0}, err);
    return rc != 0 ? error_prefix(err, rc, "Failed to onboard") : 0;
}
