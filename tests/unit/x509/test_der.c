/* DER as X.690 wants it, and nothing else. */
#include "check.h"

#include "x509/der.h"

/* Reads one element of the tag and says whether all of the input was one well-formed element. */
static bool reads(const char *hex, uint8_t tag) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    put_hex(&der, hex);
    cursor c = cursor_init(bytes_of_buf(&der));
    der_take(&c, tag);
    return cursor_done(&c);
}

static void lengths_have_one_encoding(void **state) {
    (void)state;
    assert_true(reads("0400", DER_OCTET_STRING));
    assert_true(reads("040141", DER_OCTET_STRING));
    assert_false(reads("04", DER_OCTET_STRING));
    assert_false(reads("0401", DER_OCTET_STRING));
    assert_false(reads("04014141", DER_OCTET_STRING));
    assert_false(reads("0480", DER_OCTET_STRING)); /* indefinite */
    assert_false(reads("04800000", DER_OCTET_STRING));
    assert_false(reads("048100", DER_OCTET_STRING)); /* long form of a short length */
    assert_false(reads("04810141", DER_OCTET_STRING));
    assert_false(reads("0482000141", DER_OCTET_STRING));
    assert_false(reads("0484ffffffff", DER_OCTET_STRING)); /* beyond the end */
    assert_false(reads("0488ffffffffffffffff", DER_OCTET_STRING));
    assert_false(reads("04ff", DER_OCTET_STRING));
    assert_false(reads("1f8100", 0x1f));           /* multi-byte tag */
    assert_false(reads("0500", DER_OCTET_STRING)); /* another tag */
    DSTACK_AUTO(buf) dstack_buf long_form = {0};
    buf_put(&long_form, (const uint8_t[]){0x04, 0x81, 0x80}, 3);
    buf_put_zeros(&long_form, 0x80);
    cursor c = cursor_init(bytes_of_buf(&long_form));
    assert_int_equal(der_take(&c, DER_OCTET_STRING).len, 0x80);
    assert_true(cursor_done(&c));
}

static bool integer_reads(const char *hex) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    put_hex(&der, hex);
    cursor c = cursor_init(bytes_of_buf(&der));
    der_integer(&c);
    return cursor_done(&c);
}

static void integers_have_one_encoding(void **state) {
    (void)state;
    assert_true(integer_reads("020100"));
    assert_true(integer_reads("02017f"));
    assert_true(integer_reads("02020080"));
    assert_true(integer_reads("0201ff"));
    assert_true(integer_reads("0202ff7f"));
    assert_false(integer_reads("0200"));
    assert_false(integer_reads("02020000"));
    assert_false(integer_reads("0202007f"));
    assert_false(integer_reads("0202ffff"));
    assert_false(integer_reads("0202ff80"));
}

static void unsigned_readers_hold_their_bounds(void **state) {
    (void)state;
    static const struct {
        const char *hex;
        bool sound;
        uint64_t value;
    } cases[] = {
        {"020100", true, 0},
        {"0209"
         "00ffffffffffffffff",
         true, UINT64_MAX},
        {"0209"
         "010000000000000000",
         false, 0},
        {"0201ff", false, 0},
        {"02020100", true, 256},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf der = {0};
        uint8_t fixed[2];
        put_hex(&der, cases[i].hex);
        cursor c = cursor_init(bytes_of_buf(&der));
        uint64_t value = der_uint(&c);
        assert_int_equal(cursor_done(&c), cases[i].sound);
        assert_true(!cases[i].sound || value == cases[i].value);
        c = cursor_init(bytes_of_buf(&der));
        der_unsigned_fixed(&c, fixed, 2);
        assert_int_equal(cursor_done(&c), cases[i].sound && cases[i].value <= 0xffff);
    }
}

static bool bits_read(const char *hex, uint16_t *bits) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    put_hex(&der, hex);
    cursor c = cursor_init(bytes_of_buf(&der));
    *bits = der_named_bits(&c);
    return cursor_done(&c);
}

