/* Certificates, requests and PEM: what is written reads back; real certificates read as they are.
 */
#include "check.h"

#include <arpa/inet.h>

#include "x509/build.h"
#include "x509/csr.h"
#include "x509/path.h"
#include "x509/pem.h"

#define TEST_SCALAR "f57527cea4ab7ffb49af99b158cdc0e3ec06398f528349ea236b7d2afe19cec1"

static ecdsa_private *test_key(void) {
    dstack_error err = {0};
    ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf scalar = {0};
    put_hex(&scalar, TEST_SCALAR);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of_buf(&scalar), &err), err);
    return key;
}

static void the_profile_of_a_ca_is_byte_exact(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = test_key();
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    x509_cert cert;
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    x509_build build = {
        .subject = {.organization = "Dstack", .common_name = "Dstack KMS CA"},
        .not_before = X509_DEFAULT_NOT_BEFORE,
        .not_after = 2100000000,
        .spki = bytes_of_buf(&spki),
        .key_usage = X509_KU_DIGITAL_SIGNATURE | X509_KU_CERT_SIGN | X509_KU_CRL_SIGN,
        .with_ski = true,
        .with_basic_constraints = true,
        .is_ca = true,
        .path_len = 1,
    };
    assert_ok(x509_cert_build(&build, key, true, &der, &err), err);
    assert_ok(x509_cert_parse(&cert, bytes_of_buf(&der), &err), err);
    assert_hex(cert.serial, "6078317e8a0f260d06534a3d2a4d0fa135a75721");
    assert_hex(cert.ski, "5df9d433e05d122dc5d6b8afa7d0ca8083182348");
    assert_hex(
        cert.tbs,
        "3082013fa00302010202146078317e8a0f260d06534a3d2a4d0fa135a75721300a06082a8648ce3d0403"
        "02"
        "3029310f300d060355040a0c0644737461636b311630140603550403"
        "0c0d44737461636b204b4d53204341"
        "301e170d3735303130313030303030305a170d3336303731383133323030305a"
        "3029310f300d060355040a0c0644737461636b311630140603550403"
        "0c0d44737461636b204b4d53204341"
        "3059301306072a8648ce3d020106082a8648ce3d0301070342000491f50522407ce29dce3ed7d31a15d8"
        "0c1c42f13a23552d2b33a0ce09ee11e47bce95936f3e7f80d195f879e28e1b144ef37ac9ab8e36a690cb"
        "f930b775897b27"
        "a3453043"
        "300e0603551d0f0101ff040403020186"
        "301d0603551d0e041604145df9d433e05d122dc5d6b8afa7d0ca8083182348"
        "30120603551d130101ff040830060101ff020101");
}

