/* An agent on a simulated TEE whose boot has measured what a boot measures. */
#ifndef TESTS_UNIT_AGENT_AGENT_WORLD_H
#define TESTS_UNIT_AGENT_AGENT_WORLD_H

#include "agent_fixture.h"

#include <sys/stat.h>

#include <dstack/cert.h>
#include <dstack/collateral.h>
#include <dstack/verifier.h>

#include "../tee/sim_fixture.h"
#include "boot/runtime_log.h"
#include "crypto/hash.h"
#include "evidence.h"
#include "keys/local_keys.h"

#ifndef MANIFEST
#define MANIFEST                                                                                   \
    "{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"docker-compose\","                        \
    "\"docker_compose_file\":\"services: {}\",\"secure_time\":false%s}"
#endif

typedef struct world {
    sim_fixture sim;
    dstack_tee *tee;
    char dir[64], events[96], keys[96], compose[96], config[96];
    agent_fixture f;
} world;

/* The container engine of the next world; NULL: the usual one. */
static const char *world_engine;

static inline int world_attest(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                               dstack_attestation **out, dstack_error *err) {
    world *w = source;
    return evidence_take(w->tee, w->events, "{}", report_data, out, err);
}

static inline void emit(world *w, const char *name, dstack_bytes payload) {
    dstack_error err = {0};
    assert_ok(runtime_log_emit(w->events, w->tee, name, payload, &err), err);
}

/* The registers that the boot events of the fixture replay to. */
static inline void measure_again(sim_fixture *f) {
    for (size_t i = 0; i < 3; i++) {
        uint8_t joined[96] = {0};
        memcpy(joined + 48, f->measured.events[i].digest, 48);
        hash_sha384(bytes_of(joined, sizeof joined), f->measured.rtmr[i]);
    }
}

static inline void put_text(const char *path, const char *text) {
    dstack_error err = {0};
    assert_ok(file_write_atomic(path, bytes_of_str(text), 0600, &err), err);
}

/* A TEE with the boot's events, an agent with local keys; `more` goes into the manifest. */
static inline void world_begin(world *w, const char *more) {
    memset(w, 0, sizeof *w);
    dstack_error err = {0};
    fixture_setup(&w->sim);
    fixture_stop_server(&w->sim);
    measure_again(&w->sim);
    sim_vm_free(w->sim.vm);
    assert_ok(sim_vm_start(w->sim.keys, &w->sim.measured, NULL, w->sim.state, &w->sim.vm, &err),
              err);
    fixture_start_server(&w->sim);
    w->tee = fixture_open(&w->sim);
    strcpy(w->dir, "/tmp/dstack-agent-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->events, sizeof w->events, "%s/events", w->dir);
    snprintf(w->keys, sizeof w->keys, "%s/keys", w->dir);
    snprintf(w->compose, sizeof w->compose, "%s/compose", w->dir);
    snprintf(w->config, sizeof w->config, "%s/config", w->dir);
    char manifest[1024];
    snprintf(manifest, sizeof manifest, MANIFEST, more);
    put_text(w->compose, manifest);
    put_text(w->config, "{\"vm_config\":\"{}\"}");
    assert_ok(runtime_log_set_version(w->events, 1, &err), err);
    uint8_t hash[32];
    hash_sha256(bytes_of_str(manifest), hash);
    emit(w, "system-preparing", bytes_of(NULL, 0));
    emit(w, "app-id", bytes_of(hash, 20));
    emit(w, "compose-hash", bytes_of(hash, 32));
    emit(w, "instance-id", bytes_of(hash + 12, 20));
    emit(w, "boot-mr-done", bytes_of(NULL, 0));
    emit(w, "key-provider", bytes_of_str("{\"name\":\"none\",\"id\":\"\"}"));
    emit(w, "system-ready", bytes_of(NULL, 0));
    DSTACK_AUTO(app_keys) app_keys keys = {0};
    uint8_t seed[32] = {1, 2, 3};
    DSTACK_AUTO(secret) dstack_secret *secret = dstack_secret_copy(seed, sizeof seed);
    assert_ok(local_keys_make(secret, FIXTURE_NOW, true, world_attest, w, &keys, &err), err);
    assert_ok(app_keys_save(&keys, w->keys, &err), err);
    const agent_files files = {w->keys, w->compose, w->config, world_engine};
    assert_ok(agent_new(&files, world_attest, w, true, &w->f.a, &err), err);
    fixture_serve_agent(&w->f);
}

static inline void world_end(world *w) {
    fixture_end(&w->f);
    dstack_tee_close(w->tee);
    char command[100];
    snprintf(command, sizeof command, "rm -rf %s", w->dir);
    assert_int_equal(system(command), 0);
    fixture_teardown(&w->sim);
}

/* A verifier for which the fixture's root is the only one. */
static inline dstack_verifier *verifier_make(world *w) {
    dstack_verifier *verifier = NULL;
    dstack_collateral *collateral = NULL;
    dstack_error err = {0};
    const dstack_trust_root root = {.name = "test", .cert = sim_keys_root(w->sim.keys)};
    const dstack_verifier_options options = {
        .roots = &root, .root_count = 1, .no_builtin_root = true};
    assert_ok(dstack_verifier_new(&verifier, &options, &err), err);
    assert_ok(dstack_collateral_parse(&collateral, sim_keys_collateral(w->sim.keys), &err), err);
    assert_ok(dstack_verifier_add_collateral(verifier, collateral, &err), err);
    dstack_collateral_free(collateral);
    return verifier;
}

static inline int verify(world *w, const char *hex, const uint8_t *report_data,
                         dstack_verified **out) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0};
    DSTACK_AUTO(attestation) dstack_attestation *attestation = NULL;
    put_hex(&bytes, hex);
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&bytes), &attestation, &err), err);
    dstack_verifier *verifier = verifier_make(w);
    const dstack_attestation_options options = {.now = FIXTURE_NOW + 60,
                                                .report_data = report_data};
    int rc = dstack_attestation_verify(verifier, attestation, &options, out, &err);
    if (rc != 0) {
        print_message("verification: %s\n", err.message);
    }
    dstack_verifier_free(verifier);
    return rc;
}

#endif
