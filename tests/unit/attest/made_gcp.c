#include "made_gcp.h"

#include "crypto/hash.h"
#include "fixtures.h"
#include "x509/build.h"
#include "x509/der.h"

#define DAY ((int64_t)86400)
#define ROOT_SCALAR 0x41
#define CA_SCALAR 0x42
#define AK_SCALAR 0x43
#define STRANGER_SCALAR 0x44

const uint8_t gcp_report_data[64] = "made here, for tests";

void gcp_spec_init(gcp_spec *s) {
    *s = (gcp_spec){
        .indices = {0, 2, 14},
        .pcr_count = 3,
        .log = {7, 2, 2, 2, 2},
        .log_fill = {0x07, 0xa1, 0xa2, 0xa3, 0xa4},
        .log_count = 5,
        .bank = 0x000b,
        .magic = 0xff544347,
        .type = 0x8018,
        .ak_until = MADE_NOW + 300 * DAY,
        .crl_until = MADE_NOW + 20 * DAY,
        .config = "{}",
        .event_version = 1,
    };
    gcp_spec_settle(s);
}

static size_t place_of(const gcp_spec *s, uint32_t index) {
    for (size_t i = 0; i < s->pcr_count; i++) {
        if (s->indices[i] == index) {
            return i;
        }
    }
    fail_msg("PCR %u is not quoted", index);
    return 0;
}

static void fill_log(const gcp_spec *s, dstack_tpm_event events[6]) {
    for (size_t i = 0; i < s->log_count; i++) {
        events[i].pcr = s->log[i];
        memset(events[i].digest, s->log_fill[i], 32);
    }
}

void gcp_spec_settle(gcp_spec *s) {
    dstack_tpm_event events[6];
    dstack_event_log *runtime = boot_events(s->event_version);
    dstack_error err = {0};
    fill_log(s, events);
    assert_ok(hex_decode_fixed(GCP_PCR0, s->values[place_of(s, 0)], 32, &err), err);
    dstack_tpm_replay(events, s->log_count, 2, 0, s->values[place_of(s, 2)]);
    assert_ok(attest_replay_pcr14(runtime, NULL, s->values[place_of(s, 14)], &err), err);
    dstack_event_log_free(runtime);
}

static ecdsa_private *key_of(uint8_t scalar_byte) {
    uint8_t scalar[32];
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    memset(scalar, scalar_byte, sizeof scalar);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(scalar, 32), &err), err);
    return key;
}

/* ---- certificates ---- */

static void name_of(const char *common_name, dstack_buf *out) {
    const x509_name_spec spec = {.common_name = common_name};
    dstack_error err = {0};
    assert_ok(x509_name_build(&spec, out, &err), err);
}

static size_t add_purpose(uint8_t purpose, dstack_buf *value, x509_extension *out) {
    static const uint8_t eku[] = {0x55, 0x1d, 0x25};
    const uint8_t oid[] = {0x67, 0x81, 0x05, 0x08, purpose};
    if (purpose == 0) {
        return 0;
    }
    size_t list = der_begin(value, DER_SEQUENCE);
    der_put_oid(value, bytes_of(oid, sizeof oid));
    der_end(value, list);
    *out = (x509_extension){.oid = bytes_of(eku, sizeof eku), .value = bytes_of_buf(value)};
    return 1;
}

static size_t add_points(bool none, dstack_buf *value, x509_extension *out) {
    static const uint8_t points[] = {0x55, 0x1d, 0x1f};
    if (none) {
        return 0;
    }
    size_t list = der_begin(value, DER_SEQUENCE), point = der_begin(value, DER_SEQUENCE);
    size_t name = der_begin(value, DER_CONTEXT_CONSTRUCTED(0));
    size_t full = der_begin(value, DER_CONTEXT_CONSTRUCTED(0));
    der_put(value, DER_CONTEXT(6), bytes_of_str("http://localhost/ca.crl"));
    der_end(value, full);
    der_end(value, name);
    der_end(value, point);
    der_end(value, list);
    *out = (x509_extension){.oid = bytes_of(points, sizeof points), .value = bytes_of_buf(value)};
    return 1;
}

