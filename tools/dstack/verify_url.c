/* From an HTTPS address to verified facts about what answers there.
 *
 * Passthrough: the connection's own certificate carries the app's evidence, bound to its key.
 * Terminated: the connection's key is proved to be an attested gateway's, and the app behind it
 * answers a fresh nonce with evidence of its own. What connects the two, that this gateway routes
 * this name to this app, rests on the gateway's measured code. */
#include "verify_url.h"

#include <string.h>

#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "x509/pem.h"

#define AGENT_PORT 8090
#define NONCE_SIZE 32
#define ANSWER_LIMIT ((size_t)16 << 20)
#define MAX_CHAIN 8
#define INSECURE_MARK "dstack insecure-dev"

void verify_result_clear(struct verify_result *result) {
    dstack_verified_free(result->app);
    dstack_verified_free(result->gateway);
    dstack_cert_free(result->app_cert);
    memset(result, 0, sizeof *result);
}

void verify_key_hash(const dstack_cert *cert, char out[65]) {
    uint8_t digest[32];
    hash_sha256(dstack_cert_spki(cert), digest);
    hex_encode(bytes_of(digest, sizeof digest), out);
}

static dstack_attestation_options options_of(const struct verify_setup *setup,
                                             const uint8_t *report_data) {
    return (dstack_attestation_options){.now = setup->now, .report_data = report_data,
                                        .policy = setup->policy, .image = dstack_measure_image_check,
                                        .image_user = (void *)setup->image_dir};
}

/* An image that the caller gave is an expectation: what runs must follow from it. */
static int judge_image(const struct verify_setup *setup, const dstack_verified *verified,
                       dstack_error *err) {
    if (setup->image_dir != NULL &&
        dstack_verified_image_anchor(verified) != DSTACK_ANCHOR_REFERENCE_IMAGE) {
        char hex[129];
        const dstack_value *hash = &dstack_verified_identity(verified)->os_image_hash;
        hex_encode(bytes_of(hash->data, hash->len), hex);
        return error_set(err, DSTACK_E_REFUSED, "image %s is running there, not the one in %s", hex,
                         setup->image_dir);
    }
    return 0;
}

/* Without a policy of the caller's: levels that an update would cure are refused. */
static int judge_tcb(const struct verify_setup *setup, const dstack_verified *verified,
                     dstack_error *err) {
    const char *status = dstack_verified_tcb_status(verified);
    if (setup->policy == NULL && strncmp(status, "OutOfDate", 9) == 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the platform's TCB is %s; --policy says what else may pass", status);
    }
    return 0;
}

/* Whoever issues certificates in an insecure mode marks them; a reader must have asked for that. The
 * mark can only make a certificate be refused, so where in it the text stands does not matter. */
static int check_mark(const struct verify_setup *setup, const dstack_cert *cert, dstack_error *err) {
    dstack_bytes der = dstack_cert_der(cert);
    if (!setup->insecure_dev &&
        memmem(der.data, der.len, INSECURE_MARK, sizeof INSECURE_MARK - 1) != NULL) {
        return error_set(err, DSTACK_E_INSECURE,
                         "the certificate is marked \"" INSECURE_MARK "\"; --insecure-dev accepts it");
    }
    return 0;
}

/* ---- the app's certificate and its KMS ---- */

static int parse_chain(const char *pem, dstack_cert *chain[MAX_CHAIN], size_t *count,
                       dstack_error *err) {
    pem_reader reader;
    pem_reader_init(&reader, bytes_of_str(pem));
    int rc = 0;
    for (bool found = true; rc == 0 && found && *count < MAX_CHAIN;) {
        DSTACK_AUTO(pem_block) pem_block block = {0};
        rc = pem_next(&reader, &block, &found, err);
        if (rc == 0 && found) {
            rc = dstack_cert_parse(bytes_of_buf(&block.der), &chain[*count], err);
            *count += rc == 0;
        }
    }
    if (rc == 0 && *count < 2) {
        rc = error_set(err, DSTACK_E_FORMAT, "the app's certificate chain has %zu certificates",
                       *count);
    }
    return rc;
}

/* The root of the app's certificate must be the key that the guest measured as its key provider
 * before it asked for keys. */
static int check_root(dstack_cert *const chain[], size_t count, const char *pem,
                      const struct verify_setup *setup, struct verify_result *out,
                      dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf id = {0};
    const dstack_cert *root = chain[count - 1];
    const dstack_identity *identity = dstack_verified_identity(out->app);
    int rc = dstack_identity_key_provider(identity, out->kms_name, &id, err);
    verify_key_hash(root, out->app_cert_root);
    if (rc != 0 || strcmp(out->kms_name, "kms") != 0) {
        return rc;
    }
    if (!bytes_equal(bytes_of_buf(&id), dstack_cert_spki(root))) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the app's certificate comes from another root than the KMS it measured");
    }
    rc = dstack_cert_verify(NULL, chain[0],
                            &(dstack_cert_check){.now = setup->now, .root = dstack_cert_der(root),
                                                 .intermediates = bytes_of_str(pem)},
                            NULL, err);
    if (rc != 0) {
        return error_prefix(err, rc, "the app's certificate");
    }
    out->kms_checked = true;
    return 0;
}