static void named_bits_are_held_to_their_form(void **state) {
    (void)state;
    uint16_t bits;
    assert_true(bits_read("03020780", &bits) && bits == 1);
    assert_true(bits_read("03020186", &bits) && bits == (1 | 1 << 5 | 1 << 6));
    assert_true(bits_read("0303070080", &bits) && bits == 1 << 8);
    assert_true(bits_read("030100", &bits) && bits == 0);
    assert_false(bits_read("0300", &bits));
    assert_false(bits_read("030101", &bits));
    assert_true(bits_read("0303078600", &bits) && bits == (1 | 1 << 5 | 1 << 6)); /* rcgen's form */
    assert_false(bits_read("03020781", &bits)); /* unused bit set */
    assert_false(bits_read("03020880", &bits));
    assert_false(bits_read("030400000001", &bits));
    for (uint32_t all = 0; all <= 0xffff; all++) {
        dstack_buf out = {0};
        der_put_named_bits(&out, (uint16_t)all);
        cursor c = cursor_init(bytes_of_buf(&out));
        assert_int_equal(der_named_bits(&c), all);
        assert_true(cursor_done(&c));
        dstack_buf_clear(&out);
    }
}

static bool time_reads(uint8_t tag, const char *text, int64_t *when) {
    DSTACK_AUTO(buf) dstack_buf der = {0};
    der_put_text(&der, tag, text);
    cursor c = cursor_init(bytes_of_buf(&der));
    *when = der_time(&c);
    return cursor_done(&c);
}