static void make_cert(const gcp_spec *s, uint8_t own, uint8_t issuer, dstack_buf *der) {
    static const char *const names[] = {"Made vTPM Root", "Made vTPM CA", "Made vTPM key"};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = key_of(own);
    DSTACK_AUTO(ecdsa_private) ecdsa_private *signer = key_of(issuer);
    DSTACK_AUTO(buf) dstack_buf spki = {0}, issuer_name = {0}, eku = {0}, points = {0};
    x509_extension custom[2];
    const uint8_t serial[] = {own};
    const bool leaf = own == AK_SCALAR;
    size_t count = leaf ? add_purpose(s->purpose, &eku, &custom[0]) : 0;
    count += leaf ? add_points(s->no_points, &points, &custom[count]) : 0;
    dstack_error err = {0};
    name_of(names[issuer - ROOT_SCALAR], &issuer_name);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    const x509_build build = {
        .serial = bytes_of(serial, 1),
        .subject = {.common_name = names[own - ROOT_SCALAR]},
        .issuer_der = bytes_of_buf(&issuer_name),
        .not_before = MADE_NOW - 365 * DAY,
        .not_after = leaf ? s->ak_until : MADE_NOW + 3650 * DAY,
        .spki = bytes_of_buf(&spki),
        .key_usage = leaf ? X509_KU_DIGITAL_SIGNATURE : X509_KU_CERT_SIGN | X509_KU_CRL_SIGN,
        .with_basic_constraints = true,
        .is_ca = !leaf,
        .path_len = -1,
        .custom = custom,
        .custom_count = count,
    };
    assert_ok(x509_cert_build(&build, signer, true, der, &err), err);
}

static void make_crl(const gcp_spec *s, dstack_buf *der) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *signer = key_of(CA_SCALAR);
    DSTACK_AUTO(buf) dstack_buf name = {0};
    const uint8_t serial[] = {AK_SCALAR};
    const x509_crl_entry entry = {bytes_of(serial, 1), MADE_NOW - 2 * DAY};
    dstack_error err = {0};
    name_of("Made vTPM CA", &name);
    const x509_crl_build_spec build = {
        .issuer_der = bytes_of_buf(&name),
        .this_update = MADE_NOW - 10 * DAY,
        .next_update = s->crl_until,
        .number = 3,
        .entries = &entry,
        .entry_count = s->revoked ? 1 : 0,
    };
    assert_ok(x509_crl_build(&build, signer, true, der, &err), err);
}

/* ---- the TPM's quote ---- */

static void put_sized(dstack_buf *out, dstack_bytes bytes) {
    buf_put_u16be(out, (uint16_t)bytes.len);
    buf_put_bytes(out, bytes);
}

static void put_attest(const gcp_spec *s, dstack_bytes quote, dstack_buf *out) {
    uint8_t hash[32], bitmap[3] = {0};
    hash_ctx ctx;
    buf_put_u32be(out, s->magic);
    buf_put_u16be(out, s->type);
    put_sized(out, bytes_of("signer", 6));
    hash_sha256(quote, hash);
    hash[5] ^= s->extra_flip;
    put_sized(out, bytes_of(hash, sizeof hash));
    buf_put_u64be(out, 123456);
    buf_put_u32be(out, 7);
    buf_put_u32be(out, 8);
    buf_put_u8(out, 1);
    buf_put_u64be(out, 0x20170619);
    buf_put_u32be(out, 1);
    buf_put_u16be(out, s->bank);
    hash_init(&ctx, HASH_SHA256);
    for (size_t i = 0; i < s->pcr_count; i++) {
        bitmap[s->indices[i] / 8] |= (uint8_t)(1 << s->indices[i] % 8);
        hash_update(&ctx, bytes_of(s->values[i], 32));
    }
    hash_final(&ctx, hash);
    buf_put_u8(out, sizeof bitmap);
    buf_put(out, bitmap, sizeof bitmap);
    put_sized(out, bytes_of(hash, sizeof hash));
}