static void what_is_built_reads_back(void **state) {
    (void)state;
    dstack_error err = {0};
    static const char *const names[] = {"app.example", "192.0.2.7", "2001:db8::1"};
    static const uint8_t oid[] = {0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xe7, 0x3d, 0x01, 0x04};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = test_key();
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf usage = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    x509_cert cert;
    x509_san san;
    size_t position = 0;
    char text[128];
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    assert_ok(x509_octet_string(bytes_of_str("app:ca"), &usage, &err), err);
    assert_hex(bytes_of_buf(&usage), "04066170703a6361");
    x509_extension custom = {bytes_of(oid, sizeof oid), bytes_of_buf(&usage), false};
    x509_build build = {
        .subject = {.organization = "O", .organizational_unit = "U", .common_name = "C"},
        .not_before = 0,
        .not_after = 4102444800, /* 2100: GeneralizedTime */
        .spki = bytes_of_buf(&spki),
        .alt_names = names,
        .alt_name_count = 3,
        .key_usage = X509_KU_DIGITAL_SIGNATURE,
        .eku = X509_EKU_SERVER_AUTH | X509_EKU_CLIENT_AUTH,
        .custom = &custom,
        .custom_count = 1,
    };
    assert_ok(x509_cert_build(&build, key, false, &der, &err), err);
    assert_ok(x509_cert_parse(&cert, bytes_of_buf(&der), &err), err);
    assert_true(cert.not_before == 0 && cert.not_after == 4102444800);
    assert_int_equal(cert.key_usage, X509_KU_DIGITAL_SIGNATURE);
    assert_int_equal(cert.eku, X509_EKU_SERVER_AUTH | X509_EKU_CLIENT_AUTH);
    assert_false(cert.has_basic_constraints || cert.unknown_critical);
    assert_int_equal(cert.extension_count, 4);
    assert_string_equal(x509_name_text(cert.subject, text, sizeof text), "O=O, OU=U, CN=C");
    assert_string_equal(x509_name_text(cert.subject, text, 6), "O=O, ");
    assert_true(x509_cert_san_next(&cert, &position, &san) && san.kind == X509_SAN_DNS);
    assert_true(bytes_equal_str(san.value, "app.example"));
    assert_true(x509_cert_san_next(&cert, &position, &san) && san.kind == X509_SAN_IP);
    assert_hex(san.value, "c0000207");
    assert_true(x509_cert_san_next(&cert, &position, &san) && san.value.len == 16);
    assert_false(x509_cert_san_next(&cert, &position, &san));
    dstack_bytes inner;
    const x509_extension *found = x509_cert_extension(&cert, bytes_of(oid, sizeof oid));
    assert_non_null(found);
    assert_ok(x509_octet_string_open(found->value, &inner, &err), err);
    assert_true(bytes_equal_str(inner, "app:ca"));
    assert_ok(x509_cert_verify_signature(&cert, ecdsa_private_public(key), &err), err);
}

static void names_outside_ascii_and_empty_validities_are_refused(void **state) {
    (void)state;
    dstack_error err = {0};
    const char *name = "b\xc3\xbc"
                       "cher.example";
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = test_key();
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    x509_build build = {
        .spki = bytes_of_buf(&spki), .not_after = 10, .alt_names = &name, .alt_name_count = 1};
    assert_int_equal(x509_cert_build(&build, key, false, &der, &err), DSTACK_E_ARGUMENT);
    name = "";
    assert_int_equal(x509_cert_build(&build, key, false, &der, &err), DSTACK_E_ARGUMENT);
    build.alt_name_count = 0;
    build.not_before = 11;
    assert_int_equal(x509_cert_build(&build, key, false, &der, &err), DSTACK_E_ARGUMENT);
    build.not_after = 253402300800;
    assert_int_equal(x509_cert_build(&build, key, false, &der, &err), DSTACK_E_ARGUMENT);
    assert_int_equal(der.len, 0);
}

static void requests_read_back_and_prove_possession(void **state) {
    (void)state;
    dstack_error err = {0};
    static const char *const names[] = {"*.apps.example", "apps.example"};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = test_key();
    DSTACK_AUTO(buf) dstack_buf der = {0};
    x509_csr csr;
    x509_san san;
    size_t position = 0;
    assert_ok(x509_csr_build(key, "apps.example", names, 2, &der, &err), err);
    assert_ok(x509_csr_parse(&csr, bytes_of_buf(&der), &err), err);
    assert_true(bytes_equal_str(x509_name_common_name(csr.subject), "apps.example"));
    assert_true(x509_csr_san_next(&csr, &position, &san));
    assert_true(bytes_equal_str(san.value, "*.apps.example"));
    assert_true(x509_csr_san_next(&csr, &position, &san));
    assert_true(bytes_equal_str(san.value, "apps.example"));
    assert_false(x509_csr_san_next(&csr, &position, &san));
    for (size_t i = 0; i < der.len; i++) {
        der.data[i] ^= 1;
        assert_int_not_equal(x509_csr_parse(&csr, bytes_of_buf(&der), NULL), 0);
        der.data[i] ^= 1;
    }
    for (size_t len = 0; len < der.len; len++) {
        assert_int_not_equal(x509_csr_parse(&csr, bytes_of(der.data, len), NULL), 0);
    }
    dstack_buf_clear(&der);
    assert_ok(x509_csr_build(key, NULL, NULL, 0, &der, &err), err);
    assert_ok(x509_csr_parse(&csr, bytes_of_buf(&der), &err), err);
    assert_int_equal(csr.subject.len, 2);
}

