/* QEMU's arguments: exact where the reference defines them, and ours for a simulated platform. */
#include "check.h"
#include "qemu_argv.h"

static struct vm_port ports[2];

static struct qemu_launch base(void) {
    dstack_error err = {0};
    assert_ok(vm_port_make("tcp", "127.0.0.1", "", 18080, 8080, &ports[0], &err), err);
    assert_ok(vm_port_make("udp", "0.0.0.0", "", 5353, 53, &ports[1], &err), err);
    return (struct qemu_launch){.qemu = "/usr/bin/qemu-system-x86_64",
                                .accel = "kvm",
                                .cpu = "host",
                                .work_dir = "/vm/W",
                                .vm_id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
                                .mac_prefix = "",
                                .bios = "/img/dstack-0.6.0/ovmf.fd",
                                .kernel = "/img/dstack-0.6.0/bzImage",
                                .initrd = "/img/dstack-0.6.0/initramfs.cpio.gz",
                                .rootfs = "/img/dstack-0.6.0/rootfs.img.parted.verity",
                                .cmdline = "console=ttyS0 init=/init",
                                .nics = {{NULL, "10.0.2.0/24", "10.0.2.10", false}},
                                .nic_count = 1,
                                .ports = ports,
                                .sys_vendor = "dstack",
                                .product_name = "dstack",
                                .vsock_cid = 1000,
                                .share = QEMU_SHARE_9P,
                                .share_ro = true,
                                .vcpu = 2,
                                .memory_mib = 2048,
                                .serial_fd = -1,
                                .qmp_fd = -1,
                                .host_fd = -1,
                                .guest_fd = -1,
                                .tee_fd = -1};
}

#define MR_V1 "ASIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiIiAAAAAAAAAAAAAAAAAAAA"

static void check_case(json_t *cases, const char *name, const struct qemu_launch *launch) {
    struct qemu_argv argv;
    dstack_error err = {0};
    assert_ok(qemu_argv_build(launch, &argv, &err), err);
    json_t *want = json_object_get(cases, name);
    for (size_t i = 0; i < argv.count && i < json_array_size(want); i++) {
        assert_string_equal(argv.items[i], json_string_value(json_array_get(want, i)));
    }
    assert_int_equal(argv.count, json_array_size(want));
    assert_null(argv.items[argv.count]);
    qemu_argv_clear(&argv);
}

static void the_reference_launches_come_out_exactly(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *file = load_json(SHARED_DATA "vmm/qemu-argv.json");
    json_t *cases = json_object_get(file, "cases");
    struct qemu_launch launch = base();
    launch.port_count = 2;
    check_case(cases, "no_tee_user_9p_ports", &launch);
    launch.port_count = 0;
    launch.share = QEMU_SHARE_VVFAT;
    check_case(cases, "no_tee_vvfat", &launch);
    launch.share = QEMU_SHARE_9P;
    launch.tee = QEMU_TEE_TDX;
    launch.mr_config_id = MR_V1;
    launch.quote_port = 4050;
    check_case(cases, "tdx_v1_mrconfigid", &launch);
    launch.mr_config_id = NULL;
    launch.quote_port = 0;
    launch.nics[1] = launch.nics[0];
    launch.nic_count = 2;
    launch.port_count = 1;
    check_case(cases, "tdx_no_mrconfigid_no_qgs_two_user_nics", &launch);
}

static int find(const struct qemu_argv *argv, const char *text) {
    for (size_t i = 0; i < argv->count; i++) {
        if (strstr(argv->items[i], text) != NULL) {
            return (int)i;
        }
    }
    return -1;
}

static void a_simulated_platform_adds_its_ports_after_everything_measured(void **state) {
    struct qemu_launch launch = base();
    launch.tee = QEMU_TEE_SIMULATED;
    launch.vsock_cid = 0;
    launch.share = QEMU_SHARE_DISK;
    launch.data_format = "raw";
    launch.no_reboot = true;
    launch.serial_fd = 5;
    launch.qmp_fd = 6;
    launch.tee_fd = 7;
    launch.host_fd = 8;
    launch.guest_fd = 9;
    struct qemu_argv argv;
    dstack_error err = {0};
    assert_ok(qemu_argv_build(&launch, &argv, &err), err);
    int serial = find(&argv, "virtio-serial-pci");
    assert_true(serial > find(&argv, "virtio-net-pci"));
    assert_true(serial > find(&argv, "drive=hd2"));
    assert_true(find(&argv, "name=org.dstack.tee.0") > serial);
    assert_true(find(&argv, "name=org.dstack.host.0") > serial);
    assert_true(find(&argv, "name=org.dstack.guest.0") > serial);
    assert_true(find(&argv, "file=/vm/W/hda.img,if=none,id=hd1,format=raw") > 0);
    assert_true(find(&argv, "-no-reboot") > 0);
    assert_int_equal(find(&argv, "vsock"), -1);
    assert_int_equal(find(&argv, "pty"), -1);
    qemu_argv_clear(&argv);
}

static void a_path_cannot_smuggle_options(void **state) {
    struct qemu_launch launch = base();
    struct qemu_argv argv;
    launch.rootfs = "/img/a,readonly=off.verity";
    assert_int_equal(qemu_argv_build(&launch, &argv, NULL), DSTACK_E_ARGUMENT);
}

static void mac_addresses_follow_the_vm(void **state) {
    static const struct {
        const char *id;
        uint32_t nic;
        const char *prefix, *mac;
    } rows[] = {{"vm-123", 0, "", "96:b1:d8:b9:08:e6"},
                {"vm-123", 1, "", "c6:74:2c:65:14:b9"},
                {"vm-123", 0, "52:54:00", "52:54:00:97:b1:d8"},
                {"3f2504e0-4f89-41d3-9a0c-0305e82c3301", 2, "03", "02:a8:13:56:b1:bb"}};
    char mac[18];
    dstack_error err = {0};
    for (size_t i = 0; i < 4; i++) {
        assert_ok(qemu_mac(rows[i].id, rows[i].nic, rows[i].prefix, mac, &err), err);
        assert_string_equal(mac, rows[i].mac);
    }
    const char *bad[] = {"zz", "1", "52:54:00:00", "52:", "52-54"};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(qemu_mac("x", 0, bad[i], mac, NULL), DSTACK_E_ARGUMENT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reference_launches_come_out_exactly),
        cmocka_unit_test(a_simulated_platform_adds_its_ports_after_everything_measured),
        cmocka_unit_test(a_path_cannot_smuggle_options),
        cmocka_unit_test(mac_addresses_follow_the_vm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
