/* What lib/measure refuses, on inputs made here. */
#include "check.h"

#include <dstack/measure.h>

#include "crypto/hash.h"
#include "measure/checksums.h"
#include "measure/kernel.h"
#include "measure/tdvf.h"
#include "small_image.h"

static int parse_with(size_t offset, uint32_t value, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf firmware = {0};
    small_firmware(&firmware);
    for (size_t i = 0; i < 4; i++) {
        firmware.data[offset + i] = (uint8_t)(value >> (8 * i));
    }
    tdvf metadata;
    return tdvf_parse(&metadata, bytes_of_buf(&firmware), err);
}

static void malformed_firmware_metadata_is_refused(void **state) {
    const size_t descriptor = 8192, first = descriptor + 16, end = 16384;
    static const struct {
        size_t offset;
        uint32_t value;
        int status;
    } cases[] = {
        {8192 + 8, 2, DSTACK_E_FORMAT},               /* version */
        {8192 + 12, 0, DSTACK_E_FORMAT},              /* no section */
        {8192 + 12, 33, DSTACK_E_FORMAT},             /* too many */
        {8192 + 16 + 4, 4097, DSTACK_E_FORMAT},       /* more data than memory */
        {8192 + 16, 16384, DSTACK_E_FORMAT},          /* data outside the file */
        {8192 + 16 + 8, 0xfffff001, DSTACK_E_FORMAT}, /* address within a page */
        {8192 + 16 + 20, 0x100, DSTACK_E_LIMIT},      /* 1 TiB of pages */
        {16384 - 50 - 22, 20000, DSTACK_E_FORMAT},    /* descriptor before the file */
        {16384 - 50 - 18, 3, DSTACK_E_FORMAT},        /* entry shorter than its head */
        {16384 - 48, 0, DSTACK_E_FORMAT},             /* no footer */
    };
    dstack_error err = {0};
    assert_ok(parse_with(first, 0, &err), err);
    (void)end;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(parse_with(cases[i].offset, cases[i].value, &err), cases[i].status);
    }
    tdvf metadata;
    assert_int_equal(tdvf_parse(&metadata, bytes_of("short", 5), &err), DSTACK_E_FORMAT);
}

static void memory_that_does_not_hold_the_firmware_is_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf firmware = {0}, hob = {0};
    small_firmware(&firmware);
    tdvf metadata;
    td_hob_layout layout;
    dstack_error err = {0};
    assert_ok(tdvf_parse(&metadata, bytes_of_buf(&firmware), &err), err);
    assert_ok(td_hob_layout_of(&metadata, &layout, &err), err);
    assert_int_equal(td_hob_build(&layout, 0x80b000, &hob, &err), DSTACK_E_ARGUMENT);
    assert_int_equal(td_hob_build(&layout, 0, &hob, &err), DSTACK_E_ARGUMENT);
    assert_ok(td_hob_build(&layout, 0x80c000, &hob, &err), err);
}

static void malformed_witnesses_are_refused(void **state) {
    static const char *const refused[] = {
        "",
        "8010",
        "80100901",           /* range cut short */
        "801009040006",       /* fewer ranges than said */
        "8010090100060a",     /* a byte behind the ranges */
        "80900009010006",     /* number not in its shortest form */
        "801009020902090200", /* empty range */
        "80100902090a0001",   /* ranges out of order */
        "ffffffffffffffffffff01",
        "80100921", /* too many */
    };
    dstack_error err = {0};
    td_hob_layout layout;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        DSTACK_AUTO(buf) dstack_buf bytes = {0};
        put_hex(&bytes, refused[i]);
        assert_int_equal(td_hob_witness_read(bytes_of_buf(&bytes), &layout, &err), DSTACK_E_FORMAT);
    }
}

static void documents_are_read_strictly(void **state) {
    DSTACK_AUTO(buf) dstack_buf firmware = {0}, document = {0}, kernel = {0};
    dstack_error err = {0};
    dstack_vm_shape shape;
    dstack_vm_shape_init(&shape);
    shape.has_acpi = true;
    dstack_measurements m;
    put_hex(&document, "a36776657273696f6e02");
    assert_int_equal(dstack_measure_from_document(bytes_of_buf(&document), &shape, &m, &err),
                     DSTACK_E_UNSUPPORTED);
    buf_reset(&document);
    put_hex(&document, "a36776657273696f6e03");
    assert_int_equal(dstack_measure_from_document(bytes_of_buf(&document), &shape, &m, &err),
                     DSTACK_E_FORMAT);
}

static void files_that_are_no_kernel_are_refused(void **state) {
    dstack_error err = {0};
    uint8_t digest[48];
    DSTACK_AUTO(buf) dstack_buf file = {0};
    buf_put_zeros(&file, 0xfff);
    assert_int_equal(kernel_authenticode(bytes_of_buf(&file), HASH_SHA384, digest, &err),
                     DSTACK_E_FORMAT);
    buf_put_zeros(&file, 0x1000);
    assert_int_equal(kernel_authenticode(bytes_of_buf(&file), HASH_SHA384, digest, &err),
                     DSTACK_E_FORMAT);
    memcpy(file.data, "MZ", 2);
    file.data[0x3f] = 0xff; /* PE header far behind the file */
    assert_int_equal(kernel_authenticode(bytes_of_buf(&file), HASH_SHA384, digest, &err),
                     DSTACK_E_FORMAT);
}

/* The reference tool tests xloadflags bit 0x40 where QEMU tests 0x02: kernels that have only one of
 * them land elsewhere. */
