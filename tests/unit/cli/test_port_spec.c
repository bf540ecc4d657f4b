/* Port mappings as people write them. */
#include "check.h"
#include "port_spec.h"

static void every_form_of_a_mapping_is_read(void **state) {
    static const struct {
        const char *text, *protocol, *address;
        uint32_t host, vm;
    } rows[] = {{"80", "tcp", "127.0.0.1", 0, 80},
                {"8080:80", "tcp", "127.0.0.1", 8080, 80},
                {"udp:5353:53", "udp", "127.0.0.1", 5353, 53},
                {"tcp:0.0.0.0:8080:80", "tcp", "0.0.0.0", 8080, 80},
                {"auto:80", "tcp", "127.0.0.1", 0, 80},
                {":80", "tcp", "127.0.0.1", 0, 80},
                {"0:80", "tcp", "127.0.0.1", 0, 80}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct port_spec spec;
        dstack_error err = {0};
        assert_ok(port_spec_parse(rows[i].text, &spec, &err), err);
        assert_string_equal(spec.protocol, rows[i].protocol);
        assert_string_equal(spec.address, rows[i].address);
        assert_int_equal(spec.host, rows[i].host);
        assert_int_equal(spec.vm, rows[i].vm);
    }
}

static void anything_else_is_a_usage_error(void **state) {
    const char *bad[] = {"",
                         "sctp:8080:80",
                         "70000:80",
                         "8080:0",
                         "x",
                         "80:",
                         "tcp::1:80:80:80",
                         "127.0.0.1:8080:80",
                         "tcp:host:8080:80",
                         "1:2:3:4:5",
                         "-1:80",
                         "+1:80"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct port_spec spec;
        if (port_spec_parse(bad[i], &spec, NULL) != DSTACK_E_ARGUMENT) {
            fail_msg("\"%s\" was accepted", bad[i]);
        }
    }
}

static void a_free_port_is_found_where_none_is_named(void **state) {
    struct port_spec spec;
    dstack_error err = {0};
    assert_ok(port_spec_parse("80", &spec, &err), err);
    assert_ok(port_spec_choose(&spec, &err), err);
    assert_in_range(spec.host, 1024, 65535);
    uint32_t chosen = spec.host;
    assert_ok(port_spec_choose(&spec, &err), err);
    assert_int_equal(spec.host, chosen);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_mapping_is_read),
        cmocka_unit_test(anything_else_is_a_usage_error),
        cmocka_unit_test(a_free_port_is_found_where_none_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