static void put_signature(const gcp_spec *s, dstack_bytes message, dstack_buf *out) {
    DSTACK_AUTO(ecdsa_private)
    ecdsa_private *key = key_of(s->forged ? STRANGER_SCALAR : AK_SCALAR);
    uint8_t digest[32], raw[64];
    dstack_error err = {0};
    hash_sha256(message, digest);
    assert_ok(ecdsa_sign_deterministic(key, bytes_of(digest, 32), raw, &err), err);
    buf_put_u16be(out, 0x0018);
    buf_put_u16be(out, 0x000b);
    put_sized(out, bytes_of(raw, 32));
    put_sized(out, bytes_of(raw + 32, 32));
}

static attest_tpm_quote *make_tpm(const gcp_spec *s, dstack_bytes quote) {
    dstack_tpm_event events[6];
    attest_tpm_quote *tpm = calloc(1, sizeof *tpm);
    put_attest(s, quote, &tpm->message);
    put_signature(s, bytes_of_buf(&tpm->message), &tpm->signature);
    make_cert(s, AK_SCALAR, CA_SCALAR, &tpm->ak_cert);
    tpm->platform = 1;
    tpm->pcrs = calloc(s->pcr_count, sizeof *tpm->pcrs);
    for (size_t i = 0; i < s->pcr_count; i++) {
        tpm->pcrs[i].index = s->indices[i];
        tpm->pcrs[i].algorithm = strdup("sha256");
        buf_put(&tpm->pcrs[i].value, s->values[i], 32);
    }
    tpm->pcr_count = s->pcr_count;
    fill_log(s, events);
    tpm->events = calloc(s->log_count + 1, sizeof *tpm->events);
    for (size_t i = 0; i < s->log_count; i++) {
        tpm->events[i].pcr = events[i].pcr;
        buf_put(&tpm->events[i].digest, events[i].digest, 32);
    }
    tpm->event_count = s->log_count;
    return tpm;
}

void gcp_build(const gcp_spec *s, made_gcp *out) {
    made_spec quote;
    dstack_error err = {0};
    DSTACK_AUTO(event_log) dstack_event_log *runtime = boot_events(s->event_version);
    *out = (made_gcp){0};
    made_spec_init(&quote);
    memset(quote.td.mr_config_id, 0, sizeof quote.td.mr_config_id);
    memcpy(quote.td.report_data, gcp_report_data, sizeof quote.td.report_data);
    assert_ok(dstack_event_log_replay_runtime(runtime, NULL, quote.td.rt_mr[3], &err), err);
    made_build(&quote, &out->quote);
    make_cert(s, ROOT_SCALAR, ROOT_SCALAR, &out->tpm_root);
    make_cert(s, CA_SCALAR, ROOT_SCALAR, &out->tpm_ca);
    make_crl(s, &out->tpm_ca_crl);
    dstack_attestation *a = attest_new(DSTACK_TEE_GCP_TDX, &err);
    buf_put_bytes(&a->evidence, bytes_of_buf(&out->quote.quote));
    assert_ok(dstack_event_log_append(a->runtime, runtime, &err), err);
    assert_ok(dstack_event_log_append(a->event_log, runtime, &err), err);
    assert_ok(dstack_event_log_fill_digests(a->event_log, &err), err);
    memcpy(a->report_data, gcp_report_data, sizeof a->report_data);
    free(a->config);
    a->config = strdup(s->config);
    a->tpm = make_tpm(s, bytes_of_buf(&a->evidence));
    out->attestation = a;
}

void made_gcp_clear(made_gcp *m) {
    made_clear(&m->quote);
    dstack_buf_clear(&m->tpm_root);
    dstack_buf_clear(&m->tpm_ca);
    dstack_buf_clear(&m->tpm_ca_crl);
    dstack_attestation_free(m->attestation);
}