static void the_initrd_lies_where_qemu_puts_it_not_where_the_reference_thinks(void **state) {
    DSTACK_AUTO(buf) dstack_buf kernel = {0};
    dstack_error err = {0};
    buf_put_zeros(&kernel, 0x1000);
    kernel.data[0x206] = 0x0f;
    kernel.data[0x207] = 0x02;
    kernel.data[0x236] = 0x02;
    uint32_t qemu = 0, reference = 0;
    const uint64_t memory = UINT64_C(2) << 30;
    assert_ok(kernel_initrd_address(bytes_of_buf(&kernel), 4096, memory, KERNEL_XLF_ABOVE_4G, &qemu,
                                    &err),
              err);
    assert_ok(kernel_initrd_address(bytes_of_buf(&kernel), 4096, memory, KERNEL_XLF_REFERENCE,
                                    &reference, &err),
              err);
    assert_int_equal(qemu, 0x7ffd6000);
    assert_int_equal(reference, 0x37ffe000);
    assert_int_equal(kernel_initrd_address(bytes_of_buf(&kernel), UINT64_C(3) << 30, memory,
                                           KERNEL_XLF_ABOVE_4G, &qemu, &err),
                     DSTACK_E_ARGUMENT);
}

static void checksum_files_are_read_line_by_line(void **state) {
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    static const struct {
        const char *text;
        int status;
    } cases[] = {
        {ABC "  abc\n", 0},
        {"x  other\n" ABC "  abc", 0},
        {ABC "  abcd\n", DSTACK_E_NOT_FOUND},
        {"", DSTACK_E_NOT_FOUND},
        {ABC "  abc\n" ABC "  abc\n", DSTACK_E_FORMAT},
        {"00  abc\n", DSTACK_E_FORMAT},
        {"aa7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  abc\n",
         DSTACK_E_REFUSED},
    };
    dstack_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(
            checksums_check(bytes_of_str(cases[i].text), "abc", bytes_of("abc", 3), &err),
            cases[i].status);
    }
}

static void sec_26_an_image_hash_needs_material_that_hashes_to_it(void **state) {
    dstack_error err = {0};
    dstack_vm_config config;
    char hash[65];
    /* A requester's bare claim is not material. */
    assert_ok(dstack_vm_config_parse(
                  bytes_of_str("{\"os_image_hash\":\"" ABC "\",\"cpu_count\":1}"), &config, &err),
              err);
    assert_int_equal(dstack_measure_material_check(&config, hash, &err), DSTACK_E_NOT_FOUND);
    dstack_vm_config_clear(&config);
    /* "abc" as document, listed under its own hash: the claim is another image's. */
    DSTACK_AUTO(buf) dstack_buf text = {0}, checksums = {0};
    buf_put_str(&checksums, ABC "  measurement.tdx.cbor\n");
    buf_put_str(&text,
                "{\"os_image_hash\":\"" ABC "\",\"tdx_measurement\":{\"measurement\":\"YWJj\","
                "\"checksum_file\":\"");
    base64_encode(bytes_of_buf(&checksums), BASE64_STANDARD, &text);
    buf_put_str(&text, "\"}}");
    assert_ok(dstack_vm_config_parse(bytes_of_buf(&text), &config, &err), err);
    assert_int_equal(dstack_measure_material_check(&config, hash, &err), DSTACK_E_REFUSED);
    /* Without the claim, the material names its own image. */
    config.os_image_hash[0] = '\0';
    assert_ok(dstack_measure_material_check(&config, hash, &err), err);
    uint8_t raw[32];
    char expected[65];
    hash_sha256(bytes_of_buf(&checksums), raw);
    hex_encode(bytes_of(raw, 32), expected);
    assert_string_equal(hash, expected);
    /* A document that the list does not name by its hash. */
    config.measurement.data[0] ^= 1;
    assert_int_equal(dstack_measure_material_check(&config, hash, &err), DSTACK_E_REFUSED);
    dstack_vm_config_clear(&config);
}

static void vm_configs_outside_their_ranges_are_refused(void **state) {
    static const char *const refused[] = {
        "[]",
        "{",
        "{\"cpu_count\":-1}",
        "{\"cpu_count\":\"1\"}",
        "{\"memory_size\":-5}",
        "{\"qemu_version\":\"7.2.0\"}",
        "{\"qemu_version\":\"9.1\"}",
        "{\"qemu_version\":\"9.1.0rc\"}",
        "{\"ovmf_variant\":\"other\"}",
        "{\"tdx_attestation_variant\":\"none\"}",
        "{\"os_image_hash\":\"00\"}",
        "{\"tdx_measurement\":{\"measurement\":\"YQ==\"}}",
        "{\"vm_config\":\"[\"}",
    };
    dstack_error err = {0};
    dstack_vm_config config;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        assert_int_not_equal(dstack_vm_config_parse(bytes_of_str(refused[i]), &config, &err), 0);
    }
    assert_ok(dstack_vm_config_parse(
                  bytes_of_str("{\"vm_config\":\"{\\\"cpu_count\\\":7}\",\"cpu_count\":1}"),
                  &config, &err),
              err);
    assert_int_equal(config.shape.cpu_count, 7);
    dstack_vm_config_clear(&config);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(malformed_firmware_metadata_is_refused),
        cmocka_unit_test(memory_that_does_not_hold_the_firmware_is_refused),
        cmocka_unit_test(malformed_witnesses_are_refused),
        cmocka_unit_test(documents_are_read_strictly),
        cmocka_unit_test(files_that_are_no_kernel_are_refused),
        cmocka_unit_test(the_initrd_lies_where_qemu_puts_it_not_where_the_reference_thinks),
        cmocka_unit_test(checksum_files_are_read_line_by_line),
        cmocka_unit_test(sec_26_an_image_hash_needs_material_that_hashes_to_it),
        cmocka_unit_test(vm_configs_outside_their_ranges_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
