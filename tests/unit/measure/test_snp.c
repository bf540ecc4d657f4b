/* SEV-SNP: single steps of the launch digest with published values, whole launches against recorded
 * ones, firmware and documents of our own making, and what is refused. */
#include "check.h"

#include <dstack/measure_snp.h>

#include "crypto/hash.h"
#include "measure/snp.h"

#define ROOTFS "dstack.rootfs_hash=3333333333333333333333333333333333333333333333333333333333333333"

static void one_page_extends_the_digest_as_published(void **state) {
    (void)state;
    uint8_t digest[48] = {0}, contents[48];
    hash_sha384(bytes_of_str("page"), contents);
    snp_page_update(digest, SNP_PAGE_NORMAL, 0x1000, contents);
    assert_hex(bytes_of(digest, 48),
               "3ebc1a70acc0bae5ae2788fae29a0371f983b19a68faf9843064f36040f58571"
               "ce5bb6bcdc9c361087073f8cffd92635");
}

static void the_vmsa_of_a_boot_cpu_is_as_published(void **state) {
    (void)state;
    uint32_t signature = 0;
    uint8_t hash[48];
    dstack_error err = {0};
    assert_ok(snp_cpu_signature("epyc-V4", &signature, &err), err);
    snp_vmsa_hash(SNP_RESET_VECTOR, signature, 1, hash);
    assert_hex(bytes_of(hash, 48),
               "77920c4c629ff47e90c0e174fc1ad0eb6fa664f88cd4739488058a8c6cb1a77b"
               "3856f55378e9518d0da99452d51c553a");
    assert_int_equal(snp_cpu_signature("EPYC-Turin", &signature, &err), DSTACK_E_UNSUPPORTED);
}

static uint64_t number(const json_t *object, const char *key) {
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static void fixed(const json_t *object, const char *key, uint8_t *out, size_t len) {
    const char *text = json_string_value(json_object_get(object, key));
    dstack_error err = {0};
    if (text == NULL || *text == '\0') {
        hash_sha256((dstack_bytes){0}, out); /* no initrd */
        return;
    }
    assert_ok(hex_decode_fixed(text, out, len, &err), err);
}

static void recorded_launches_get_the_recorded_digests(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(json) json_t *list = load_json(SHARED_DATA "measurement/snp-vectors.json");
    size_t i, n;
    json_t *item, *section;
    assert_true(json_array_size(list) >= 16);
    json_array_foreach(list, i, item) {
        const json_t *in = json_object_get(item, "input");
        dstack_snp_image image = {.hashes_table_gpa = number(in, "sev_hashes_table_gpa"),
                                  .reset_eip = (uint32_t)number(in, "sev_es_reset_eip")};
        dstack_snp_machine machine = {.vcpus = (uint32_t)number(in, "vcpus"),
                                      .guest_features = number(in, "guest_features")};
        snprintf(machine.vcpu_type, sizeof machine.vcpu_type, "%s",
                 json_string_value(json_object_get(in, "vcpu_type")));
        fixed(in, "ovmf_hash", image.ovmf_hash, 48);
        fixed(in, "kernel_hash", image.kernel_hash, 32);
        fixed(in, "initrd_hash", image.initrd_hash, 32);
        json_array_foreach(json_object_get(in, "ovmf_sections"), n, section) {
            image.sections[image.section_count++] = (dstack_snp_section){
                (uint32_t)number(section, "gpa"), (uint32_t)number(section, "size"),
                (uint32_t)number(section, "section_type")};
        }
        dstack_error err = {0};
        uint8_t digest[48];
        const char *cmdline = json_string_value(json_object_get(in, "base_cmdline"));
        assert_ok(snp_image_set_cmdline(&image, bytes_of_str(cmdline), &err), err);
        assert_ok(dstack_measure_snp(&image, &machine, digest, &err), err);
        assert_hex(bytes_of(digest, 48), json_string_value(json_object_get(item, "measurement")));
    }
}

static void the_synthetic_image_gives_its_document(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf want = {0}, have = {0};
    dstack_snp_image image;
    dstack_error err = {0};
    load_file(SHARED_DATA "measurement/synthetic-image/measurement.snp.cbor", &want);
    DSTACK_AUTO(buf) dstack_buf firmware = {0}, kernel = {0}, initrd = {0}, text = {0};
    load_file(SHARED_DATA "measurement/synthetic-image/ovmf-sev.fd", &firmware);
    load_file(SHARED_DATA "measurement/synthetic-image/bzImage", &kernel);
    load_file(SHARED_DATA "measurement/synthetic-image/initramfs.cpio.gz", &initrd);
    DSTACK_AUTO(json)
    json_t *metadata = load_json(SHARED_DATA "measurement/synthetic-image/metadata.json");
    const char *cmdline = json_string_value(json_object_get(metadata, "cmdline"));
    assert_ok(dstack_snp_image_from_files(bytes_of_buf(&firmware), bytes_of_buf(&kernel),
                                          bytes_of_buf(&initrd), bytes_of_str(cmdline), &image,
                                          &err),
              err);
    assert_ok(dstack_snp_image_document(&image, &have, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&have), bytes_of_buf(&want)));
    assert_ok(dstack_snp_image_load(SHARED_DATA "measurement/synthetic-image", &image, &err), err);
}

