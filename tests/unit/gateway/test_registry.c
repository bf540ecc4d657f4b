#include "check.h"

#include "registry.h"

static char folder[] = "/tmp/dstack-test-registry-XXXXXX";
static char path[128];

static int set_up(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL) {
        return 1;
    }
    snprintf(path, sizeof path, "%s/instances.json", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    unlink(path);
    return rmdir(folder);
}

static int forget_file(void **state) {
    (void)state;
    unlink(path);
    return 0;
}

static registry_addresses addresses_of(const char *own, const char *clients, const char *reserved) {
    registry_addresses a = {.reserved_count = 1};
    assert_int_equal(ipv4_net_parse(own, &a.own, NULL), 0);
    assert_int_equal(ipv4_net_parse(clients, &a.clients, NULL), 0);
    assert_int_equal(ipv4_net_parse(reserved, &a.reserved[0], NULL), 0);
    return a;
}

static registry *open_default(void) {
    registry_addresses a = addresses_of("10.0.0.1/24", "10.0.0.0/29", "10.0.0.1/32");
    registry *r = NULL;
    dstack_error err = {0};
    assert_ok(registry_open(&r, path, &a, &err), err);
    return r;
}

/* Keys differ in their first byte. */
static const char *key_number(unsigned n) {
    static char text[4][WG_KEY_TEXT_SIZE];
    static unsigned slot;
    uint8_t raw[32] = {(uint8_t)n};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    base64_encode(bytes_of(raw, sizeof raw), BASE64_STANDARD, &out);
    slot = (slot + 1) % 4;
    snprintf(text[slot], sizeof text[slot], "%s", buf_text(&out));
    return text[slot];
}

static int enrol(registry *r, const char *instance, const char *app, const char *key,
                 const char *hash, uint32_t *address, dstack_error *err) {
    registration q = {.instance_id = instance,
                      .app_id = app,
                      .compose_hash = hash,
                      .public_key = key,
                      .ports = {.known = true}};
    return registry_register(r, &q, 1000, address, err);
}

static void the_first_instance_gets_the_lowest_free_address(void **state) {
    (void)state;
    registry *r = open_default();
    uint32_t a = 0, b = 0;
    dstack_error err = {0};
    assert_ok(enrol(r, "i1", "app", key_number(1), "h", &a, &err), err);
    assert_ok(enrol(r, "i2", "app", key_number(2), "h", &b, &err), err);
    assert_int_equal(a, 0x0a000002);
    assert_int_equal(b, 0x0a000003);
    assert_ok(enrol(r, "i1", "app", key_number(3), "h", &b, &err), err);
    assert_int_equal(b, a); /* a new key keeps the address */
    registry_free(r);
}

static void instances_survive_a_restart(void **state) {
    (void)state;
    uint32_t address = 0;
    dstack_error err = {0};
    registry *r = open_default();
    assert_ok(enrol(r, "i1", "app", key_number(1), "h", &address, &err), err);
    registry_free(r);
    r = open_default();
    assert_int_equal(registry_count(r), 1);
    registry_target target;
    size_t count = 0;
    assert_ok(registry_find(r, "app", 80, &target, 1, &count, &err), err);
    assert_int_equal(target.address, address);
    registry_free(r);
}

static void a_full_range_is_said_to_be_full(void **state) {
    (void)state;
    registry *r = open_default();
    uint32_t address = 0;
    dstack_error err = {0};
    for (unsigned i = 0; i < 5; i++) { /* .2 to .6 of a /29 */
        char id[8];
        snprintf(id, sizeof id, "i%u", i);
        assert_ok(enrol(r, id, "app", key_number(i), "h", &address, &err), err);
    }
    assert_int_equal(enrol(r, "i9", "app", key_number(9), "h", &address, &err), DSTACK_E_LIMIT);
    assert_non_null(strstr(err.message, "IP pool exhausted"));
    registry_free(r);
}

static void sec_25_an_instance_cannot_be_taken_over(void **state) {
    (void)state;
    registry *r = open_default();
    uint32_t address = 0;
    dstack_error err = {0};
    assert_ok(enrol(r, "i1", "app", key_number(1), "h", &address, &err), err);
    assert_int_equal(enrol(r, "i1", "other", key_number(2), "h", &address, &err), DSTACK_E_REFUSED);
    assert_non_null(strstr(err.message, "already registered to a different app"));
    assert_int_equal(enrol(r, "i2", "other", key_number(1), "h", &address, &err), DSTACK_E_REFUSED);
    assert_non_null(strstr(err.message, "already registered to another instance"));
    assert_int_equal(enrol(r, "", "app", key_number(5), "h", &address, &err), DSTACK_E_REFUSED);
    assert_int_equal(enrol(r, "i3", "", key_number(5), "h", &address, &err), DSTACK_E_REFUSED);
    assert_int_equal(enrol(r, "i3", "app", "short", "h", &address, &err), DSTACK_E_FORMAT);
    registry_free(r);
}

