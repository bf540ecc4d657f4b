#include <dstack/kms.h>

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "client/http_client.h"

#define ANSWER_MAX ((size_t)1 << 20)
#define CLIENT_CERT_LIFETIME 3600 /* one call; slack for clocks that differ */
#define KEY_SIZE 32

struct dstack_kms {
    char *url;
    char *connect_address;
    dstack_buf root_ca; /* PEM; empty until known */
    struct dstack_verifier *verifier;
    const dstack_attestation_options *attestation;
    bool require_attestation;
    dstack_kms_attest attest;
    void *user;
    int connect_timeout_ms, total_timeout_ms;
};

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

void dstack_kms_free(dstack_kms *kms) {
    if (kms != NULL) {
        free(kms->url);
        free(kms->connect_address);
        dstack_buf_clear(&kms->root_ca);
        free(kms);
    }
}

DSTACK_AUTO_DEFINE(kms, dstack_kms, dstack_kms_free)

static int set_url(dstack_kms *kms, const char *url, dstack_error *err) {
    if (url == NULL || strncmp(url, "https://", 8) != 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "KMS URL \"%s\" must begin with https://",
                         url == NULL ? "" : url);
    }
    size_t len = strlen(url);
    while (len > 8 && url[len - 1] == '/') {
        len--;
    }
    bool complete = len > 5 && strncmp(url + len - 5, "/prpc", 5) == 0;
    if (asprintf(&kms->url, "%.*s%s", (int)len, url, complete ? "" : "/prpc") < 0) {
        kms->url = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return 0;
}