static void real_firmware_metadata_is_read_as_recorded(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(json) json_t *manifest = load_json(SHARED_DATA "tees/manifest.json");
    size_t i, ran = 0;
    json_t *c;
    json_array_foreach(json_object_get(manifest, "cases"), i, c) {
        if (strcmp(json_string_value(json_object_get(c, "kind")), "snp-ovmf") != 0) {
            continue;
        }
        char path[512];
        DSTACK_AUTO(buf) dstack_buf firmware = {0};
        dstack_snp_image image;
        dstack_error err = {0};
        const json_t *expect = json_object_get(c, "expect");
        snprintf(path, sizeof path, SHARED_DATA "tees/%s",
                 json_string_value(json_object_get(c, "file")));
        load_file(path, &firmware);
        const int rc =
            dstack_snp_image_from_files(bytes_of_buf(&firmware), (dstack_bytes){0},
                                        (dstack_bytes){0}, bytes_of_str(ROOTFS), &image, &err);
        ran++;
        if (strcmp(json_string_value(json_object_get(expect, "result")), "accept") != 0) {
            assert_int_not_equal(rc, 0);
            continue;
        }
        assert_ok(rc, err);
        assert_int_equal(image.hashes_table_gpa, number(expect, "hashes_table_gpa"));
        assert_int_equal(image.reset_eip, number(expect, "sev_es_reset_eip"));
        assert_int_equal(image.section_count, json_array_size(json_object_get(expect, "sections")));
        assert_hex(bytes_of(image.ovmf_hash, 48),
                   json_string_value(json_object_get(expect, "ovmf_hash")));
    }
    assert_true(ran >= 2);
}

/* ---- made here ---- */

static void put_entry(dstack_buf *out, const char *guid, uint32_t value) {
    buf_put_u32le(out, value);
    buf_put_u16le(out, 22);
    put_hex(out, guid);
}

/* One page of firmware: metadata at its start, the table at its end. */
static void put_firmware(dstack_buf *out, uint32_t hashes_gpa) {
    DSTACK_AUTO(buf) dstack_buf table = {0};
    put_entry(&table, "1f3755723b3a044b927b1da6efa8d454", hashes_gpa);
    put_entry(&table, "de71f7007e1acb4f890e68c77e2fb44e", 0x80b004);
    put_entry(&table, "666588dc4a989847a75e5585a7bf67cc", 4096);
    buf_put_u16le(&table, (uint16_t)(table.len + 18));
    put_hex(&table, "de82b596b21ff745baeaa366c55a082d");
    buf_put_str(out, "ASEV");
    buf_put_u32le(out, 52);
    buf_put_u32le(out, 1);
    buf_put_u32le(out, 3);
    static const uint32_t sections[3][3] = {
        {0x800000, 0x9000, 1}, {0x80d000, 0x1000, 2}, {0x810000, 0x1000, 0x10}};
    for (size_t i = 0; i < 9; i++) {
        buf_put_u32le(out, sections[i / 3][i % 3]);
    }
    buf_put_zeros(out, 4096 - 32 - table.len - out->len);
    buf_put_bytes(out, bytes_of_buf(&table));
    buf_put_zeros(out, 32);
}

static void made_image(dstack_snp_image *image) {
    DSTACK_AUTO(buf) dstack_buf firmware = {0};
    dstack_error err = {0};
    put_firmware(&firmware, 0x810c00);
    assert_int_equal(firmware.len, 4096);
    assert_ok(dstack_snp_image_from_files(
                  bytes_of_buf(&firmware), bytes_of_str("kernel"), bytes_of_str("initrd"),
                  bytes_of_str(" console=ttyS0 " ROOTFS " \n"), image, &err),
              err);
}

