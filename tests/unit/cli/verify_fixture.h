/* A scene for `dstack verify`: simulated hardware, an image, a KMS, an app and a gateway, each with
 * true evidence. A test exchanges one part and sees which step refuses. */
#ifndef TESTS_UNIT_CLI_VERIFY_FIXTURE_H
#define TESTS_UNIT_CLI_VERIFY_FIXTURE_H

#include "../tee/sim_fixture.h"

#include <dstack/cert.h>
#include <dstack/collateral.h>
#include <dstack/measure.h>
#include <dstack/policy.h>

#include "../measure/small_image.h"
#include "crypto/hash.h"
#include "verify/verify.h"
#include "x509/pem.h"

#define SCENE_BASE "apps.example.test"
#define DAY 86400

/* Who a guest is. */
typedef struct scene_party {
    const char *manifest;
    uint8_t app_id[20], compose_hash[32], instance_id[20];
    char *key_provider;
} scene_party;

/* A key and a certificate for it. */
typedef struct scene_cert {
    dstack_secret *key;
    dstack_buf spki;
    dstack_buf chain; /* PEM, leaf first */
} scene_cert;

typedef struct scene {
    sim_fixture f;
    char image_dir[64];
    dstack_image image;
    char *vm_config;
    dstack_verifier *verifier;
    dstack_policy *policy;
    scene_cert kms, app_ca, public_ca; /* authorities */
    dstack_ca *kms_ca, *app_issuer, *public_issuer;
    scene_party app, gateway;
    scene_cert gateway_cert; /* of *.SCENE_BASE */
    scene_cert guest_cert;   /* the one beside the app's public evidence */
    char host[300];
    const char *unit; /* OU of the next leaf of the app */
    bool unlogged;    /* the next evidence misses an extension in its log */
} scene;

static inline void scene_cert_clear(scene_cert *cert) {
    dstack_secret_free(cert->key);
    dstack_buf_clear(&cert->spki);
    dstack_buf_clear(&cert->chain);
}

/* ---- hardware ---------------------------------------------------------------------------------
 */

static inline char *scene_vm_config(const char *dir, const char *os_image_hash) {
    DSTACK_AUTO(buf) dstack_buf checksums = {0}, document = {0}, text = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/sha256sum.txt", dir);
    load_file(path, &checksums);
    snprintf(path, sizeof path, "%s/measurement.tdx.cbor", dir);
    load_file(path, &document);
    buf_put_fmt(&text,
                "{\"os_image_hash\":\"%s\",\"cpu_count\":2,\"memory_size\":2147483648,"
                "\"qemu_version\":\"10.0.2\",\"tdx_attestation_variant\":\"lite\","
                "\"tdx_measurement\":{\"checksum_file\":\"",
                os_image_hash);
    base64_encode(bytes_of_buf(&checksums), BASE64_STANDARD, &text);
    buf_put_str(&text, "\",\"measurement\":\"");
    base64_encode(bytes_of_buf(&document), BASE64_STANDARD, &text);
    buf_put_str(&text, "\"}}");
    char *result = buf_detach_text(&text);
    assert_non_null(result);
    return result;
}

/* A fresh machine of the image: RTMR3 is zero again. */
static inline void scene_boot(scene *s) {
    dstack_error err = {0};
    dstack_vm_config config;
    assert_ok(dstack_vm_config_parse(bytes_of_str(s->vm_config), &config, &err), err);
    assert_ok(dstack_measure_tdx(&s->image, &config.shape, &s->f.measured, &err), err);
    dstack_vm_config_clear(&config);
    fixture_stop_server(&s->f);
    sim_vm_free(s->f.vm);
    unlink(s->f.socket);
    assert_ok(sim_vm_start(s->f.keys, &s->f.measured, NULL, s->f.state, &s->f.vm, &err), err);
    fixture_start_server(&s->f);
}

