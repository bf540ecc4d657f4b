/* The simulation hierarchy: seeded it is the reference's mock hierarchy, byte for byte. */
#include "check.h"

#include <sys/stat.h>

#include "crypto/hash.h"
#include "sim/sim_keys.h"
#include "sim/sim_pki.h"
#include "x509/cert.h"
#include "x509/pem.h"

#define NOW 1790000000

static void seeded_keys_are_the_reference_mock_keys(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *vectors = load_json(SHARED_DATA "attestation/vectors.json");
    const json_t *keys = json_object_get(vectors, "mock_keys");
    static const char *const labels[] = {"tdx-root", "tdx-pck-ca", "tdx-pck", "tdx-tcb", "tdx-qe"};
    uint8_t seed[SIM_SEED_SIZE];
    dstack_error err = {0};
    assert_ok(json_need_hex(keys, "seed", seed, sizeof seed, &err), err);
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
        assert_ok(sim_pki_derive(seed, labels[i], &key, &err), err);
        assert_hex(ecdsa_private_scalar(key), json_string_value(json_object_get(keys, labels[i])));
    }
}

static void the_seeded_root_and_chain_are_byte_equal_to_the_mock_ones(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    load_file(SHARED_DATA "attestation/mock/roots/tdx.pem", &pem);
    pem_reader reader;
    pem_block block = {0};
    bool found = false;
    dstack_error err = {0};
    pem_reader_init(&reader, bytes_of_buf(&pem));
    assert_ok(pem_next(&reader, &block, &found, &err), err);
    assert_true(found);
    uint8_t seed[SIM_SEED_SIZE];
    memset(seed, 0x71, sizeof seed);
    DSTACK_AUTO(sim_pki) sim_pki pki = {0};
    assert_ok(sim_pki_make(seed, NOW, &pki, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&pki.root_der), bytes_of_buf(&block.der)));
    pem_block_clear(&block);
}

/* The collateral server of the reference gives out the same revocation lists and chains. */
static void seeded_revocation_lists_are_those_of_the_mock_server(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *exchanges = load_json(SHARED_DATA "attestation/mock/pccs.json");
    uint8_t seed[SIM_SEED_SIZE];
    memset(seed, 0x71, sizeof seed);
    DSTACK_AUTO(sim_pki) sim_pki pki = {0};
    dstack_error err = {0};
    assert_ok(sim_pki_make(seed, NOW, &pki, &err), err);
    DSTACK_AUTO(json)
    json_t *bundle = json_parse(bytes_of_buf(&pki.collateral), 1 << 20, "collateral", &err);
    assert_non_null(bundle);
    const char *root_crl = json_string_value(json_object_get(bundle, "root_ca_crl"));
    const char *pck_crl = json_string_value(json_object_get(bundle, "pck_crl"));
    size_t index, compared = 0;
    json_t *exchange;
    json_array_foreach(exchanges, index, exchange) {
        const char *path = json_string_value(json_object_get(exchange, "path"));
        const char *body = json_string_value(json_object_get(exchange, "body_hex"));
        if (strstr(path, "pckcrl") != NULL) {
            assert_string_equal(pck_crl, body);
            compared++;
        } else if (strstr(path, "rootcacrl") != NULL) {
            /* The server sends this one as hex text. */
            DSTACK_AUTO(buf) dstack_buf text = {0};
            put_hex(&text, body);
            assert_true(bytes_equal_str(bytes_of_buf(&text), root_crl));
            compared++;
        }
    }
    assert_int_equal(compared, 2);
}

/* Undoes percent encoding; the server's header has no other. */
static void url_decode(const char *text, dstack_buf *out) {
    for (; *text != '\0'; text++) {
        if (*text == '%') {
            const char pair[] = {text[1], text[2], '\0'};
            put_hex(out, pair);
            text += 2;
        } else {
            buf_put(out, text, 1);
        }
    }
}

