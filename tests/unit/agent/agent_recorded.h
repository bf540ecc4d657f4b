/* An agent over the evidence that the reference system was recorded with, on real sockets. */
#ifndef TESTS_UNIT_AGENT_AGENT_RECORDED_H
#define TESTS_UNIT_AGENT_AGENT_RECORDED_H

#include "agent_fixture.h"

#include "evidence.h"
#include "raw_http.h"
#include "serve/simulate.h"

#define INPUTS SHARED_DATA "agent/responses/inputs/"

typedef struct recorded {
    agent_fixture f;
    dstack_attestation *attestation;
    char dir[64];
} recorded;

static inline void recorded_begin(recorded *r) {
    need_shared_data();
    memset(r, 0, sizeof *r);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(INPUTS "attestation.bin", &text);
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&text), &r->attestation, &err), err);
    const agent_files files = {INPUTS "appkeys.json", INPUTS "app-compose.json",
                               INPUTS "sys-config.json"};
    assert_ok(agent_new(&files, simulate_attest, r->attestation, false, &r->f.a, &err), err);
    r->f.a->full_log = true;
    assert_ok(agent_app_cert_make(r->f.a, &err), err);
    fixture_serve_agent(&r->f);
    strcpy(r->dir, "/tmp/dstack-agent-XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    raw_listen(&r->f, r->dir);
}

static inline void recorded_end(recorded *r) {
    fixture_end(&r->f);
    dstack_attestation_free(r->attestation);
    assert_int_equal(rmdir(r->dir), 0);
}

#endif