static void times_are_read_to_the_second(void **state) {
    (void)state;
    static const struct {
        uint8_t tag;
        const char *text;
        bool sound;
        int64_t when;
    } cases[] = {
        {DER_UTC_TIME, "700101000000Z", true, 0},
        {DER_UTC_TIME, "750101000000Z", true, 157766400},
        {DER_UTC_TIME, "500101000000Z", true, -631152000},
        {DER_UTC_TIME, "491231235959Z", true, 2524607999},
        {DER_UTC_TIME, "240229120000Z", true, 1709208000},
        {DER_UTC_TIME, "230229120000Z", false, 0},
        {DER_UTC_TIME, "231301120000Z", false, 0},
        {DER_UTC_TIME, "230100120000Z", false, 0},
        {DER_UTC_TIME, "230101240000Z", false, 0},
        {DER_UTC_TIME, "230101006000Z", false, 0},
        {DER_UTC_TIME, "230101000060Z", false, 0},
        {DER_UTC_TIME, "2301010000Z", false, 0},
        {DER_UTC_TIME, "230101000000+0000", false, 0},
        {DER_UTC_TIME, "230101000000", false, 0},
        {DER_UTC_TIME, "2301010000 0Z", false, 0},
        {DER_GENERALIZED_TIME, "19700101000000Z", true, 0},
        {DER_GENERALIZED_TIME, "20991231235959Z", true, 4102444799},
        {DER_GENERALIZED_TIME, "99991231235959Z", true, 253402300799},
        {DER_GENERALIZED_TIME, "00010101000000Z", true, -62135596800},
        {DER_GENERALIZED_TIME, "19691231235959Z", true, -1},
        {DER_GENERALIZED_TIME, "21000229000000Z", false, 0},
        {DER_GENERALIZED_TIME, "20000229000000Z", true, 951782400},
        {DER_GENERALIZED_TIME, "00000101000000Z", false, 0},
        {DER_GENERALIZED_TIME, "20230101000000.5Z", false, 0},
        {DER_GENERALIZED_TIME, "230101000000Z", false, 0},
        {DER_OCTET_STRING, "230101000000Z", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        int64_t when;
        bool sound = time_reads(cases[i].tag, cases[i].text, &when);
        if (sound != cases[i].sound || (sound && when != cases[i].when)) {
            fail_msg("%s: %d %lld", cases[i].text, sound, (long long)when);
        }
    }
}

static void times_survive_writing(void **state) {
    (void)state;
    int64_t first = -62135596800, last = 253402300799;
    uint64_t step = 86400 * 13 + 3607;
    for (int64_t t = first; t <= last; t += (int64_t)step) {
        dstack_buf out = {0};
        der_put_time(&out, t);
        cursor c = cursor_init(bytes_of_buf(&out));
        bool utc = t >= -631152000 && t < 2524608000;
        assert_int_equal(der_peek(&c), utc ? DER_UTC_TIME : DER_GENERALIZED_TIME);
        assert_true(der_time(&c) == t && cursor_done(&c));
        dstack_buf_clear(&out);
    }
    const int64_t outside[] = {first - 1, last + 1, INT64_MIN, INT64_MAX};
    for (size_t i = 0; i < 4; i++) {
        dstack_buf out = {0};
        der_put_time(&out, outside[i]);
        assert_true(out.failed);
        dstack_buf_clear(&out);
    }
}

static void oids_and_booleans_have_one_encoding(void **state) {
    (void)state;
    static const struct {
        const char *hex;
        bool sound;
    } oids[] = {
        {"0603551d0f", true}, {"060155", true},      {"0600", false},        {"06028055", false},
        {"06025580", false},  {"0603558001", false}, {"060455810001", true},
    };
    for (size_t i = 0; i < sizeof oids / sizeof oids[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf der = {0};
        put_hex(&der, oids[i].hex);
        cursor c = cursor_init(bytes_of_buf(&der));
        der_oid(&c);
        assert_int_equal(cursor_done(&c), oids[i].sound);
    }
    for (unsigned octet = 0; octet < 256; octet++) {
        uint8_t der[] = {1, 1, (uint8_t)octet};
        cursor c = cursor_init(bytes_of(der, 3));
        bool value = der_boolean(&c);
        assert_int_equal(cursor_done(&c), octet == 0 || octet == 0xff);
        assert_int_equal(value, octet == 0xff);
    }
}

static void a_failure_inside_reaches_the_outside(void **state) {
    (void)state;
    DSTACK_AUTO(buf) dstack_buf der = {0};
    put_hex(&der, "30050201010500");
    cursor c = cursor_init(bytes_of_buf(&der));
    cursor inner = der_enter(&c, DER_SEQUENCE);
    assert_true(cursor_done(&c));
    der_uint(&inner);
    der_leave(&c, &inner); /* the NULL was not read */
    assert_false(cursor_ok(&c));
    dstack_error err = {0};
    assert_int_equal(der_finish(&c, "thing", &err), DSTACK_E_FORMAT);
    assert_string_equal(err.message, "thing: malformed or truncated DER");
    c = cursor_init(bytes_of_buf(&der));
    inner = der_enter(&c, DER_SET);
    assert_false(cursor_ok(&inner));
    assert_int_equal(der_read(&inner).whole.len, 0);
}

static void written_elements_read_back(void **state) {
    (void)state;
    static const size_t sizes[] = {0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        size_t outer = der_begin(&out, DER_SEQUENCE);
        size_t inner = der_begin(&out, DER_OCTET_STRING);
        buf_put_zeros(&out, sizes[i]);
        der_end(&out, inner);
        der_put_null(&out);
        der_end(&out, outer);
        cursor c = cursor_init(bytes_of_buf(&out));
        cursor content = der_enter(&c, DER_SEQUENCE);
        assert_int_equal(der_take(&content, DER_OCTET_STRING).len, sizes[i]);
        der_take(&content, DER_NULL);
        der_leave(&c, &content);
        assert_true(cursor_done(&c));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_have_one_encoding),
        cmocka_unit_test(integers_have_one_encoding),
        cmocka_unit_test(unsigned_readers_hold_their_bounds),
        cmocka_unit_test(named_bits_are_held_to_their_form),
        cmocka_unit_test(times_are_read_to_the_second),
        cmocka_unit_test(times_survive_writing),
        cmocka_unit_test(oids_and_booleans_have_one_encoding),
        cmocka_unit_test(a_failure_inside_reaches_the_outside),
        cmocka_unit_test(written_elements_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
