/* Parsers of what the kernel tells about the machine. */
#include "../check.h"

#include "serve/system_info.h"

static void memory_lines_are_read_in_bytes(void **state) {
    const char *text = "MemTotal:        2048 kB\nMemFree:  1 kB\nMemAvailable:  7 kB\n";
    assert_int_equal(system_meminfo_value(text, "MemTotal"), 2048 * 1024);
    assert_int_equal(system_meminfo_value(text, "MemAvailable"), 7 * 1024);
    assert_int_equal(system_meminfo_value(text, "Mem"), 0);
    assert_int_equal(system_meminfo_value("", "MemTotal"), 0);
}

static void the_first_processor_s_name_counts(void **state) {
    char out[16];
    system_cpu_model("processor\t: 0\nmodel name\t: Some CPU\nmodel name\t: Other\n", out,
                     sizeof out);
    assert_string_equal(out, "Some CPU");
    system_cpu_model("processor : 0\n", out, sizeof out);
    assert_string_equal(out, "");
    system_cpu_model("model name", out, sizeof out);
    assert_string_equal(out, "");
}

static void os_release_values_lose_their_quotes(void **state) {
    char out[32];
    const char *text = "NAME=\"Debian GNU/Linux\"\nVERSION_ID='13'\nX=\n";
    assert_true(system_os_release_value(text, "NAME", out, sizeof out));
    assert_string_equal(out, "Debian GNU/Linux");
    assert_true(system_os_release_value(text, "VERSION_ID", out, sizeof out));
    assert_string_equal(out, "13");
    assert_false(system_os_release_value(text, "VERSION", out, sizeof out));
}

static void the_last_mount_at_a_place_counts(void **state) {
    char out[64];
    const char *text = "/dev/a / ext4 rw 0 0\n/dev/b /x ext4 rw 0 0\noverlay / overlay rw 0 0\n";
    assert_true(system_mount_device(text, "/", out, sizeof out));
    assert_string_equal(out, "overlay");
    assert_false(system_mount_device(text, "/y", out, sizeof out));
}

static void the_running_machine_has_a_kernel_and_memory(void **state) {
    static const char *const points[] = {"/"};
    system_info info;
    system_info_read(&info, points, 1);
    assert_true(info.memory_total > 0 && info.memory_available <= info.memory_total);
    assert_true(info.cpus > 0);
    assert_string_not_equal(info.kernel, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_lines_are_read_in_bytes),
        cmocka_unit_test(the_first_processor_s_name_counts),
        cmocka_unit_test(os_release_values_lose_their_quotes),
        cmocka_unit_test(the_last_mount_at_a_place_counts),
        cmocka_unit_test(the_running_machine_has_a_kernel_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