int dstack_kms_new(const dstack_kms_options *options, dstack_kms **out, dstack_error *err) {
    if (options->verifier == NULL && (options->root_ca.len == 0 || options->require_attestation)) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "a KMS without a pinned root needs a verifier for its evidence");
    }
    DSTACK_AUTO(kms) dstack_kms *kms = calloc(1, sizeof *kms);
    if (kms == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = set_url(kms, options->url, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_bytes(&kms->root_ca, options->root_ca);
    if (options->connect_address != NULL) {
        kms->connect_address = strdup(options->connect_address);
    }
    kms->verifier = options->verifier;
    kms->attestation = options->attestation;
    kms->require_attestation = options->require_attestation;
    kms->attest = options->attest;
    kms->user = options->user;
    kms->connect_timeout_ms = options->connect_timeout_ms;
    kms->total_timeout_ms = options->total_timeout_ms;
    rc = buf_check(&kms->root_ca, err);
    if (rc == 0) {
        *out = kms;
        kms = NULL;
    }
    return rc;
}

const char *dstack_kms_url(const dstack_kms *kms) {
    return kms->url;
}

/* ---- judging the server --------------------------------------------------------------------- */

static dstack_attestation_options attestation_options(const dstack_kms *kms, int64_t now) {
    dstack_attestation_options options = {0};
    if (kms->attestation != NULL) {
        options = *kms->attestation;
    }
    options.now = now;
    options.report_data = NULL;
    return options;
}

/* First contact: there is no root yet, so the evidence alone decides. What it proves is that this
 * server is a measured dstack environment; the root that it then names is bound to it by the
 * handshake of every later connection, which must chain to that root. */
static int judge_by_evidence(const dstack_bytes *chain, size_t count, void *user,
                             dstack_error *err) {
    dstack_kms *kms = user;
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    int rc = count == 0 ? error_set(err, DSTACK_E_REFUSED, "the KMS sent no certificate")
                        : dstack_cert_parse(chain[0], &cert, err);
    if (rc != 0) {
        return rc;
    }
    int64_t now = clock_unix();
    dstack_attestation_options options = attestation_options(kms, now);
    dstack_cert_check check = {.now = now, .require_attestation = true, .attestation = &options};
    rc = dstack_cert_verify(kms->verifier, cert, &check, NULL, err);
    return error_prefix(err, rc, "the KMS's certificate");
}

static int judge_by_root(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    dstack_kms *kms = user;
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    int rc = count == 0 ? error_set(err, DSTACK_E_REFUSED, "the KMS sent no certificate")
                        : dstack_cert_parse(chain[0], &cert, err);
    if (rc != 0) {
        return rc;
    }
    int64_t now = clock_unix();
    dstack_attestation_options options = attestation_options(kms, now);
    dstack_cert_check check = {
        .now = now,
        .root = bytes_of_buf(&kms->root_ca),
        .usage = DSTACK_USAGE_KMS_RPC,
        .require_attestation = kms->require_attestation,
        .attestation = &options,
    };
    rc = dstack_cert_verify(kms->verifier, cert, &check, NULL, err);
    return error_prefix(err, rc, "the KMS's certificate");
}

/* ---- calls ---------------------------------------------------------------------------------- */

/* What the caller shows of itself. */
struct own_identity {
    dstack_buf certificate; /* PEM */
    dstack_secret *key;     /* PEM */
};

static http_client *open_client(dstack_kms *kms, const struct own_identity *own,
                                dstack_error *err) {
    bool pinned = kms->root_ca.len > 0;
    http_client_config config = {
        .url = kms->url,
        .connect_timeout_ms = kms->connect_timeout_ms,
        .total_timeout_ms = kms->total_timeout_ms,
        .attempts = 1,
        .body_limit = ANSWER_MAX,
        .trust = pinned ? HTTP_CLIENT_TRUST_CA : HTTP_CLIENT_TRUST_NONE,
        .ca_pem = bytes_of_buf(&kms->root_ca),
        .verify = pinned ? judge_by_root : judge_by_evidence,
        .user = kms,
        .connect_address = kms->connect_address,
    };
    if (own != NULL) {
        config.certificate_pem = bytes_of_buf(&own->certificate);
        config.key_pem = bytes_of(dstack_secret_peek(own->key), dstack_secret_len(own->key));
    }
    return http_client_new(&config, err);
}

/* The server's own words: its error text, or the start of its body. */
static int peer_error(const char *method, const http_client_response *answer, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *doc = json_parse(bytes_of_buf(&answer->body), ANSWER_MAX, "error answer", NULL);
    const char *text = NULL;
    if (doc != NULL && json_need_str(doc, "error", &text, NULL) == 0) {
        return error_set(err, DSTACK_E_PEER, "%s", text);
    }
    return error_set(err, DSTACK_E_PEER, "KMS answered %s with HTTP status %d", method,
                     answer->status);
}

static int call_on(const dstack_kms *kms, http_client *client, const char *method,
                   dstack_bytes body, json_t **out, dstack_error *err) {
    char path[64];
    snprintf(path, sizeof path, "/%s?json", method);
    http_client_request request = {.method = "POST", .path = path, .body = body};
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    int rc = http_client_send(client, &request, &answer, err);
    if (rc != 0) {
        return error_prefix(err, rc, "KMS %s", kms->url);
    }
    if (answer.status != 200) {
        return peer_error(method, &answer, err);
    }
    *out = json_parse(bytes_of_buf(&answer.body), ANSWER_MAX, "KMS answer", err);
    if (*out != NULL && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        error_set(err, DSTACK_E_FORMAT, "KMS answer to %s is not an object", method);
    }
    return *out == NULL ? DSTACK_E_FORMAT : 0;
}

static int call(dstack_kms *kms, const struct own_identity *own, const char *method,
                dstack_bytes body, json_t **out, dstack_error *err) {
    DSTACK_AUTO(http_client) http_client *client = open_client(kms, own, err);
    return client != NULL
               ? call_on(kms, client, method, body, out, err)
               : error_prefix(err, err != NULL ? (int)err->status : DSTACK_E_INTERNAL, "KMS");
}

int dstack_kms_root_ca(dstack_kms *kms, dstack_bytes *pem, dstack_error *err) {
    if (kms->root_ca.len == 0) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        const char *text = NULL;
        int rc = call(kms, NULL, "GetMeta", bytes_of_str("null"), &answer, err);
        rc = rc != 0 ? rc : json_need_str(answer, "ca_cert", &text, err);
        DSTACK_AUTO(cert) dstack_cert *root = NULL;
        rc = rc != 0 ? rc : dstack_cert_parse(bytes_of_str(text), &root, err);
        if (rc != 0) {
            return error_prefix(err, rc, "KMS root CA");
        }
        buf_put_str(&kms->root_ca, text);
    }
    *pem = bytes_of_buf(&kms->root_ca);
    return buf_check(&kms->root_ca, err);
}

/* A fresh key and a self-issued certificate whose evidence binds it. */
static int make_identity(dstack_kms *kms, struct own_identity *own, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_key_new(&own->key, err);
    rc = rc != 0 ? rc : dstack_cert_key_public(own->key, &spki, err);
    rc = rc != 0 ? rc : dstack_cert_report_data(bytes_of_buf(&spki), report_data, err);
    rc = rc != 0 ? rc : kms->attest(kms->user, report_data, &evidence, err);
    if (rc != 0) {
        return error_prefix(err, rc, "evidence for the KMS");
    }
    int64_t now = clock_unix();
    dstack_cert_spec spec = {
        .subject = "RA-TLS TEMP Cert",
        .client_auth = true,
        .not_before = now - CLIENT_CERT_LIFETIME,
        .not_after = now + CLIENT_CERT_LIFETIME,
        .attestation = evidence,
    };
    return dstack_cert_self_signed(&spec, own->key, &own->certificate, err);
}

