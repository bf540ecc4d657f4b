#include "attest/fixtures.h"
#include "cert/cert.h"
#include "x509/build.h"
#include "x509/pem.h"
#include "zlib.h"

#define NOW 1800000000

typedef struct hierarchy {
    dstack_secret *root_key, *ca_key, *leaf_key;
    dstack_buf root, ca, leaf_spki;
    dstack_ca *root_ca, *app_ca;
} hierarchy;

static uint8_t app_id[20] = {1, 2, 3};

static void make(hierarchy *h) {
    dstack_error err = {0};
    *h = (hierarchy){0};
    assert_ok(dstack_cert_key_new(&h->root_key, &err), err);
    assert_ok(dstack_cert_key_new(&h->ca_key, &err), err);
    assert_ok(dstack_cert_key_new(&h->leaf_key, &err), err);
    dstack_cert_spec root = {.org = "Dstack",
                             .subject = "Dstack KMS CA",
                             .is_ca = true,
                             .path_len = 1,
                             .not_after = NOW + DSTACK_CA_LIFETIME};
    assert_ok(dstack_cert_self_signed(&root, h->root_key, &h->root, &err), err);
    assert_ok(dstack_ca_new(bytes_of_buf(&h->root), h->root_key, &h->root_ca, &err), err);
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(dstack_cert_key_public(h->ca_key, &spki, &err), err);
    dstack_cert_spec ca = {.org = "Dstack",
                           .subject = "Dstack App CA",
                           .is_ca = true,
                           .not_after = NOW + DSTACK_CA_LIFETIME,
                           .app_id = bytes_of(app_id, sizeof app_id),
                           .usage = DSTACK_USAGE_APP_CA};
    assert_ok(dstack_ca_sign(h->root_ca, &ca, bytes_of_buf(&spki), &h->ca, &err), err);
    assert_ok(dstack_ca_new(bytes_of_buf(&h->ca), h->ca_key, &h->app_ca, &err), err);
    assert_ok(dstack_cert_key_public(h->leaf_key, &h->leaf_spki, &err), err);
}

static void clear(hierarchy *h) {
    dstack_secret_free(h->root_key);
    dstack_secret_free(h->ca_key);
    dstack_secret_free(h->leaf_key);
    dstack_buf_clear(&h->root);
    dstack_buf_clear(&h->ca);
    dstack_buf_clear(&h->leaf_spki);
    dstack_ca_free(h->root_ca);
    dstack_ca_free(h->app_ca);
}

static dstack_cert *sign(const dstack_ca *ca, const dstack_cert_spec *spec, dstack_bytes spki) {
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    dstack_cert *cert = NULL;
    dstack_error err = {0};
    assert_ok(dstack_ca_sign(ca, spec, spki, &pem, &err), err);
    assert_ok(dstack_cert_parse(bytes_of_buf(&pem), &cert, &err), err);
    return cert;
}

static dstack_attestation *bound_attestation(const dstack_buf *spki) {
    dstack_td_report td = {0};
    dstack_error err = {0};
    assert_ok(dstack_cert_report_data(bytes_of_buf(spki), td.report_data, &err), err);
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    put_form_quote(&quote, &td);
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    dstack_attestation *a = NULL;
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&quote), log, log, "{}", &a, &err), err);
    return a;
}

