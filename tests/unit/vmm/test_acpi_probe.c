/* The tables that QEMU hands to its firmware, read without booting. */
#include "acpi_probe.h"
#include "check.h"
#include "child.h"
#include "platform.h"
#include "qemu_argv.h"

static char qemu[256];

static int find_qemu(void **state) {
    if (child_find("qemu-system-x86_64", qemu, sizeof qemu) != 0) {
        qemu[0] = 0;
    }
    return 0;
}

static void need_qemu(void) {
    if (qemu[0] == 0) {
        print_message("SKIP: qemu-system-x86_64 is not installed\n");
        skip();
    }
}

static void probe(uint32_t vcpu, uint32_t memory_mib, size_t nics, bool rootfs,
                  dstack_vm_shape *shape) {
    struct qemu_launch launch = {.qemu = qemu,
                                 .vm_id = "probe",
                                 .mac_prefix = "",
                                 .work_dir = "/",
                                 .rootfs = rootfs ? "/rootfs.verity" : NULL,
                                 .nic_count = nics,
                                 .vcpu = vcpu,
                                 .memory_mib = memory_mib,
                                 .probe = true};
    for (size_t i = 0; i < nics; i++) {
        launch.nics[i] = (struct qemu_nic){NULL, "10.0.2.0/24", "10.0.2.10", false};
    }
    struct qemu_argv argv;
    dstack_error err = {0};
    assert_ok(qemu_argv_build(&launch, &argv, &err), err);
    assert_ok(acpi_probe(argv.items, shape, &err), err);
    assert_true(shape->has_acpi);
    qemu_argv_clear(&argv);
}

static void two_probes_of_one_machine_agree_and_cpus_matter(void **state) {
    need_qemu();
    dstack_vm_shape a = {0}, b = {0}, c = {0};
    probe(2, 1024, 1, true, &a);
    probe(2, 1024, 1, true, &b);
    probe(3, 1024, 1, true, &c);
    assert_memory_equal(a.acpi_tables, b.acpi_tables, sizeof a.acpi_tables);
    assert_memory_equal(a.acpi_loader, b.acpi_loader, sizeof a.acpi_loader);
    assert_memory_not_equal(a.acpi_tables, c.acpi_tables, sizeof a.acpi_tables);
}

/* The vectors are of QEMU 10.0, whose tables Debian's 10.0.2 gives unchanged. */
static void the_tables_are_those_of_the_measured_machine(void **state) {
    need_qemu();
    need_shared_data();
    const char *version[] = {qemu, "--version", NULL};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    assert_ok(child_run(version, 10000, &text, &err), err);
    if (strstr(buf_text(&text), "version 10.0.") == NULL) {
        print_message("SKIP: the vectors are of QEMU 10.0\n");
        skip();
    }
    DSTACK_AUTO(json) json_t *rows = load_json(SHARED_DATA "measurement/acpi/acpi-vectors.json");
    size_t i, checked = 0;
    json_t *row;
    json_array_foreach(rows, i, row) {
        int64_t cpus, memory, nics, volumes, gpus, hole;
        const char *qemu_version;
        bool pic, smm, hotplug_off, hugepages, root;
        assert_ok(json_need_str(row, "qemu_version", &qemu_version, &err), err);
        json_need_int(row, "cpu_count", &cpus, &err);
        json_need_int(row, "memory_size", &memory, &err);
        json_need_int(row, "num_nics", &nics, &err);
        json_need_int(row, "num_verity_volumes", &volumes, &err);
        json_need_int(row, "num_gpus", &gpus, &err);
        json_need_int(row, "pci_hole64_size", &hole, &err);
        json_bool_or(row, "pic", false, &pic, &err);
        json_bool_or(row, "smm", false, &smm, &err);
        json_bool_or(row, "hotplug_off", false, &hotplug_off, &err);
        json_bool_or(row, "hugepages", false, &hugepages, &err);
        json_bool_or(row, "root_verity", false, &root, &err);
        if (strcmp(qemu_version, "10.0.0") != 0 || pic || smm || hotplug_off || hugepages ||
            volumes != 0 || gpus != 0 || hole != 0 || nics > 2 || memory > (int64_t)4 << 30 ||
            cpus > 64) {
            continue;
        }
        dstack_vm_shape shape = {0};
        probe((uint32_t)cpus, (uint32_t)(memory >> 20), (size_t)nics, root, &shape);
        const char *names[] = {"tables_sha384", "rsdp_sha384", "loader_sha384"};
        const uint8_t *got[] = {shape.acpi_tables, shape.acpi_rsdp, shape.acpi_loader};
        for (int k = 0; k < 3; k++) {
            const char *want;
            assert_ok(json_need_str(row, names[k], &want, &err), err);
            assert_hex(bytes_of(got[k], 48), want);
        }
        checked++;
    }
    assert_true(checked >= 2);
}

