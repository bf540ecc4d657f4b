/* A verifier in its own process, and a simulated guest whose evidence it judges. */
#ifndef TESTS_INTEGRATION_VERIFIER_WORLD_H
#define TESTS_INTEGRATION_VERIFIER_WORLD_H

#include "kms_world.h"

#include <dstack/cert.h>

/* The program under test: first argument of the test. */
extern const char *verifier_program;

typedef struct verifier_world {
    world w; /* folder, simulation keys, image, guest's TEE and workload */
    char url[128];
    http_client *client;
} verifier_world;

static inline void vworld_configure(verifier_world *v, const char *more) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "address: 'unix:%s/v.sock'\n"
                "rate: 0\n"
                "%s"
                "attestation:\n"
                "  insecure_allow_external_trust_anchors: true\n"
                "  root_ca: {tdx: sim/root.der}\n"
                "  collateral: ['%s/sim/collateral.json']\n"
                "  urls: {pccs: []}\n",
                v->w.dir, more, v->w.dir);
    world_write(&v->w, "kms.yaml", buf_text(&text));
}

static inline pid_t vworld_spawn(verifier_world *v, char *const *arguments) {
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(world_path(&v->w, "stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int log = open(v->w.log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(out, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execv(verifier_program, arguments);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

/* Runs it to its end; the exit status. Standard output is in the file "stdout". */
static inline int vworld_command(verifier_world *v, const char *const *arguments) {
    int status = 0;
    unlink(v->w.log);
    pid_t pid = vworld_spawn(v, (char *const *)(uintptr_t)arguments);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline void vworld_run(verifier_world *v) {
    char *arguments[] = {(char *)"dstack-verifier", (char *)"--config", v->w.config,
                         (char *)"--insecure-dev", NULL};
    unlink(v->w.log);
    v->w.pid = vworld_spawn(v, arguments);
    bool serves = false;
    for (int i = 0; i < 2000 && !serves; i++) {
        DSTACK_AUTO(buf) dstack_buf log = {0};
        serves = file_read(v->w.log, (size_t)1 << 20, &log, NULL) == 0 &&
                 strstr(buf_text(&log), "status=\"serving") != NULL;
        usleep(5000);
    }
    if (!serves) {
        world_show_log(&v->w);
        fail_msg("dstack-verifier does not serve");
    }
    dstack_error err = {0};
    snprintf(v->url, sizeof v->url, "unix:%s/v.sock", v->w.dir);
    v->client = http_client_new(&(http_client_config){.url = v->url}, &err);
    assert_non_null(v->client);
}

static inline int vworld_setup(void **state) {
    verifier_world *v = calloc(1, sizeof *v);
    world *w = &v->w;
    dstack_error err = {0};
    strcpy(w->dir, "/tmp/dstack-verifier-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->config, sizeof w->config, "%s/kms.yaml", w->dir);
    snprintf(w->log, sizeof w->log, "%s/log", w->dir);
    assert_ok(sim_keys_init(world_path(w, "sim"), NULL, clock_unix() - 60, &err), err);
    assert_ok(sim_keys_load(world_path(w, "sim"), &w->keys, &err), err);
    world_image_make(&w->image, "one");
    world_tee_start(w, &w->guest_tee, "guest-tee", &w->image.measured, w->keys);
    w->guest =
        world_workload(w, &w->guest_tee, w->keys, world_app_manifest, w->image.vm_config, "guest");
    hex_encode(workload_app_id(w->guest), w->app_id);
    world_hash(world_app_manifest, w->compose_hash);
    vworld_configure(v, "");
    *state = v;
    return 0;
}

static inline int vworld_teardown(void **state) {
    verifier_world *v = *state;
    http_client_free(v->client);
    world_kill(&v->w, SIGTERM);
    workload_free(v->w.guest);
    world_tee_stop(&v->w.guest_tee);
    sim_keys_free(v->w.keys);
    world_image_remove(&v->w.image);
    char command[160];
    snprintf(command, sizeof command, "rm -r '%s'", v->w.dir);
    assert_int_equal(system(command), 0);
    free(v);
    return 0;
}

/* The guest's attestation over report data, as the JSON of a request; `more` goes into the object.
 */
static inline char *vworld_request(verifier_world *v, const char *report_data, const char *more) {
    dstack_error err = {0};
    uint8_t data[DSTACK_REPORT_DATA_SIZE];
    dstack_attestation *attestation = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0}, text = {0};
    assert_ok(dstack_report_data_pad(bytes_of_str(report_data), data, &err), err);
    assert_ok(workload_attest(v->w.guest, data, &attestation, &err), err);
    assert_ok(dstack_attestation_encode(attestation, DSTACK_ATTESTATION_V0, &encoded, &err), err);
    dstack_attestation_free(attestation);
    buf_put_str(&text, "{\"attestation\":\"");
    buf_put_hex(&text, bytes_of_buf(&encoded));
    buf_put_fmt(&text, "\"%s}", more);
    return buf_detach_text(&text);
}

/* Sends one request; the status. `*type` (may be NULL) receives the content type. */
static inline int vworld_send(verifier_world *v, const char *method, const char *path,
                              const char *headers, dstack_bytes body, dstack_buf *answer,
                              char type[80]) {
    dstack_error err = {0};
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {
        .method = method, .path = path, .headers = headers, .body = body};
    assert_ok(http_client_send(v->client, &request, &response, &err), err);
    buf_put_bytes(answer, bytes_of_buf(&response.body));
    if (type != NULL) {
        type[0] = '\0';
        (void)http_client_response_header(&response, "content-type", type, 80);
    }
    return response.status;
}

static inline json_t *vworld_verify(verifier_world *v, const char *body) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    int status = vworld_send(v, "POST", "/verify", NULL, bytes_of_str(body), &text, NULL);
    if (status != 200) {
        fail_msg("%d %s", status, buf_text(&text));
    }
    json_t *answer = json_parse(bytes_of_buf(&text), SIZE_MAX, "answer", &err);
    assert_non_null(answer);
    return answer;
}

static inline const char *text_at(const json_t *object, const char *first, const char *second) {
    const json_t *value = json_object_get(object, first);
    value = second != NULL ? json_object_get(value, second) : value;
    return json_is_string(value) ? json_string_value(value) : "";
}

static inline bool flag_at(const json_t *answer, const char *name) {
    return json_is_true(json_object_get(json_object_get(answer, "details"), name));
}

static inline const char *claim_anchor(const json_t *answer, const char *name) {
    const json_t *claims = json_object_get(json_object_get(answer, "trust"), "claims");
    size_t i;
    json_t *claim;
    json_array_foreach((json_t *)claims, i, claim) {
        if (strcmp(text_at(claim, "name", NULL), name) == 0) {
            return text_at(claim, "anchor", NULL);
        }
    }
    return "";
}

/* A self-issued certificate whose key the guest's evidence binds. */
static inline void vworld_certificate(verifier_world *v, dstack_secret **key, dstack_buf *pem) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    dstack_attestation *attestation = NULL;
    static const char *const names[] = {"127.0.0.1"};
    assert_ok(dstack_cert_key_new(key, &err), err);
    assert_ok(dstack_cert_key_public(*key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    assert_ok(workload_attest(v->w.guest, report_data, &attestation, &err), err);
    const dstack_cert_spec spec = {.subject = "guest",
                                   .alt_names = names,
                                   .alt_name_count = 1,
                                   .server_auth = true,
                                   .not_before = clock_unix() - 60,
                                   .not_after = clock_unix() + 3600,
                                   .attestation = attestation};
    assert_ok(dstack_cert_self_signed(&spec, *key, pem, &err), err);
    dstack_attestation_free(attestation);
}

#endif