/* ---- PEM ------------------------------------------------------------------------------------ */

static int pem_count(const char *text, size_t len, size_t *blocks) {
    pem_reader reader;
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = true;
    int rc = 0;
    *blocks = 0;
    pem_reader_init(&reader, bytes_of(text, len));
    while (rc == 0 && found) {
        rc = pem_next(&reader, &block, &found, NULL);
        *blocks += rc == 0 && found;
    }
    return rc;
}

static void pem_reads_blocks_within_any_text(void **state) {
    (void)state;
    size_t blocks;
    static const char two[] = "noise\n-----BEGIN A-----\r\nAAEC\r\n-----END A-----\r\n\0\0more\n"
                              "-----BEGIN B C-----\nAAECAw==\n-----END B C-----";
    assert_int_equal(pem_count(two, sizeof two - 1, &blocks), 0);
    assert_int_equal(blocks, 2);
    static const char *const bad[] = {
        "-----BEGIN A-----\nAAEC\n",
        "-----BEGIN A-----\nAAEC\n-----END B-----\n",
        "-----BEGIN A-----\nAA!C\n-----END A-----\n",
        "-----BEGIN A-----\nAAE\n-----END A-----\n",
        "-----BEGIN A-----\nAAEC=\n-----END A-----\n",
        "-----BEGIN \n-----\nAAEC\n-----END \n-----\n",
        "-----BEGIN A",
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(pem_count(bad[i], strlen(bad[i]), &blocks), DSTACK_E_FORMAT);
    }
    assert_int_equal(pem_count("", 0, &blocks), 0);
    assert_int_equal(blocks, 0);
}

static void pem_round_trips(void **state) {
    (void)state;
    dstack_error err = {0};
    uint8_t data[200];
    memset(data, 0x5a, sizeof data);
    for (size_t len = 0; len <= sizeof data; len++) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        DSTACK_AUTO(pem_block) pem_block block = {0};
        pem_reader reader;
        bool found;
        assert_ok(pem_append(&text, "THING", bytes_of(data, len), &err), err);
        pem_reader_init(&reader, bytes_of_buf(&text));
        assert_ok(pem_next(&reader, &block, &found, &err), err);
        assert_true(found && bytes_equal_str(block.label, "THING"));
        assert_true(bytes_equal(bytes_of_buf(&block.der), bytes_of(data, len)));
    }
}

/* ---- real certificates ---------------------------------------------------------------------- */

static void load_cert(const char *path, dstack_buf *der, x509_cert *cert) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf file = {0};
    load_file(path, &file);
    if (pem_looks_like(bytes_of_buf(&file))) {
        pem_reader reader;
        DSTACK_AUTO(pem_block) pem_block block = {0};
        bool found;
        pem_reader_init(&reader, bytes_of_buf(&file));
        assert_ok(pem_next(&reader, &block, &found, &err), err);
        assert_true(found);
        buf_put_bytes(der, bytes_of_buf(&block.der));
    } else {
        buf_put_bytes(der, bytes_of_buf(&file));
    }
    int rc = x509_cert_parse(cert, bytes_of_buf(der), &err);
    if (rc != 0) {
        fail_msg("%s: %s", path, err.message);
    }
}

