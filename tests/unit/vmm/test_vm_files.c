/* The files of one VM: manifest, state, runtime. */
#include "check.h"
#include "vm.h"

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

static void a_manifest_reads_back_as_written(void **state) {
    DSTACK_AUTO(vm_manifest)
    struct vm_manifest m = {
        .vcpu = 2, .memory_mib = 2048, .disk_gib = 20, .created_at_ms = 1760000000000};
    DSTACK_AUTO(vm_manifest) struct vm_manifest back = {0};
    strcpy(m.id, "vm-1");
    strcpy(m.name, "web");
    strcpy(m.app_id, "44136fa355b3678a1146ad16f7e8649e94fb4fc2");
    strcpy(m.image, "dstack-0.6.0");
    strcpy(m.simulated_tee, "dstack-tdx");
    m.kms_urls = json_pack("[s]", "https://10.0.2.2:9201");
    m.gateway_urls = json_array();
    m.port_count = 1;
    dstack_error err = {0};
    assert_ok(vm_port_make("tcp", "127.0.0.1", "", 8080, 80, &m.ports[0], &err), err);
    assert_ok(vm_manifest_write(dir, &m, &err), err);
    assert_ok(vm_manifest_read(dir, &back, &err), err);
    DSTACK_AUTO(json) json_t *a = vm_manifest_to_json(&m);
    DSTACK_AUTO(json) json_t *b = vm_manifest_to_json(&back);
    assert_true(json_equal(a, b));
    assert_string_equal(back.ports[0].address, "127.0.0.1");
}

static void a_broken_manifest_is_an_error_that_names_it(void **state) {
    char path[128];
    snprintf(path, sizeof path, "%s/vm-manifest.json", dir);
    dstack_error err = {0};
    DSTACK_AUTO(vm_manifest) struct vm_manifest m = {0};
    const char *bad[] = {"{", "[]", "{\"id\":\"../x\"}", "{\"id\":\"a\",\"name\":\"a/b\"}", ""};
    for (size_t i = 0; i < 5; i++) {
        assert_ok(file_write_atomic(path, bytes_of_str(bad[i]), 0600, &err), err);
        assert_true(vm_manifest_read(dir, &m, &err) < 0);
        assert_non_null(strstr(err.message, "Failed to read manifest"));
    }
}

static void the_started_flag_survives(void **state) {
    bool started = true;
    dstack_error err = {0};
    char path[128];
    snprintf(path, sizeof path, "%s/vm-state.json", dir);
    unlink(path);
    assert_ok(vm_started_read(dir, &started, &err), err);
    assert_false(started);
    assert_ok(vm_started_write(dir, true, &err), err);
    assert_ok(vm_started_read(dir, &started, &err), err);
    assert_true(started);
}

static void events_set_progress_and_error_and_are_bounded(void **state) {
    DSTACK_AUTO(vm_runtime) struct vm_runtime runtime = {.started_at = 5};
    DSTACK_AUTO(vm_runtime) struct vm_runtime back = {0};
    for (int i = 0; i < 100; i++) {
        char text[16];
        snprintf(text, sizeof text, "step %d", i);
        vm_runtime_event(&runtime, "boot.progress", text, i);
    }
    vm_runtime_event(&runtime, "boot.error", "KMS refused: \"no\"", 200);
    assert_false(runtime.powered_off);
    vm_runtime_event(&runtime, "shutdown.progress", "powering off", 201);
    dstack_error err = {0};
    assert_ok(vm_runtime_write(dir, &runtime, &err), err);
    assert_ok(vm_runtime_read(dir, &back, &err), err);
    assert_int_equal(back.event_count, VM_EVENT_MAX);
    assert_string_equal(back.boot_progress, "step 99");
    assert_string_equal(back.boot_error, "KMS refused: \"no\"");
    assert_true(back.powered_off);
    assert_string_equal(back.events[VM_EVENT_MAX - 1].event, "shutdown.progress");
    assert_int_equal(back.events[VM_EVENT_MAX - 1].timestamp_ms, 201);
}

static void status_comes_from_wish_and_fact(void **state) {
    assert_string_equal(vm_status_text(true, true), "running");
    assert_string_equal(vm_status_text(true, false), "exited");
    assert_string_equal(vm_status_text(false, true), "stopping");
    assert_string_equal(vm_status_text(false, false), "stopped");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_reads_back_as_written),
        cmocka_unit_test(a_broken_manifest_is_an_error_that_names_it),
        cmocka_unit_test(the_started_flag_survives),
        cmocka_unit_test(events_set_progress_and_error_and_are_bounded),
        cmocka_unit_test(status_comes_from_wish_and_fact),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
