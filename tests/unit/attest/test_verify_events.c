/* Event lists against registers, on evidence made here. */
#include "attest/verified.h"
#include "fixtures.h"

typedef struct made {
    dstack_attestation *a;
    dstack_td_report td;
} made;

static void add_firmware(dstack_event_log *log) {
    uint8_t digest[48];
    for (uint8_t i = 0; i < 3; i++) {
        memset(digest, i + 1, sizeof digest);
        dstack_event event = {.imr = i,
                              .type = 1,
                              .version = 1,
                              .name = "",
                              .digest = bytes_of(digest, sizeof digest)};
        assert_int_equal(dstack_event_log_add(log, &event, NULL), 0);
    }
}

/* An envelope around `runtime` (taken over) whose registers replay. */
static made make(dstack_event_log *runtime) {
    made m = {.a = attest_new(DSTACK_TEE_TDX, NULL)};
    assert_non_null(m.a);
    dstack_event_log_free(m.a->runtime);
    m.a->runtime = runtime;
    add_firmware(m.a->event_log);
    assert_int_equal(dstack_event_log_append(m.a->event_log, runtime, NULL), 0);
    dstack_registers registers;
    assert_int_equal(dstack_event_log_replay(m.a->event_log, &registers, NULL), 0);
    memcpy(m.td.rt_mr, registers.rtmr, sizeof m.td.rt_mr);
    return m;
}

static int verify(const made *m, const char *word) {
    dstack_error err = {0};
    int rc = verify_events(m->a, &m->td, &err);
    if (word != NULL && strstr(err.message, word) == NULL) {
        fail_msg("expected %s: %s", word, err.message);
    }
    return rc;
}

static void refuse(const made *m, const char *word) {
    assert_int_equal(verify(m, word), DSTACK_E_REFUSED);
}

/* The n-th event of the log that people read. */
static attest_event *shown(made *m, size_t n) {
    return &m->a->event_log->events[3 + n];
}

static void add(dstack_event_log *log, const char *name, size_t len) {
    uint8_t payload[64] = {0x44};
    assert_int_equal(dstack_event_log_add_runtime(log, name, bytes_of(payload, len), 1, NULL), 0);
}

static void lists_that_agree_and_replay_are_accepted(void **state) {
    for (uint32_t version = 1; version <= 2; version++) {
        made m = make(boot_events(version));
        assert_int_equal(verify(&m, NULL), 0);
        assert_int_equal(dstack_event_log_fill_digests(m.a->event_log, NULL), 0);
        assert_int_equal(verify(&m, NULL), 0);
        DSTACK_AUTO(attestation) dstack_attestation *stripped = NULL;
        assert_int_equal(dstack_attestation_strip(m.a, &stripped, NULL), 0);
        const made s = {stripped, m.td};
        assert_int_equal(verify(&s, NULL), 0);
        dstack_attestation_free(m.a);
    }
}

static void sec_26_the_log_people_read_must_be_the_one_that_was_measured(void **state) {
    made m = make(boot_events(1));
    shown(&m, 1)->payload.data[0] ^= 1;
    refuse(&m, "differs");
    shown(&m, 1)->payload.data[0] ^= 1;
    shown(&m, 1)->version = 2;
    refuse(&m, "differs");
    shown(&m, 1)->version = 1;
    m.a->event_log->count--;
    refuse(&m, "lacks");
    m.a->event_log->count++;
    add(m.a->event_log, "extra", 1);
    refuse(&m, "differs");
    dstack_attestation_free(m.a);

    m = make(boot_events(1));
    shown(&m, 0)->type = 5;
    refuse(&m, "foreign");
    shown(&m, 0)->type = DSTACK_RUNTIME_EVENT_TYPE;
    shown(&m, 0)->imr = 2;
    refuse(&m, "outside register 3");
    dstack_attestation_free(m.a);
}