/* ---- app keys ------------------------------------------------------------------------------- */

void dstack_app_keys_clear(dstack_app_keys *keys) {
    if (keys != NULL) {
        dstack_secret_free(keys->disk_crypt_key);
        dstack_secret_free(keys->env_crypt_key);
        dstack_secret_free(keys->k256_key);
        dstack_buf_clear(&keys->k256_signature);
        dstack_buf_clear(&keys->ca_cert);
        free(keys->gateway_app_id);
        dstack_buf_clear(&keys->os_image_hash);
        *keys = (dstack_app_keys){0};
    }
}

/* A secret in hex leaves no copy: it is decoded into guarded memory, and the text is wiped. */
static int take_secret(const json_t *answer, const char *key, bool optional, dstack_secret **out,
                       dstack_error *err) {
    const char *text = NULL;
    int rc = optional ? json_str_or(answer, key, "", &text, err)
                      : json_need_str(answer, key, &text, err);
    if (rc != 0 || (optional && text[0] == '\0')) {
        return rc;
    }
    *out = dstack_secret_new(KEY_SIZE);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    rc = hex_decode_fixed(text, dstack_secret_data(*out), KEY_SIZE, err);
    sodium_memzero((char *)(uintptr_t)text, strlen(text));
    return error_prefix(err, rc, "KMS answer, member \"%s\"", key);
}