static void a_certificate_says_what_was_put_in(void **state) {
    hierarchy h;
    make(&h);
    DSTACK_AUTO(attestation) dstack_attestation *a = bound_attestation(&h.leaf_spki);
    dstack_identity identity = {.app_id = {.len = 20}, .has_init_scripts = true};
    dstack_cert_spec spec = {.subject = "app",
                             .server_auth = true,
                             .alt_names = (const char *const[]){"a.example.com", "10.0.0.1"},
                             .alt_name_count = 2,
                             .not_before = NOW - 60,
                             .not_after = NOW + 60,
                             .app_id = bytes_of(app_id, sizeof app_id),
                             .app_info = &identity,
                             .usage = DSTACK_USAGE_APP_CUSTOM,
                             .attestation = a};
    DSTACK_AUTO(cert) dstack_cert *cert = sign(h.app_ca, &spec, bytes_of_buf(&h.leaf_spki));
    assert_string_equal(dstack_cert_usage(cert), "app:custom");
    assert_memory_equal(dstack_cert_app_id(cert).data, app_id, 20);
    assert_int_equal(dstack_cert_app_info(cert)->app_id.len, 20);
    assert_int_equal(dstack_cert_not_before(cert), NOW - 60);
    assert_int_equal(dstack_cert_not_after(cert), NOW + 60);
    assert_true(bytes_equal(dstack_cert_spki(cert), bytes_of_buf(&h.leaf_spki)));
    assert_memory_equal(dstack_attestation_report_data(dstack_cert_attestation(cert)).data,
                        dstack_attestation_report_data(a).data, 64);
    assert_true(dstack_cert_matches_host(cert, "A.example.com"));
    assert_true(dstack_cert_matches_host(cert, "10.0.0.1"));
    assert_false(dstack_cert_matches_host(cert, "example.com"));
    assert_false(dstack_cert_matches_host(cert, "10.0.0.2"));
    clear(&h);
}

