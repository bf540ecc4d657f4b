/* A KMS in its own process, a simulated TEE for it and one for a guest, under one simulation root.
 */
#ifndef TESTS_INTEGRATION_KMS_WORLD_H
#define TESTS_INTEGRATION_KMS_WORLD_H

#include "check.h"

#include <dstack/kms.h>
#include <dstack/manifest.h>
#include <dstack/measure.h>
#include <dstack/verifier.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "client/http_client.h"
#include "crypto/hash.h"
#include "base/json.h"
#include "measure/small_image.h"
#include "service/trust.h"
#include "service/workload.h"
#include "sim/sim_server.h"

/* The program under test: first argument of the test. */
extern const char *kms_program;

typedef struct world_tee {
    char socket[96];
    char url[112];
    sim_vm *vm;
    int stop[2];
    pthread_t thread;
} world_tee;

typedef struct world_image {
    char dir[64];
    dstack_image image;
    char *vm_config;
    dstack_measurements measured;
} world_image;

typedef struct world {
    char dir[64];
    char config[96];
    char log[96];
    sim_keys *keys;
    world_image image;
    world_tee kms_tee;
    world_tee guest_tee;
    trust trust;
    workload *guest;
    char app_id[41];
    char compose_hash[65];
    char kms_compose_hash[65];
    pid_t pid;
    unsigned port;
    char url[64];
} world;

static inline char *world_path(const world *w, const char *name) {
    static char paths[8][160];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, 160, "%s/%s", w->dir, name);
    return path;
}

static inline void world_write(const world *w, const char *name, const char *text) {
    dstack_error err = {0};
    assert_ok(file_write_atomic(world_path(w, name), bytes_of_str(text), 0600, &err), err);
}

/* ---- images and TEEs --------------------------------------------------------------------------
 */

static inline void world_image_make(world_image *i, const char *seed) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf checksums = {0}, document = {0}, text = {0};
    char path[128];
    dstack_vm_config config;
    strcpy(i->dir, "/tmp/dstack-image-XXXXXX");
    small_image_make(i->dir, seed);
    assert_ok(dstack_image_load(i->dir, &i->image, &err), err);
    snprintf(path, sizeof path, "%s/sha256sum.txt", i->dir);
    load_file(path, &checksums);
    snprintf(path, sizeof path, "%s/measurement.tdx.cbor", i->dir);
    load_file(path, &document);
    buf_put_fmt(&text,
                "{\"os_image_hash\":\"%s\",\"cpu_count\":2,\"memory_size\":2147483648,"
                "\"qemu_version\":\"10.0.2\",\"tdx_attestation_variant\":\"lite\","
                "\"tdx_measurement\":{\"checksum_file\":\"",
                i->image.os_image_hash);
    base64_encode(bytes_of_buf(&checksums), BASE64_STANDARD, &text);
    buf_put_str(&text, "\",\"measurement\":\"");
    base64_encode(bytes_of_buf(&document), BASE64_STANDARD, &text);
    buf_put_str(&text, "\"}}");
    i->vm_config = buf_detach_text(&text);
    assert_ok(dstack_vm_config_parse(bytes_of_str(i->vm_config), &config, &err), err);
    assert_ok(dstack_measure_tdx(&i->image, &config.shape, &i->measured, &err), err);
    dstack_vm_config_clear(&config);
}

static inline void world_image_remove(world_image *i) {
    dstack_image_clear(&i->image);
    free(i->vm_config);
    small_image_remove(i->dir);
}

typedef struct world_serving {
    sim_vm *vm;
    const char *socket;
    int stop;
} world_serving;

static inline void *world_serve(void *user) {
    world_serving *s = user;
    (void)sim_serve_socket(s->vm, s->socket, s->stop, NULL);
    free(s);
    return NULL;
}

static inline void world_tee_start(world *w, world_tee *t, const char *name,
                                   const dstack_measurements *measured, const sim_keys *keys) {
    dstack_error err = {0};
    snprintf(t->socket, sizeof t->socket, "%s/%s.sock", w->dir, name);
    snprintf(t->url, sizeof t->url, "sim:unix:%s", t->socket);
    assert_ok(sim_vm_start(keys, measured, NULL, NULL, &t->vm, &err), err);
    assert_int_equal(pipe(t->stop), 0);
    world_serving *s = calloc(1, sizeof *s);
    *s = (world_serving){t->vm, t->socket, t->stop[0]};
    assert_int_equal(pthread_create(&t->thread, NULL, world_serve, s), 0);
    for (int i = 0; i < 500 && access(t->socket, F_OK) != 0; i++) {
        usleep(2000);
    }
}

static inline void world_tee_stop(world_tee *t) {
    if (t->vm != NULL) {
        assert_int_equal(write(t->stop[1], "x", 1), 1);
        pthread_join(t->thread, NULL);
        close(t->stop[0]);
        close(t->stop[1]);
        sim_vm_free(t->vm);
        t->vm = NULL;
    }
}

