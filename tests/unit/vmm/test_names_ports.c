/* Names and port mappings that come from outside. */
#include "check.h"
#include "image.h"
#include "names.h"
#include "ports.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>

static void sec_08_a_vm_id_can_never_leave_its_folder(void **state) {
    const char *bad[] = {"",
                         ".",
                         "..",
                         "../../etc",
                         "/etc/passwd",
                         "a/b",
                         "a\\b",
                         "vm id",
                         "a.b",
                         "caf\xc3\xa9",
                         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(vm_id_check(bad[i], NULL), DSTACK_E_ARGUMENT);
    }
    assert_int_equal(vm_id_check("vm_1-A", NULL), 0);
    char id[37];
    vm_id_new(id);
    assert_int_equal(vm_id_check(id, NULL), 0);
    assert_int_equal(id[14], '4');
}

static void sec_08_an_image_name_can_never_leave_its_folder(void **state) {
    const char *bad[] = {"", "..", ".", ".hidden", "a/b", "a..b", "a b", "/x", "a,b"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(image_name_check(bad[i], NULL), DSTACK_E_ARGUMENT);
    }
    assert_int_equal(image_name_check("dstack-0.6.0", NULL), 0);
}

static void write_text(const char *dir, const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    dstack_error err = {0};
    assert_ok(file_write_atomic(path, bytes_of_str(text), 0644, &err), err);
}

static void sec_08_an_image_file_that_leads_out_of_its_folder_is_refused(void **state) {
    char root[] = "/tmp/dstack-image-XXXXXX";
    assert_non_null(mkdtemp(root));
    char dir[256], link[512];
    snprintf(dir, sizeof dir, "%s/img", root);
    assert_int_equal(mkdir(dir, 0755), 0);
    write_text(root, "outside", "x");
    write_text(dir, "initrd", "i");
    write_text(dir, "metadata.json",
               "{\"kernel\":\"../outside\",\"initrd\":\"initrd\",\"version\":\"0.6.0\"}");
    struct vm_image image;
    assert_int_equal(vm_image_load(root, "img", &image, NULL), DSTACK_E_REFUSED);
    snprintf(link, sizeof link, "%s/bzImage", dir);
    char target[256];
    snprintf(target, sizeof target, "%s/outside", root);
    assert_int_equal(symlink(target, link), 0);
    write_text(dir, "metadata.json", "{\"kernel\":\"bzImage\",\"initrd\":\"initrd\"}");
    assert_int_equal(vm_image_load(root, "img", &image, NULL), DSTACK_E_REFUSED);
    unlink(link);
    write_text(dir, "bzImage", "k");
    dstack_error err = {0};
    assert_ok(vm_image_load(root, "img", &image, &err), err);
    vm_image_clear(&image);
    assert_int_equal(vm_image_load(root, "absent", &image, &err), DSTACK_E_NOT_FOUND);
    json_t *list = NULL;
    assert_ok(vm_image_list(root, &list, &err), err);
    assert_int_equal(json_array_size(list), 1);
    json_decref(list);
    char command[512];
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
}

static void vm_names_keep_to_their_alphabet(void **state) {
    const char *good[] = {"", "vm-test", "a b@c~!$^()._-"};
    const char *bad[] = {"a/b", "a;b", "a\nb", "\xc3\xa4", "a'b", "a,b"};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(vm_name_check(good[i], NULL), 0);
    }
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(vm_name_check(bad[i], NULL), DSTACK_E_ARGUMENT);
    }
}

static void versions_have_three_numbers(void **state) {
    uint16_t v[3];
    assert_true(version_tuple("65535.1.2", v));
    assert_int_equal(v[0], 65535);
    assert_true(version_tuple("1.2.3.4", v));
    assert_int_equal(v[2], 3);
    const char *bad[] = {"1.2", "1.2.invalid", "65536.1.2", "0.6.0-rc1", "", "1..2"};
    for (size_t i = 0; i < 6; i++) {
        assert_false(version_tuple(bad[i], v));
    }
}

static struct vm_port port(const char *protocol, const char *address, uint32_t host) {
    struct vm_port out;
    dstack_error err = {0};
    assert_ok(vm_port_make(protocol, address, "127.0.0.1", host, 80, &out, &err), err);
    return out;
}

static void port_conflicts_follow_protocol_and_address(void **state) {
    struct vm_port a = port("tcp", "127.0.0.1", 80), any = port("tcp", "0.0.0.0", 80),
                   any6 = port("tcp", "::", 80), udp = port("udp", "127.0.0.1", 80),
                   other = port("tcp", "127.0.0.2", 80);
    assert_true(vm_port_conflict(&a, &a));
    assert_true(vm_port_conflict(&any, &a));
    assert_true(vm_port_conflict(&any6, &other));
    assert_false(vm_port_conflict(&udp, &a));
    assert_false(vm_port_conflict(&other, &a));
    struct vm_port list[] = {a, udp, any};
    dstack_error err = {0};
    assert_int_equal(vm_ports_check_unique(list, 3, &err), DSTACK_E_EXISTS);
    assert_string_equal(err.message, "duplicate host port mapping: tcp 0.0.0.0:80");
}

static void bad_port_mappings_are_refused(void **state) {
    struct vm_port out;
    assert_int_equal(vm_port_make("sctp", "", "127.0.0.1", 1, 1, &out, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(vm_port_make("tcp", "", "127.0.0.1", 70000, 1, &out, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(vm_port_make("tcp", "", "127.0.0.1", 1, 0, &out, NULL), DSTACK_E_ARGUMENT);
    assert_int_equal(vm_port_make("tcp", "host,x=y", "127.0.0.1", 1, 1, &out, NULL),
                     DSTACK_E_ARGUMENT);
}

static void a_port_in_use_is_noticed_before_start(void **state) {
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    struct vm_port taken = port("tcp", "", ntohs(address.sin_port));
    dstack_error err = {0};
    assert_int_equal(vm_ports_check_free(&taken, 1, &err), DSTACK_E_EXISTS);
    close(fd);
    assert_ok(vm_ports_check_free(&taken, 1, &err), err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_08_a_vm_id_can_never_leave_its_folder),
        cmocka_unit_test(sec_08_an_image_name_can_never_leave_its_folder),
        cmocka_unit_test(sec_08_an_image_file_that_leads_out_of_its_folder_is_refused),
        cmocka_unit_test(vm_names_keep_to_their_alphabet),
        cmocka_unit_test(versions_have_three_numbers),
        cmocka_unit_test(port_conflicts_follow_protocol_and_address),
        cmocka_unit_test(bad_port_mappings_are_refused),
        cmocka_unit_test(a_port_in_use_is_noticed_before_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