static void stored_digests_and_preimages_must_be_right(void **state) {
    made m = make(boot_events(2));
    assert_int_equal(dstack_event_log_fill_digests(m.a->event_log, NULL), 0);
    attest_event *event = shown(&m, 1);
    event->digest.data[0] ^= 1;
    refuse(&m, "digest");
    event->digest.data[0] ^= 1;
    event->preimage[0] = 'x';
    refuse(&m, "malformed");
    event->preimage[0] = '0';
    refuse(&m, "canonical");
    dstack_attestation_free(m.a);
}

static void every_register_must_replay(void **state) {
    made m = make(boot_events(1));
    static const char *const words[] = {"RTMR0", "RTMR1", "RTMR2", "RTMR3"};
    for (size_t i = 0; i < 4; i++) {
        m.td.rt_mr[i][47] ^= 1;
        refuse(&m, words[i]);
        m.td.rt_mr[i][47] ^= 1;
    }
    dstack_buf_clear(&m.a->event_log->events[1].digest);
    refuse(&m, "lacks a digest");
    dstack_attestation_free(m.a);
}

static void sec_26_a_trusted_claim_may_be_there_once(void **state) {
    static const char *const names[] = {"app-id",        "compose-hash", "instance-id",
                                        "os-image-hash", "key-provider", "gpu-policy-hash"};
    static const size_t lengths[] = {20, 32, 20, 32, 10, 32};
    for (size_t i = 0; i < 6; i++) {
        for (int late = 0; late < 2; late++) {
            dstack_event_log *log = boot_events(1);
            bool there = i < 3;
            if (late) {
                add(log, "system-ready", 0);
            }
            add(log, names[i], lengths[i]);
            if (!there) {
                add(log, names[i], lengths[i]);
            }
            made m = make(log);
            if (late) {
                assert_int_equal(verify(&m, NULL), 0);
            } else {
                refuse(&m, "claimed 2 times");
            }
            dstack_attestation_free(m.a);
        }
    }
}

static void sec_04_claims_of_another_length_are_refused(void **state) {
    static const struct {
        const char *name;
        size_t len;
        bool accepted;
    } cases[] = {
        {"os-image-hash", 32, true},    {"os-image-hash", 31, false},
        {"os-image-hash", 0, false},    {"gpu-policy-hash", 33, false},
        {"init-script-hash", 32, true}, {"init-script-hash", 31, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        dstack_event_log *log = boot_events(1);
        add(log, cases[i].name, cases[i].len);
        made m = make(log);
        assert_int_equal(verify(&m, NULL), cases[i].accepted ? 0 : DSTACK_E_REFUSED);
        dstack_attestation_free(m.a);
    }
    static const struct {
        size_t app, compose, instance;
        bool accepted;
    } lengths[] = {{20, 32, 20, true},  {20, 32, 0, true},   {3, 32, 20, false},
                   {20, 20, 20, false}, {20, 32, 19, false}, {0, 32, 20, false}};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        dstack_event_log *log = dstack_event_log_new();
        add(log, "app-id", lengths[i].app);
        add(log, "compose-hash", lengths[i].compose);
        add(log, "instance-id", lengths[i].instance);
        made m = make(log);
        assert_int_equal(verify(&m, NULL), lengths[i].accepted ? 0 : DSTACK_E_REFUSED);
        dstack_attestation_free(m.a);
    }
}

static void evidence_without_an_identity_is_refused(void **state) {
    made m = make(dstack_event_log_new());
    refuse(&m, "was not measured");
    dstack_attestation_free(m.a);
    dstack_event_log *log = boot_events(1);
    for (int i = 0; i < DSTACK_INIT_SCRIPTS_MAX + 1; i++) {
        add(log, "init-script-hash", 32);
    }
    m = make(log);
    refuse(&m, "init-script-hash");
    dstack_attestation_free(m.a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_that_agree_and_replay_are_accepted),
        cmocka_unit_test(sec_26_the_log_people_read_must_be_the_one_that_was_measured),
        cmocka_unit_test(stored_digests_and_preimages_must_be_right),
        cmocka_unit_test(every_register_must_replay),
        cmocka_unit_test(sec_26_a_trusted_claim_may_be_there_once),
        cmocka_unit_test(sec_04_claims_of_another_length_are_refused),
        cmocka_unit_test(evidence_without_an_identity_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