static const char world_app_manifest[] =
    "{\"manifest_version\":2,\"name\":\"hello\",\"runner\":\"docker-compose\","
    "\"docker_compose_file\":\"services: {}\\n\",\"key_provider\":\"kms\"}";
static const char world_kms_manifest[] =
    "{\"manifest_version\":2,\"name\":\"kms\",\"runner\":\"docker-compose\","
    "\"docker_compose_file\":\"services: {}\\n\",\"no_instance_id\":true,"
    "\"key_provider\":\"none\"}";

static inline workload *world_workload(world *w, const world_tee *t, const sim_keys *keys,
                                       const char *manifest, const char *vm_config,
                                       const char *state) {
    dstack_error err = {0};
    workload *out = NULL;
    assert_ok(file_make_dirs(world_path(w, state), 0700, &err), err);
    workload_options options = {.tee_url = t->url,
                                .sim_root = sim_keys_root(keys),
                                .manifest = bytes_of_str(manifest),
                                .vm_config = vm_config,
                                .state_dir = world_path(w, state)};
    assert_ok(workload_open(&out, &options, &err), err);
    return out;
}

/* ---- the KMS's process ------------------------------------------------------------------------
 */

/* Allows the app; `extra` replaces the apps section when not NULL. */
static inline void world_allow(const world *w, const char *os_image, const char *apps) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text, "gatewayAppId: '%040d'\nosImages: ['%s', '%s']\n", 7,
                w->image.image.os_image_hash, os_image);
    buf_put_fmt(&text, "kms: {composeHashes: ['%s'], allowAnyDevice: true}\n", w->kms_compose_hash);
    if (apps != NULL) {
        buf_put_str(&text, apps);
    } else {
        buf_put_fmt(&text,
                    "apps:\n  '%s':\n    composeHashes: ['0x%s']\n    allowAnyDevice: true\n",
                    w->app_id, w->compose_hash);
    }
    world_write(w, "allow.yaml", buf_text(&text));
}

static inline void world_configure_with(const world *w, const char *auth, const char *onboard,
                                        const char *more) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "rpc: {address: 127.0.0.1, port: 0, public_rate: 1000, public_burst: 1000}\n"
                "core:\n"
                "  cert_dir: certs\n"
                "  tee: {url: '%s', manifest: kms-compose.json, vm_config: kms-vm.json}\n"
                "  attestation: {root_ca: {tdx: sim/root.der}, collateral: ['%s/sim/"
                "collateral.json'], urls: {pccs: []}}\n"
                "  auth_api: %s\n"
                "  onboard: {%s, port: 0}\n"
                "%s",
                w->kms_tee.url, w->dir, auth, onboard, more);
    world_write(w, "kms.yaml", buf_text(&text));
}

static inline void world_configure(const world *w, const char *more) {
    world_configure_with(w, "{file: {path: allow.yaml}}", "auto_bootstrap_domain: localhost", more);
}