static void wildcards_cover_one_label(void **state) {
    static const struct {
        const char *pattern, *host;
        bool covers;
    } cases[] = {{"*.example.com", "a.example.com", true},
                 {"*.example.com", "a.b.example.com", false},
                 {"*.example.com", "example.com", false},
                 {"*.example.com", ".example.com", false},
                 {"example.com", "EXAMPLE.com", true},
                 {"", "", true},
                 {"example.com", "", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(
            cert_name_covers(bytes_of_str(cases[i].pattern), bytes_of_str(cases[i].host)),
            cases[i].covers);
    }
}

static int check(const dstack_cert *cert, dstack_cert_check rules) {
    return dstack_cert_verify(NULL, cert, &rules, NULL, NULL);
}

static void a_chain_is_verified_to_the_given_root_alone(void **state) {
    hierarchy h, other;
    make(&h);
    make(&other);
    dstack_cert_spec spec = {.subject = "app",
                             .not_before = NOW - 60,
                             .not_after = NOW + 60,
                             .usage = DSTACK_USAGE_APP_CUSTOM,
                             .app_id = bytes_of(app_id, sizeof app_id)};
    DSTACK_AUTO(cert) dstack_cert *cert = sign(h.app_ca, &spec, bytes_of_buf(&h.leaf_spki));
    dstack_cert_check rules = {.now = NOW,
                               .root = bytes_of_buf(&h.root),
                               .intermediates = bytes_of_buf(&h.ca),
                               .usage = DSTACK_USAGE_APP_CUSTOM,
                               .app_id = bytes_of(app_id, sizeof app_id)};
    dstack_error err = {0};
    assert_ok(dstack_cert_verify(NULL, cert, &rules, NULL, &err), err);
    dstack_cert_check wrong = rules;
    wrong.root = bytes_of_buf(&other.root);
    assert_true(check(cert, wrong) < 0);
    wrong.intermediates = (dstack_bytes){0};
    assert_true(check(cert, wrong) < 0);
    wrong = rules;
    wrong.intermediates = (dstack_bytes){0};
    assert_true(check(cert, wrong) < 0);
    clear(&h);
    clear(&other);
}

static void certificates_outside_their_validity_are_refused(void **state) {
    hierarchy h;
    make(&h);
    dstack_cert_spec spec = {.subject = "app", .not_before = NOW - 60, .not_after = NOW + 60};
    DSTACK_AUTO(cert) dstack_cert *cert = sign(h.root_ca, &spec, bytes_of_buf(&h.leaf_spki));
    dstack_cert_check rules = {.root = bytes_of_buf(&h.root)};
    static const struct {
        int64_t now;
        int rc;
    } cases[] = {{NOW - 61, DSTACK_E_X509_EXPIRED},
                 {NOW - 60, 0},
                 {NOW + 60, 0},
                 {NOW + 61, DSTACK_E_X509_EXPIRED}};
    for (size_t i = 0; i < 4; i++) {
        rules.now = cases[i].now;
        assert_int_equal(check(cert, rules), cases[i].rc);
    }
    clear(&h);
}

static void sec_25_an_app_certificate_does_not_pass_as_the_kms(void **state) {
    hierarchy h;
    make(&h);
    dstack_cert_spec spec = {.subject = "kms.example.com",
                             .not_before = NOW - 60,
                             .alt_names = (const char *const[]){"kms.example.com"},
                             .alt_name_count = 1,
                             .not_after = NOW + 60,
                             .server_auth = true,
                             .usage = DSTACK_USAGE_APP_CUSTOM};
    DSTACK_AUTO(cert) dstack_cert *app = sign(h.app_ca, &spec, bytes_of_buf(&h.leaf_spki));
    spec.usage = NULL;
    DSTACK_AUTO(cert) dstack_cert *plain = sign(h.app_ca, &spec, bytes_of_buf(&h.leaf_spki));
    spec.usage = DSTACK_USAGE_KMS_RPC;
    DSTACK_AUTO(cert) dstack_cert *kms = sign(h.root_ca, &spec, bytes_of_buf(&h.leaf_spki));
    dstack_cert_check rules = {.now = NOW,
                               .root = bytes_of_buf(&h.root),
                               .intermediates = bytes_of_buf(&h.ca),
                               .host = "kms.example.com",
                               .usage = DSTACK_USAGE_KMS_RPC};
    assert_int_equal(check(app, rules), DSTACK_E_REFUSED);
    assert_int_equal(check(plain, rules), DSTACK_E_REFUSED);
    assert_int_equal(check(kms, rules), 0);
    rules.root = (dstack_bytes){0};
    assert_int_equal(check(kms, rules), DSTACK_E_ARGUMENT);
    clear(&h);
}

static void sec_25_reserved_names_are_refused_in_requests(void **state) {
    dstack_secret *key = NULL;
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&key, &err), err);
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    DSTACK_AUTO(attestation) dstack_attestation *a = bound_attestation(&spki);
    static const struct {
        const char *name;
        int rc;
    } cases[] = {{"app.example.com", 0},
                 {"10.1.2.3", 0},
                 {"kms.example.com", DSTACK_E_REFUSED},
                 {"KMS.Example.com", DSTACK_E_REFUSED},
                 {"*.example.com", DSTACK_E_REFUSED},
                 {"no host", DSTACK_E_REFUSED}};
    static const char *const reserved[] = {"kms.example.com"};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dstack_csr_spec spec = {.subject = "app", .alt_names = &cases[i].name, .alt_name_count = 1};
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        DSTACK_AUTO(buf) dstack_buf signature = {0};
        DSTACK_AUTO(csr) dstack_csr *csr = NULL;
        assert_ok(dstack_csr_build(&spec, key, a, DSTACK_ATTESTATION_V1, &raw, &signature, &err),
                  err);
        assert_ok(dstack_csr_parse(2, bytes_of_buf(&raw), bytes_of_buf(&signature), &csr, &err),
                  err);
        assert_int_equal(dstack_csr_check_names(csr, reserved, 1, NULL), cases[i].rc);
    }
    dstack_secret_free(key);
}

static void sec_04_an_app_id_of_another_length_is_refused(void **state) {
    hierarchy h;
    make(&h);
    dstack_cert_spec spec = {
        .subject = "app", .not_after = NOW + 60, .app_id = bytes_of(app_id, 19)};
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    assert_int_equal(dstack_ca_sign(h.app_ca, &spec, bytes_of_buf(&h.leaf_spki), &pem, NULL),
                     DSTACK_E_ARGUMENT);
    clear(&h);
}

