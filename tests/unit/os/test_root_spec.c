#include "check.h"

#include "init.h"

#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void a_command_line_names_root_hash_and_size(void **state) {
    (void)state;
    struct root_spec spec;
    assert_null(root_spec_parse("console=ttyS0 dstack.rootfs_hash=" HASH
                                " dstack.rootfs_size=188452864 dstack.sim_root=" HASH "\n",
                                &spec));
    assert_string_equal(spec.hash, HASH);
    assert_int_equal(spec.size, 188452864);
    assert_string_equal(spec.device, "PARTLABEL=dstack-rootfs");
}

static void a_device_may_be_named(void **state) {
    (void)state;
    struct root_spec spec;
    assert_null(root_spec_parse("dstack.rootfs_hash=" HASH
                                " dstack.rootfs_size=4096 dstack.rootfs_device=/dev/vdb1",
                                &spec));
    assert_string_equal(spec.device, "/dev/vdb1");
}

static void a_malformed_or_ambiguous_command_line_stops_the_boot(void **state) {
    (void)state;
    static const char *const refused[] = {
        "",
        "console=ttyS0",
        "dstack.rootfs_hash=" HASH,
        "dstack.rootfs_size=4096",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=4096 dstack.rootfs_size=4096",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_hash=" HASH " dstack.rootfs_size=4096",
        "dstack.rootfs_hash=" HASH "0 dstack.rootfs_size=4096",
        "dstack.rootfs_hash=0X" HASH " dstack.rootfs_size=4096",
        "dstack.rootfs_hash=A0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        " dstack.rootfs_size=4096",
        "dstack.rootfs_hash= dstack.rootfs_size=4096",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=0",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=04096",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=4095",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=-4096",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=0x1000",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=18446744073709555712",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=4096 dstack.rootfs_device=",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=4096 dstack.rootfs_device=vda1",
        "dstack.rootfs_hash=" HASH " dstack.rootfs_size=4096 dstack.rootfs_salt=00",
    };
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct root_spec spec;
        if (root_spec_parse(refused[i], &spec) == NULL) {
            fail_msg("accepted: %s", refused[i]);
        }
    }
}

static void an_option_counts_only_under_its_whole_name(void **state) {
    (void)state;
    struct root_spec spec;
    assert_null(root_spec_parse("xdstack.rootfs_size=1 dstack.rootfs_hash=" HASH
                                " \t dstack.rootfs_size=4096 quiet",
                                &spec));
    assert_int_equal(spec.size, 4096);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_command_line_names_root_hash_and_size),
        cmocka_unit_test(a_device_may_be_named),
        cmocka_unit_test(a_malformed_or_ambiguous_command_line_stops_the_boot),
        cmocka_unit_test(an_option_counts_only_under_its_whole_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
