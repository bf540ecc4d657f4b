/* Restarts, logs, notifications, the share disk, locks: the parts of a running VM. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "ansi.h"
#include "check.h"
#include "child.h"
#include "host_api.h"
#include "lock.h"
#include "qmp.h"
#include "registry.h"
#include "rpc_info.h"
#include "serial_log.h"
#include "share.h"

static char dir[64];

static int make_dir(void **state) {
    snprintf(dir, sizeof dir, "/tmp/dstack-vm-XXXXXX");
    return mkdtemp(dir) == NULL;
}

static int drop_dir(void **state) {
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static const char *in_dir(const char *name) {
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void a_vm_that_ends_is_restarted_with_growing_waits(void **state) {
    const struct restart_policy policy = {3, 2, 5, 10};
    struct restart_state s = {0};
    static const struct {
        int64_t t;
        enum restart_decision want;
    } rows[] = {{0, RESTART_NOTHING}, {1, RESTART_NOTHING}, {2, RESTART_NOW},
                {6, RESTART_NOW},     {11, RESTART_NOW},    {12, RESTART_EXHAUSTED},
                {20, RESTART_NOTHING}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        assert_int_equal(restart_decide(&policy, &s, false, 1000 + rows[i].t), rows[i].want);
    }
}

static void a_vm_that_stays_up_gets_its_attempts_back(void **state) {
    const struct restart_policy policy = {3, 2, 5, 10};
    struct restart_state s = {0};
    restart_decide(&policy, &s, false, 1000);
    assert_int_equal(restart_decide(&policy, &s, false, 1002), RESTART_NOW);
    restart_decide(&policy, &s, true, 1003);
    restart_decide(&policy, &s, true, 1012);
    assert_int_equal(s.attempts, 1);
    restart_decide(&policy, &s, true, 1013);
    assert_int_equal(s.attempts, 0);
}

static void a_serial_log_is_bounded(void **state) {
    struct serial_log log;
    dstack_error err = {0};
    struct stat info;
    assert_ok(serial_log_open(&log, in_dir("serial.log"), 1000, 2, 1760000000, &err), err);
    char line[101];
    memset(line, 'x', 100);
    line[99] = '\n';
    for (int i = 0; i < 100; i++) {
        serial_log_write(&log, bytes_of(line, 100));
    }
    serial_log_close(&log);
    const char *names[] = {"serial.log", "serial.log.1", "serial.log.2"};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(stat(in_dir(names[i]), &info), 0);
        assert_in_range(info.st_size, 1, 1100);
    }
    assert_int_equal(stat(in_dir("serial.log.3"), &info), -1);
    assert_ok(serial_log_open(&log, in_dir("serial.log"), 1000, 2, 1760000000, &err), err);
    serial_log_close(&log);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(in_dir("serial.log"), &text);
    assert_string_equal(buf_text(&text), "\n===== boot @ 2025-10-09T08:53:20Z =====\n\n");
}

static void escapes_are_stripped_whatever_the_split(void **state) {
    static const char in[] = "a\033[1;31mred\033[0m \033]0;title\007b\033(Bc\n";
    for (size_t split = 0; split < sizeof in; split++) {
        struct ansi_filter filter = {0};
        DSTACK_AUTO(buf) dstack_buf out = {0};
        ansi_filter_put(&filter, bytes_of(in, split), &out);
        ansi_filter_put(
            &filter, bytes_of(in + split, sizeof in - 1 - (split < sizeof in ? split : 0)), &out);
        if (split < sizeof in - 1) {
            assert_string_equal(buf_text(&out), "ared bBc\n");
        }
    }
}

static struct host_api *new_api(void) {
    static struct host_api api;
    api = (struct host_api){.dir = dir};
    pthread_mutex_init(&api.mutex, NULL);
    mkdir(in_dir("shared"), 0700);
    return &api;
}

static void a_guest_reports_its_boot(void **state) {
    struct host_api *api = new_api();
    dstack_error err = {0};
    DSTACK_AUTO(vm_runtime) struct vm_runtime back = {0};
    assert_ok(host_api_notify(api, "boot.progress", "measuring app", 1, &err), err);
    assert_ok(host_api_notify(api, "boot.error", "KMS refused", 2, &err), err);
    assert_ok(vm_runtime_read(dir, &back, &err), err);
    assert_string_equal(back.boot_progress, "measuring app");
    assert_string_equal(back.boot_error, "KMS refused");
    vm_runtime_clear(&api->runtime);
}

static void an_oversized_notification_is_dropped(void **state) {
    struct host_api *api = new_api();
    dstack_error err = {0};
    static char big[8192];
    memset(big, 'x', sizeof big - 1);
    assert_ok(host_api_notify(api, "boot.error", big, 1, &err), err);
    assert_int_equal(api->runtime.event_count, 0);
    assert_string_equal(api->runtime.boot_error, "");
}

static void sec_23_instance_info_from_a_guest_is_only_what_it_should_be(void **state) {
    struct host_api *api = new_api();
    dstack_error err = {0};
    const char *bad[] = {"{", "[]", "{\"app_id\":\"zz\"}", "{\"instance_id\":\"00\"}",
                         "{\"instance_id_seed\":5}"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_true(host_api_notify(api, "instance.info", bad[i], 1, &err) < 0);
        assert_int_equal(access(in_dir("shared/.instance_info"), F_OK), -1);
    }
    assert_ok(host_api_notify(api, "instance.info",
                              "{\"instance_id\":\"7b1452bbd85dfe3ab11c2cc2ee58c0f4bb29251b\","
                              "\"evil\":\"x\"}",
                              1, &err),
              err);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(in_dir("shared/.instance_info"), &text);
    assert_string_equal(buf_text(&text),
                        "{\"instance_id_seed\":\"\",\"instance_id\":"
                        "\"7b1452bbd85dfe3ab11c2cc2ee58c0f4bb29251b\",\"app_id\":\"\"}");
    vm_runtime_clear(&api->runtime);
}

static void the_share_disk_holds_the_files_under_their_names(void **state) {
    char path[64];
    if (child_find("mkfs.vfat", path, sizeof path) != 0 ||
        child_find("mcopy", path, sizeof path) != 0) {
        print_message("SKIP: mtools or dosfstools is not installed\n");
        skip();
    }
    dstack_error err = {0};
    mkdir(in_dir("shared"), 0700);
    assert_ok(
        file_write_atomic(in_dir("shared/.sys-config.json"), bytes_of_str("{\"a\":1}"), 0600, &err),
        err);
    assert_ok(
        file_write_atomic(in_dir("shared/app-compose.json"), bytes_of_str("compose"), 0600, &err),
        err);
    assert_int_equal(symlink("/etc/passwd", in_dir("shared/link")), 0);
    assert_ok(share_build_disk(dir, &err), err);
    char image[160];
    snprintf(image, sizeof image, "%s", in_dir("shared.img"));
    DSTACK_AUTO(buf) dstack_buf listing = {0};
    const char *list[] = {"mdir", "-b", "-a", "-i", image, "::/", NULL};
    assert_ok(child_run(list, 10000, &listing, &err), err);
    const char *text = buf_text(&listing);
    assert_non_null(strstr(text, ".sys-config.json"));
    assert_non_null(strstr(text, "app-compose.json"));
    assert_null(strstr(text, "link"));
    DSTACK_AUTO(buf) dstack_buf content = {0};
    const char *type[] = {"mtype", "-i", image, "::/.sys-config.json", NULL};
    assert_ok(child_run(type, 10000, &content, &err), err);
    assert_string_equal(buf_text(&content), "{\"a\":1}");
    assert_int_equal(access(in_dir("shared.img.new"), F_OK), -1);
}

static void a_lock_names_its_holder_and_dies_with_it(void **state) {
    assert_int_equal(vm_lock_holder(dir), 0);
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        int fd;
        char byte = vm_lock_take(dir, &fd, NULL) == 0 ? 'y' : 'n';
        if (write(ready[1], &byte, 1) != 1) {
            _exit(1);
        }
        pause();
        _exit(0);
    }
    char byte = 0;
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(byte, 'y');
    assert_int_equal(vm_lock_holder(dir), child);
    int fd;
    assert_int_equal(vm_lock_take(dir, &fd, NULL), DSTACK_E_STATE);
    assert_false(vm_lock_wait_gone(dir, 50));
    assert_true(vm_lock_signal(dir, SIGKILL));
    assert_true(vm_lock_wait_gone(dir, 5000));
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(vm_lock_signal(dir, SIGTERM));
    close(ready[0]);
    close(ready[1]);
}

struct seen {
    int count;
    char name[32];
};

static void on_event(void *user, const char *name, const json_t *data) {
    struct seen *seen = user;
    seen->count++;
    snprintf(seen->name, sizeof seen->name, "%s", name);
}

static void qmp_negotiates_and_passes_events_on(void **state) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    struct seen seen = {0};
    struct qmp qmp = {.fd = pair[0], .event = on_event, .user = &seen};
    dstack_error err = {0};
    static const char in[] = "{\"QMP\":{}}\r\n{\"return\":{}}\r\n"
                             "{\"event\":\"SHUTDOWN\",\"data\":{\"reason\":\"guest-reset\"}}\r\n";
    for (size_t i = 0; i < sizeof in - 1; i++) {
        assert_ok(qmp_feed(&qmp, bytes_of(in + i, 1), &err), err);
    }
    assert_true(qmp.ready);
    assert_int_equal(seen.count, 1);
    assert_string_equal(seen.name, "SHUTDOWN");
    char sent[64] = "";
    assert_true(read(pair[1], sent, sizeof sent - 1) > 0);
    assert_string_equal(sent, "{\"execute\":\"qmp_capabilities\"}\r\n");
    assert_int_equal(qmp_feed(&qmp, bytes_of_str("nonsense\n"), &err), DSTACK_E_FORMAT);
    qmp_clear(&qmp);
    close(pair[0]);
    close(pair[1]);
}

static void durations_and_app_urls_read_as_the_reference_writes_them(void **state) {
    char text[64], url[128];
    rpc_info_duration(3723, text, sizeof text);
    assert_string_equal(text, "1h 2m 3s");
    rpc_info_duration(0, text, sizeof text);
    assert_string_equal(text, "0s");
    rpc_info_duration(-1, text, sizeof text);
    assert_string_equal(text, "never");
    rpc_info_app_url("ab", NULL, "localhost", 8082, 8090, url, sizeof url);
    assert_string_equal(url, "https://ab-8090.localhost:8082");
    rpc_info_app_url("ab", NULL, "ex.org", 443, 8090, url, sizeof url);
    assert_string_equal(url, "https://ab-8090.ex.org");
    rpc_info_app_url("ab", "https://gw.ex.org:9202", "x", 1, 8090, url, sizeof url);
    assert_string_equal(url, "https://ab-8090.gw.ex.org:9202");
    rpc_info_app_url("ab", "https://gw.ex.org", "x", 1, 8090, url, sizeof url);
    assert_string_equal(url, "https://ab-8090.gw.ex.org");
}

static void the_tdx_variant_follows_memory_and_material(void **state) {
    static const struct {
        const char *policy;
        uint32_t memory;
        bool lite;
        const char *want; /* NULL: refused */
    } rows[] = {{"legacy", 2048, true, "legacy"}, {"lite", 1024, false, NULL},
                {"auto", 1024, true, "legacy"},   {"auto", 2816, true, "lite"},
                {"auto", 2048, true, "lite"},     {"auto", 3072, true, "lite"},
                {"auto", 3072, false, "legacy"}};
    DSTACK_AUTO(json) json_t *plain = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const char *got = NULL;
        int rc = share_tdx_variant(rows[i].policy, plain, rows[i].memory, rows[i].lite, &got, NULL);
        if (rows[i].want == NULL) {
            assert_int_equal(rc, DSTACK_E_NOT_FOUND);
        } else {
            assert_int_equal(rc, 0);
            assert_string_equal(got, rows[i].want);
        }
    }
    DSTACK_AUTO(json)
    json_t *wish = json_pack("{s:{s:b}}", "requirements", "tdx_measure_acpi_tables", 1);
    const char *got = NULL;
    assert_int_equal(share_tdx_variant("lite", wish, 2048, true, &got, NULL), 0);
    assert_string_equal(got, "legacy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_vm_that_ends_is_restarted_with_growing_waits),
        cmocka_unit_test(a_vm_that_stays_up_gets_its_attempts_back),
        cmocka_unit_test_setup_teardown(a_serial_log_is_bounded, make_dir, drop_dir),
        cmocka_unit_test(escapes_are_stripped_whatever_the_split),
        cmocka_unit_test_setup_teardown(a_guest_reports_its_boot, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(an_oversized_notification_is_dropped, make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(sec_23_instance_info_from_a_guest_is_only_what_it_should_be,
                                        make_dir, drop_dir),
        cmocka_unit_test_setup_teardown(the_share_disk_holds_the_files_under_their_names, make_dir,
                                        drop_dir),
        cmocka_unit_test_setup_teardown(a_lock_names_its_holder_and_dies_with_it, make_dir,
                                        drop_dir),
        cmocka_unit_test(qmp_negotiates_and_passes_events_on),
        cmocka_unit_test(durations_and_app_urls_read_as_the_reference_writes_them),
        cmocka_unit_test(the_tdx_variant_follows_memory_and_material),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
