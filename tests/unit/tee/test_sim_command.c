/* `dstack-vmm simulate-tee` as a script sees it: exit codes, files, a served process. */
#include "check.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <dstack/tee.h>

#include "../measure/small_image.h"
#include "measure/json.h"
#include "sim/sim_server.h"

#define ARGS(...)                                                                                  \
    (char *[]) {                                                                                   \
        (char *)"simulate-tee", __VA_ARGS__, NULL                                                  \
    }

static int count(char **argv) {
    int n = 0;
    while (argv[n] != NULL) {
        n++;
    }
    return n;
}

/* Runs the command in a child, as it prints and may be stopped by a signal. */
static pid_t start(char **argv) {
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (freopen("/dev/null", "w", stdout) == NULL ||
            freopen("/dev/null", "w", stderr) == NULL) {
            _exit(99);
        }
        _exit(sim_command(count(argv), argv));
    }
    return pid;
}

static int finish(pid_t pid) {
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int run(char **argv) {
    return finish(start(argv));
}

typedef struct folder {
    char dir[64], keys[96], socket[96], state[96], config[96], image[64];
} folder;

static void folder_make(folder *f) {
    strcpy(f->dir, "/tmp/dstack-simcmd-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->keys, sizeof f->keys, "%s/keys", f->dir);
    snprintf(f->socket, sizeof f->socket, "%s/tee.sock", f->dir);
    snprintf(f->state, sizeof f->state, "%s/state.json", f->dir);
    snprintf(f->config, sizeof f->config, "%s/vm_config.json", f->dir);
    strcpy(f->image, "/tmp/dstack-image-XXXXXX");
    small_image_make(f->image, "command");
}

static void folder_remove(folder *f) {
    static const char *const names[] = {"keys/keys.json",       "keys/root.der", "keys/root.pem",
                                        "keys/collateral.json", "tee.sock",      "state.json",
                                        "vm_config.json",       "measured.json"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
        unlink(path);
    }
    rmdir(f->keys);
    rmdir(f->dir);
    small_image_remove(f->image);
}

static dstack_tee *open_tee(const folder *f) {
    DSTACK_AUTO(buf) dstack_buf root = {0};
    char path[160], url[160];
    dstack_error err = {0};
    dstack_tee *tee = NULL;
    snprintf(path, sizeof path, "%s/root.der", f->keys);
    load_file(path, &root);
    snprintf(url, sizeof url, "sim:unix:%s", f->socket);
    const dstack_tee_options options = {.sim_root = bytes_of_buf(&root), .timeout_ms = 5000};
    for (int i = 0; i < 300 && access(f->socket, F_OK) != 0; i++) {
        usleep(10000);
    }
    assert_ok(dstack_tee_open(url, &options, &tee, &err), err);
    return tee;
}

static void wrong_calls_exit_2_missing_things_3_and_refusals_1(void **state) {
    folder f;
    folder_make(&f);
    assert_int_equal(run(ARGS((char *)"--nope")), 2);
    assert_int_equal(run((char *[]){(char *)"simulate-tee", NULL}), 2);
    assert_int_equal(run(ARGS((char *)"--keys", f.keys, (char *)"--socket", f.socket)), 2);
    assert_int_equal(run(ARGS((char *)"--help")), 0);
    assert_int_equal(run(ARGS((char *)"--keys", f.keys, (char *)"--socket", f.socket,
                              (char *)"--image", f.image)),
                     3);
    assert_int_equal(run(ARGS((char *)"--init", f.keys, (char *)"--seed", (char *)"abcd")), 1);
    assert_int_equal(run(ARGS((char *)"--init", f.keys)), 0);
    assert_int_equal(run(ARGS((char *)"--init", f.keys)), 1);
    assert_int_equal(
        run(ARGS((char *)"--keys", f.keys, (char *)"--socket", f.socket, (char *)"--image", f.dir)),
        3);
    folder_remove(&f);
}

static void a_process_is_served_until_sigterm_and_goes_on_after_a_kill(void **state) {
    folder f;
    folder_make(&f);
    char **serve = ARGS((char *)"--keys", f.keys, (char *)"--socket", f.socket, (char *)"--image",
                        f.image, (char *)"--state", f.state, (char *)"--write-vm-config", f.config);
    assert_int_equal(run(ARGS((char *)"--init", f.keys)), 0);
    pid_t pid = start(serve);
    dstack_tee *tee = open_tee(&f);
    dstack_error err = {0};
    dstack_tee_info before, after;
    const uint8_t digest[48] = {5};
    assert_ok(dstack_tee_extend(tee, 3, digest, "x", &err), err);
    assert_ok(dstack_tee_info_get(tee, &before, &err), err);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    pid = start(serve);
    assert_ok(dstack_tee_info_get(tee, &after, &err), err);
    assert_memory_equal(before.rtmr, after.rtmr, sizeof before.rtmr);
    dstack_tee_close(tee);
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(finish(pid), 0);
    assert_int_not_equal(access(f.socket, F_OK), 0);

    /* The vm_config that goes into attestations names the image and brings its document. */
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(f.config, &text);
    dstack_vm_config config;
    char hash[65], expected[65];
    assert_ok(dstack_vm_config_parse(bytes_of_buf(&text), &config, &err), err);
    assert_ok(dstack_measure_material_check(&config, hash, &err), err);
    assert_ok(dstack_measure_digest(f.image, expected, &err), err);
    assert_string_equal(hash, expected);
    assert_true(config.lite);
    dstack_vm_config_clear(&config);

    char *fresh[32];
    memcpy(fresh, serve, (size_t)(count(serve) + 1) * sizeof *serve);
    fresh[count(serve)] = (char *)"--fresh";
    fresh[count(serve) + 1] = NULL;
    pid = start(fresh);
    tee = open_tee(&f);
    assert_ok(dstack_tee_info_get(tee, &after, &err), err);
    assert_true(bytes_are_zero(bytes_of(after.rtmr[3], 48)));
    dstack_tee_close(tee);
    kill(pid, SIGTERM);
    assert_int_equal(finish(pid), 0);
    folder_remove(&f);
}

static void measurements_from_a_file_must_follow_from_their_events(void **state) {
    folder f;
    folder_make(&f);
    dstack_error err = {0};
    dstack_image image = {0};
    dstack_vm_shape shape;
    dstack_measurements m, again;
    dstack_vm_shape_init(&shape);
    shape.has_acpi = true;
    assert_ok(dstack_image_load(f.image, &image, &err), err);
    assert_ok(dstack_measure_tdx(&image, &shape, &m, &err), err);
    DSTACK_AUTO(json) json_t *object = measure_to_json(&m);
    assert_non_null(object);
    assert_ok(measure_from_json(object, &again, &err), err);
    assert_ok(dstack_measure_compare(&m, again.mrtd, again.rtmr, &err), err);
    DSTACK_AUTO(buf) dstack_buf a = {0}, b = {0};
    assert_ok(dstack_measure_boot_log(&m, &a, &err), err);
    assert_ok(dstack_measure_boot_log(&again, &b, &err), err);
    assert_true(bytes_equal(bytes_of_buf(&a), bytes_of_buf(&b)));
    m.rtmr[1][0] ^= 1;
    DSTACK_AUTO(json) json_t *wrong = measure_to_json(&m);
    assert_int_equal(measure_from_json(wrong, &again, &err), DSTACK_E_REFUSED);
    json_object_del(wrong, "events");
    assert_int_not_equal(measure_from_json(wrong, &again, &err), 0);
    dstack_image_clear(&image);
    folder_remove(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_calls_exit_2_missing_things_3_and_refusals_1),
        cmocka_unit_test(a_process_is_served_until_sigterm_and_goes_on_after_a_kill),
        cmocka_unit_test(measurements_from_a_file_must_follow_from_their_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
