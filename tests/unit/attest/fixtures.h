/* Evidence made here, for tests that need no shared data. */
#ifndef TESTS_UNIT_ATTEST_FIXTURES_H
#define TESTS_UNIT_ATTEST_FIXTURES_H

#include "attest/attest.h"
#include "check.h"

/* A version 4 TDX quote that parses: the registers given, no true signature. */
static inline void put_form_quote(dstack_buf *out, const dstack_td_report *td) {
    uint8_t header[48] = {4, 0, 2, 0, 0x81};
    buf_put(out, header, sizeof header);
    buf_put(out, td, sizeof *td);
    DSTACK_AUTO(buf) dstack_buf certification = {0};
    buf_put_zeros(&certification, 384 + 64); /* QE report and its signature */
    buf_put_u16le(&certification, 0);        /* no authentication data */
    buf_put_u16le(&certification, 5);
    buf_put_u32le(&certification, 1);
    buf_put_str(&certification, "x");
    buf_put_u32le(out, (uint32_t)(64 + 64 + 6 + certification.len));
    buf_put_zeros(out, 64 + 64); /* signature and attestation key */
    buf_put_u16le(out, 6);
    buf_put_u32le(out, (uint32_t)certification.len);
    buf_put_bytes(out, bytes_of_buf(&certification));
}

/* The boot events of an app, payloads of fixed bytes, digest format `version`. */
static inline dstack_event_log *boot_events(uint32_t version) {
    uint8_t app[20], compose[32], instance[20];
    memset(app, 0x11, sizeof app);
    memset(compose, 0x22, sizeof compose);
    memset(instance, 0x33, sizeof instance);
    const struct {
        const char *name;
        dstack_bytes payload;
    } events[] = {
        {"system-preparing", {0}},
        {"app-id", bytes_of(app, sizeof app)},
        {"compose-hash", bytes_of(compose, sizeof compose)},
        {"instance-id", bytes_of(instance, sizeof instance)},
        {"boot-mr-done", {0}},
    };
    dstack_event_log *log = dstack_event_log_new();
    dstack_error err = {0};
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        assert_ok(
            dstack_event_log_add_runtime(log, events[i].name, events[i].payload, version, &err),
            err);
    }
    return log;
}

#endif