static int take_app_keys(const json_t *answer, dstack_app_keys *out, dstack_error *err) {
    const char *ca_cert = NULL;
    const char *gateway = NULL;
    int rc = take_secret(answer, "disk_crypt_key", false, &out->disk_crypt_key, err);
    rc = rc != 0 ? rc : take_secret(answer, "env_crypt_key", true, &out->env_crypt_key, err);
    rc = rc != 0 ? rc : take_secret(answer, "k256_key", false, &out->k256_key, err);
    rc = rc != 0 ? rc : json_hex_or_empty(answer, "k256_signature", &out->k256_signature, err);
    rc = rc != 0 ? rc : json_hex_or_empty(answer, "os_image_hash", &out->os_image_hash, err);
    rc = rc != 0 ? rc : json_need_str(answer, "ca_cert", &ca_cert, err);
    rc = rc != 0 ? rc : json_str_or(answer, "gateway_app_id", "", &gateway, err);
    if (rc != 0) {
        return error_prefix(err, rc, "KMS answer");
    }
    buf_put_str(&out->ca_cert, ca_cert);
    out->gateway_app_id = strdup(gateway);
    if (out->gateway_app_id == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return buf_check(&out->ca_cert, err);
}

static int make_channel(const dstack_kms *kms, const http_client *client, json_t *request,
                        dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    uint8_t binding[32], report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = http_client_channel_binding(client, binding, err);
    rc = rc != 0 ? rc
                 : dstack_report_data(DSTACK_KMS_CHANNEL_TAG, NULL,
                                      bytes_of(binding, sizeof binding), report_data, err);
    rc = rc != 0 ? rc : kms->attest(kms->user, report_data, &evidence, err);
    rc = rc != 0 ? rc : dstack_attestation_encode(evidence, DSTACK_ATTESTATION_V1, &encoded, err);
    if (rc == 0 &&
        json_object_set_new(request, "channel_evidence", json_hex(bytes_of_buf(&encoded))) != 0) {
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return error_prefix(err, rc, "evidence for the connection to the KMS");
}

/* A KMS that wants evidence for the connection says so; the connection stays, so it can be given. */
static int ask_app_keys(dstack_kms *kms, const struct own_identity *own, json_t *request,
                        json_t **answer, dstack_error *err) {
    dstack_error local = {0};
    dstack_error *e = err != NULL ? err : &local;
    DSTACK_AUTO(http_client) http_client *client = open_client(kms, own, e);
    if (client == NULL) {
        return error_prefix(e, e->status, "KMS");
    }
    for (bool again = false;; again = true) {
        DSTACK_AUTO(buf) dstack_buf body = {0};
        int rc = json_write(request, false, &body, e);
        rc = rc != 0 ? rc : call_on(kms, client, "GetAppKey", bytes_of_buf(&body), answer, e);
        if (rc != DSTACK_E_PEER || again || strstr(e->message, DSTACK_KMS_NEEDS_CHANNEL) == NULL) {
            return rc;
        }
        *e = (dstack_error){0};
        rc = make_channel(kms, client, request, e);
        if (rc != 0) {
            return rc;
        }
    }
}

int dstack_kms_app_keys(dstack_kms *kms, const char *vm_config, dstack_app_keys *out,
                        dstack_error *err) {
    *out = (dstack_app_keys){0};
    if (kms->attest == NULL) {
        return error_set(err, DSTACK_E_ARGUMENT, "asking for app keys needs a way to attest");
    }
    dstack_bytes root;
    struct own_identity own = {0};
    int rc = dstack_kms_root_ca(kms, &root, err);
    rc = rc != 0 ? rc : make_identity(kms, &own, err);
    DSTACK_AUTO(json)
    json_t *request = json_pack("{s:i,s:s}", "api_version", 1, "vm_config", vm_config);
    DSTACK_AUTO(json) json_t *answer = NULL;
    rc = rc != 0 ? rc : ask_app_keys(kms, &own, request, &answer, err);
    rc = rc != 0 ? rc : take_app_keys(answer, out, err);
    /* The answer's root must be the one that the connection was held to. */
    if (rc == 0 && !bytes_equal(bytes_of_buf(&out->ca_cert), root)) {
        DSTACK_AUTO(cert) dstack_cert *named = NULL;
        DSTACK_AUTO(cert) dstack_cert *used = NULL;
        rc = dstack_cert_parse(bytes_of_buf(&out->ca_cert), &named, err);
        rc = rc != 0 ? rc : dstack_cert_parse(root, &used, err);
        if (rc == 0 && !bytes_equal(dstack_cert_spki(named), dstack_cert_spki(used))) {
            rc = error_set(err, DSTACK_E_REFUSED, "the KMS named another root CA than its own");
        }
    }
    dstack_buf_clear(&own.certificate);
    dstack_secret_free(own.key);
    if (rc != 0) {
        dstack_app_keys_clear(out);
    }
    return rc;
}

/* ---- certificates --------------------------------------------------------------------------- */

int dstack_kms_sign_cert(dstack_kms *kms, dstack_bytes csr, dstack_bytes signature,
                         const char *vm_config, dstack_buf *chain_pem, dstack_error *err) {
    dstack_bytes root;
    int rc = dstack_kms_root_ca(kms, &root, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *request = json_pack("{s:i,s:o,s:o,s:s}", "api_version", 2, "csr", json_hex(csr),
                                "signature", json_hex(signature), "vm_config", vm_config);
    DSTACK_AUTO(buf) dstack_buf body = {0};
    DSTACK_AUTO(json) json_t *answer = NULL;
    json_t *chain = NULL;
    rc = json_write(request, false, &body, err);
    rc = rc != 0 ? rc : call(kms, NULL, "SignCert", bytes_of_buf(&body), &answer, err);
    rc = rc != 0 ? rc : json_need_array(answer, "certificate_chain", &chain, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(chain); i++) {
        const char *pem = json_string_value(json_array_get(chain, i));
        if (pem == NULL) {
            rc = error_set(err, DSTACK_E_FORMAT, "KMS answer: certificate %zu is not text", i);
        } else {
            buf_put_str(chain_pem, pem);
            if (pem[0] != '\0' && pem[strlen(pem) - 1] != '\n') {
                buf_put_u8(chain_pem, '\n');
            }
        }
    }
    if (rc == 0 && json_array_size(chain) == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "KMS answer holds no certificate");
    }
    return rc != 0 ? rc : buf_check(chain_pem, err);
}

void dstack_kms_env_answer_clear(dstack_kms_env_answer *key) {
    if (key != NULL) {
        dstack_buf_clear(&key->signature);
        dstack_buf_clear(&key->signature_v1);
        *key = (dstack_kms_env_answer){0};
    }
}

int dstack_kms_env_key(dstack_kms *kms, dstack_bytes app_id, dstack_kms_env_answer *out,
                       dstack_error *err) {
    *out = (dstack_kms_env_answer){0};
    dstack_bytes root;
    int rc = dstack_kms_root_ca(kms, &root, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *request = json_pack("{s:o}", "app_id", json_hex(app_id));
    DSTACK_AUTO(buf) dstack_buf body = {0};
    DSTACK_AUTO(json) json_t *answer = NULL;
    int64_t timestamp = 0;
    rc = json_write(request, false, &body, err);
    rc =
        rc != 0 ? rc : call(kms, NULL, "GetAppEnvEncryptPubKey", bytes_of_buf(&body), &answer, err);
    rc = rc != 0 ? rc : json_need_hex(answer, "public_key", out->public_key, 32, err);
    rc = rc != 0 ? rc : json_hex_or_empty(answer, "signature", &out->signature, err);
    rc = rc != 0 ? rc : json_hex_or_empty(answer, "signature_v1", &out->signature_v1, err);
    rc = rc != 0 ? rc : json_int_or(answer, "timestamp", 0, &timestamp, err);
    out->timestamp = (uint64_t)timestamp;
    if (rc != 0) {
        dstack_kms_env_answer_clear(out);
    }
    return rc;
}