/* ---- passthrough ---- */

static int verify_passthrough(const struct verify_setup *setup, struct verify_result *out,
                              dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf id = {0};
    dstack_attestation_options options = options_of(setup, NULL);
    out->passthrough = true;
    int rc = check_mark(setup, out->app_cert, err);
    rc = rc != 0 ? rc
                 : dstack_cert_verify_attestation(setup->verifier, out->app_cert, &options, &out->app,
                                                  err);
    rc = rc != 0 ? rc : judge_tcb(setup, out->app, err);
    rc = rc != 0 ? rc : judge_image(setup, out->app, err);
    if (rc == 0) {
        rc = dstack_identity_key_provider(dstack_verified_identity(out->app), out->kms_name, &id,
                                          err);
        verify_key_hash(out->app_cert, out->connection_key);
    }
    return rc;
}

/* ---- terminated ---- */

static int decode_attestation(const char *hex, dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    int rc = hex_decode(bytes_of_str(hex), &bytes, err);
    return rc != 0 ? rc : dstack_attestation_decode(bytes_of_buf(&bytes), out, err);
}

static int parse_answer(const struct fetched *answer, const char *what, json_t **out,
                        dstack_error *err) {
    dstack_error local = {0};
    if (answer->status != 200) {
        return error_set(err, DSTACK_E_PEER, "%s: the answer has status %d", what, answer->status);
    }
    *out = json_parse(bytes_of_buf(&answer->body), ANSWER_LIMIT, what, &local);
    return *out != NULL ? 0 : error_set(err, local.status, "%s", local.message);
}

/* The gateway's evidence for a key: report data over the key's SubjectPublicKeyInfo. */
static int verify_gateway_key(const struct verify_setup *setup, const json_t *record,
                              dstack_bytes spki, struct verify_result *out, dstack_error *err) {
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    const char *text, *hex;
    dstack_error local = {0};
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    int rc = json_need_str(record, "attestation", &text, err);
    DSTACK_AUTO(json)
    json_t *inner = rc == 0 ? json_parse(bytes_of_str(text), ANSWER_LIMIT, "attestation", &local)
                            : NULL;
    rc = rc != 0 ? rc : json_need_str(inner, "attestation", &hex, err);
    rc = rc != 0 ? rc : decode_attestation(hex, &attestation, err);
    rc = rc != 0 ? rc : dstack_report_data("zt-cert", NULL, spki, report_data, err);
    if (rc != 0) {
        return rc;
    }
    dstack_attestation_options options = options_of(setup, report_data);
    rc = dstack_attestation_verify(setup->verifier, attestation, &options, &out->gateway, err);
    return rc != 0 ? rc : judge_tcb(setup, out->gateway, err);
}

static int verify_gateway(const struct verify_setup *setup, const struct target *target,
                          dstack_bytes spki, struct verify_result *out, dstack_error *err) {
    char host[300];
    DSTACK_AUTO(fetched) struct fetched answer = {0};
    DSTACK_AUTO(json) json_t *info = NULL;
    DSTACK_AUTO(buf) dstack_buf wanted = {0};
    snprintf(host, sizeof host, "gateway.%s", target->base);
    buf_put_hex(&wanted, spki);
    int rc = verify_fetch(setup, host, target->port, "/.dstack/acme-info", true, &answer, err);
    rc = rc != 0 ? rc : parse_answer(&answer, "acme-info", &info, err);
    if (rc != 0) {
        return rc;
    }
    size_t i;
    json_t *record;
    json_array_foreach(json_object_get(info, "quoted_hist_keys"), i, record) {
        const char *key = json_string_value(json_object_get(record, "public_key"));
        if (key != NULL && strcmp(key, buf_text(&wanted)) == 0) {
            rc = verify_gateway_key(setup, record, spki, out, err);
            return rc != 0 ? error_prefix(err, rc, "the gateway's evidence") : 0;
        }
    }
    return error_set(err, DSTACK_E_REFUSED,
                     "the key of this connection is not among those that the gateway has evidence "
                     "for");
}

