/* Nitro documents made here under a root of our own: what passes, and what each rule refuses. */
#include "check.h"

#include <dstack/nitro.h>

#include "base/cbor.h"
#include "crypto/ecdsa.h"
#include "crypto/hash.h"
#include "x509/build.h"

#define NOW 1767225600
#define YEAR ((int64_t)365 * 86400)

typedef struct made_nitro {
    int64_t timestamp_ms;
    uint8_t fill[3]; /* PCR0 to PCR2 are full of it */
    bool tpm_name, foreign_leaf, twice, other_alg;
    size_t pcrs; /* how many PCRs */
    dstack_buf root, document;
} made_nitro;

static ecdsa_private *role_key(uint8_t role) {
    uint8_t scalar[48];
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    memset(scalar, 0x41 + role, sizeof scalar);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P384, bytes_of(scalar, 48), &err), err);
    return key;
}

static void make_cert(uint8_t role, uint8_t signer, bool ca, dstack_buf *out) {
    static const char *const names[] = {"made root", "made leaf"};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *own = role_key(role);
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = role_key(signer);
    DSTACK_AUTO(buf) dstack_buf spki = {0}, issuer = {0};
    dstack_error err = {0};
    const x509_name_spec issuer_name = {.common_name = names[0]};
    assert_ok(x509_name_build(&issuer_name, &issuer, &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(own), &spki, &err), err);
    const x509_build build = {.subject = {.common_name = names[role]},
                              .issuer_der = bytes_of_buf(&issuer),
                              .not_before = NOW - YEAR,
                              .not_after = NOW + YEAR,
                              .spki = bytes_of_buf(&spki),
                              .key_usage = ca ? X509_KU_CERT_SIGN : X509_KU_DIGITAL_SIGNATURE,
                              .with_basic_constraints = true,
                              .is_ca = ca,
                              .path_len = -1};
    assert_ok(x509_cert_build(&build, key, true, out, &err), err);
}

static void put_payload(const made_nitro *m, dstack_bytes leaf, dstack_buf *out) {
    uint8_t data[64];
    memset(data, 0x42, sizeof data);
    cbor_put_map(out, m->twice ? 8 : 7);
    cbor_put_text(out, "module_id");
    cbor_put_text(out, "i-0-enc1");
    cbor_put_text(out, "digest");
    cbor_put_text(out, "SHA384");
    cbor_put_text(out, "timestamp");
    cbor_put_uint(out, (uint64_t)m->timestamp_ms);
    cbor_put_text(out, m->tpm_name ? "nitrotpm_pcrs" : "pcrs");
    cbor_put_map(out, m->pcrs);
    for (size_t i = 0; i < m->pcrs; i++) {
        uint8_t pcr[48];
        memset(pcr, i < 3 ? m->fill[i] : 0x77, sizeof pcr);
        cbor_put_uint(out, i);
        cbor_put_bytes(out, bytes_of(pcr, sizeof pcr));
    }
    cbor_put_text(out, "certificate");
    cbor_put_bytes(out, leaf);
    cbor_put_text(out, "cabundle");
    cbor_put_array(out, 1);
    cbor_put_bytes(out, bytes_of_str("junk that nobody reads"));
    for (int i = 0; i < (m->twice ? 2 : 1); i++) {
        cbor_put_text(out, "user_data");
        cbor_put_bytes(out, bytes_of(data, sizeof data));
    }
}

static void build(made_nitro *m) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = role_key(1);
    DSTACK_AUTO(buf) dstack_buf leaf = {0}, payload = {0}, text = {0};
    const dstack_bytes header =
        bytes_of(m->other_alg ? "\xa1\x01\x26" : "\xa1\x01\x38\x22", m->other_alg ? 3 : 4);
    uint8_t digest[48], raw[96];
    dstack_error err = {0};
    make_cert(0, 0, true, &m->root);
    make_cert(1, m->foreign_leaf ? 5 : 0, false, &leaf);
    put_payload(m, bytes_of_buf(&leaf), &payload);
    cbor_put_array(&text, 4);
    cbor_put_text(&text, "Signature1");
    cbor_put_bytes(&text, header);
    cbor_put_bytes(&text, (dstack_bytes){0});
    cbor_put_bytes(&text, bytes_of_buf(&payload));
    hash_sha384(bytes_of_buf(&text), digest);
    assert_ok(ecdsa_sign_deterministic(key, bytes_of(digest, 48), raw, &err), err);
    buf_put_u8(&m->document, 0xd2);
    cbor_put_array(&m->document, 4);
    cbor_put_bytes(&m->document, header);
    cbor_put_map(&m->document, 0);
    cbor_put_bytes(&m->document, bytes_of_buf(&payload));
    cbor_put_bytes(&m->document, bytes_of(raw, sizeof raw));
}

static made_nitro good(void) {
    return (made_nitro){.timestamp_ms = (int64_t)NOW * 1000, .fill = {1, 2, 3}, .pcrs = 5};
}

static int verify(made_nitro *m, dstack_nitro_options options, dstack_nitro_verdict *out,
                  dstack_error *err) {
    build(m);
    options.now = NOW;
    options.root = bytes_of_buf(&m->root);
    const int rc = dstack_nitro_verify(bytes_of_buf(&m->document), &options, out, err);
    dstack_buf_clear(&m->root);
    dstack_buf_clear(&m->document);
    return rc;
}

