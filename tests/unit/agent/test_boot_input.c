/* What the host hands over: share, configuration, kernel options, docker settings. */
#include "../check.h"

#include <sys/stat.h>

#include "app/docker_config.h"
#include "boot/share.h"
#include "boot/sys_config.h"
#include "cmdline.h"

static char folder[64];

static int make_folder(void **state) {
    strcpy(folder, "/tmp/dstack-share-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static void put(const char *name, const char *text, size_t len) {
    char path[160];
    dstack_error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    assert_ok(file_write_atomic(path, bytes_of(text, len), 0644, &err), err);
}

static int drop_folder(void **state) {
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command) != 0;
}

static void the_known_files_are_copied_and_others_left(void **state) {
    put("app-compose.json", "{}", 2);
    put(".sys-config.json", "{\"a\":1}", 7);
    put("surprise", "x", 1);
    DSTACK_AUTO(share) share s = {0};
    dstack_error err = {0};
    assert_ok(share_read(folder, &s, &err), err);
    assert_true(s.present[SHARE_COMPOSE]);
    assert_int_equal(s.files[SHARE_SYS_CONFIG].len, 7);
    assert_false(s.present[SHARE_USER_CONFIG]);
    char copy[100], path[200];
    snprintf(copy, sizeof copy, "%s/copy", folder);
    assert_ok(share_write(&s, copy, &err), err);
    snprintf(path, sizeof path, "%s/surprise", copy);
    assert_int_not_equal(access(path, F_OK), 0);
}

static void a_missing_manifest_is_named(void **state) {
    put(".sys-config.json", "{}", 2);
    DSTACK_AUTO(share) share s = {0};
    dstack_error err = {0};
    assert_int_equal(share_read(folder, &s, &err), DSTACK_E_NOT_FOUND);
    assert_non_null(strstr(err.message, "app-compose.json"));
}

static void files_over_their_limit_are_refused(void **state) {
    char *big = calloc(1, (32 << 10) + 1);
    put("app-compose.json", "{}", 2);
    put(".sys-config.json", big, 32 << 10);
    DSTACK_AUTO(share) share at_limit = {0};
    dstack_error err = {0};
    assert_ok(share_read(folder, &at_limit, &err), err);
    put(".sys-config.json", big, (32 << 10) + 1);
    DSTACK_AUTO(share) share over = {0};
    assert_int_equal(share_read(folder, &over, &err), DSTACK_E_LIMIT);
    free(big);
}

static void sec_08_a_symbolic_link_on_the_share_is_not_followed(void **state) {
    put("app-compose.json", "{}", 2);
    put(".sys-config.json", "{}", 2);
    char path[160];
    snprintf(path, sizeof path, "%s/.user-config", folder);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    DSTACK_AUTO(share) share s = {0};
    dstack_error err = {0};
    assert_int_equal(share_read(folder, &s, &err), DSTACK_E_IO);
}

static void fat_labels_are_read_from_the_boot_sector(void **state) {
    uint8_t sector[512] = {0};
    char label[12];
    memcpy(sector + 71, "DSTACKSHR  ", 11);
    share_fat_label(bytes_of(sector, sizeof sector), label);
    assert_string_equal(label, "");
    sector[510] = 0x55;
    sector[511] = 0xaa;
    share_fat_label(bytes_of(sector, sizeof sector), label);
    assert_string_equal(label, "DSTACKSHR");
    sector[22] = 9; /* FAT16 has its label elsewhere */
    memcpy(sector + 43, "OTHER      ", 11);
    share_fat_label(bytes_of(sector, sizeof sector), label);
    assert_string_equal(label, "OTHER");
}

#define VM "\"vm_config\":\"{}\""

static void sys_config_texts_and_lists_are_read(void **state) {
    DSTACK_AUTO(sys_config) sys_config c = {0};
    dstack_error err = {0};
    const char *text =
        "{\"kms_urls\":[\"https://a\",\"https://b\"],\"tproxy_urls\":[\"https://g\"],"
        "\"collateral_urls\":{\"pccs\":\"https://p\"},\"docker_registry\":\"\","
        "\"unknown\":1,\"vm_config\":\"{\\\"tdx_attestation_variant\\\":\\\"lite\\\"}\"}";
    assert_ok(sys_config_parse(bytes_of_str(text), &c, &err), err);
    assert_int_equal(c.kms_url_count, 2);
    assert_string_equal(c.kms_urls[1], "https://b");
    assert_string_equal(c.gateway_urls[0], "https://g");
    assert_string_equal(c.pccs_url, "https://p");
    assert_null(c.docker_registry);
    assert_true(c.tdx_lite);
}