static void intels_root_reads_as_published(void **state) {
    (void)state;
    need_shared_data();
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    x509_cert cert;
    load_cert(SHARED_DATA "attestation/roots/intel_sgx_root_ca.der", &der, &cert);
    assert_true(bytes_equal_str(x509_name_common_name(cert.subject), "Intel SGX Root CA"));
    assert_hex(cert.serial, "22650cd65a9d3489f383b49552bf501b392706ac");
    assert_true(cert.not_before == 1526899510 && cert.not_after == 2524607999);
    assert_true(cert.is_ca && cert.has_path_len && cert.path_len == 1);
    assert_true(bytes_equal(cert.issuer, cert.subject));
    assert_ok(x509_cert_key(&cert, &key, &err), err);
    assert_ok(x509_cert_verify_signature(&cert, key, &err), err);
}

/* Other vendors' roots use RSA-PSS or P-384: they parse, whether or not we can verify with them. */
static void other_vendors_roots_parse(void **state) {
    (void)state;
    need_shared_data();
    static const char *const files[] = {
        "attestation/roots/amd_ark_genoa.pem",     "attestation/roots/amd_ark_milan.pem",
        "attestation/roots/amd_ark_turin.pem",     "attestation/roots/amd_ask_genoa.pem",
        "attestation/roots/amd_ask_milan.pem",     "attestation/roots/amd_ask_turin.pem",
        "attestation/roots/aws_nitro_root_g1.pem", "attestation/roots/gcp_ek_ak_root.pem",
        "attestation/attest/sev_snp_ask.pem",      "attestation/attest/sev_snp_vcek.pem",
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        char path[256];
        x509_cert cert;
        DSTACK_AUTO(buf) dstack_buf der = {0};
        snprintf(path, sizeof path, "%s%s", SHARED_DATA, files[i]);
        load_cert(path, &der, &cert);
    }
}

/* A certificate that the reference system issued, taken apart and built again by us, has the same
 * TBSCertificate to the byte. */
static void rebuilds_as_the_reference(const char *path, bool is_ca, int path_len) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    DSTACK_AUTO(buf) dstack_buf ours = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = test_key();
    x509_cert theirs, rebuilt;
    x509_extension custom[X509_MAX_EXTENSIONS];
    size_t custom_count = 0, position = 0, name_count = 0;
    char names[4][128];
    const char *name_list[4];
    x509_san san;
    load_cert(path, &der, &theirs);
    for (size_t i = 0; i < theirs.extension_count; i++) {
        if (!x509_extension_is_decoded(theirs.extensions[i].oid)) {
            custom[custom_count++] = theirs.extensions[i];
        }
    }
    while (x509_cert_san_next(&theirs, &position, &san) && name_count < 4) {
        if (san.kind == X509_SAN_IP) {
            assert_int_equal(san.value.len, 4);
            assert_non_null(inet_ntop(AF_INET, san.value.data, names[name_count], sizeof names[0]));
        } else {
            assert_int_equal(san.kind, X509_SAN_DNS);
            snprintf(names[name_count], sizeof names[0], "%.*s", (int)san.value.len,
                     (const char *)san.value.data);
        }
        name_list[name_count] = names[name_count];
        name_count++;
    }
    x509_build build = {
        .subject_der = theirs.subject,
        .issuer_der = theirs.issuer,
        .not_before = theirs.not_before,
        .not_after = theirs.not_after,
        .spki = theirs.spki,
        .alt_names = name_list,
        .alt_name_count = name_count,
        .key_usage = theirs.key_usage,
        .nine_bit_key_usage = true,
        .eku = theirs.eku,
        .with_ski = is_ca,
        .with_basic_constraints = is_ca,
        .is_ca = is_ca,
        .path_len = path_len,
        .custom = custom,
        .custom_count = custom_count,
    };
    assert_ok(x509_cert_build(&build, key, false, &ours, &err), err);
    assert_ok(x509_cert_parse(&rebuilt, bytes_of_buf(&ours), &err), err);
    if (!bytes_equal(rebuilt.tbs, theirs.tbs)) {
        DSTACK_AUTO(buf) dstack_buf a = {0};
        DSTACK_AUTO(buf) dstack_buf b = {0};
        buf_put_hex(&a, rebuilt.tbs);
        buf_put_hex(&b, theirs.tbs);
        fail_msg("%s differs:\nours   %s\ntheirs %s", path, buf_text(&a), buf_text(&b));
    }
}