static void refused(made_nitro m, int status, const char *word) {
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    const int rc = verify(&m, (dstack_nitro_options){0}, &verdict, &err);
    if (rc != status || strstr(err.message, word) == NULL) {
        fail_msg("\"%s\" expected, not %s: %s", word, dstack_status_name((dstack_status)rc),
                 err.message);
    }
}

static void a_good_document_verifies_and_names_its_root(void **state) {
    (void)state;
    made_nitro m = good();
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    uint8_t data[64];
    memset(data, 0x42, sizeof data);
    const dstack_bytes view = bytes_of(data, sizeof data);
    assert_ok(verify(&m, (dstack_nitro_options){.user_data = &view}, &verdict, &err), err);
    assert_string_equal(verdict.module_id, "i-0-enc1");
    assert_string_equal(verdict.anchor.name, "pinned-nitro-root");
    assert_int_equal(verdict.pcr_mask, 0x1f);
    data[63] ^= 1;
    m = good();
    assert_int_equal(verify(&m, (dstack_nitro_options){.user_data = &view}, &verdict, &err),
                     DSTACK_E_REFUSED);
}

static void sec_an_enclave_in_debug_mode_is_refused_unless_asked_for(void **state) {
    (void)state;
    made_nitro m = good();
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    memset(m.fill, 0, sizeof m.fill);
    refused(m, DSTACK_E_REFUSED, "debug mode");
    assert_ok(verify(&m, (dstack_nitro_options){.allow_debug = true}, &verdict, &err), err);
    assert_true(verdict.debug);
    m = good();
    m.fill[1] = 0;
    refused(m, DSTACK_E_REFUSED, "is zero");
    m = good();
    m.pcrs = 2;
    refused(m, DSTACK_E_REFUSED, "must be there");
    m = good();
    m.tpm_name = true;
    refused(m, DSTACK_E_REFUSED, "NitroTPM");
}

static void sec_21_old_and_early_documents_are_refused(void **state) {
    (void)state;
    made_nitro m = good();
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    m.timestamp_ms -= 3600 * 1000;
    assert_ok(verify(&m, (dstack_nitro_options){0}, &verdict, &err), err);
    m = good();
    m.timestamp_ms -= 3600 * 1000 + 1;
    refused(m, DSTACK_E_REFUSED, "stale");
    m = good();
    m.timestamp_ms += 300 * 1000 + 1;
    refused(m, DSTACK_E_REFUSED, "future");
}

static void sec_signature_chain_and_form_are_checked(void **state) {
    (void)state;
    made_nitro m = good();
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    m.foreign_leaf = true;
    refused(m, DSTACK_E_CRYPTO, "chain");
    m = good();
    m.other_alg = true;
    refused(m, DSTACK_E_UNSUPPORTED, "algorithm");
    m = good();
    m.twice = true;
    refused(m, DSTACK_E_FORMAT, "twice");
    m = good();
    build(&m);
    const dstack_nitro_options aws = {.now = NOW};
    assert_int_not_equal(dstack_nitro_verify(bytes_of_buf(&m.document), &aws, &verdict, &err), 0);
    const dstack_nitro_options own = {.now = NOW, .root = bytes_of_buf(&m.root)};
    for (size_t i = 0; i < m.document.len; i++) {
        m.document.data[i] ^= 0x04;
        assert_int_not_equal(dstack_nitro_verify(bytes_of_buf(&m.document), &own, &verdict, &err),
                             0);
        m.document.data[i] ^= 0x04;
    }
    dstack_buf_clear(&m.root);
    dstack_buf_clear(&m.document);
}

static void sec_15_sizes_are_bounded_before_decoding(void **state) {
    (void)state;
    DSTACK_AUTO(buf) dstack_buf large = {0};
    dstack_nitro_document document;
    dstack_error err = {0};
    buf_put_zeros(&large, DSTACK_NITRO_MAX_SIZE + 1);
    assert_int_equal(dstack_nitro_document_parse(&document, bytes_of_buf(&large), &err),
                     DSTACK_E_LIMIT);
    /* an array of 2^63 items within the unprotected header */
    static const uint8_t bomb[] = {0x84, 0x44, 0xa1, 0x01, 0x38, 0x22, 0xa1, 0x01, 0x9b,
                                   0x80, 0,    0,    0,    0,    0,    0,    0};
    assert_int_equal(dstack_nitro_document_parse(&document, bytes_of(bomb, sizeof bomb), &err),
                     DSTACK_E_FORMAT);
    made_nitro m = good();
    m.pcrs = DSTACK_NITRO_MAX_PCRS + 1;
    refused(m, DSTACK_E_FORMAT, "pcrs");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_good_document_verifies_and_names_its_root),
        cmocka_unit_test(sec_an_enclave_in_debug_mode_is_refused_unless_asked_for),
        cmocka_unit_test(sec_21_old_and_early_documents_are_refused),
        cmocka_unit_test(sec_signature_chain_and_form_are_checked),
        cmocka_unit_test(sec_15_sizes_are_bounded_before_decoding),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
