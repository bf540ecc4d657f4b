/* The generated ACPI tables against those that QEMU of several versions made. */
#include "check.h"

#include <dstack/measure.h>

#include "crypto/hash.h"
#include "measure/acpi/acpi.h"

#define DATA SHARED_DATA "measurement/acpi/"

static int64_t number(const json_t *object, const char *key) {
    return json_integer_value(json_object_get(object, key));
}

static bool flag(const json_t *object, const char *key) {
    return json_is_true(json_object_get(object, key));
}

static void shape_of(const json_t *v, dstack_vm_shape *shape) {
    dstack_error err = {0};
    dstack_vm_shape_init(shape);
    assert_ok(dstack_vm_shape_set_qemu(shape, json_string_value(json_object_get(v, "qemu_version")),
                                       &err),
              err);
    shape->cpu_count = (uint32_t)number(v, "cpu_count");
    shape->memory_size = (uint64_t)number(v, "memory_size");
    shape->num_nics = (uint32_t)number(v, "num_nics");
    shape->num_verity_volumes = (uint32_t)number(v, "num_verity_volumes");
    shape->num_gpus = (uint32_t)number(v, "num_gpus");
    shape->num_nvswitches = (uint32_t)number(v, "num_nvswitches");
    shape->pci_hole64_size = (uint64_t)number(v, "pci_hole64_size");
    shape->hotplug_off = flag(v, "hotplug_off");
    shape->hugepages = flag(v, "hugepages");
    shape->pic = flag(v, "pic");
}

static void assert_digest(const dstack_buf *file, const json_t *v, const char *key) {
    uint8_t digest[48];
    hash_sha384(bytes_of_buf(file), digest);
    assert_hex(bytes_of(digest, 48), json_string_value(json_object_get(v, key)));
}

static void every_known_configuration_gives_qemus_own_tables(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *vectors = load_json(DATA "acpi-vectors.json");
    dstack_error err = {0};
    size_t index;
    json_t *v;
    json_array_foreach(vectors, index, v) {
        dstack_vm_shape shape;
        acpi_machine m;
        dstack_acpi acpi;
        shape_of(v, &shape);
        assert_ok(acpi_machine_of(&shape, &m, &err), err);
        m.root_verity = flag(v, "root_verity");
        m.smm = flag(v, "smm");
        assert_ok(acpi_build(&m, &acpi, &err), err);
        assert_int_equal(acpi.tables.len, number(v, "tables_len"));
        assert_digest(&acpi.rsdp, v, "rsdp_sha384");
        assert_digest(&acpi.tables, v, "tables_sha384");
        assert_digest(&acpi.loader, v, "loader_sha384");
        dstack_acpi_clear(&acpi);
    }
    assert_int_equal(json_array_size(vectors), 77);
}

static void the_default_machine_is_byte_equal_in_every_profile(void **state) {
    static const struct {
        const char *file, *version;
    } machines[] = {{"default-A.tables.bin", "8.2.2"},
                    {"default-B.tables.bin", "9.2.1"},
                    {"default-C.tables.bin", "10.0.0"},
                    {"default-D.tables.bin", "11.0.0"},
                    {"default-E.tables.bin", "11.1.0"}};
    need_shared_data();
    dstack_error err = {0};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        char path[128];
        DSTACK_AUTO(buf) dstack_buf expected = {0};
        dstack_vm_shape shape;
        dstack_acpi acpi;
        snprintf(path, sizeof path, DATA "%s", machines[i].file);
        load_file(path, &expected);
        dstack_vm_shape_init(&shape);
        assert_ok(dstack_vm_shape_set_qemu(&shape, machines[i].version, &err), err);
        shape.pic = false;
        assert_ok(dstack_acpi_generate(&shape, &acpi, &err), err);
        for (size_t at = 0; at < expected.len; at++) {
            if (acpi.tables.data[at] != expected.data[at]) {
                fail_msg("%s differs at offset %zu", machines[i].file, at);
            }
        }
        if (i == 1) {
            DSTACK_AUTO(buf) dstack_buf loader = {0};
            load_file(DATA "default-B.loader.bin", &loader);
            assert_true(bytes_equal(bytes_of_buf(&loader), bytes_of_buf(&acpi.loader)));
        }
        dstack_acpi_clear(&acpi);
    }
}

