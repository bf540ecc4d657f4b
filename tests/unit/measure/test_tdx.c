/* lib/measure against the reference tool's values for a synthetic image, real boots, and events
 * whose preimages are public. */
#include "check.h"

#include <dstack/measure.h>

#include "crypto/hash.h"
#include "measure/events.h"
#include "measure/kernel.h"
#include "measure/tdvf.h"
#include "small_image.h"

#define IMAGE SHARED_DATA "measurement/synthetic-image"

static void assert_registers(const dstack_measurements *m, const json_t *expected) {
    static const char *const names[] = {"rtmr0", "rtmr1", "rtmr2"};
    assert_hex(bytes_of(m->mrtd, 48), json_string_value(json_object_get(expected, "mrtd")));
    for (size_t i = 0; i < 3; i++) {
        assert_hex(bytes_of(m->rtmr[i], 48),
                   json_string_value(json_object_get(expected, names[i])));
    }
}

static void all_reference_configurations_give_the_reference_registers(void **state) {
    need_shared_data();
    DSTACK_AUTO(json)
    json_t *vectors = load_json(SHARED_DATA "measurement/tdx-measure-vectors.json");
    dstack_error err = {0};
    dstack_image image = {0};
    assert_ok(dstack_image_load(IMAGE, &image, &err), err);
    size_t index;
    json_t *vector;
    json_array_foreach(vectors, index, vector) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        json_t *vm = json_object_get(vector, "vm"), *two_pass = json_object_get(vm, "two_pass");
        if (two_pass != NULL) {
            json_object_set(vm, "qemu_single_pass_add_pages", two_pass);
        }
        assert_ok(json_write(vm, false, &text, &err), err);
        dstack_vm_config config;
        assert_ok(dstack_vm_config_parse(bytes_of_buf(&text), &config, &err), err);
        const json_t *effective = json_object_get(vector, "effective");
        assert_true(config.shape.pic == json_is_true(json_object_get(effective, "pic")));
        assert_true(config.shape.two_pass ==
                    json_is_true(json_object_get(effective, "two_pass_add_pages")));
        dstack_measurements m;
        assert_ok(dstack_measure_tdx(&image, &config.shape, &m, &err), err);
        /* The reference tool fills in the kernel's header for every QEMU. We know that QEMU stopped
         * to do so with 10.2, and give the other RTMR1 for those versions, too. */
        assert_int_equal(m.has_rtmr1_distributed, config.shape.qemu_version[0] > 10);
        assert_hex(bytes_of(m.events[0].digest, 48),
                   json_string_value(json_object_get(vector, "td_hob_sha384")));
        assert_registers(&m, json_object_get(vector, "expected"));
        dstack_vm_config_clear(&config);
    }
    assert_int_equal(json_array_size(vectors), 24);
    dstack_image_clear(&image);
}

static void the_documents_and_digest_of_the_synthetic_image_are_byte_equal(void **state) {
    need_shared_data();
    dstack_error err = {0};
    dstack_image image = {0};
    DSTACK_AUTO(buf) dstack_buf document = {0}, expected = {0};
    assert_ok(dstack_image_load(IMAGE, &image, &err), err);
    assert_ok(dstack_measure_document(&image, &document, &err), err);
    load_file(IMAGE "/measurement.tdx.cbor", &expected);
    assert_true(bytes_equal(bytes_of_buf(&document), bytes_of_buf(&expected)));
    char digest[65];
    assert_ok(dstack_measure_digest(IMAGE, digest, &err), err);
    assert_string_equal(digest, "6a018101c092bf16d6e75a08090bd962cd3c0396793067e1fcf453ac06c804f6");
    assert_string_equal(image.os_image_hash, digest);
    dstack_image_clear(&image);
}

static void a_document_predicts_what_its_image_predicts(void **state) {
    need_shared_data();
    dstack_error err = {0};
    dstack_image image = {0};
    DSTACK_AUTO(buf) dstack_buf document = {0};
    assert_ok(dstack_image_load(IMAGE, &image, &err), err);
    static const bool flags[] = {false, true};
    for (size_t normalized = 0; normalized < 2; normalized++) {
        for (size_t own_cfv = 0; own_cfv < 2; own_cfv++) {
            image.kernel_header_normalized = flags[normalized];
            image.cfv_from_file = flags[own_cfv];
            buf_reset(&document);
            assert_ok(dstack_measure_document(&image, &document, &err), err);
            dstack_vm_shape shape;
            dstack_vm_shape_init(&shape);
            shape.has_acpi = true;
            dstack_measurements a, b;
            assert_ok(dstack_measure_tdx(&image, &shape, &a, &err), err);
            assert_ok(dstack_measure_from_document(bytes_of_buf(&document), &shape, &b, &err), err);
            assert_ok(dstack_measure_compare(&a, b.mrtd, b.rtmr, &err), err);
            shape.memory_size = UINT64_C(1) << 30;
            const int rc = dstack_measure_from_document(bytes_of_buf(&document), &shape, &b, &err);
            assert_int_equal(rc, flags[normalized] ? 0 : DSTACK_E_ARGUMENT);
        }
    }
    dstack_image_clear(&image);
}