static void seeded_chains_are_those_of_the_mock_server_and_its_quotes(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *exchanges = load_json(SHARED_DATA "attestation/mock/pccs.json");
    uint8_t seed[SIM_SEED_SIZE];
    memset(seed, 0x71, sizeof seed);
    DSTACK_AUTO(sim_pki) sim_pki pki = {0};
    dstack_error err = {0};
    assert_ok(sim_pki_make(seed, NOW, &pki, &err), err);
    DSTACK_AUTO(json)
    json_t *bundle = json_parse(bytes_of_buf(&pki.collateral), 1 << 20, "collateral", &err);
    assert_non_null(bundle);
    static const struct {
        const char *header, *member;
    } chains[] = {
        {"sgx-pck-crl-issuer-chain", "pck_crl_issuer_chain"},
        {"sgx-tcb-info-issuer-chain", "tcb_info_issuer_chain"},
        {"sgx-enclave-identity-issuer-chain", "qe_identity_issuer_chain"},
    };
    size_t index, compared = 0;
    json_t *exchange;
    json_array_foreach(exchanges, index, exchange) {
        const json_t *headers = json_object_get(exchange, "headers");
        for (size_t i = 0; i < sizeof chains / sizeof *chains; i++) {
            const char *value = json_string_value(json_object_get(headers, chains[i].header));
            if (value != NULL) {
                DSTACK_AUTO(buf) dstack_buf text = {0};
                url_decode(value, &text);
                assert_true(bytes_equal_str(bytes_of_buf(&text), json_string_value(json_object_get(
                                                                     bundle, chains[i].member))));
                compared++;
            }
        }
    }
    assert_int_equal(compared, 5);
    /* The chain stands in the mock quotes as hex of its PEM text. */
    DSTACK_AUTO(buf) dstack_buf cases = {0}, hex = {0};
    load_file(SHARED_DATA "attestation/mock/cases.json", &cases);
    buf_put_hex(&hex, bytes_of_buf(&pki.pck_chain));
    assert_non_null(memmem(cases.data, cases.len, hex.data, hex.len));
}

static void the_same_seed_gives_the_same_root_and_another_seed_another(void **state) {
    uint8_t seed[SIM_SEED_SIZE] = {1};
    dstack_error err = {0};
    DSTACK_AUTO(sim_pki) sim_pki a = {0}, b = {0}, c = {0}, fresh = {0}, fresh2 = {0};
    assert_ok(sim_pki_make(seed, NOW, &a, &err), err);
    assert_ok(sim_pki_make(seed, NOW + 1000000, &b, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&a.root_der), bytes_of_buf(&b.root_der)));
    assert_true(bytes_equal(bytes_of_buf(&a.pck_chain), bytes_of_buf(&b.pck_chain)));
    seed[0] = 2;
    assert_ok(sim_pki_make(seed, NOW, &c, &err), err);
    assert_false(bytes_equal(bytes_of_buf(&a.root_der), bytes_of_buf(&c.root_der)));
    assert_ok(sim_pki_make(NULL, NOW, &fresh, &err), err);
    assert_ok(sim_pki_make(NULL, NOW, &fresh2, &err), err);
    assert_false(bytes_equal(bytes_of_buf(&fresh.root_der), bytes_of_buf(&fresh2.root_der)));
    x509_cert root;
    assert_ok(x509_cert_parse(&root, bytes_of_buf(&fresh.root_der), &err), err);
    assert_true(root.not_before <= NOW && root.not_after >= NOW + (int64_t)3650 * 86400);
}

static void keys_are_made_once_and_secret_ones_are_private(void **state) {
    char dir[] = "/tmp/dstack-sim-keys-XXXXXX";
    assert_non_null(mkdtemp(dir));
    dstack_error err = {0};
    DSTACK_AUTO(sim_keys) sim_keys *keys = NULL, *again = NULL;
    assert_int_equal(sim_keys_load(dir, &keys, &err), DSTACK_E_NOT_FOUND);
    assert_ok(sim_keys_init(dir, NULL, NOW, &err), err);
    assert_ok(sim_keys_load(dir, &keys, &err), err);
    assert_int_equal(sim_keys_init(dir, NULL, NOW, &err), DSTACK_E_EXISTS);
    assert_ok(sim_keys_load(dir, &again, &err), err);
    assert_true(bytes_equal(sim_keys_root(keys), sim_keys_root(again)));
    char path[64];
    snprintf(path, sizeof path, "%s/keys.json", dir);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    uint8_t hash[32], expected[32];
    sim_keys_root_hash(keys, hash);
    hash_sha256(sim_keys_root(keys), expected);
    assert_memory_equal(hash, expected, sizeof hash);
    static const char *const files[] = {"keys.json", "root.der", "root.pem", "collateral.json"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        assert_int_equal(unlink(path), 0);
    }
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeded_keys_are_the_reference_mock_keys),
        cmocka_unit_test(the_seeded_root_and_chain_are_byte_equal_to_the_mock_ones),
        cmocka_unit_test(seeded_revocation_lists_are_those_of_the_mock_server),
        cmocka_unit_test(seeded_chains_are_those_of_the_mock_server_and_its_quotes),
        cmocka_unit_test(the_same_seed_gives_the_same_root_and_another_seed_another),
        cmocka_unit_test(keys_are_made_once_and_secret_ones_are_private),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