static void traffic_goes_only_where_the_port_policy_allows(void **state) {
    (void)state;
    registry *r = open_default();
    uint32_t address = 0;
    dstack_error err = {0};
    registration q = {
        .instance_id = "i1", .app_id = "app", .compose_hash = "h1", .public_key = key_number(1)};
    registry_target target;
    size_t count = 0;
    assert_ok(registry_register(r, &q, 1, &address, &err), err);
    assert_int_equal(registry_find(r, "app", 80, &target, 1, &count, &err), DSTACK_E_REFUSED);
    q.ports = (port_policy){.known = true, .restrict_ports = true, .ports = {8080}, .count = 1};
    assert_ok(registry_register(r, &q, 1, &address, &err), err);
    assert_int_equal(registry_find(r, "app", 80, &target, 1, &count, &err), DSTACK_E_REFUSED);
    assert_ok(registry_find(r, "i1", 8080, &target, 1, &count, &err), err);
    q.compose_hash = "h2"; /* another manifest voids what the old one allowed */
    q.ports = (port_policy){0};
    assert_ok(registry_register(r, &q, 1, &address, &err), err);
    assert_int_equal(registry_find(r, "i1", 8080, &target, 1, &count, &err), DSTACK_E_REFUSED);
    assert_int_equal(registry_find(r, "nobody", 80, &target, 1, &count, &err), DSTACK_E_NOT_FOUND);
    registry_free(r);
}

static void instances_with_newer_handshakes_come_first(void **state) {
    (void)state;
    registry *r = open_default();
    uint32_t address[3];
    dstack_error err = {0};
    assert_ok(enrol(r, "i1", "app", key_number(1), "h", &address[0], &err), err);
    assert_ok(enrol(r, "i2", "app", key_number(2), "h", &address[1], &err), err);
    assert_ok(enrol(r, "i3", "app", key_number(3), "h", &address[2], &err), err);
    registry_set_handshake(r, key_number(1), 50);
    registry_set_handshake(r, key_number(3), 90);
    registry_target targets[2];
    size_t count = 0;
    assert_ok(registry_find(r, "app", 80, targets, 2, &count, &err), err);
    assert_int_equal(count, 2);
    assert_int_equal(targets[0].address, address[2]);
    assert_int_equal(targets[1].address, address[0]);
    registry_free(r);
}

static void address_plans_that_cannot_work_are_refused(void **state) {
    (void)state;
    dstack_error err = {0};
    registry_addresses a = addresses_of("10.0.0.1/24", "10.0.0.0/25", "10.1.0.1/32");
    assert_int_equal(registry_check_addresses(&a, &err), DSTACK_E_ARGUMENT);
    assert_string_equal(err.message, "Reserved net is not in the network");
    a = addresses_of("10.0.0.1/24", "10.0.0.0/25", "10.0.0.2/32");
    assert_int_equal(registry_check_addresses(&a, &err), DSTACK_E_ARGUMENT);
    assert_string_equal(err.message, "Wg peer IP is not in the reserved net");
    a = addresses_of("10.0.0.1/24", "10.0.1.0/25", "10.0.0.1/32");
    assert_int_equal(registry_check_addresses(&a, &err), DSTACK_E_ARGUMENT);
    assert_string_equal(err.message, "Client IP range is not in the network");
    ipv4_net net;
    static const char *bad[] = {"", "10.0.0", "10.0.0.1/33", "10.0.0.1/", "10.0.0.256", "::1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(ipv4_net_parse(bad[i], &net, NULL), DSTACK_E_FORMAT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(the_first_instance_gets_the_lowest_free_address, forget_file),
        cmocka_unit_test_teardown(instances_survive_a_restart, forget_file),
        cmocka_unit_test_teardown(a_full_range_is_said_to_be_full, forget_file),
        cmocka_unit_test_teardown(sec_25_an_instance_cannot_be_taken_over, forget_file),
        cmocka_unit_test_teardown(traffic_goes_only_where_the_port_policy_allows, forget_file),
        cmocka_unit_test_teardown(instances_with_newer_handshakes_come_first, forget_file),
        cmocka_unit_test(address_plans_that_cannot_work_are_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
