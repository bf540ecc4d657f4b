/* What dstack-kms records, read back and verified with the dstack command. */
#include "kms_calls.h"

#include <dstack/tlog.h>
#include <sys/wait.h>

static const char *crash_shim;
static const char *dstack_program;

/* Runs `dstack log ...`; its exit code, and what it printed. */
static int dstack_log(const world *w, const char *arguments, dstack_buf *out) {
    char command[900];
    snprintf(command, sizeof command, "'%s' log %s >'%s/out' 2>'%s/diag'", dstack_program,
             arguments, w->dir, w->dir);
    int status = system(command);
    buf_reset(out);
    load_file(world_path(w, "out"), out);
    (void)buf_text(out);
    return WEXITSTATUS(status);
}

static void expect_dstack(const world *w, const char *arguments, int code, const char *says) {
    DSTACK_AUTO(buf) dstack_buf out = {0}, diag = {0};
    int found = dstack_log(w, arguments, &out);
    load_file(world_path(w, "diag"), &diag);
    if (found != code ||
        (strstr(buf_text(&out), says) == NULL && strstr(buf_text(&diag), says) == NULL)) {
        fail_msg("dstack log %s: %d\n%s%s", arguments, found, buf_text(&out), buf_text(&diag));
    }
}

/* Arguments with the log's folder and its key. */
static const char *on_folder(const world *w, const char *verb, const char *more) {
    static char text[700];
    snprintf(text, sizeof text, "%s '%s/certs/log' --key '%s/certs/log/log.pub' %s", verb, w->dir,
             w->dir, more);
    return text;
}

static void sec_30_every_release_and_refusal_is_in_a_signed_log(void **state) {
    world *w = *state;
    char more[500];
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    DSTACK_AUTO(buf) dstack_buf old = {0};
    load_file(world_path(w, "certs/log/checkpoint"), &old);
    world_write(w, "old", buf_text(&old));
    world_allow(w, w->image.image.os_image_hash, "apps: {}\n");
    expect_refusal(w, w->guest, w->image.vm_config, "app not registered");
    /* nobody is known here: that is for the text log alone */
    world_post(w, "/prpc/GetAppKey?json", "{\"api_version\":1}", 400, "No attestation");
    expect_dstack(w, on_folder(w, "verify", "--json"), 0, "\"size\": 3");
    snprintf(more, sizeof more, "--old '%s/old' --json", w->dir);
    expect_dstack(w, on_folder(w, "verify", more), 0, "\"begins_with\": 2");
    expect_dstack(w, on_folder(w, "show", "--json"), 0, "\"reason\": \"root keys made\"");
    snprintf(more, sizeof more, "--app %s --json", w->app_id);
    DSTACK_AUTO(buf) dstack_buf listed = {0};
    assert_int_equal(dstack_log(w, on_folder(w, "show", more), &listed), 0);
    assert_non_null(strstr(buf_text(&listed), "\"type\": \"key release\""));
    assert_non_null(strstr(buf_text(&listed), w->compose_hash));
    assert_non_null(strstr(buf_text(&listed),
                           "\"reason\": \"App not allowed: Boot denied: app not registered\""));
    assert_null(strstr(buf_text(&listed), "root keys made"));
    /* the same over the network */
    snprintf(more, sizeof more, "verify %s/log --key '%s/certs/log/log.pub' --json", w->url,
             w->dir);
    expect_dstack(w, more, 0, "\"size\": 3");
    /* a receipt stands alone */
    DSTACK_AUTO(buf) dstack_buf receipt = {0};
    assert_int_equal(dstack_log(w, on_folder(w, "prove", "1"), &receipt), 0);
    world_write(w, "receipt", buf_text(&receipt));
    snprintf(more, sizeof more, "verify --receipt '%s/receipt' --key '%s/certs/log/log.pub' --json",
             w->dir, w->dir);
    expect_dstack(w, more, 0, w->app_id);
    char *index = strstr((char *)buf_text(&receipt), "\"index\": 1");
    memcpy(index, "\"index\": 2", 10);
    world_write(w, "receipt", buf_text(&receipt));
    expect_dstack(w, more, 1, "proof of inclusion does not hold");
}

static void the_logs_key_is_bound_to_the_kms_by_evidence(void **state) {
    world *w = *state;
    dstack_error err = {0};
    dstack_tlog_key key;
    world_run(w);
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(
        &(http_client_config){.url = w->url, .trust = HTTP_CLIENT_TRUST_NONE}, &err);
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    http_client_request request = {.method = "GET", .path = "/log/key"};
    assert_ok(http_client_send_ok(client, &request, &answer, &err), err);
    DSTACK_AUTO(json)
    json_t *json = json_parse(bytes_of_buf(&answer.body), answer.body.len, "key", &err);
    assert_non_null(json);
    assert_ok(dstack_tlog_key_parse(bytes_of_str(json_string_value(json_object_get(json, "vkey"))),
                                    &key, &err),
              err);
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    assert_ok(json_hex_or_empty(json, "attestation", &encoded, &err), err);
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    DSTACK_AUTO(verified) dstack_verified *verified = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(
        dstack_report_data("kms-log-v1", NULL, bytes_of(key.public_key, 32), report_data, &err),
        err);
    assert_ok(dstack_attestation_decode(bytes_of_buf(&encoded), &evidence, &err), err);
    dstack_attestation_options options = {.now = clock_unix(), .report_data = report_data};
    assert_ok(dstack_attestation_verify(w->trust.verifier, evidence, &options, &verified, &err),
              err);
    static const char *const missing[] = {"/log/log.key", "/log/../certs/root-ca.key", "/log/",
                                          "/log/tile/0/009"};
    for (size_t i = 0; i < sizeof missing / sizeof missing[0]; i++) {
        http_client_request other = {.method = "GET", .path = missing[i]};
        assert_ok(http_client_send(client, &other, &answer, &err), err);
        assert_int_equal(answer.status, 404);
    }
}

