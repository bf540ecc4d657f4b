/* Certificates made by the builder, chained, and held against the rules of paths. */
#include "check.h"

#include "x509/build.h"
#include "x509/path.h"

#define NOW 1764000000
#define DAY 86400

typedef struct chain {
    ecdsa_private *root_key, *ca_key, *leaf_key, *other_key;
    dstack_buf root, ca, leaf, crl;
    x509_cert root_cert, ca_cert, leaf_cert;
} chain;

static ecdsa_private *fresh_key(void) {
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    assert_ok(ecdsa_private_generate(&key, ECDSA_P256, &err), err);
    return key;
}

static x509_build ca_template(const char *name, int path_len) {
    return (x509_build){
        .subject = {.organization = "Test", .common_name = name},
        .not_before = X509_DEFAULT_NOT_BEFORE,
        .not_after = NOW + 100 * DAY,
        .key_usage = X509_KU_DIGITAL_SIGNATURE | X509_KU_CERT_SIGN | X509_KU_CRL_SIGN,
        .with_ski = true,
        .with_basic_constraints = true,
        .is_ca = true,
        .path_len = path_len,
    };
}

static x509_build leaf_template(void) {
    return (x509_build){
        .subject = {.common_name = "leaf"},
        .not_before = NOW - DAY,
        .not_after = NOW + DAY,
        .key_usage = X509_KU_DIGITAL_SIGNATURE,
        .eku = X509_EKU_SERVER_AUTH,
    };
}

/* Signs a certificate for subject_key and parses the result. */
static void issue(x509_build build, const ecdsa_private *subject_key, const x509_cert *issuer,
                  const ecdsa_private *signer, dstack_buf *der, x509_cert *cert) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(ecdsa_key_spki(ecdsa_private_public(subject_key), &spki, &err), err);
    build.spki = bytes_of_buf(&spki);
    if (issuer != NULL) {
        build.issuer_der = issuer->subject;
    }
    dstack_buf_clear(der);
    assert_ok(x509_cert_build(&build, signer, false, der, &err), err);
    assert_ok(x509_cert_parse(cert, bytes_of_buf(der), &err), err);
}

static int chain_setup(void **state) {
    chain *c = calloc(1, sizeof *c);
    c->root_key = fresh_key();
    c->ca_key = fresh_key();
    c->leaf_key = fresh_key();
    c->other_key = fresh_key();
    issue(ca_template("root", 1), c->root_key, NULL, c->root_key, &c->root, &c->root_cert);
    issue(ca_template("ca", 0), c->ca_key, &c->root_cert, c->root_key, &c->ca, &c->ca_cert);
    issue(leaf_template(), c->leaf_key, &c->ca_cert, c->ca_key, &c->leaf, &c->leaf_cert);
    *state = c;
    return 0;
}

static int chain_teardown(void **state) {
    chain *c = *state;
    ecdsa_private_free(c->root_key);
    ecdsa_private_free(c->ca_key);
    ecdsa_private_free(c->leaf_key);
    ecdsa_private_free(c->other_key);
    dstack_buf_clear(&c->root);
    dstack_buf_clear(&c->ca);
    dstack_buf_clear(&c->leaf);
    dstack_buf_clear(&c->crl);
    free(c);
    return 0;
}

static int verify_at(const chain *c, int64_t now, dstack_error *err) {
    x509_path path = {0};
    x509_path_options options = {.now = now, .required_eku = X509_EKU_SERVER_AUTH};
    int rc = x509_path_verify(&c->leaf_cert, &c->ca_cert, 1, &c->root_cert, &options, &path, err);
    if (rc == 0) {
        assert_int_equal(path.count, 3);
        assert_ptr_equal(path.certs[1], &c->ca_cert);
        assert_ptr_equal(path.certs[2], &c->root_cert);
        assert_true(path.valid_from == NOW - DAY && path.valid_until == NOW + DAY);
    }
    x509_path_clear(&path);
    return rc;
}

static void a_sound_chain_is_accepted(void **state) {
    dstack_error err = {0};
    assert_ok(verify_at(*state, NOW, &err), err);
}

static void dates_are_inclusive_and_hold(void **state) {
    assert_int_equal(verify_at(*state, NOW - DAY, NULL), 0);
    assert_int_equal(verify_at(*state, NOW + DAY, NULL), 0);
    assert_int_equal(verify_at(*state, NOW - DAY - 1, NULL), DSTACK_E_X509_EXPIRED);
    assert_int_equal(verify_at(*state, NOW + DAY + 1, NULL), DSTACK_E_X509_EXPIRED);
}

static void a_leaf_signed_by_a_stranger_is_refused(void **state) {
    chain *c = *state;
    issue(leaf_template(), c->leaf_key, &c->ca_cert, c->other_key, &c->leaf, &c->leaf_cert);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_CRYPTO);
}

