/* A simulated TEE on a socket, in a thread of the test. */
#ifndef TESTS_UNIT_TEE_SIM_FIXTURE_H
#define TESTS_UNIT_TEE_SIM_FIXTURE_H

#include "check.h"

#include <dstack/tee.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "sim/sim_server.h"

#define FIXTURE_NOW 1790000000

typedef struct sim_fixture {
    char dir[64], socket[96], url[128], state[96];
    sim_keys *keys;
    sim_vm *vm;
    dstack_measurements measured;
    int stop[2];
    pthread_t thread;
    bool running;
} sim_fixture;

static inline void *fixture_serve(void *argument) {
    sim_fixture *f = argument;
    (void)sim_serve_socket(f->vm, f->socket, f->stop[0], NULL);
    return NULL;
}

static inline void fixture_start_server(sim_fixture *f) {
    assert_int_equal(pipe(f->stop), 0);
    assert_int_equal(pthread_create(&f->thread, NULL, fixture_serve, f), 0);
    f->running = true;
    for (int i = 0; i < 200 && access(f->socket, F_OK) != 0; i++) {
        usleep(10000);
    }
}

static inline void fixture_stop_server(sim_fixture *f) {
    if (f->running) {
        assert_int_equal(write(f->stop[1], "x", 1), 1);
        pthread_join(f->thread, NULL);
        close(f->stop[0]);
        close(f->stop[1]);
        f->running = false;
    }
}

/* Registers of no image: any values do where only the channel is tried. */
static inline void fixture_measure(dstack_measurements *m) {
    memset(m, 0, sizeof *m);
    memset(m->mrtd, 0xd1, sizeof m->mrtd);
    for (uint32_t i = 0; i < 3; i++) {
        m->events[i].rtmr = i;
        m->events[i].type = 4;
        memset(m->events[i].digest, (int)(0x10 + i), sizeof m->events[i].digest);
        memset(m->rtmr[i], (int)(0xa0 + i), sizeof m->rtmr[i]);
    }
    m->event_count = 3;
}

static inline void fixture_setup(sim_fixture *f) {
    memset(f, 0, sizeof *f);
    dstack_error err = {0};
    strcpy(f->dir, "/tmp/dstack-sim-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->socket, sizeof f->socket, "%s/tee.sock", f->dir);
    snprintf(f->url, sizeof f->url, "sim:unix:%s", f->socket);
    snprintf(f->state, sizeof f->state, "%s/vm.json", f->dir);
    assert_ok(sim_keys_init(f->dir, NULL, FIXTURE_NOW, &err), err);
    assert_ok(sim_keys_load(f->dir, &f->keys, &err), err);
    fixture_measure(&f->measured);
    assert_ok(sim_vm_start(f->keys, &f->measured, NULL, f->state, &f->vm, &err), err);
    fixture_start_server(f);
}

static inline void fixture_teardown(sim_fixture *f) {
    fixture_stop_server(f);
    sim_vm_free(f->vm);
    sim_keys_free(f->keys);
    static const char *const files[] = {"keys.json",       "root.der", "root.pem",
                                        "collateral.json", "vm.json",  "tee.sock"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", f->dir, files[i]);
        unlink(path);
    }
    rmdir(f->dir);
}

static inline dstack_tee *fixture_open(sim_fixture *f) {
    dstack_error err = {0};
    dstack_tee *tee = NULL;
    const dstack_tee_options options = {.sim_root = sim_keys_root(f->keys), .timeout_ms = 5000};
    assert_ok(dstack_tee_open(f->url, &options, &tee, &err), err);
    return tee;
}

#endif