/* Of the default machine: one CPU, 2 GiB, one network interface, no PIC. */
static void the_default_machine_of_each_profile_has_its_published_hash(void **state) {
    static const struct {
        const char *version, *sha256;
    } machines[] = {
        {"8.0.0", "ff0c03c7f4026a95b0b2f2e08cef7d501a3a44b4df036c9f26de91828f0215f6"},
        {"9.1.9", "ff0c03c7f4026a95b0b2f2e08cef7d501a3a44b4df036c9f26de91828f0215f6"},
        {"9.2.0", "b183eba66c6e96556f28cefe60ca92620b82488fcefaf66167aad61e2b2e73d1"},
        {"9.99.0", "b183eba66c6e96556f28cefe60ca92620b82488fcefaf66167aad61e2b2e73d1"},
        {"10.0.0", "d0410a8abdbba6d86a19a2eefd491376727e4e2d80c54349d7f30deca14ca6e1"},
        {"10.2.1", "d0410a8abdbba6d86a19a2eefd491376727e4e2d80c54349d7f30deca14ca6e1"},
        {"11.0.0", "e211dd453e651ef320d28c65d23f578e96468614614e7b1172f18df5052d0f1f"},
        {"11.0.7", "e211dd453e651ef320d28c65d23f578e96468614614e7b1172f18df5052d0f1f"},
        {"11.1.0", "09f99e5dcf36b80a9258e849b3a9a70e7914244008e6a92a689eb22e4cc17a8f"},
    };
    dstack_error err = {0};
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        dstack_vm_shape shape;
        dstack_acpi acpi;
        uint8_t digest[32];
        dstack_vm_shape_init(&shape);
        assert_ok(dstack_vm_shape_set_qemu(&shape, machines[i].version, &err), err);
        shape.pic = false;
        assert_ok(dstack_acpi_generate(&shape, &acpi, &err), err);
        hash_sha256(bytes_of_buf(&acpi.tables), digest);
        assert_hex(bytes_of(digest, 32), machines[i].sha256);
        dstack_acpi_clear(&acpi);
    }
}

static void assert_unknown(const dstack_vm_shape *shape, const char *part) {
    dstack_error err = {0};
    dstack_acpi acpi;
    assert_int_equal(dstack_acpi_generate(shape, &acpi, &err), DSTACK_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, part));
    assert_null(acpi.tables.data);
}

static void machines_whose_tables_are_not_known_are_refused(void **state) {
    dstack_error err = {0};
    dstack_vm_shape shape;
    dstack_vm_shape_init(&shape);
    assert_ok(dstack_vm_shape_set_qemu(&shape, "11.2.0", &err), err);
    assert_unknown(&shape, "QEMU 11.2.0 are not known");
    assert_ok(dstack_vm_shape_set_qemu(&shape, "12.0.0", &err), err);
    assert_unknown(&shape, "QEMU 12.0.0 are not known");
    dstack_vm_shape_init(&shape);
    shape.qemu_version[0] = 7;
    assert_unknown(&shape, "QEMU 7.");
    dstack_vm_shape_init(&shape);
    shape.swtpm = true;
    assert_unknown(&shape, "swtpm");
    dstack_vm_shape_init(&shape);
    shape.cpu_count = 0;
    assert_unknown(&shape, "CPUs");
    shape.cpu_count = 4097;
    assert_unknown(&shape, "CPUs");
    dstack_vm_shape_init(&shape);
    shape.memory_size = UINT64_MAX;
    assert_unknown(&shape, "memory");
    shape.memory_size = 0;
    assert_unknown(&shape, "memory");
    dstack_vm_shape_init(&shape);
    shape.num_nics = 27; /* one more than there are slots */
    assert_unknown(&shape, "root bus");
    shape.num_nics = UINT32_MAX;
    assert_unknown(&shape, "devices");
    dstack_vm_shape_init(&shape);
    shape.num_gpus = 1;
    assert_unknown(&shape, "hotplug_off");
    shape.hotplug_off = true;
    shape.hugepages = true;
    shape.num_nics = 12; /* would need the expander's slot */
    assert_unknown(&shape, "root bus");
}

/* Each of these changes what the guest sees of its machine. */
static void every_key_that_decides_about_tables_changes_them(void **state) {
    dstack_vm_shape shapes[11];
    uint8_t digests[11][48];
    dstack_error err = {0};
    for (size_t i = 0; i < 11; i++) {
        dstack_vm_shape_init(&shapes[i]);
        shapes[i].hotplug_off = true;
    }
    shapes[1].cpu_count = 2;
    shapes[2].cpu_count = 300;
    shapes[3].memory_size = UINT64_C(1) << 30;
    shapes[4].num_nics = 2;
    shapes[5].num_nics = 0;
    shapes[6].num_gpus = 1;
    shapes[7].hotplug_off = false;
    shapes[8].pic = true;
    shapes[9].pci_hole64_size = UINT64_C(1) << 40;
    shapes[10].hugepages = true;
    for (size_t i = 0; i < 11; i++) {
        assert_ok(dstack_vm_shape_set_acpi(&shapes[i], &err), err);
        assert_true(shapes[i].has_acpi);
        memcpy(digests[i], shapes[i].acpi_tables, 48);
        for (size_t j = 0; j < i; j++) {
            assert_memory_not_equal(digests[i], digests[j], 48);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_default_machine_is_byte_equal_in_every_profile),
        cmocka_unit_test(every_known_configuration_gives_qemus_own_tables),
        cmocka_unit_test(the_default_machine_of_each_profile_has_its_published_hash),
        cmocka_unit_test(machines_whose_tables_are_not_known_are_refused),
        cmocka_unit_test(every_key_that_decides_about_tables_changes_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