static void a_client_certificate_needs_validity_and_evidence(void **state) {
    dstack_secret *key = NULL;
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&key, &err), err);
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    DSTACK_AUTO(attestation) dstack_attestation *a = bound_attestation(&spki);
    dstack_cert_spec spec = {.subject = "RA-TLS TEMP Cert",
                             .not_before = NOW - 60,
                             .not_after = NOW + 60,
                             .attestation = a};
    DSTACK_AUTO(buf) dstack_buf with = {0};
    DSTACK_AUTO(buf) dstack_buf without = {0};
    assert_ok(dstack_cert_self_signed(&spec, key, &with, &err), err);
    spec.attestation = NULL;
    assert_ok(dstack_cert_self_signed(&spec, key, &without, &err), err);
    assert_ok(dstack_cert_check_client(bytes_of_buf(&with), NOW, &err), err);
    assert_int_equal(dstack_cert_check_client(bytes_of_buf(&with), NOW - 61, NULL),
                     DSTACK_E_X509_EXPIRED);
    assert_int_equal(dstack_cert_check_client(bytes_of_buf(&with), NOW + 61, &err),
                     DSTACK_E_X509_EXPIRED);
    assert_string_equal(err.message, "client certificate has expired");
    assert_int_equal(dstack_cert_check_client(bytes_of_buf(&without), NOW, &err), DSTACK_E_REFUSED);
    assert_string_equal(err.message, "client certificate carries no attestation");
    dstack_secret_free(key);
}

