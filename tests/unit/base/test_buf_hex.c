#include "check.h"

static void a_buffer_grows_and_keeps_order(void **state) {
    (void)state;
    DSTACK_AUTO(buf) dstack_buf out = {0};
    for (unsigned i = 0; i < 1000; i++) {
        buf_put_u16be(&out, (uint16_t)i);
    }
    assert_int_equal(out.len, 2000);
    assert_int_equal(out.data[1999], 999 & 0xff);
    buf_reset(&out);
    buf_put_fmt(&out, "%s-%d", "a", 7);
    assert_string_equal(buf_text(&out), "a-7");
}

static void an_impossible_size_sticks_as_failure(void **state) {
    (void)state;
    DSTACK_AUTO(buf) dstack_buf out = {0};
    buf_reserve(&out, SIZE_MAX);
    buf_put_u8(&out, 1);
    dstack_error err = {0};
    assert_int_equal(buf_check(&out, &err), DSTACK_E_MEMORY);
}

static void hex_decodes_either_case_and_refuses_the_rest(void **state) {
    (void)state;
    uint8_t out[2];
    dstack_error err = {0};
    assert_ok(hex_decode_fixed("aBcD", out, 2, &err), err);
    assert_int_equal(out[0], 0xab);
    assert_int_equal(hex_decode_fixed("abc", out, 2, &err), DSTACK_E_FORMAT);
    assert_int_equal(hex_decode_fixed("abcg", out, 2, &err), DSTACK_E_FORMAT);
    assert_int_equal(hex_decode_fixed("0xab", out, 2, &err), DSTACK_E_FORMAT);
}

static void base64_round_trips_in_both_forms(void **state) {
    (void)state;
    static const uint8_t raw[] = {0xfb, 0xff, 0xfe, 1};
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    base64_encode(bytes_of(raw, sizeof raw), BASE64_URL_NOPAD, &text);
    assert_string_equal(buf_text(&text), "-__-AQ");
    DSTACK_AUTO(buf) dstack_buf back = {0};
    assert_ok(base64_decode(bytes_of_buf(&text), BASE64_URL_NOPAD, &back, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&back), bytes_of(raw, sizeof raw)));
    buf_reset(&back);
    assert_int_equal(base64_decode(bytes_of_str("a*b="), BASE64_STANDARD, &back, &err),
                     DSTACK_E_FORMAT);
}

static bool starts_with_magic(dstack_bytes content) {
    return content.len >= 2 && content.data[0] == 4 && content.data[1] == 0;
}

static void base64_takes_no_byte_outside_its_alphabet(void **state) {
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int byte = 0; byte < 256; byte++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        uint8_t text[] = {'Q', (uint8_t)byte, 'Q', 'Q'};
        bool letter = byte != 0 && strchr(alphabet, byte) != NULL;
        int rc = base64_decode(bytes_of(text, sizeof text), BASE64_STANDARD, &out, NULL);
        assert_int_equal(rc == 0, letter);
    }
}

/* The two decoders on one text: one verdict, and the same bytes. */
static void decoders_agree(dstack_bytes text) {
    DSTACK_AUTO(buf) dstack_buf slow = {0}, fast = {0};
    int want = base64_decode(text, BASE64_STANDARD, &slow, NULL);
    assert_int_equal(base64_decode_public(text, &fast, NULL), want);
    if (want == 0) {
        assert_true(bytes_equal(bytes_of_buf(&slow), bytes_of_buf(&fast)));
    }
}

static void the_decoder_for_public_text_agrees_with_the_strict_one(void **state) {
    static const char good[] = "AQIDBAUGBwgJCgsMDQ4P\r\nEBESExQVFhcYGRobHB0e\n Hw ==\n";
    static const uint8_t odd[] = {'=', '\n', ' ', '-', '_', 'A', '/', '\r', '\t', 0, 0x80, 0xff};
    (void)state;
    decoders_agree((dstack_bytes){NULL, 0});
    for (size_t len = 0; len <= strlen(good); len++) {
        decoders_agree(bytes_of(good, len));
        for (size_t at = 0; at < len; at++) {
            for (size_t i = 0; i < sizeof odd; i++) {
                uint8_t text[sizeof good];
                memcpy(text, good, sizeof good);
                text[at] = odd[i];
                decoders_agree(bytes_of(text, len));
            }
        }
    }
}

static void a_file_may_be_binary_hex_or_base64(void **state) {
    (void)state;
    dstack_error err = {0};
    static const uint8_t raw[] = {4, 0, 7};
    const char *forms[] = {" 040007\n", "0x040007", "BAAH\n"};
    for (size_t i = 0; i < 3; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        assert_ok(bytes_from_any_text(bytes_of_str(forms[i]), starts_with_magic, &out, &err), err);
        assert_true(bytes_equal(bytes_of_buf(&out), bytes_of(raw, 3)));
    }
    DSTACK_AUTO(buf) dstack_buf out = {0};
    assert_int_equal(bytes_from_any_text(bytes_of_str("hello!"), starts_with_magic, &out, &err),
                     DSTACK_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_buffer_grows_and_keeps_order),
        cmocka_unit_test(an_impossible_size_sticks_as_failure),
        cmocka_unit_test(hex_decodes_either_case_and_refuses_the_rest),
        cmocka_unit_test(base64_round_trips_in_both_forms),
        cmocka_unit_test(base64_takes_no_byte_outside_its_alphabet),
        cmocka_unit_test(the_decoder_for_public_text_agrees_with_the_strict_one),
        cmocka_unit_test(a_file_may_be_binary_hex_or_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