static void a_log_that_was_changed_afterwards_is_found_out(void **state) {
    world *w = *state;
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
    world_kill(w, SIGTERM);
    int fd = open(world_path(w, "certs/log/tile/entries/000"), O_RDWR);
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, 60), 1);
    byte ^= 1;
    assert_int_equal(pwrite(fd, &byte, 1, 60), 1);
    close(fd);
    expect_dstack(w, on_folder(w, "verify", ""), 1,
                  "not those that the checkpoint was signed over");
    unlink(w->log);
    assert_int_equal(exit_status(w, true), 1);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    assert_non_null(strstr(buf_text(&log), "is not the one that was signed"));
}

static void without_a_log_nothing_is_released(void **state) {
    world *w = *state;
    char aside[200];
    world_run(w);
    snprintf(aside, sizeof aside, "%s/aside", w->dir);
    assert_int_equal(rename(world_path(w, "certs/log/tile"), aside), 0);
    expect_refusal(w, w->guest, w->image.vm_config, "log unavailable");
    assert_int_equal(rename(aside, world_path(w, "certs/log/tile")), 0);
    expect_refusal(w, w->guest, w->image.vm_config, "log unavailable");
    world_kill(w, SIGTERM);
    world_run(w);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
}

/* ---- killed while it appends ------------------------------------------------------------------
 */

static pid_t run_to_die(world *w, int at) {
    char number[16], folder[160], count[160];
    snprintf(number, sizeof number, "%d", at);
    snprintf(folder, sizeof folder, "%s/certs", w->dir);
    snprintf(count, sizeof count, "%s/count", w->dir);
    const char *given = getenv("ASAN_OPTIONS");
    DSTACK_AUTO(buf) dstack_buf sanitizer = {0};
    buf_put_fmt(&sanitizer, "%s", given == NULL ? "" : given);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1); /* the shim comes first */
    setenv("LD_PRELOAD", crash_shim, 1);
    setenv("CRASH_AT", number, 1);
    setenv("CRASH_DIR", folder, 1);
    setenv("CRASH_COUNT", count, 1);
    unlink(count);
    unlink(w->log);
    pid_t pid = world_spawn(w, true);
    setenv("ASAN_OPTIONS", buf_text(&sanitizer), 1);
    unsetenv("LD_PRELOAD");
    unsetenv("CRASH_AT");
    unsetenv("CRASH_COUNT");
    w->pid = pid;
    w->port = world_wait_port(w, "status=\"serving");
    snprintf(w->url, sizeof w->url, "https://localhost:%u", w->port);
    return pid;
}

static size_t calls_made(const world *w) {
    struct stat info;
    return stat(world_path(w, "count"), &info) == 0 ? (size_t)info.st_size : 0;
}

static size_t log_size(const world *w) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    if (dstack_log(w, on_folder(w, "verify", "--json"), &out) != 0) {
        fail_msg("%s", "the log does not verify");
    }
    return strtoul(strstr(buf_text(&out), "\"size\": ") + 8, NULL, 10);
}

static void a_release_is_recorded_however_the_process_dies(void **state) {
    world *w = *state;
    unsigned died = 0;
    world_run(w); /* makes the keys */
    world_kill(w, SIGTERM);
    for (size_t k = 1;; k++) {
        dstack_error err = {0};
        run_to_die(w, 0); /* the log opens; how many calls a start makes depends on its entries */
        size_t start = calls_made(w);
        world_kill(w, SIGTERM);
        size_t before = log_size(w);
        run_to_die(w, (int)(start + k));
        DSTACK_AUTO(kms) dstack_kms *client = world_client(w, w->guest);
        DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
        bool released = dstack_kms_app_keys(client, w->image.vm_config, &keys, &err) == 0;
        int status;
        kill(w->pid, SIGKILL);
        assert_int_equal(waitpid(w->pid, &status, 0), w->pid);
        w->pid = 0;
        world_run(w); /* the log opens again */
        world_kill(w, SIGTERM);
        size_t after = log_size(w);
        assert_true(after >= before && after <= before + 1);
        assert_true(!released || after == before + 1);
        if (released) {
            break;
        }
        died++;
    }
    print_message("killed at %u writes of an append\n", died);
    assert_true(died >= 4);
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 4);
    crash_shim = argv[2];
    dstack_program = argv[3];
    const struct CMUnitTest tests[] = {
        KMS_TEST(sec_30_every_release_and_refusal_is_in_a_signed_log),
        KMS_TEST(the_logs_key_is_bound_to_the_kms_by_evidence),
        KMS_TEST(a_log_that_was_changed_afterwards_is_found_out),
        KMS_TEST(without_a_log_nothing_is_released),
        KMS_TEST(a_release_is_recorded_however_the_process_dies),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