static int check_evidence(const struct verify_setup *setup, const json_t *answer,
                          const uint8_t nonce[NONCE_SIZE], struct verify_result *out,
                          dstack_error *err) {
    const char *hex, *pem;
    uint8_t content[NONCE_SIZE + 32], report_data[DSTACK_REPORT_DATA_SIZE];
    dstack_cert *chain[MAX_CHAIN] = {0};
    size_t count = 0;
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    int rc = json_need_str(answer, "attestation", &hex, err);
    rc = rc != 0 ? rc : json_need_str(answer, "certificate", &pem, err);
    rc = rc != 0 ? rc : decode_attestation(hex, &attestation, err);
    rc = rc != 0 ? rc : parse_chain(pem, chain, &count, err);
    if (rc == 0) {
        memcpy(content, nonce, NONCE_SIZE);
        hash_sha256(dstack_cert_spki(chain[0]), content + NONCE_SIZE);
        rc = dstack_report_data("dstack-evidence", NULL, bytes_of(content, sizeof content),
                                report_data, err);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = check_mark(setup, chain[i], err);
    }
    if (rc == 0) {
        dstack_attestation_options options = options_of(setup, report_data);
        rc = dstack_attestation_verify(setup->verifier, attestation, &options, &out->app, err);
    }
    rc = rc != 0 ? rc : judge_tcb(setup, out->app, err);
    rc = rc != 0 ? rc : judge_image(setup, out->app, err);
    rc = rc != 0 ? rc : check_root(chain, count, pem, setup, out, err);
    if (rc == 0) {
        dstack_cert_free(out->app_cert);
        out->app_cert = chain[0];
        chain[0] = NULL;
    }
    for (size_t i = 0; i < MAX_CHAIN; i++) {
        dstack_cert_free(chain[i]);
    }
    return rc;
}

/* The connection that brought the evidence must end at an attested gateway key as well. */
static int same_key(const struct fetched *answer, dstack_bytes spki, dstack_error *err) {
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    int rc = dstack_cert_parse(bytes_of_buf(&answer->leaf), &cert, err);
    if (rc == 0 && !bytes_equal(dstack_cert_spki(cert), spki)) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "the app's evidence came over a connection with another key");
    }
    return rc;
}

static int verify_app(const struct verify_setup *setup, const struct target *target,
                      dstack_bytes spki, struct verify_result *out, dstack_error *err) {
    char host[400], path[160], hex[2 * NONCE_SIZE + 1];
    uint8_t nonce[NONCE_SIZE];
    DSTACK_AUTO(fetched) struct fetched answer = {0};
    DSTACK_AUTO(json) json_t *evidence = NULL;
    random_fill(nonce, sizeof nonce);
    hex_encode(bytes_of(nonce, sizeof nonce), hex);
    snprintf(host, sizeof host, "%s-%d.%s", target->id, AGENT_PORT, target->base);
    snprintf(path, sizeof path, "/.well-known/dstack/evidence?nonce=%s", hex);
    int rc = verify_fetch(setup, host, target->port, path, true, &answer, err);
    rc = rc != 0 ? rc : same_key(&answer, spki, err);
    rc = rc != 0 ? rc : parse_answer(&answer, "the app's evidence", &evidence, err);
    rc = rc != 0 ? rc : check_evidence(setup, evidence, nonce, out, err);
    return rc != 0 ? error_prefix(err, rc, "the app") : 0;
}

static bool is_id(const dstack_value *value, const char *text) {
    char hex[2 * sizeof value->data + 1];
    hex_encode(bytes_of(value->data, value->len), hex);
    return value->len > 0 && strcmp(hex, text) == 0;
}

/* The name that was asked for must be that of the app that answered. */
static int check_name(const struct target *target, const struct verify_result *result,
                      dstack_error *err) {
    const dstack_identity *identity = dstack_verified_identity(result->app);
    if (is_id(&identity->app_id, target->id) || is_id(&identity->instance_id, target->id)) {
        return 0;
    }
    char hex[2 * sizeof identity->app_id.data + 1];
    hex_encode(bytes_of(identity->app_id.data, identity->app_id.len), hex);
    return error_set(err, DSTACK_E_REFUSED, "the name asks for %s, but app %s answered", target->id,
                     hex);
}

static int verify_terminated(const struct verify_setup *setup, const struct target *target,
                             struct verify_result *out, dstack_error *err) {
    DSTACK_AUTO(fetched) struct fetched connection = {0};
    DSTACK_AUTO(cert) dstack_cert *leaf = NULL;
    if (target->base[0] == 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "%s shows no evidence of its own and has no gateway above it", target->host);
    }
    int rc = verify_fetch(setup, target->host, target->port, "/", true, &connection, err);
    rc = rc != 0 ? rc : dstack_cert_parse(bytes_of_buf(&connection.leaf), &leaf, err);
    if (rc != 0) {
        return rc;
    }
    verify_key_hash(leaf, out->connection_key);
    rc = verify_gateway(setup, target, dstack_cert_spki(leaf), out, err);
    rc = rc != 0 ? rc : verify_app(setup, target, dstack_cert_spki(leaf), out, err);
    return rc != 0 ? rc : check_name(target, out, err);
}

int verify_url(const struct verify_setup *setup, const struct target *target,
               struct verify_result *out, dstack_error *err) {
    DSTACK_AUTO(fetched) struct fetched first = {0};
    memset(out, 0, sizeof *out);
    int rc = verify_fetch(setup, target->host, target->port, "/", false, &first, err);
    rc = rc != 0 ? rc : dstack_cert_parse(bytes_of_buf(&first.leaf), &out->app_cert, err);
    if (rc != 0) {
        return rc;
    }
    return dstack_cert_attestation(out->app_cert) != NULL
               ? verify_passthrough(setup, out, err)
               : verify_terminated(setup, target, out, err);
}
