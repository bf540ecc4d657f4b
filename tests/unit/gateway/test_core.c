/* Sealed storage and routing decisions of the gateway. */
#include "check.h"

#include <arpa/inet.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "crypto/ecdsa.h"
#include "gateway.h"
#include "x509/build.h"
#include "x509/pem.h"

#define BASE "gw.example.test"

static char folder[] = "/tmp/dstack-test-gateway-XXXXXX";
static gateway g;

static dstack_secret *key_of(uint8_t fill) {
    uint8_t raw[32];
    memset(raw, fill, sizeof raw);
    return dstack_secret_copy(raw, sizeof raw);
}

static void set_certificate(void) {
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(secret) dstack_secret *pem = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    const char *names[] = {"*." BASE};
    assert_ok(ecdsa_private_generate(&key, ECDSA_P256, &err), err);
    assert_ok(ecdsa_private_pem(key, &pem, &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    x509_build spec = {.subject = {.common_name = "test"},
                       .not_before = time(NULL) - 60,
                       .not_after = time(NULL) + 3600,
                       .spki = bytes_of_buf(&spki),
                       .alt_names = names,
                       .alt_name_count = 1};
    assert_ok(x509_cert_build(&spec, key, false, &der, &err), err);
    assert_ok(pem_append(&chain, "CERTIFICATE", bytes_of_buf(&der), &err), err);
    assert_ok(cert_store_set(g.certificates, BASE, bytes_of_buf(&chain), pem, time(NULL), &err),
              err);
    assert_int_equal(
        cert_store_set(g.certificates, "other.test", bytes_of_buf(&chain), pem, time(NULL), &err),
        DSTACK_E_FORMAT); /* does not cover it */
    assert_int_equal(
        cert_store_set(g.certificates, BASE, bytes_of_buf(&chain), pem, time(NULL) + 7200, &err),
        DSTACK_E_FORMAT); /* expired by then */
}

static int set_up(void **state) {
    (void)state;
    static const config_key keys[] = {{"proxy.connect_top_n", CONFIG_INT, "3", "as in the daemon"}};
    dstack_error err = {0};
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    g.state_dir = folder;
    g.store_key = key_of(7);
    g.inner_socket = "/run/test/pages.sock";
    g.certificates = cert_store_new();
    g.config = config_parse(bytes_of_str(""), NULL, keys, 1, &err);
    registry_addresses addresses = {.reserved_count = 1};
    ipv4_net_parse("10.0.0.1/24", &addresses.own, NULL);
    ipv4_net_parse("10.0.0.0/25", &addresses.clients, NULL);
    ipv4_net_parse("10.0.0.1/32", &addresses.reserved[0], NULL);
    char path[128];
    snprintf(path, sizeof path, "%s/instances.json", folder);
    assert_ok(registry_open(&g.instances, path, &addresses, &err), err);
    registration enrolled = {.instance_id = "aa",
                             .app_id = "bb",
                             .compose_hash = "cc",
                             .public_key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
                             .ports = {.known = true}};
    uint32_t address = 0;
    assert_ok(registry_register(g.instances, &enrolled, 1, &address, &err), err);
    set_certificate();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    registry_free(g.instances);
    cert_store_free(g.certificates);
    config_free(g.config);
    dstack_secret_free(g.store_key);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static void sec_18_certificate_keys_rest_sealed_and_0600(void **state) {
    (void)state;
    dstack_error err = {0};
    static const char secret[] = "-----BEGIN PRIVATE KEY-----";
    assert_ok(zt_store_save(&g, "cert-x", bytes_of_str(secret), &err), err);
    char path[128];
    snprintf(path, sizeof path, "%s/sealed/cert-x", folder);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    DSTACK_AUTO(buf) dstack_buf file = {0};
    load_file(path, &file);
    assert_null(memmem(file.data, file.len, "PRIVATE", 7));
    DSTACK_AUTO(secret) dstack_secret *back = NULL;
    assert_ok(zt_store_load(&g, "cert-x", &back, &err), err);
    assert_int_equal(dstack_secret_len(back), sizeof secret - 1);
    assert_memory_equal(dstack_secret_peek(back), secret, sizeof secret - 1);
}

static void a_sealed_file_opens_only_unchanged_in_its_place_and_under_its_key(void **state) {
    (void)state;
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *back = NULL;
    assert_ok(zt_store_save(&g, "one", bytes_of_str("text"), &err), err);
    char from[128], to[128];
    snprintf(from, sizeof from, "%s/sealed/one", folder);
    snprintf(to, sizeof to, "%s/sealed/two", folder);
    DSTACK_AUTO(buf) dstack_buf file = {0};
    load_file(from, &file);
    assert_ok(file_write_atomic(to, bytes_of_buf(&file), 0600, &err), err);
    assert_int_equal(zt_store_load(&g, "two", &back, &err), DSTACK_E_CRYPTO);
    for (size_t i = 0; i < file.len; i++) {
        file.data[i] ^= 1;
        assert_ok(file_write_atomic(from, bytes_of_buf(&file), 0600, &err), err);
        assert_true(zt_store_load(&g, "one", &back, &err) != 0);
        file.data[i] ^= 1;
    }
    assert_ok(file_write_atomic(from, bytes_of_buf(&file), 0600, &err), err);
    dstack_secret *kept = g.store_key;
    g.store_key = key_of(8);
    assert_int_equal(zt_store_load(&g, "one", &back, &err), DSTACK_E_CRYPTO);
    dstack_secret_free(g.store_key);
    g.store_key = kept;
    assert_int_equal(zt_store_load(&g, "absent", &back, &err), DSTACK_E_NOT_FOUND);
    assert_int_equal(zt_store_load(&g, "../one", &back, &err), DSTACK_E_ARGUMENT);
    assert_null(back);
}

static int plan_of(const char *name, proxy_plan *plan) {
    dstack_error err = {0};
    int rc = gateway_route(&g, name, plan, &err);
    cert_entry_unref(plan->certificate);
    return rc;
}

static void names_lead_to_instances_ports_and_modes(void **state) {
    (void)state;
    proxy_plan plan;
    assert_int_equal(plan_of("bb." BASE, &plan), 0);
    assert_true(plan.terminate);
    const struct sockaddr_in *to = (const struct sockaddr_in *)&plan.targets[0].address;
    assert_int_equal(ntohl(to->sin_addr.s_addr), 0x0a000002);
    assert_int_equal(ntohs(to->sin_port), 80);
    assert_int_equal(plan_of("aa-8443s." BASE ".", &plan), 0); /* instance id, root dot */
    assert_false(plan.terminate);
    assert_int_equal(ntohs(to->sin_port), 8443);
    assert_int_equal(plan_of("gateway." BASE, &plan), 0);
    assert_int_equal(plan.targets[0].address.ss_family, AF_UNIX);
}

static void names_that_lead_nowhere_are_refused(void **state) {
    (void)state;
    static const char *names[] = {"zz." BASE,       "bb.other.test",    "bb.x." BASE,
                                  "localhost",      "gateway-81." BASE, "bb-x." BASE,
                                  "gateway-s." BASE};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        proxy_plan plan;
        if (plan_of(names[i], &plan) == 0) {
            fail_msg("%s was routed", names[i]);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_18_certificate_keys_rest_sealed_and_0600),
        cmocka_unit_test(a_sealed_file_opens_only_unchanged_in_its_place_and_under_its_key),
        cmocka_unit_test(names_lead_to_instances_ports_and_modes),
        cmocka_unit_test(names_that_lead_nowhere_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