static void our_profile_is_the_references_to_the_byte(void **state) {
    (void)state;
    need_shared_data();
    rebuilds_as_the_reference(SHARED_DATA "kms/certs/root-ca.crt", true, 1);
    rebuilds_as_the_reference(SHARED_DATA "kms/certs/tmp-ca.crt", true, 0);
    rebuilds_as_the_reference(SHARED_DATA "kms/certs/app-ca.crt", true, 0);
    rebuilds_as_the_reference(SHARED_DATA "kms/certs/kms-rpc.crt", false, -1);
    rebuilds_as_the_reference(SHARED_DATA "kms/certs/kms-rpc-attested.crt", false, -1);
    rebuilds_as_the_reference(SHARED_DATA "kms/certs/leaf.crt", false, -1);
}

static void a_chain_of_the_references_kms_verifies(void **state) {
    (void)state;
    need_shared_data();
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf file = {0};
    DSTACK_AUTO(pem_block) pem_block block = {0};
    dstack_buf ders[3] = {{0}};
    x509_cert certs[3];
    pem_reader reader;
    bool found = true;
    size_t count = 0;
    load_file(SHARED_DATA "kms/certs/signcert-ratls-chain.pem", &file);
    pem_reader_init(&reader, bytes_of_buf(&file));
    while (count < 3 && found) {
        assert_ok(pem_next(&reader, &block, &found, &err), err);
        buf_put_bytes(&ders[count], bytes_of_buf(&block.der));
        assert_ok(x509_cert_parse(&certs[count], bytes_of_buf(&ders[count]), &err), err);
        count++;
    }
    assert_int_equal(count, 3);
    x509_path path = {0};
    x509_path_options options = {.now = certs[0].not_before + 1};
    if (options.now < certs[1].not_before) {
        options.now = certs[1].not_before;
    }
    assert_ok(x509_path_verify(&certs[0], &certs[1], 1, &certs[2], &options, &path, &err), err);
    assert_int_equal(path.count, 3);
    x509_path_clear(&path);
    for (size_t i = 0; i < 3; i++) {
        dstack_buf_clear(&ders[i]);
    }
}

static void der_that_holds_pem_text_is_der(void **state) {
    (void)state;
    static const char inner[] = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    DSTACK_AUTO(buf) dstack_buf der = {0};
    buf_put_u8(&der, 0x30);
    buf_put_u8(&der, 0x82);
    buf_put_u16be(&der, sizeof inner);
    buf_put_u8(&der, '\n');
    buf_put(&der, inner, sizeof inner - 1);
    assert_false(pem_looks_like(bytes_of_buf(&der)));
    assert_true(pem_looks_like(bytes_of_str(inner)));
    assert_true(pem_looks_like(bytes_of_str("0 s:CN = x\n-----BEGIN CERTIFICATE-----\n")));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_profile_of_a_ca_is_byte_exact),
        cmocka_unit_test(what_is_built_reads_back),
        cmocka_unit_test(names_outside_ascii_and_empty_validities_are_refused),
        cmocka_unit_test(requests_read_back_and_prove_possession),
        cmocka_unit_test(pem_reads_blocks_within_any_text),
        cmocka_unit_test(der_that_holds_pem_text_is_der),
        cmocka_unit_test(pem_round_trips),
        cmocka_unit_test(intels_root_reads_as_published),
        cmocka_unit_test(other_vendors_roots_parse),
        cmocka_unit_test(our_profile_is_the_references_to_the_byte),
        cmocka_unit_test(a_chain_of_the_references_kms_verifies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