/* What a guest does: boots, measures who it is, and quotes. */
static inline dstack_attestation *scene_attest(scene *s, const scene_party *who,
                                               const uint8_t report_data[64]) {
    dstack_error err = {0};
    scene_boot(s);
    dstack_tee *tee = fixture_open(&s->f);
    const struct {
        const char *name;
        dstack_bytes payload;
    } events[] = {
        {"system-preparing", {0}},
        {"app-id", bytes_of(who->app_id, sizeof who->app_id)},
        {"compose-hash", bytes_of(who->compose_hash, sizeof who->compose_hash)},
        {"instance-id", bytes_of(who->instance_id, sizeof who->instance_id)},
        {"boot-mr-done", {0}},
        {"key-provider", bytes_of_str(who->key_provider)},
        {"system-ready", {0}},
    };
    dstack_event_log *runtime = dstack_event_log_new(), *log = NULL;
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        uint8_t digest[48];
        assert_ok(dstack_runtime_event_digest(events[i].name, events[i].payload, 1, digest, &err),
                  err);
        assert_ok(dstack_tee_extend(tee, 3, digest, events[i].name, &err), err);
        assert_ok(dstack_event_log_add_runtime(runtime, events[i].name, events[i].payload, 1, &err),
                  err);
    }
    if (s->unlogged) {
        const uint8_t digest[48] = {1};
        assert_ok(dstack_tee_extend(tee, 3, digest, "unlogged", &err), err);
    }
    dstack_tee_report report;
    assert_ok(dstack_tee_evidence(tee, report_data, &report, &err), err);
    assert_ok(dstack_event_log_parse_ccel(bytes_of_buf(&report.boot_log), &log, &err), err);
    assert_ok(dstack_event_log_append(log, runtime, &err), err);
    dstack_attestation *made = NULL;
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&report.quote), log, runtime, s->vm_config,
                                         &made, &err),
              err);
    dstack_event_log_free(log);
    dstack_event_log_free(runtime);
    dstack_tee_report_clear(&report);
    dstack_tee_close(tee);
    return made;
}

static inline dstack_attestation *scene_attest_for(scene *s, const scene_party *who,
                                                   const char *tag, dstack_bytes content) {
    dstack_error err = {0};
    uint8_t report_data[64];
    assert_ok(dstack_report_data(tag, NULL, content, report_data, &err), err);
    return scene_attest(s, who, report_data);
}

/* ---- certificates -----------------------------------------------------------------------------
 */

static inline void scene_key(scene_cert *cert) {
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&cert->key, &err), err);
    assert_ok(dstack_cert_key_public(cert->key, &cert->spki, &err), err);
}

static inline dstack_cert_spec scene_spec(const char *subject) {
    return (dstack_cert_spec){.subject = subject,
                              .server_auth = true,
                              .not_before = FIXTURE_NOW - DAY,
                              .not_after = FIXTURE_NOW + DAY};
}

static inline void scene_authority(scene_cert *cert, const char *subject, dstack_ca **out) {
    dstack_error err = {0};
    dstack_cert_spec spec = scene_spec(subject);
    spec.server_auth = false;
    spec.is_ca = true;
    spec.path_len = 1;
    scene_key(cert);
    assert_ok(dstack_cert_self_signed(&spec, cert->key, &cert->chain, &err), err);
    assert_ok(dstack_ca_new(bytes_of_buf(&cert->chain), cert->key, out, &err), err);
}

/* A leaf as the KMS's app CA issues it; `attestation` may be NULL. */
static inline void scene_app_leaf(scene *s, scene_cert *cert, const char *usage,
                                  const dstack_attestation *attestation) {
    dstack_error err = {0};
    const char *names[] = {s->host};
    dstack_cert_spec spec = scene_spec("app");
    spec.usage = usage;
    spec.unit = s->unit;
    spec.app_id = bytes_of(s->app.app_id, 20);
    spec.attestation = attestation;
    spec.alt_names = names;
    spec.alt_name_count = 1;
    dstack_buf_clear(&cert->chain);
    assert_ok(dstack_ca_sign(s->app_issuer, &spec, bytes_of_buf(&cert->spki), &cert->chain, &err),
              err);
    buf_put_bytes(&cert->chain, bytes_of_buf(&s->app_ca.chain));
}

