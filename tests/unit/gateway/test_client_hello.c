#include "check.h"

#include <strings.h>

#include "client_hello.h"

/* A ClientHello of TLS 1.2 that carries `name`, in one record. */
static void make_hello(const char *name, dstack_buf *out) {
    size_t name_len = strlen(name);
    DSTACK_AUTO(buf) dstack_buf body = {0};
    buf_put_u16be(&body, 0x0303);
    buf_put_zeros(&body, 32);
    buf_put_u8(&body, 0);
    buf_put_u16be(&body, 2);
    buf_put_u16be(&body, 0xc02b);
    buf_put_u16be(&body, 0x0100);
    buf_put_u16be(&body, (uint16_t)(name_len + 9));
    buf_put_u16be(&body, 0);
    buf_put_u16be(&body, (uint16_t)(name_len + 5));
    buf_put_u16be(&body, (uint16_t)(name_len + 3));
    buf_put_u8(&body, 0);
    buf_put_u16be(&body, (uint16_t)name_len);
    buf_put_str(&body, name);
    buf_put_u8(out, 22);
    buf_put_u16be(out, 0x0301);
    buf_put_u16be(out, (uint16_t)(body.len + 4));
    buf_put_u32be(out, 0x01000000u | (uint32_t)body.len);
    buf_put_bytes(out, bytes_of_buf(&body));
}

static void a_server_name_is_found_in_lower_case(void **state) {
    (void)state;
    DSTACK_AUTO(buf) dstack_buf hello = {0};
    make_hello("App-80s.Example.org", &hello);
    char sni[SNI_SIZE];
    assert_int_equal(client_hello_sni(bytes_of_buf(&hello), sni), SNI_FOUND);
    assert_string_equal(sni, "app-80s.example.org");
}

static void every_prefix_asks_for_more(void **state) {
    (void)state;
    DSTACK_AUTO(buf) dstack_buf hello = {0};
    make_hello("app.example.org", &hello);
    char sni[SNI_SIZE];
    for (size_t len = 0; len < hello.len; len++) {
        assert_int_equal(client_hello_sni(bytes_of(hello.data, len), sni), SNI_MORE);
    }
}

static void names_that_no_host_has_are_refused(void **state) {
    (void)state;
    static const char *bad[] = {"", "a b.example.org", "a/b.example.org", "\xff.example.org"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(buf) dstack_buf hello = {0};
        make_hello(bad[i], &hello);
        char sni[SNI_SIZE];
        assert_int_equal(client_hello_sni(bytes_of_buf(&hello), sni), SNI_INVALID);
    }
}

static void other_protocols_are_refused_at_once(void **state) {
    (void)state;
    char sni[SNI_SIZE];
    assert_int_equal(client_hello_sni(bytes_of_str("GET / HTTP/1.1\r\n"), sni), SNI_INVALID);
    assert_int_equal(client_hello_sni(bytes_of("\x80\x2e\x01", 3), sni), SNI_INVALID);
    assert_int_equal(client_hello_sni(bytes_of("\x16\x03\x01\x00\x00", 5), sni), SNI_INVALID);
}

static void the_recorded_hellos_agree(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(SHARED_DATA "gateway/clienthello-vectors.json");
    size_t i;
    json_t *one;
    assert_true(json_array_size(cases) > 10);
    json_array_foreach(cases, i, one) {
        DSTACK_AUTO(buf) dstack_buf hello = {0};
        put_hex(&hello, json_string_value(json_object_get(one, "hex")));
        const char *want = json_string_value(json_object_get(one, "sni"));
        char sni[SNI_SIZE];
        sni_result got = client_hello_sni(bytes_of_buf(&hello), sni);
        const char *name = json_string_value(json_object_get(one, "name"));
        if (want != NULL && want[0] != '\0') {
            if (got != SNI_FOUND || strcasecmp(sni, want) != 0) {
                fail_msg("%s: expected %s, got result %d %s", name, want, got, sni);
            }
        } else if (got == SNI_FOUND) {
            fail_msg("%s: expected no name, got %s", name, sni);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_name_is_found_in_lower_case),
        cmocka_unit_test(every_prefix_asks_for_more),
        cmocka_unit_test(names_that_no_host_has_are_refused),
        cmocka_unit_test(other_protocols_are_refused_at_once),
        cmocka_unit_test(the_recorded_hellos_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