/* A self-signed certificate with one extension of the RA-TLS arc, `copies` times. */
static void put_extension_cert(cert_ext ext, dstack_bytes value, bool wrap, size_t copies,
                               dstack_buf *der) {
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf wrapped = {0};
    assert_ok(ecdsa_private_generate(&key, ECDSA_P256, &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    if (wrap) {
        assert_ok(x509_octet_string(value, &wrapped, &err), err);
    } else {
        buf_put_bytes(&wrapped, value);
    }
    uint8_t oid[CERT_OID_SIZE];
    cert_ext_oid(ext, oid);
    x509_extension extension = {.oid = bytes_of(oid, sizeof oid), .value = bytes_of_buf(&wrapped)};
    x509_extension twice[2] = {extension, extension};
    x509_build build = {.subject = {.common_name = "x"},
                        .not_before = NOW - 1,
                        .not_after = NOW + 1,
                        .spki = bytes_of_buf(&spki),
                        .path_len = -1,
                        .custom = twice,
                        .custom_count = copies};
    assert_ok(x509_cert_build(&build, key, false, der, &err), err);
}

static void malformed_extensions_are_refused(void **state) {
    static const struct {
        cert_ext ext;
        const char *value;
        bool wrap;
        size_t copies;
    } cases[] = {
        {CERT_EXT_ATTESTATION, "junk", true, 1}, {CERT_EXT_ATTESTATION, "junk", false, 1},
        {CERT_EXT_APP_ID, "short", true, 1},     {CERT_EXT_USAGE, "kms:rpc", true, 2},
        {CERT_EXT_USAGE, "kms\xff", true, 1},    {CERT_EXT_APP_INFO, "\x91", true, 1},
        {CERT_EXT_QUOTE, "quote", true, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(buf) dstack_buf der = {0};
        DSTACK_AUTO(cert) dstack_cert *cert = NULL;
        put_extension_cert(cases[i].ext, bytes_of_str(cases[i].value), cases[i].wrap,
                           cases[i].copies, &der);
        assert_true(dstack_cert_parse(bytes_of_buf(&der), &cert, NULL) < 0);
        assert_null(cert);
    }
    DSTACK_AUTO(buf) dstack_buf der = {0};
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    put_extension_cert(CERT_EXT_USAGE, bytes_of_str("kms:rpc"), true, 1, &der);
    assert_int_equal(dstack_cert_parse(bytes_of_buf(&der), &cert, NULL), 0);
}

static void put_gzip(dstack_buf *out, size_t zeros) {
    static uint8_t text[1 << 20], packed[1 << 20];
    memset(text, ' ', sizeof text);
    memcpy(text, "[]", 2);
    z_stream stream = {0};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, 0), Z_OK);
    stream.next_in = text;
    stream.avail_in = (uInt)zeros;
    stream.next_out = packed;
    stream.avail_out = sizeof packed;
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    buf_put_str(out, "ELGZv1");
    buf_put(out, packed, stream.total_out);
    deflateEnd(&stream);
}

static void sec_15_a_compressed_event_log_unfolds_to_16_kib_at_most(void **state) {
    static const struct {
        size_t size;
        int rc;
    } cases[] = {{2, 0}, {16384, 0}, {16385, DSTACK_E_LIMIT}, {1 << 20, DSTACK_E_LIMIT}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(buf) dstack_buf packed = {0};
        DSTACK_AUTO(buf) dstack_buf text = {0};
        put_gzip(&packed, cases[i].size);
        assert_int_equal(cert_event_log_text(bytes_of_buf(&packed), &text, NULL), cases[i].rc);
        assert_int_equal(text.len, cases[i].rc == 0 ? cases[i].size : 0);
        packed.len--;
        assert_true(cert_event_log_text(bytes_of_buf(&packed), &text, NULL) < 0);
    }
}

static void a_ca_needs_its_own_key_and_the_ca_bit(void **state) {
    hierarchy h;
    make(&h);
    dstack_ca *ca = NULL;
    assert_int_equal(dstack_ca_new(bytes_of_buf(&h.root), h.ca_key, &ca, NULL), DSTACK_E_ARGUMENT);
    DSTACK_AUTO(buf) dstack_buf leaf = {0};
    dstack_cert_spec spec = {.subject = "leaf", .not_after = NOW};
    assert_int_equal(dstack_cert_self_signed(&spec, h.leaf_key, &leaf, NULL), 0);
    assert_int_equal(dstack_ca_new(bytes_of_buf(&leaf), h.leaf_key, &ca, NULL), DSTACK_E_REFUSED);
    assert_null(ca);
    clear(&h);
}

static void the_reference_leaf_reads_as_recorded(void **state) {
    need_shared_data();
    DSTACK_AUTO(json)
    json_t *answer = load_json(SHARED_DATA "attestation/ratls/leaf-simulated.json");
    const json_t *chain = json_object_get(answer, "certificate_chain");
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    dstack_error err = {0};
    assert_ok(
        dstack_cert_parse(bytes_of_str(json_string_value(json_array_get(chain, 0))), &cert, &err),
        err);
    assert_string_equal(dstack_cert_usage(cert), "app:custom");
    assert_non_null(dstack_cert_app_info(cert));
    uint8_t bound[64];
    assert_ok(dstack_cert_report_data(dstack_cert_spki(cert), bound, &err), err);
    assert_memory_equal(dstack_attestation_report_data(dstack_cert_attestation(cert)).data, bound,
                        64);
    assert_hex(
        bytes_of(bound, 64),
        "69319eb74306a4018ea90e7f90ca22796cde3279bd2a185f72923ab6caf0cc7f3210a38c4c913205e78efdb4"
        "ea8637f746ed2f1432744244a4b492330e214ec1");
    assert_hex(cert->x509.serial, "3908c0b0630edb785b99db9bf2277e7abbe2ea95");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_certificate_says_what_was_put_in),
        cmocka_unit_test(wildcards_cover_one_label),
        cmocka_unit_test(a_chain_is_verified_to_the_given_root_alone),
        cmocka_unit_test(certificates_outside_their_validity_are_refused),
        cmocka_unit_test(sec_25_an_app_certificate_does_not_pass_as_the_kms),
        cmocka_unit_test(sec_25_reserved_names_are_refused_in_requests),
        cmocka_unit_test(sec_04_an_app_id_of_another_length_is_refused),
        cmocka_unit_test(a_client_certificate_needs_validity_and_evidence),
        cmocka_unit_test(malformed_extensions_are_refused),
        cmocka_unit_test(sec_15_a_compressed_event_log_unfolds_to_16_kib_at_most),
        cmocka_unit_test(a_ca_needs_its_own_key_and_the_ca_bit),
        cmocka_unit_test(the_reference_leaf_reads_as_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