static inline void scene_issuers(scene *s) {
    dstack_error err = {0};
    scene_authority(&s->kms, "KMS root", &s->kms_ca);
    scene_authority(&s->public_ca, "Public root", &s->public_issuer);
    dstack_cert_spec spec = scene_spec("App CA");
    spec.server_auth = false;
    spec.is_ca = true;
    spec.usage = DSTACK_USAGE_APP_CA;
    spec.app_id = bytes_of(s->app.app_id, 20);
    scene_key(&s->app_ca);
    assert_ok(
        dstack_ca_sign(s->kms_ca, &spec, bytes_of_buf(&s->app_ca.spki), &s->app_ca.chain, &err),
        err);
    assert_ok(dstack_ca_new(bytes_of_buf(&s->app_ca.chain), s->app_ca.key, &s->app_issuer, &err),
              err);
}

static inline void scene_gateway_cert(scene *s, scene_cert *cert) {
    dstack_error err = {0};
    const char *names[] = {"*." SCENE_BASE};
    dstack_cert_spec spec = scene_spec("gateway");
    spec.alt_names = names;
    spec.alt_name_count = 1;
    scene_key(cert);
    assert_ok(
        dstack_ca_sign(s->public_issuer, &spec, bytes_of_buf(&cert->spki), &cert->chain, &err),
        err);
}

/* ---- the scene --------------------------------------------------------------------------------
 */

static inline void scene_who(scene_party *who, const char *manifest) {
    who->manifest = manifest;
    hash_sha256(bytes_of_str(manifest), who->compose_hash);
    memcpy(who->app_id, who->compose_hash, 20);
    memset(who->instance_id, 0x33, 20);
}

static inline void scene_setup(scene *s) {
    memset(s, 0, sizeof *s);
    dstack_error err = {0};
    strcpy(s->image_dir, "/tmp/dstack-image-XXXXXX");
    small_image_make(s->image_dir, "one");
    assert_ok(dstack_image_load(s->image_dir, &s->image, &err), err);
    s->vm_config = scene_vm_config(s->image_dir, s->image.os_image_hash);
    fixture_setup(&s->f);
    dstack_collateral *collateral = NULL;
    assert_ok(dstack_collateral_parse(&collateral, sim_keys_collateral(s->f.keys), &err), err);
    const dstack_trust_root roots[] = {{.name = "simulation", .cert = sim_keys_root(s->f.keys)}};
    const dstack_verifier_options options = {.roots = roots, .root_count = 1};
    assert_ok(dstack_verifier_new(&s->verifier, &options, &err), err);
    assert_ok(dstack_verifier_add_collateral(s->verifier, collateral, &err), err);
    dstack_collateral_free(collateral);
    assert_ok(dstack_policy_parse(&s->policy, bytes_of_str("{}"), &err), err);
    scene_who(&s->app, "{\"name\":\"hello\"}");
    scene_who(&s->gateway, "{\"name\":\"gateway\"}");
    char app_id[41];
    hex_encode(bytes_of(s->app.app_id, 20), app_id);
    snprintf(s->host, sizeof s->host, "%s." SCENE_BASE, app_id);
    scene_issuers(s);
    DSTACK_AUTO(buf) dstack_buf provider = {0};
    buf_put_str(&provider, "{\"name\":\"kms\",\"id\":\"");
    buf_put_hex(&provider, bytes_of_buf(&s->kms.spki));
    buf_put_str(&provider, "\"}");
    s->app.key_provider = buf_detach_text(&provider);
    s->gateway.key_provider = strdup("{\"name\":\"none\",\"id\":\"\"}");
    scene_gateway_cert(s, &s->gateway_cert);
    scene_key(&s->guest_cert);
    scene_app_leaf(s, &s->guest_cert, DSTACK_USAGE_APP_CUSTOM, NULL);
}

static inline void scene_teardown(scene *s) {
    free(s->app.key_provider);
    free(s->gateway.key_provider);
    scene_cert *certs[] = {&s->kms, &s->app_ca, &s->public_ca, &s->gateway_cert, &s->guest_cert};
    dstack_ca_free(s->kms_ca);
    dstack_ca_free(s->app_issuer);
    dstack_ca_free(s->public_issuer);
    for (size_t i = 0; i < sizeof certs / sizeof *certs; i++) {
        scene_cert_clear(certs[i]);
    }
    dstack_policy_free(s->policy);
    dstack_verifier_free(s->verifier);
    free(s->vm_config);
    fixture_teardown(&s->f);
    dstack_image_clear(&s->image);
    small_image_remove(s->image_dir);
}

