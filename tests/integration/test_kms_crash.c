/* dstack-kms killed at every single write of its first start, of an onboarding and of an append to its
 * log: whatever the instant, the next start finds nothing or everything, and never keys of two sets. */
#include "kms_calls.h"

#include <sys/wait.h>

static const char *crash_shim;

/* Starts the program under the shim. */
static pid_t spawn_to_die(const world *w, int at) {
    pid_t pid = fork();
    if (pid == 0) {
        char number[16], folder[160];
        int out = open(world_path(w, "stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int log = open(w->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(out, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        snprintf(number, sizeof number, "%d", at);
        snprintf(folder, sizeof folder, "%s/certs", w->dir);
        setenv("LD_PRELOAD", crash_shim, 1);
        setenv("CRASH_AT", number, 1);
        setenv("CRASH_DIR", folder, 1);
        setenv("ASAN_OPTIONS", "verify_asan_link_order=0", 1); /* the shim comes first */
        execl(kms_program, "dstack-kms", "--config", w->config, "--insecure-dev", NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

/* True when the process was killed; false when it serves (and then it is stopped). */
static bool dies_at(const world *w, int at, const char *alive) {
    int status;
    unlink(w->log);
    pid_t pid = spawn_to_die(w, at);
    for (int i = 0; i < 4000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
                world_show_log(w);
                fail_msg("ended with %d at call %d", status, at);
            }
            return true;
        }
        if (world_find_port(w->log, alive) != 0) {
            kill(pid, SIGTERM);
            assert_int_equal(waitpid(pid, &status, 0), pid);
            return false;
        }
        usleep(2000);
    }
    fail_msg("neither serves nor ends at call %d", at);
    return false;
}

static bool read_key(const world *w, const char *name, dstack_buf *out) {
    buf_reset(out);
    return file_read(world_path(w, name), 4096, out, NULL) == 0;
}

static void forget_keys(const world *w) {
    char command[200];
    snprintf(command, sizeof command, "rm -rf '%s/certs'", w->dir);
    assert_int_equal(system(command), 0);
}

static void a_first_start_killed_at_any_write_ends_with_one_set_of_keys(void **state) {
    world *w = *state;
    int at = 1;
    unsigned kept = 0, fresh = 0;
    for (;; at++) {
        DSTACK_AUTO(buf) dstack_buf before = {0}, after = {0};
        /* The TEE of the world lives on; its event log must not be lost with the keys. */
        forget_keys(w);
        world_tee_stop(&w->kms_tee);
        world_tee_start(w, &w->kms_tee, "kms-tee", &w->image.measured, w->keys);
        bool died = dies_at(w, at, "status=\"serving");
        bool had = read_key(w, "certs/root-k256.key", &before) ||
                   read_key(w, "certs/committed/root-k256.key", &before);
        world_run(w); /* fails the test when it does not serve */
        assert_true(read_key(w, "certs/root-k256.key", &after));
        if (had) {
            assert_true(bytes_equal(bytes_of_buf(&before), bytes_of_buf(&after)));
        }
        had ? kept++ : fresh++;
        assert_int_not_equal(access(world_path(w, "certs/pending"), F_OK), 0);
        assert_int_not_equal(access(world_path(w, "certs/committed"), F_OK), 0);
        DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
        if (at % 8 == 0) {
            ask_keys(w, &keys);
        }
        world_kill(w, SIGTERM);
        if (!died) {
            break;
        }
    }
    print_message("killed at %d places: %u starts afresh, %u with the keys kept\n", at - 1, fresh,
                  kept);
    assert_true(at > 30 && kept > 5 && fresh > 5);
}

static void an_onboarding_killed_at_any_write_leaves_all_keys_or_none(void **state) {
    world *w = *state;
    world b;
    unsigned kept = 0, none = 0;
    DSTACK_AUTO(buf) dstack_buf source = {0};
    world_run(w);
    assert_true(read_key(w, "certs/root-k256.key", &source));
    world_second(w, &b, world_kms_manifest);
    bool died = true;
    int at = 1;
    for (; died; at++) {
        DSTACK_AUTO(buf) dstack_buf token = {0}, copied = {0};
        dstack_error err = {0};
        char url[64], body[160], header[160];
        int status;
        forget_keys(&b);
        world_tee_stop(&b.kms_tee);
        world_tee_start(&b, &b.kms_tee, "kms-tee", &w->image.measured, w->keys);
        unlink(b.log);
        b.pid = spawn_to_die(&b, at);
        unsigned port = 0;
        died = false;
        for (int i = 0; i < 4000 && port == 0 && !died; i++) {
            died = waitpid(b.pid, &status, WNOHANG) == b.pid;
            port = world_find_port(b.log, "set-up listener");
            usleep(1000);
        }
        if (!died) {
            load_file(world_path(&b, "certs/setup-token"), &token);
            snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
            snprintf(body, sizeof body, "{\"source_url\":\"%s\",\"domain\":\"localhost\"}", w->url);
            snprintf(header, sizeof header, "Authorization: Bearer %s\r\n", buf_text(&token));
            DSTACK_AUTO(http_client)
            http_client *client = http_client_new(&(http_client_config){.url = url}, &err);
            DSTACK_AUTO(http_client_response) http_client_response answer = {0};
            http_client_request request = {.method = "POST",
                                           .path = "/prpc/Onboard?json",
                                           .headers = header,
                                           .body = bytes_of_str(body)};
            died = http_client_send(client, &request, &answer, &err) != 0;
            kill(b.pid, SIGKILL);
            assert_int_equal(waitpid(b.pid, &status, 0), b.pid);
        }
        b.pid = 0;
        /* The next start offers set-up again, or serves with the source's keys. */
        unlink(b.log);
        b.pid = world_spawn(&b, true);
        bool serves = false;
        port = 0;
        for (int i = 0; i < 4000 && port == 0; i++) {
            serves = world_find_port(b.log, "status=\"serving") != 0;
            port = serves ? 1 : world_find_port(b.log, "set-up listener");
            usleep(1000);
        }
        if (port == 0) {
            world_show_log(&b);
            fail_msg("no start after call %d", at);
        }
        assert_true(serves == read_key(&b, "certs/root-k256.key", &copied));
        if (serves) {
            assert_true(bytes_equal(bytes_of_buf(&source), bytes_of_buf(&copied)));
        }
        serves ? kept++ : none++;
        world_kill(&b, SIGTERM);
    }
    print_message("killed at %d places: %u times no keys, %u times all\n", at - 2, none, kept);
    assert_true(kept > 5 && none > 5);
    world_second_end(&b);
}

/* ---- key files that do not belong together ----------------------------------------------------
 */

static void missing_or_mixed_key_files_stop_the_start(void **state) {
    world *w = *state;
    static const char *const needed[] = {"certs/root-ca.key", "certs/root-k256.key",
                                         "certs/tmp-ca.key", "certs/rpc.key"};
    world_run(w);
    world_kill(w, SIGTERM);
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        char away[200];
        snprintf(away, sizeof away, "%s/away", w->dir);
        assert_int_equal(rename(world_path(w, needed[i]), away), 0);
        assert_int_equal(exit_status(w, true), 1);
        assert_int_not_equal(access(world_path(w, needed[i]), F_OK), 0);
        assert_int_equal(rename(away, world_path(w, needed[i])), 0);
    }
    /* a root key of another set */
    DSTACK_AUTO(buf) dstack_buf k256 = {0}, cert = {0};
    load_file(world_path(w, "certs/root-k256.key"), &k256);
    k256.data[5] ^= 1;
    dstack_error err = {0};
    assert_ok(
        file_write_atomic(world_path(w, "certs/root-k256.key"), bytes_of_buf(&k256), 0600, &err),
        err);
    unlink(w->log);
    assert_int_equal(exit_status(w, true), 1);
    DSTACK_AUTO(buf) dstack_buf log = {0};
    load_file(w->log, &log);
    assert_non_null(strstr(buf_text(&log), "are of different sets"));
    k256.data[5] ^= 1;
    assert_ok(
        file_write_atomic(world_path(w, "certs/root-k256.key"), bytes_of_buf(&k256), 0600, &err),
        err);
    /* a CA certificate of another key */
    load_file(world_path(w, "certs/tmp-ca.crt"), &cert);
    assert_ok(
        file_write_atomic(world_path(w, "certs/root-ca.crt"), bytes_of_buf(&cert), 0644, &err),
        err);
    unlink(w->log);
    assert_int_equal(exit_status(w, true), 1);
    buf_reset(&log);
    load_file(w->log, &log);
    assert_non_null(strstr(buf_text(&log), "CA certificate does not match private key"));
    unlink(world_path(w, "certs/root-ca.crt"));
    world_run(w);
}

static void two_processes_do_not_share_a_store(void **state) {
    world *w = *state;
    world_run(w);
    assert_int_equal(exit_status(w, true), 1);
    DSTACK_AUTO(app_keys) dstack_app_keys keys = {0};
    ask_keys(w, &keys);
}

int main(int argc, char **argv) {
    assert_int_equal(argc, 3);
    crash_shim = argv[2];
    const struct CMUnitTest tests[] = {
        KMS_TEST(a_first_start_killed_at_any_write_ends_with_one_set_of_keys),
        KMS_TEST(an_onboarding_killed_at_any_write_leaves_all_keys_or_none),
        KMS_TEST(missing_or_mixed_key_files_stop_the_start),
        KMS_TEST(two_processes_do_not_share_a_store),
    };
    return kms_run_tests(argc, argv, tests, sizeof tests / sizeof tests[0]);
}