static void sys_config_of_wrong_form_is_refused(void **state) {
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"vm_config\":1}",
        "{\"vm_config\":\"[]\"}",
        "{" VM ",\"kms_urls\":\"x\"}",
        "{" VM ",\"kms_urls\":[1]}",
        "{" VM ",\"collateral_urls\":{\"other\":\"x\"}}",
        "{" VM "," VM "}",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(sys_config) sys_config c = {0};
        dstack_error err = {0};
        assert_int_equal(sys_config_parse(bytes_of_str(bad[i]), &c, &err), DSTACK_E_FORMAT);
    }
}

static void instance_info_takes_empty_and_full_members_only(void **state) {
    instance_info info;
    dstack_error err = {0};
    assert_ok(instance_info_parse(bytes_of_str("{\"app_id\":\"\"}"), &info, &err), err);
    assert_false(info.has_app_id);
    assert_ok(
        instance_info_parse(
            bytes_of_str("{\"app_id\":\"1111111111111111111111111111111111111111\"}"), &info, &err),
        err);
    assert_true(info.has_app_id && info.app_id[19] == 0x11 && !info.has_seed);
}

static void sec_04_an_app_id_of_another_length_is_refused(void **state) {
    instance_info info;
    dstack_error err = {0};
    assert_int_not_equal(instance_info_parse(bytes_of_str("{\"app_id\":\"11\"}"), &info, &err), 0);
}

static void kernel_options_are_found_whole_and_once(void **state) {
    char value[16];
    dstack_error err = {0};
    assert_ok(cmdline_option("quiet a.b=1 xa.b=2 c\n", "a.b", value, sizeof value, &err), err);
    assert_string_equal(value, "1");
    assert_int_equal(cmdline_option("a.bc=1", "a.b", value, sizeof value, &err),
                     DSTACK_E_NOT_FOUND);
    assert_int_equal(cmdline_option("a.b=1 a.b=1", "a.b", value, sizeof value, &err),
                     DSTACK_E_REFUSED);
    assert_int_equal(cmdline_option("a.b=0123456789abcdef", "a.b", value, sizeof value, &err),
                     DSTACK_E_LIMIT);
}

static void a_registry_becomes_mirror_and_without_tls_insecure(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(docker_config_build(bytes_of_str("{\"log-driver\":\"json-file\"}"),
                                  "http://10.0.2.2:5000/", &out, &err),
              err);
    DSTACK_AUTO(json) json_t *root = json_parse(bytes_of_buf(&out), 4096, "out", &err);
    DSTACK_AUTO(json)
    json_t *want = json_pack("{s:s,s:[s],s:[s]}", "log-driver", "json-file", "registry-mirrors",
                             "http://10.0.2.2:5000", "insecure-registries", "10.0.2.2:5000");
    assert_true(json_equal(root, want));
}

static void a_registry_with_tls_is_a_mirror_alone(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(docker_config_build(bytes_of_str(""), "https://r.example", &out, &err), err);
    assert_null(strstr(buf_text(&out), "insecure"));
}

static void sec_23_a_registry_that_is_no_host_is_refused(void **state) {
    static const char *const bad[] = {"http://", "http://h/path", "http://u@h",
                                      "ftp://h", "a b",           "http://h\",\"x"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        dstack_error err = {0};
        assert_int_equal(docker_config_build(bytes_of_str(""), bad[i], &out, &err),
                         DSTACK_E_FORMAT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_known_files_are_copied_and_others_left, make_folder,
                                        drop_folder),
        cmocka_unit_test_setup_teardown(a_missing_manifest_is_named, make_folder, drop_folder),
        cmocka_unit_test_setup_teardown(files_over_their_limit_are_refused, make_folder,
                                        drop_folder),
        cmocka_unit_test_setup_teardown(sec_08_a_symbolic_link_on_the_share_is_not_followed,
                                        make_folder, drop_folder),
        cmocka_unit_test(fat_labels_are_read_from_the_boot_sector),
        cmocka_unit_test(sys_config_texts_and_lists_are_read),
        cmocka_unit_test(sys_config_of_wrong_form_is_refused),
        cmocka_unit_test(instance_info_takes_empty_and_full_members_only),
        cmocka_unit_test(sec_04_an_app_id_of_another_length_is_refused),
        cmocka_unit_test(kernel_options_are_found_whole_and_once),
        cmocka_unit_test(a_registry_becomes_mirror_and_without_tls_insecure),
        cmocka_unit_test(a_registry_with_tls_is_a_mirror_alone),
        cmocka_unit_test(sec_23_a_registry_that_is_no_host_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