static void files_and_document_agree_and_every_input_counts(void **state) {
    (void)state;
    dstack_snp_image image, again;
    DSTACK_AUTO(buf) dstack_buf document = {0};
    dstack_snp_machine machine = {.vcpus = 2, .vcpu_type = "EPYC-v4", .guest_features = 1};
    uint8_t digest[48], other[48];
    dstack_error err = {0};
    made_image(&image);
    assert_int_equal(image.section_count, 3);
    assert_string_equal(image.cmdline, "console=ttyS0 " ROOTFS);
    assert_ok(dstack_snp_image_document(&image, &document, &err), err);
    assert_ok(dstack_snp_image_from_document(bytes_of_buf(&document), &again, &err), err);
    assert_ok(dstack_measure_snp(&image, &machine, digest, &err), err);
    assert_ok(dstack_measure_snp(&again, &machine, other, &err), err);
    assert_memory_equal(digest, other, 48);
    machine.vcpus = 3;
    assert_ok(dstack_measure_snp(&image, &machine, other, &err), err);
    assert_memory_not_equal(digest, other, 48);
    machine.vcpus = 2;
    again.kernel_hash[0] ^= 1;
    assert_ok(dstack_measure_snp(&again, &machine, other, &err), err);
    assert_memory_not_equal(digest, other, 48);
    for (size_t cut = 0; cut < document.len; cut++) {
        assert_int_not_equal(
            dstack_snp_image_from_document(bytes_of(document.data, cut), &again, &err), 0);
    }
    buf_put_u8(&document, 0);
    assert_int_equal(dstack_snp_image_from_document(bytes_of_buf(&document), &again, &err),
                     DSTACK_E_FORMAT);
}

static void sec_15_sizes_that_would_cost_too_much_are_refused(void **state) {
    (void)state;
    dstack_snp_image image;
    dstack_snp_machine machine = {.vcpus = 1, .vcpu_type = "EPYC-v4", .guest_features = 1};
    uint8_t digest[48];
    dstack_error err = {0};
    made_image(&image);
    image.sections[0].size = UINT32_MAX;
    assert_int_equal(dstack_measure_snp(&image, &machine, digest, &err), DSTACK_E_LIMIT);
    made_image(&image);
    machine.vcpus = DSTACK_SNP_MAX_VCPUS + 1;
    assert_int_equal(dstack_measure_snp(&image, &machine, digest, &err), DSTACK_E_ARGUMENT);
}

static void what_leaves_something_unmeasured_is_refused(void **state) {
    (void)state;
    dstack_snp_image image;
    const dstack_snp_machine machine = {.vcpus = 1, .vcpu_type = "EPYC-v4", .guest_features = 1};
    uint8_t digest[48];
    dstack_error err = {0};
    made_image(&image);
    image.hashes_table_gpa = 0; /* as builds of OVMF without AmdSev have it */
    assert_int_equal(dstack_measure_snp(&image, &machine, digest, &err), DSTACK_E_FORMAT);
    made_image(&image);
    image.section_count = 2; /* no page for the hashes */
    assert_int_equal(dstack_measure_snp(&image, &machine, digest, &err), DSTACK_E_FORMAT);
    made_image(&image);
    assert_ok(snp_image_set_cmdline(&image, bytes_of_str("console=ttyS0"), &err), err);
    assert_int_equal(dstack_measure_snp(&image, &machine, digest, &err), DSTACK_E_FORMAT);
    assert_ok(snp_image_set_cmdline(&image, bytes_of_str(ROOTFS " " ROOTFS), &err), err);
    assert_int_equal(dstack_measure_snp(&image, &machine, digest, &err), DSTACK_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_page_extends_the_digest_as_published),
        cmocka_unit_test(the_vmsa_of_a_boot_cpu_is_as_published),
        cmocka_unit_test(recorded_launches_get_the_recorded_digests),
        cmocka_unit_test(the_synthetic_image_gives_its_document),
        cmocka_unit_test(real_firmware_metadata_is_read_as_recorded),
        cmocka_unit_test(files_and_document_agree_and_every_input_counts),
        cmocka_unit_test(sec_15_sizes_that_would_cost_too_much_are_refused),
        cmocka_unit_test(what_leaves_something_unmeasured_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
