/* The ACME client against a real ACME server (pebble) with a real DNS server for its challenges. */
#include "check.h"

#include <dstack/acme.h>

#include "crypto/ecdsa.h"
#include "dns_hook.h"
#include "x509/cert.h"
#include "x509/csr.h"
#include "x509/pem.h"

static char folder[] = "/tmp/dstack-test-acme-XXXXXX";
static char hook[128], ca_file[128], directory[256];

static int start_server(void **state) {
    (void)state;
    char command[256];
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(command, sizeof command, "examples/demo/pebble.sh %s", folder);
    if (system(command) != 0) {
        return 1;
    }
    snprintf(hook, sizeof hook, "%s/dns-hook", folder);
    snprintf(ca_file, sizeof ca_file, "%s/ca.pem", folder);
    char path[128];
    snprintf(path, sizeof path, "%s/directory-url", folder);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(path, &text);
    snprintf(directory, sizeof directory, "%s", buf_text(&text));
    directory[strcspn(directory, "\n")] = '\0';
    return 0;
}

static int stop_server(void **state) {
    (void)state;
    char command[256];
    snprintf(command, sizeof command, "examples/demo/pebble.sh --stop %s; rm -rf %s", folder,
             folder);
    return system(command);
}

static dstack_acme *connect_with(const ecdsa_private *account, const char *ca, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *der = NULL;
    assert_int_equal(ecdsa_private_pkcs8(account, &der, err), 0);
    dstack_acme_options options = {
        .directory_url = directory,
        .ca_file = ca,
        .account_key = bytes_of(dstack_secret_peek(der), dstack_secret_len(der)),
        .request_timeout_ms = 10000,
    };
    dstack_acme *acme = NULL;
    return dstack_acme_new(&acme, &options, err) == 0 ? acme : NULL;
}

static void a_wildcard_certificate_is_issued_for_our_key(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *account = NULL;
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    assert_ok(ecdsa_private_generate(&account, ECDSA_P256, &err), err);
    assert_ok(ecdsa_private_generate(&key, ECDSA_P256, &err), err);
    dstack_acme *acme = connect_with(account, ca_file, &err);
    assert_ok(acme == NULL ? -1 : 0, err);
    assert_non_null(strstr(dstack_acme_account_url(acme), "https://"));

    const char *names[] = {"*.app.example.test", "app.example.test"};
    DSTACK_AUTO(buf) dstack_buf csr = {0};
    assert_ok(x509_csr_build(key, NULL, names, 2, &csr, &err), err);
    dstack_acme_dns01 dns;
    assert_ok(dns_hook_init(&dns, hook, &err), err);
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    assert_ok(dstack_acme_issue(acme, names, 2, bytes_of_buf(&csr), &dns, 60000, &chain, &err),
              err);
    pem_reader reader;
    pem_reader_init(&reader, bytes_of_buf(&chain));
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = false;
    assert_ok(pem_next(&reader, &block, &found, &err), err);
    assert_true(found);
    x509_cert leaf;
    assert_ok(x509_cert_parse(&leaf, bytes_of_buf(&block.der), &err), err);
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    assert_true(bytes_equal(leaf.spki, bytes_of_buf(&spki)));
    dstack_acme_free(acme);

    /* The same account key finds the same account. */
    acme = connect_with(account, ca_file, &err);
    assert_non_null(acme);
    dstack_acme_free(acme);
}

static int place_nothing(void *user, const char *name, const char *value, dstack_error *err) {
    (void)name;
    (void)value;
    (void)err;
    ++*(int *)user;
    return 0;
}

static void a_missing_record_ends_in_the_servers_own_words(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *account = NULL;
    assert_ok(ecdsa_private_generate(&account, ECDSA_P256, &err), err);
    dstack_acme *acme = connect_with(account, ca_file, &err);
    assert_non_null(acme);
    const char *names[] = {"absent.example.test"};
    DSTACK_AUTO(buf) dstack_buf csr = {0};
    assert_ok(x509_csr_build(account, NULL, names, 1, &csr, &err), err);
    int calls = 0;
    dstack_acme_dns01 dns = {place_nothing, place_nothing, &calls};
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    int rc = dstack_acme_issue(acme, names, 1, bytes_of_buf(&csr), &dns, 60000, &chain, &err);
    assert_int_equal(rc, DSTACK_E_PEER);
    assert_int_equal(chain.len, 0);
    assert_int_equal(calls, 2); /* placed and cleaned up */
    dstack_acme_free(acme);
}

static void a_server_under_another_root_is_refused(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *account = NULL;
    assert_ok(ecdsa_private_generate(&account, ECDSA_P256, &err), err);
    assert_null(connect_with(account, NULL, &err)); /* the system's roots do not know it */
    assert_int_equal(err.status, DSTACK_E_NETWORK);
}

static void the_deadline_holds(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *account = NULL;
    assert_ok(ecdsa_private_generate(&account, ECDSA_P256, &err), err);
    dstack_acme *acme = connect_with(account, ca_file, &err);
    assert_non_null(acme);
    const char *names[] = {"late.example.test"};
    DSTACK_AUTO(buf) dstack_buf csr = {0};
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    assert_ok(x509_csr_build(account, NULL, names, 1, &csr, &err), err);
    int calls = 0;
    dstack_acme_dns01 dns = {place_nothing, place_nothing, &calls};
    assert_int_equal(dstack_acme_issue(acme, names, 1, bytes_of_buf(&csr), &dns, 0, &chain, &err),
                     DSTACK_E_TIMEOUT);
    dstack_acme_free(acme);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wildcard_certificate_is_issued_for_our_key),
        cmocka_unit_test(a_missing_record_ends_in_the_servers_own_words),
        cmocka_unit_test(a_server_under_another_root_is_refused),
        cmocka_unit_test(the_deadline_holds),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