static void td_hobs_are_byte_equal(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "measurement/td-hob-vectors.json");
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf witness = {0}, again = {0};
    put_hex(&witness, json_string_value(json_object_get(data, "witness")));
    td_hob_layout layout;
    assert_ok(td_hob_witness_read(bytes_of_buf(&witness), &layout, &err), err);
    td_hob_witness_write(&layout, &again);
    assert_true(bytes_equal(bytes_of_buf(&witness), bytes_of_buf(&again)));
    size_t index;
    json_t *vector;
    json_array_foreach(json_object_get(data, "vectors"), index, vector) {
        DSTACK_AUTO(buf) dstack_buf hob = {0};
        const json_int_t size = json_integer_value(json_object_get(vector, "memory_size"));
        assert_ok(td_hob_build(&layout, (uint64_t)size, &hob, &err), err);
        assert_hex(bytes_of_buf(&hob), json_string_value(json_object_get(vector, "td_hob")));
    }
}

static void kernels_hash_as_the_reference_hashes_them(void **state) {
    need_shared_data();
    DSTACK_AUTO(json)
    json_t *data = load_json(SHARED_DATA "measurement/kernel-authenticode-vectors.json");
    dstack_error err = {0};
    size_t index, files = 0;
    json_t *kernel;
    json_array_foreach(data, index, kernel) {
        const char *name = json_string_value(json_object_get(kernel, "file"));
        if (name == NULL) {
            continue;
        }
        files++;
        DSTACK_AUTO(buf) dstack_buf path = {0}, file = {0};
        buf_put_fmt(&path, SHARED_DATA "measurement/%s", name);
        load_file(buf_text(&path), &file);
        uint8_t digest[48];
        assert_ok(kernel_authenticode(bytes_of_buf(&file), HASH_SHA256, digest, &err), err);
        assert_hex(bytes_of(digest, 32),
                   json_string_value(json_object_get(kernel, "sha256_authenticode_unpatched")));
        assert_ok(kernel_authenticode(bytes_of_buf(&file), HASH_SHA384, digest, &err), err);
        assert_hex(bytes_of(digest, 48),
                   json_string_value(json_object_get(kernel, "sha384_unpatched")));
        size_t i;
        json_t *patch;
        json_array_foreach(json_object_get(kernel, "patched"), i, patch) {
            const uint64_t memory =
                (uint64_t)json_integer_value(json_object_get(patch, "memory_size"));
            const uint64_t initrd =
                (uint64_t)json_integer_value(json_object_get(patch, "initrd_size"));
            uint32_t address = 0;
            assert_ok(kernel_initrd_address(bytes_of_buf(&file), initrd, memory,
                                            KERNEL_XLF_REFERENCE, &address, &err),
                      err);
            assert_int_equal(address, json_integer_value(json_object_get(patch, "initrd_addr")));
            assert_ok(kernel_authenticode_patched(bytes_of_buf(&file), initrd, memory,
                                                  KERNEL_XLF_REFERENCE, HASH_SHA384, digest, &err),
                      err);
            assert_hex(bytes_of(digest, 48),
                       json_string_value(json_object_get(patch, "sha384_patched")));
        }
    }
    assert_int_equal(files, 3);
}

/* The three events of RTMR0 with the payload of ACPI data, in order. */
static void assert_logged_tables(const json_t *boot, const dstack_vm_shape *shape) {
    const uint8_t *const digests[] = {shape->acpi_loader, shape->acpi_rsdp, shape->acpi_tables};
    size_t index, found = 0;
    json_t *event;
    json_array_foreach(json_object_get(boot, "boot_events"), index, event) {
        if (json_integer_value(json_object_get(event, "event_type")) == 10) {
            assert_true(found < 3);
            assert_hex(bytes_of(digests[found++], 48),
                       json_string_value(json_object_get(event, "digest")));
        }
    }
    assert_int_equal(found, 3);
}