static void a_chain_to_another_root_of_the_same_name_is_refused(void **state) {
    chain *c = *state;
    issue(ca_template("root", 1), c->other_key, NULL, c->other_key, &c->root, &c->root_cert);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_CRYPTO);
}

static void an_intermediate_that_is_no_ca_is_refused(void **state) {
    chain *c = *state;
    x509_build build = leaf_template();
    build.subject = (x509_name_spec){.organization = "Test", .common_name = "ca"};
    issue(build, c->ca_key, &c->root_cert, c->root_key, &c->ca, &c->ca_cert);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_X509_PATH);
}

static void an_intermediate_without_cert_sign_is_refused(void **state) {
    chain *c = *state;
    x509_build build = ca_template("ca", 0);
    build.key_usage = X509_KU_DIGITAL_SIGNATURE;
    issue(build, c->ca_key, &c->root_cert, c->root_key, &c->ca, &c->ca_cert);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_X509_PATH);
}

static void a_leaf_that_is_a_ca_is_refused(void **state) {
    chain *c = *state;
    issue(ca_template("leaf", -1), c->leaf_key, &c->ca_cert, c->ca_key, &c->leaf, &c->leaf_cert);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_X509_PATH);
}

static void path_len_counts_the_cas_below(void **state) {
    chain *c = *state;
    dstack_error err = {0};
    x509_path path = {0};
    x509_path_options options = {.now = NOW};
    DSTACK_AUTO(buf) dstack_buf sub = {0};
    x509_cert pool[2];
    issue(ca_template("sub", 0), c->other_key, &c->ca_cert, c->ca_key, &sub, &pool[0]);
    issue(leaf_template(), c->leaf_key, &pool[0], c->other_key, &c->leaf, &c->leaf_cert);
    pool[1] = c->ca_cert; /* pathLen 0, with one CA below it */
    assert_int_equal(x509_path_verify(&c->leaf_cert, pool, 2, &c->root_cert, &options, &path, &err),
                     DSTACK_E_X509_PATH);
    DSTACK_AUTO(buf) dstack_buf wider = {0};
    issue(ca_template("ca", 1), c->ca_key, &c->root_cert, c->root_key, &wider, &pool[1]);
    assert_ok(x509_path_verify(&c->leaf_cert, pool, 2, &c->root_cert, &options, &path, &err), err);
    assert_int_equal(path.count, 4);
    x509_path_clear(&path);
}

static void a_leaf_for_another_purpose_is_refused(void **state) {
    chain *c = *state;
    x509_build build = leaf_template();
    build.eku = X509_EKU_CLIENT_AUTH;
    issue(build, c->leaf_key, &c->ca_cert, c->ca_key, &c->leaf, &c->leaf_cert);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_X509_PATH);
}

static void an_unknown_critical_extension_is_refused_unless_the_caller_knows_it(void **state) {
    chain *c = *state;
    dstack_error err = {0};
    x509_path path = {0};
    static const uint8_t oid[] = {0x2a, 0x03, 0x04};
    static const uint8_t value[] = {0x05, 0x00};
    x509_extension extension = {bytes_of(oid, 3), bytes_of(value, 2), true};
    x509_build build = leaf_template();
    build.custom = &extension;
    build.custom_count = 1;
    issue(build, c->leaf_key, &c->ca_cert, c->ca_key, &c->leaf, &c->leaf_cert);
    assert_true(c->leaf_cert.unknown_critical);
    assert_int_equal(verify_at(c, NOW, NULL), DSTACK_E_X509_PATH);
    dstack_bytes known = bytes_of(oid, 3);
    x509_path_options options = {.now = NOW, .known_critical = &known, .known_critical_count = 1};
    assert_ok(x509_path_verify(&c->leaf_cert, &c->ca_cert, 1, &c->root_cert, &options, &path, &err),
              err);
    x509_path_clear(&path);
}

static void the_pool_may_hold_strangers_and_duplicates(void **state) {
    chain *c = *state;
    dstack_error err = {0};
    x509_path path = {0};
    x509_path_options options = {.now = NOW};
    DSTACK_AUTO(buf) dstack_buf stranger = {0};
    x509_cert pool[4];
    /* Another certificate of the name "ca", whose key did not sign the leaf, comes first. */
    issue(ca_template("ca", 0), c->other_key, &c->root_cert, c->root_key, &stranger, &pool[0]);
    pool[1] = c->leaf_cert;
    pool[2] = c->ca_cert;
    pool[3] = c->ca_cert;
    assert_ok(x509_path_verify(&c->leaf_cert, pool, 4, &c->root_cert, &options, &path, &err), err);
    assert_ptr_equal(path.certs[1], &pool[2]);
    x509_path_clear(&path);
}