/* The version of the QEMU at hand as text; skips when its tables are not known. */
static void known_version(char out[32]) {
    const char *version[] = {qemu, "--version", NULL};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    dstack_vm_shape shape;
    dstack_acpi acpi;
    assert_ok(child_run(version, 10000, &text, &err), err);
    const char *at = strstr(buf_text(&text), "version ");
    assert_non_null(at);
    dstack_vm_shape_init(&shape);
    if (sscanf(at, "version %31[0-9.]", out) != 1 ||
        dstack_vm_shape_set_qemu(&shape, out, NULL) != 0 ||
        dstack_acpi_generate(&shape, &acpi, NULL) != 0) {
        print_message("SKIP: the tables of this QEMU are not known: %.40s\n", at);
        skip();
    }
    dstack_acpi_clear(&acpi);
}

static void assert_generated(const char *version, const struct qemu_launch *launch) {
    struct qemu_argv argv;
    dstack_error err = {0};
    dstack_vm_shape probed, generated;
    dstack_vm_shape_init(&generated);
    assert_ok(dstack_vm_shape_set_qemu(&generated, version, &err), err);
    generated.cpu_count = launch->vcpu;
    generated.memory_size = (uint64_t)launch->memory_mib << 20;
    generated.num_nics = (uint32_t)launch->nic_count;
    generated.hotplug_off = launch->hotplug_off;
    generated.pci_hole64_size = launch->pci_hole64_size;
    generated.pic = launch->pic;
    probed = generated;
    assert_ok(qemu_argv_build(launch, &argv, &err), err);
    assert_ok(acpi_probe(argv.items, &probed, &err), err);
    assert_ok(dstack_vm_shape_set_acpi(&generated, &err), err);
    assert_ok(platform_check_acpi(&probed, &err), err);
    assert_memory_equal(probed.acpi_tables, generated.acpi_tables, 48);
    assert_memory_equal(probed.acpi_rsdp, generated.acpi_rsdp, 48);
    assert_memory_equal(probed.acpi_loader, generated.acpi_loader, 48);
    qemu_argv_clear(&argv);
}

static void generated_tables_are_those_of_the_qemu_at_hand(void **state) {
    static const struct {
        uint32_t vcpu, memory_mib;
        size_t nics;
        bool hotplug_off;
        uint64_t hole;
        bool pic;
    } machines[] = {
        {1, 1024, 1, false, 0, false}, {2, 2048, 1, true, 0, true},
        {9, 2816, 2, true, 0, false},  {64, 512, 0, false, 0, false},
        {255, 768, 1, true, 0, false}, {3, 1536, 3, false, UINT64_C(1) << 36, false},
    };
    char version[32];
    need_qemu();
    known_version(version);
    for (size_t i = 0; i < sizeof machines / sizeof *machines; i++) {
        struct qemu_launch launch = {.qemu = qemu,
                                     .vm_id = "probe",
                                     .mac_prefix = "",
                                     .work_dir = "/",
                                     .rootfs = "/rootfs.verity",
                                     .nic_count = machines[i].nics,
                                     .vcpu = machines[i].vcpu,
                                     .memory_mib = machines[i].memory_mib,
                                     .hotplug_off = machines[i].hotplug_off,
                                     .pci_hole64_size = machines[i].hole,
                                     .probe = true,
                                     .pic = machines[i].pic};
        for (size_t k = 0; k < launch.nic_count; k++) {
            launch.nics[k] = (struct qemu_nic){NULL, "10.0.2.0/24", "10.0.2.10", false};
        }
        assert_generated(version, &launch);
    }
}

static void a_machine_that_differs_from_its_description_is_named(void **state) {
    dstack_vm_shape shape;
    dstack_error err = {0};
    dstack_vm_shape_init(&shape);
    assert_ok(dstack_vm_shape_set_qemu(&shape, "10.0.2", &err), err);
    assert_ok(dstack_vm_shape_set_acpi(&shape, &err), err);
    assert_ok(platform_check_acpi(&shape, &err), err);
    shape.acpi_tables[0] ^= 1;
    assert_int_equal(platform_check_acpi(&shape, &err), DSTACK_E_REFUSED);
    assert_non_null(strstr(err.message, "ACPI tables of this QEMU differ"));
    assert_non_null(strstr(err.message, "QEMU 10.0.2"));
    shape.acpi_tables[0] ^= 1;
    shape.num_nics = 2;
    assert_int_equal(platform_check_acpi(&shape, &err), DSTACK_E_REFUSED);
    /* Nobody knows what that one gives. */
    shape.qemu_version[0] = 99;
    assert_ok(platform_check_acpi(&shape, &err), err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_probes_of_one_machine_agree_and_cpus_matter),
        cmocka_unit_test(the_tables_are_those_of_the_measured_machine),
        cmocka_unit_test(generated_tables_are_those_of_the_qemu_at_hand),
        cmocka_unit_test(a_machine_that_differs_from_its_description_is_named),
    };
    return cmocka_run_group_tests(tests, find_qemu, NULL);
}