static void acpi_tables_of_real_boots_are_those_generated(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "measurement/tdx-hardware-vectors.json");
    dstack_error err = {0};
    size_t index;
    json_t *boot;
    json_array_foreach(data, index, boot) {
        dstack_vm_config config;
        const char *text = json_string_value(json_object_get(boot, "vm_config"));
        assert_ok(dstack_vm_config_parse(bytes_of_str(text), &config, &err), err);
        assert_ok(dstack_vm_shape_set_acpi(&config.shape, &err), err);
        assert_logged_tables(boot, &config.shape);
        dstack_vm_config_clear(&config);
    }
    assert_int_equal(json_array_size(data), 2);
}

static void real_boots_replay_and_follow_from_their_document(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "measurement/tdx-hardware-vectors.json");
    dstack_error err = {0};
    size_t index, documents = 0;
    json_t *boot;
    json_array_foreach(data, index, boot) {
        dstack_vm_config config;
        const char *text = json_string_value(json_object_get(boot, "vm_config"));
        assert_ok(dstack_vm_config_parse(bytes_of_str(text), &config, &err), err);
        if (!config.has_measurement) {
            dstack_vm_config_clear(&config);
            continue;
        }
        documents++;
        assert_ok(dstack_measure_material_check(&config, NULL, &err), err);
        dstack_measurements m;
        assert_ok(dstack_measure_from_document(bytes_of_buf(&config.measurement), &config.shape, &m,
                                               &err),
                  err);
        assert_registers(&m, json_object_get(boot, "registers"));
        dstack_vm_config_clear(&config);
    }
    assert_int_equal(documents, 1);
}

static void fixed_events_have_the_digests_that_firmware_logs(void **state) {
    static const struct {
        const char *name, *digest;
    } expected[] = {
        {"SecureBoot",
         "9dc3a1f80bcec915391dcda5ffbb15e7419f77eab462bbf72b42166fb70d50325e37b36f93537a"
         "863769bcf9bedae6fb"},
        {"dbx",
         "18cc6e01f0c6ea99aa23f8a280423e94ad81d96d0aeb5180504fc0f7a40cb3619dd39bd6a95ec1680a86ed"
         "6ab0f9828d"},
        {"BootOrder",
         "1dd6f7b457ad880d840d41c961283bab688e94e4b59359ea45686581e90feccea3c624b1226113f"
         "824f315eb60ae0a7c"},
        {"Boot0000",
         "23ada07f5261f12f34a0bd8e46760962d6b4d576a416f1fea1c64bc656b1d28eacf7047ae6e967c58"
         "fd2a98bfa74c298"},
        {"separator",
         "394341b7182cd227c5c6b07ef8000cdfd86136c4292b8e576573ad7ed9ae41019f5818b4b971c9e"
         "ffc60e1ad9f1289f0"},
    };
    measure_inputs inputs = {0};
    dstack_vm_shape shape;
    dstack_vm_shape_init(&shape);
    dstack_measurements m;
    dstack_error err = {0};
    assert_ok(measure_events(&inputs, &shape, &m, &err), err);
    size_t found = 0;
    for (size_t i = 0; i < m.event_count; i++) {
        for (size_t j = 0; j < sizeof expected / sizeof *expected; j++) {
            if (strcmp(m.events[i].name, expected[j].name) == 0) {
                assert_hex(bytes_of(m.events[i].digest, 48), expected[j].digest);
                found++;
            }
        }
    }
    assert_int_equal(found, 6); /* the separator stands in two registers */
}

static void debians_firmware_has_the_layout_of_tdvf(void **state) {
    if (access("/usr/share/ovmf/OVMF.fd", R_OK) != 0) {
        print_message("SKIP: /usr/share/ovmf/OVMF.fd is absent\n");
        skip();
    }
    DSTACK_AUTO(buf) dstack_buf file = {0}, witness = {0};
    load_file("/usr/share/ovmf/OVMF.fd", &file);
    dstack_error err = {0};
    tdvf metadata;
    td_hob_layout layout;
    uint8_t single[48], two[48], cfv[48];
    assert_ok(tdvf_parse(&metadata, bytes_of_buf(&file), &err), err);
    assert_ok(td_hob_layout_of(&metadata, &layout, &err), err);
    assert_ok(tdvf_cfv_digest(&metadata, cfv, &err), err);
    td_hob_witness_write(&layout, &witness);
    assert_hex(bytes_of_buf(&witness), "80100904000609020b021010");
    tdvf_mrtd(&metadata, false, single);
    tdvf_mrtd(&metadata, true, two);
    assert_memory_not_equal(single, two, 48);
    /* One changed byte of the measured volume changes MRTD; one of the variable store does not. */
    file.data[0x20000] ^= 1;
    file.data[0] ^= 1;
    uint8_t changed[48], again[48];
    tdvf_mrtd(&metadata, false, changed);
    assert_memory_not_equal(changed, single, 48);
    file.data[0x20000] ^= 1;
    tdvf_mrtd(&metadata, false, again);
    assert_memory_equal(again, single, 48);
}

