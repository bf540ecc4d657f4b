/* The AML writer against encodings of the ACPI specification, section 20.2. */
#include "check.h"

#include "measure/acpi/aml.h"

static void assert_aml(const char *text, const char *hex) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    aml a = {.out = &out};
    aml_put(&a, text);
    assert_false(a.failed);
    assert_int_equal(a.depth, 0);
    assert_hex(bytes_of_buf(&out), hex);
}

static void integers_take_their_shortest_form(void **state) {
    assert_aml("0 1 2 0xff", "00010a020aff");
    assert_aml("0x100 0xffff", "0b00010bffff");
    assert_aml("0x10000 0xffffffff", "0c000001000cffffffff");
    assert_aml("0x100000000", "0e0000000001000000");
}

static void names_have_prefixes_by_their_segments(void **state) {
    assert_aml("PICF", "50494346");
    assert_aml("_SB", "5f53425f");
    assert_aml("\\", "5c00");
    assert_aml("\\_SB.PCI0", "5c2e5f53425f50434930");
    assert_aml("_SB.PCI0.PRES", "2f035f53425f5043493050524553");
}

static void package_lengths_count_themselves_and_are_shortest(void **state) {
    assert_aml("Scope A { }", "1005415f5f5f");
    DSTACK_AUTO(buf) dstack_buf out = {0};
    aml a = {.out = &out};
    aml_put(&a, "Else {");
    for (size_t i = 0; i < 62; i++) {
        aml_put(&a, "0");
    }
    aml_put(&a, "} Else {");
    for (size_t i = 0; i < 63; i++) {
        aml_put(&a, "0");
    }
    aml_put(&a, "} Else {");
    for (size_t i = 0; i < 4094; i++) {
        aml_put(&a, "0");
    }
    aml_put(&a, "}");
    assert_false(a.failed);
    assert_hex(bytes_of(out.data, 3), "a13f00");
    assert_hex(bytes_of(out.data + 64, 4), "a1410400");
    assert_hex(bytes_of(out.data + 64 + 66, 5), "a181000100");
}

static void fields_ids_and_descriptors_have_their_own_forms(void **state) {
    assert_aml("Field DBG 1 { DBGB:8 :32 }", "5b810d4442475f0144424742080020");
    assert_aml("Field DBG 1 { DBGB:64 }", "5b810c4442475f01444247424004");
    assert_aml("Eisa PNP0A08", "0c41d00a08");
    assert_aml("Uuid 33db4d5b-1ff7-401c-9657-7441c03dd766",
               "11130a105b4ddb33f71f1c4096577441c03dd766");
    assert_aml("'text'", "0d7465787400");
    assert_aml("Resources { IrqNoFlags 0x10 }", "11080a052210007900");
    assert_aml("Name _CRS Resources { Io 0x510 0x510 1 0x0c }",
               "085f435253110d0a0a470110051005010c7900");
    assert_aml("Buffer 2 { #00ff }", "11050a0200ff");
}

static void malformed_text_is_noticed(void **state) {
    static const char *const wrong[] = {"}",
                                        "Nosuch",
                                        "TOOLONG",
                                        "_SB..PCI0",
                                        "#0",
                                        "Eisa PNP0A0",
                                        "Name",
                                        "Uuid 33db4d5b",
                                        "Resources { Resources { } } }"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        aml a = {.out = &out};
        aml_put(&a, wrong[i]);
        assert_true(a.failed);
    }
    DSTACK_AUTO(buf) dstack_buf out = {0};
    aml a = {.out = &out};
    for (size_t i = 0; i <= AML_MAX_DEPTH; i++) {
        aml_put(&a, "Else {");
    }
    assert_true(a.failed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(integers_take_their_shortest_form),
        cmocka_unit_test(names_have_prefixes_by_their_segments),
        cmocka_unit_test(package_lengths_count_themselves_and_are_shortest),
        cmocka_unit_test(fields_ids_and_descriptors_have_their_own_forms),
        cmocka_unit_test(malformed_text_is_noticed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
