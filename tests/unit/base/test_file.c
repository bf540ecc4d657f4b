#include <fcntl.h>
#include <sys/stat.h>

#include "check.h"

static char folder[] = "/tmp/dstack-test-file-XXXXXX";

static int make_folder(void **state) {
    (void)state;
    return mkdtemp(folder) == NULL;
}

static int drop_folder(void **state) {
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *in_folder(const char *name) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void sec_18_a_secret_file_is_created_0600_whatever_the_umask(void **state) {
    (void)state;
    umask(0);
    dstack_error err = {0};
    const char *path = in_folder("secret");
    assert_ok(file_write_atomic(path, bytes_of_str("one"), 0600, &err), err);
    assert_ok(file_write_atomic(path, bytes_of_str("two"), 0600, &err), err);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    assert_ok(file_read(path, 10, &content, &err), err);
    assert_string_equal(buf_text(&content), "two");
}

static void write_new_never_replaces(void **state) {
    (void)state;
    dstack_error err = {0};
    const char *path = in_folder("once");
    assert_ok(file_write_new(path, bytes_of_str("first"), 0600, &err), err);
    assert_int_equal(file_write_new(path, bytes_of_str("second"), 0600, &err), DSTACK_E_EXISTS);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    assert_ok(file_read(path, 10, &content, &err), err);
    assert_string_equal(buf_text(&content), "first");
}

static void a_failed_write_leaves_nothing_behind(void **state) {
    (void)state;
    dstack_error err = {0};
    assert_int_equal(file_write_atomic(in_folder("no/such/file"), bytes_of_str("x"), 0600, &err),
                     DSTACK_E_IO);
    assert_non_null(strstr(err.message, "No such file"));
}

static void a_read_beyond_the_limit_is_refused(void **state) {
    (void)state;
    dstack_error err = {0};
    const char *path = in_folder("long");
    assert_ok(file_write_atomic(path, bytes_of_str("0123456789"), 0644, &err), err);
    DSTACK_AUTO(buf) dstack_buf content = {0};
    assert_int_equal(file_read(path, 9, &content, &err), DSTACK_E_LIMIT);
    dstack_buf_clear(&content);
    assert_ok(file_read(path, 10, &content, &err), err);
    assert_int_equal(content.len, 10);
    assert_int_equal(file_read(in_folder("absent"), 9, &content, &err), DSTACK_E_NOT_FOUND);
    assert_int_equal(file_read(folder, 9, &content, &err), DSTACK_E_IO);
}

static void sec_08_names_that_leave_the_folder_are_refused(void **state) {
    (void)state;
    const char *bad[] = {"", ".", "..", "../x", "a/b", "/etc", "-rf", ".hidden", "a b", "a\nb"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(file_check_name(bad[i], "name", NULL), DSTACK_E_ARGUMENT);
    }
    assert_int_equal(file_check_name("a-1_b.tar", "name", NULL), 0);
}

static void sec_08_open_beneath_follows_no_link(void **state) {
    (void)state;
    dstack_error err = {0};
    assert_int_equal(symlink("/etc/passwd", in_folder("link")), 0);
    DSTACK_AUTO(fd) int dir = open(folder, O_RDONLY | O_DIRECTORY);
    assert_true(file_open_beneath(dir, "link", O_RDONLY, 0, &err) < 0);
    assert_true(file_open_beneath(dir, "../etc", O_RDONLY, 0, &err) < 0);
    DSTACK_AUTO(fd) int made = file_open_beneath(dir, "plain", O_RDWR | O_CREAT, 0600, &err);
    assert_true(made >= 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_18_a_secret_file_is_created_0600_whatever_the_umask),
        cmocka_unit_test(write_new_never_replaces),
        cmocka_unit_test(a_failed_write_leaves_nothing_behind),
        cmocka_unit_test(a_read_beyond_the_limit_is_refused),
        cmocka_unit_test(sec_08_names_that_leave_the_folder_are_refused),
        cmocka_unit_test(sec_08_open_beneath_follows_no_link),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