static void make_crl(chain *c, const ecdsa_private *signer, dstack_bytes revoked, x509_crl *crl) {
    dstack_error err = {0};
    x509_crl_entry entry = {revoked, NOW - DAY};
    x509_crl_build_spec build = {
        .issuer_der = c->ca_cert.subject,
        .this_update = NOW - 10,
        .next_update = NOW + 10,
        .number = 7,
        .entries = &entry,
        .entry_count = revoked.len > 0 ? 1 : 0,
    };
    dstack_buf_clear(&c->crl);
    assert_ok(x509_crl_build(&build, signer, false, &c->crl, &err), err);
    assert_ok(x509_crl_parse(crl, bytes_of_buf(&c->crl), &err), err);
    assert_int_equal(crl->revoked_count, build.entry_count);
}

static int crl_verdict(chain *c, const x509_crl *crl, int64_t now) {
    return x509_crl_check(crl, &c->leaf_cert, &c->ca_cert, ecdsa_private_public(c->ca_key), now,
                          NULL);
}

static void a_crl_speaks_for_its_issuer_within_its_time(void **state) {
    chain *c = *state;
    x509_crl crl;
    static const uint8_t other_serial[] = {0x01, 0x02};
    make_crl(c, c->ca_key, (dstack_bytes){0}, &crl);
    assert_int_equal(crl_verdict(c, &crl, NOW), 0);
    assert_int_equal(crl_verdict(c, &crl, NOW - 10), 0);
    assert_int_equal(crl_verdict(c, &crl, NOW - 11), DSTACK_E_X509_EXPIRED);
    assert_int_equal(crl_verdict(c, &crl, NOW + 9), 0);
    assert_int_equal(crl_verdict(c, &crl, NOW + 10), DSTACK_E_X509_EXPIRED);
    make_crl(c, c->ca_key, bytes_of(other_serial, 2), &crl);
    assert_int_equal(crl_verdict(c, &crl, NOW), 0);
    make_crl(c, c->ca_key, c->leaf_cert.serial, &crl);
    assert_int_equal(crl_verdict(c, &crl, NOW), DSTACK_E_X509_REVOKED);
    make_crl(c, c->other_key, (dstack_bytes){0}, &crl);
    assert_int_equal(crl_verdict(c, &crl, NOW), DSTACK_E_CRYPTO);
    /* The list says nothing about a certificate of another issuer. */
    make_crl(c, c->ca_key, (dstack_bytes){0}, &crl);
    assert_int_equal(x509_crl_check(&crl, &c->ca_cert, &c->root_cert,
                                    ecdsa_private_public(c->root_key), NOW, NULL),
                     DSTACK_E_X509_PATH);
}

static void every_flipped_bit_of_a_certificate_is_refused(void **state) {
    chain *c = *state;
    dstack_buf copy = {0};
    buf_put_bytes(&copy, bytes_of_buf(&c->leaf));
    for (size_t i = 0; i < copy.len; i++) {
        x509_cert cert;
        x509_path path = {0};
        x509_path_options options = {.now = NOW};
        copy.data[i] ^= (uint8_t)(1u << (i % 8));
        int rc = x509_cert_parse(&cert, bytes_of_buf(&copy), NULL);
        if (rc == 0) {
            rc = x509_path_verify(&cert, &c->ca_cert, 1, &c->root_cert, &options, &path, NULL);
        }
        if (rc == 0) {
            fail_msg("byte %zu may be changed without notice", i);
        }
        copy.data[i] ^= (uint8_t)(1u << (i % 8));
    }
    dstack_buf_clear(&copy);
}

#define PATH_TEST(f) cmocka_unit_test_setup_teardown(f, chain_setup, chain_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        PATH_TEST(a_sound_chain_is_accepted),
        PATH_TEST(dates_are_inclusive_and_hold),
        PATH_TEST(a_leaf_signed_by_a_stranger_is_refused),
        PATH_TEST(a_chain_to_another_root_of_the_same_name_is_refused),
        PATH_TEST(an_intermediate_that_is_no_ca_is_refused),
        PATH_TEST(an_intermediate_without_cert_sign_is_refused),
        PATH_TEST(a_leaf_that_is_a_ca_is_refused),
        PATH_TEST(path_len_counts_the_cas_below),
        PATH_TEST(a_leaf_for_another_purpose_is_refused),
        PATH_TEST(an_unknown_critical_extension_is_refused_unless_the_caller_knows_it),
        PATH_TEST(the_pool_may_hold_strangers_and_duplicates),
        PATH_TEST(a_crl_speaks_for_its_issuer_within_its_time),
        PATH_TEST(every_flipped_bit_of_a_certificate_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