/* Starts the program; returns its pid. Its output goes to files. */
static inline pid_t world_spawn(const world *w, bool insecure) {
    pid_t pid = fork();
    if (pid == 0) {
        int out = open(world_path(w, "stdout"), O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int log = open(w->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(out, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execl(kms_program, "dstack-kms", "--config", w->config, insecure ? "--insecure-dev" : NULL,
              NULL);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

/* The port of the last line that says where it serves; 0 when there is none. */
static inline unsigned world_find_port(const char *log, const char *before) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (file_read(log, (size_t)1 << 20, &text, NULL) != 0) {
        return 0;
    }
    const char *found = NULL;
    for (const char *at = buf_text(&text); (at = strstr(at, before)) != NULL; at++) {
        found = at;
    }
    const char *colon = found != NULL ? strstr(found, "127.0.0.1:") : NULL;
    return colon != NULL ? (unsigned)strtoul(colon + 10, NULL, 10) : 0;
}

static inline void world_show_log(const world *w) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (file_read(w->log, (size_t)1 << 20, &text, NULL) == 0) {
        print_message("%s", buf_text(&text));
    }
}

/* Waits for the line that says where the process serves; its port. */
static inline unsigned world_wait_port(const world *w, const char *before) {
    unsigned port = 0;
    for (int i = 0; i < 1000 && (port = world_find_port(w->log, before)) == 0; i++) {
        usleep(5000);
    }
    if (port == 0) {
        world_show_log(w);
        fail_msg("dstack-kms does not say: %s", before);
    }
    return port;
}

static inline void world_run(world *w) {
    unlink(w->log);
    w->pid = world_spawn(w, true);
    w->port = world_wait_port(w, "status=\"serving");
    snprintf(w->url, sizeof w->url, "https://localhost:%u", w->port);
}

static inline void world_kill(world *w, int signal_number) {
    if (w->pid > 0) {
        kill(w->pid, signal_number);
        waitpid(w->pid, NULL, 0);
        w->pid = 0;
    }
}

/* ---- the whole --------------------------------------------------------------------------------
 */

static inline void world_hash(const char *text, char out[65]) {
    uint8_t hash[32];
    hash_sha256(bytes_of_str(text), hash);
    hex_encode(bytes_of(hash, sizeof hash), out);
}

static inline int world_setup(void **state) {
    world *w = calloc(1, sizeof *w);
    dstack_error err = {0};
    strcpy(w->dir, "/tmp/dstack-kms-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->config, sizeof w->config, "%s/kms.yaml", w->dir);
    snprintf(w->log, sizeof w->log, "%s/log", w->dir);
    assert_ok(sim_keys_init(world_path(w, "sim"), NULL, clock_unix() - 60, &err), err);
    assert_ok(sim_keys_load(world_path(w, "sim"), &w->keys, &err), err);
    world_image_make(&w->image, "one");
    world_tee_start(w, &w->kms_tee, "kms-tee", &w->image.measured, w->keys);
    world_tee_start(w, &w->guest_tee, "guest-tee", &w->image.measured, w->keys);
    w->guest =
        world_workload(w, &w->guest_tee, w->keys, world_app_manifest, w->image.vm_config, "guest");
    hex_encode(workload_app_id(w->guest), w->app_id);
    world_hash(world_app_manifest, w->compose_hash);
    world_hash(world_kms_manifest, w->kms_compose_hash);
    world_write(w, "kms-compose.json", world_kms_manifest);
    world_write(w, "kms-vm.json", w->image.vm_config);
    const char *bundle = world_path(w, "sim/collateral.json");
    assert_ok(trust_open(&w->trust, world_path(w, "sim/root.der"), &bundle, 1, true, &err), err);
    world_configure(w, "");
    world_allow(w, w->image.image.os_image_hash, NULL);
    *state = w;
    return 0;
}

static inline int world_teardown(void **state) {
    world *w = *state;
    world_kill(w, SIGTERM);
    workload_free(w->guest);
    world_tee_stop(&w->guest_tee);
    world_tee_stop(&w->kms_tee);
    trust_clear(&w->trust);
    sim_keys_free(w->keys);
    world_image_remove(&w->image);
    char command[160];
    snprintf(command, sizeof command, "rm -r '%s'", w->dir);
    if (getenv("KEEP") == NULL) {
        assert_int_equal(system(command), 0);
    }
    free(w);
    return 0;
}

/* A second KMS of the same world: a folder and a TEE of its own, no keys yet. `manifest` is what it
 * measures itself as. */
static inline void world_second(const world *w, world *b, const char *manifest) {
    char sim[160];
    *b = *w;
    b->pid = 0;
    b->kms_tee = (world_tee){0};
    strcpy(b->dir, "/tmp/dstack-kms-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
    snprintf(b->config, sizeof b->config, "%s/kms.yaml", b->dir);
    snprintf(b->log, sizeof b->log, "%s/log", b->dir);
    snprintf(sim, sizeof sim, "%s/sim", w->dir);
    assert_int_equal(symlink(sim, world_path(b, "sim")), 0);
    world_tee_start(b, &b->kms_tee, "kms-tee", &w->image.measured, w->keys);
    world_write(b, "kms-compose.json", manifest);
    world_write(b, "kms-vm.json", w->image.vm_config);
    world_configure_with(b, "{file: {path: allow.yaml}}", "require_channel_evidence: true", "");
    world_allow(b, w->image.image.os_image_hash, NULL);
}

static inline void world_second_end(world *b) {
    char command[160];
    world_kill(b, SIGTERM);
    world_tee_stop(&b->kms_tee);
    snprintf(command, sizeof command, "rm -r '%s'", b->dir);
    if (getenv("KEEP") == NULL) {
        assert_int_equal(system(command), 0);
    }
}

/* ---- a guest's view ---------------------------------------------------------------------------
 */

static inline int world_attest(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                               dstack_attestation **out, dstack_error *err) {
    return workload_attest(user, report_data, out, err);
}

static inline dstack_kms *world_client(const world *w, workload *guest) {
    dstack_error err = {0};
    dstack_kms *client = NULL;
    dstack_kms_options options = {.url = w->url,
                                  .verifier = w->trust.verifier,
                                  .require_attestation = true,
                                  .attest = world_attest,
                                  .user = guest};
    assert_ok(dstack_kms_new(&options, &client, &err), err);
    return client;
}

/* Posts to the KMS without a certificate. */
static inline void world_post(const world *w, const char *path, const char *body, int status,
                              const char *says) {
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *client = http_client_new(
        &(http_client_config){.url = w->url, .trust = HTTP_CLIENT_TRUST_NONE}, &err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    http_client_request request = {.method = "POST", .path = path, .body = bytes_of_str(body)};
    assert_ok(http_client_send(client, &request, &response, &err), err);
    const char *text = buf_text(&response.body);
    if (response.status != status || strstr(text, says) == NULL) {
        fail_msg("%s %s: %d %s", path, body, response.status, text);
    }
}

#endif