static void the_boot_log_replays_to_the_registers(void **state) {
    measure_inputs inputs = {.kernel = {1}, .cfv = {2}};
    dstack_vm_shape shape;
    dstack_vm_shape_init(&shape);
    shape.has_acpi = true;
    dstack_measurements m;
    dstack_error err = {0};
    assert_ok(measure_events(&inputs, &shape, &m, &err), err);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    assert_ok(dstack_measure_boot_log(&m, &log, &err), err);
    uint8_t rtmr[3][48] = {0};
    cursor c = cursor_init(bytes_of_buf(&log));
    cursor_skip(&c, 4 + 4 + 20);
    cursor_skip(&c, cursor_u32le(&c));
    size_t markers = 0;
    for (uint32_t index; (index = cursor_u32le(&c)) != UINT32_MAX && cursor_ok(&c);) {
        assert_in_range(index, 1, 3);
        cursor_skip(&c, 4);
        assert_int_equal(cursor_u32le(&c), 1);
        assert_int_equal(cursor_u16le(&c), 0x000c);
        const dstack_bytes parts[] = {bytes_of(rtmr[index - 1], 48), cursor_take(&c, 48)};
        hash_parts(HASH_SHA384, parts, 2, rtmr[index - 1]);
        markers += bytes_equal_str(cursor_take(&c, cursor_u32le(&c)), "ACPI DATA");
    }
    assert_true(cursor_done(&c));
    assert_int_equal(markers, 3);
    assert_memory_equal(rtmr, m.rtmr, sizeof rtmr);
}

static void a_kernel_header_left_alone_is_the_other_rtmr1_of_newer_qemu(void **state) {
    char dir[] = "/tmp/dstack-image-XXXXXX";
    dstack_error err = {0};
    dstack_image image = {0};
    dstack_vm_shape shape;
    dstack_measurements older, newer, normalized;
    small_image_make(dir, "header");
    assert_ok(dstack_image_load(dir, &image, &err), err);
    dstack_vm_shape_init(&shape);
    assert_ok(dstack_vm_shape_set_qemu(&shape, "10.1.9", &err), err);
    assert_ok(dstack_measure_tdx(&image, &shape, &older, &err), err);
    assert_false(older.has_rtmr1_distributed);
    assert_ok(dstack_vm_shape_set_qemu(&shape, "10.2.0", &err), err);
    assert_ok(dstack_measure_tdx(&image, &shape, &newer, &err), err);
    assert_true(newer.has_rtmr1_distributed);
    image.kernel_header_normalized = true;
    assert_ok(dstack_measure_tdx(&image, &shape, &normalized, &err), err);
    assert_false(normalized.has_rtmr1_distributed);
    assert_memory_equal(normalized.rtmr[1], newer.rtmr1_distributed, 48);
    assert_memory_not_equal(normalized.rtmr[1], newer.rtmr[1], 48);
    /* The registers of a guest whose QEMU left the header alone. */
    assert_ok(dstack_measure_compare(&newer, normalized.mrtd, normalized.rtmr, &err), err);
    assert_ok(dstack_measure_compare(&newer, newer.mrtd, newer.rtmr, &err), err);
    assert_int_equal(dstack_measure_compare(&older, normalized.mrtd, normalized.rtmr, &err),
                     DSTACK_E_REFUSED);
    assert_non_null(strstr(err.message, "RTMR1"));
    normalized.rtmr[1][0] ^= 1;
    assert_int_equal(dstack_measure_compare(&newer, normalized.mrtd, normalized.rtmr, &err),
                     DSTACK_E_REFUSED);
    dstack_image_clear(&image);
    small_image_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_reference_configurations_give_the_reference_registers),
        cmocka_unit_test(the_documents_and_digest_of_the_synthetic_image_are_byte_equal),
        cmocka_unit_test(a_document_predicts_what_its_image_predicts),
        cmocka_unit_test(td_hobs_are_byte_equal),
        cmocka_unit_test(kernels_hash_as_the_reference_hashes_them),
        cmocka_unit_test(real_boots_replay_and_follow_from_their_document),
        cmocka_unit_test(acpi_tables_of_real_boots_are_those_generated),
        cmocka_unit_test(a_kernel_header_left_alone_is_the_other_rtmr1_of_newer_qemu),
        cmocka_unit_test(fixed_events_have_the_digests_that_firmware_logs),
        cmocka_unit_test(debians_firmware_has_the_layout_of_tdvf),
        cmocka_unit_test(the_boot_log_replays_to_the_registers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