/* ---- answers ----------------------------------------------------------------------------------
 */

static inline json_t *scene_attestation_json(const dstack_attestation *attestation) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    assert_ok(
        dstack_attestation_encode(attestation, DSTACK_ATTESTATION_LEGACY_CHOICE, &encoded, &err),
        err);
    return json_pack("{s:o}", "attestation", json_hex(bytes_of_buf(&encoded)));
}

/* acme-info with one key and the evidence given for it. */
static inline void scene_acme_info(const dstack_attestation *attestation, dstack_bytes spki,
                                   dstack_buf *out) {
    dstack_error err = {0};
    DSTACK_AUTO(json) json_t *inner = scene_attestation_json(attestation);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_ok(json_write(inner, false, &text, &err), err);
    DSTACK_AUTO(json)
    json_t *document =
        json_pack("{s:s, s:[{s:o, s:s, s:s}]}", "account_uri", "", "quoted_hist_keys", "public_key",
                  json_hex(spki), "quote", "", "attestation", buf_text(&text));
    buf_reset(out);
    assert_ok(json_write(document, false, out, &err), err);
}

/* The guest's answer to a nonce: true, but for the party and certificate given. */
static inline void scene_evidence(scene *s, const scene_party *who, const scene_cert *cert,
                                  dstack_bytes nonce, dstack_buf *out) {
    dstack_error err = {0};
    uint8_t content[64 + 32];
    assert_true(nonce.len <= 64);
    memcpy(content, nonce.data, nonce.len);
    hash_sha256(bytes_of_buf(&cert->spki), content + nonce.len);
    dstack_attestation *made =
        scene_attest_for(s, who, "dstack-evidence", bytes_of(content, nonce.len + 32));
    DSTACK_AUTO(json) json_t *document = scene_attestation_json(made);
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    buf_put_bytes(&chain, bytes_of_buf(&cert->chain));
    json_object_set_new(document, "certificate", json_string(buf_text(&chain)));
    buf_reset(out);
    assert_ok(json_write(document, false, out, &err), err);
    dstack_attestation_free(made);
}

static inline void scene_show_chain(verify_answers *a, const dstack_buf *pem) {
    dstack_error err = {0};
    pem_reader reader;
    pem_block block = {0};
    bool found = true;
    pem_reader_init(&reader, bytes_of_buf(pem));
    for (size_t i = 0; i < VERIFY_CHAIN_MAX; i++) {
        dstack_buf_clear(&a->chain[i]);
    }
    a->chain_count = 0;
    while (found) {
        assert_ok(pem_next(&reader, &block, &found, &err), err);
        if (found) {
            a->chain[a->chain_count++] = block.der;
            block.der = (dstack_buf){0};
        }
    }
    pem_block_clear(&block);
}

/* What a true gateway and a true app answer. */
static inline void scene_answers(scene *s, verify_answers *a) {
    memset(a, 0, sizeof *a);
    verify_name_split(s->host, &a->name);
    strcpy(a->tls, "TLS1.3");
    memset(a->nonce, 0x77, sizeof a->nonce);
    scene_show_chain(a, &s->gateway_cert.chain);
    buf_put_bytes(&a->evidence_leaf, bytes_of_buf(&a->chain[0]));
    dstack_attestation *gateway =
        scene_attest_for(s, &s->gateway, "zt-cert", bytes_of_buf(&s->gateway_cert.spki));
    scene_acme_info(gateway, bytes_of_buf(&s->gateway_cert.spki), &a->acme_info);
    dstack_attestation_free(gateway);
    scene_evidence(s, &s->app, &s->guest_cert, bytes_of(a->nonce, sizeof a->nonce), &a->evidence);
}

static inline verify_demands scene_demands(const scene *s) {
    return (verify_demands){.verifier = s->verifier,
                            .policy = s->policy,
                            .now = FIXTURE_NOW,
                            .ca = bytes_of_buf(&s->public_ca.chain)};
}

#endif
