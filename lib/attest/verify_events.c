/* Event lists against signed registers.
 *
 * An envelope holds the runtime events twice: in the list that is replayed, and in the log that
 * people read. Both must tell the same story, or a reader could be shown another one than was
 * measured. */
#include <string.h>

#include "attest/verified.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"

static int refuse(dstack_error *err, const char *what) {
    return error_set(err, DSTACK_E_REFUSED, "event log: %s", what);
}

/* A stored digest or preimage that is there must be the right one. */
static int check_stored(const attest_event *event, size_t index, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf preimage = {0};
    int rc = dstack_runtime_event_preimage(event->name, bytes_of_buf(&event->payload),
                                           event->version, &preimage, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t digest[DSTACK_REGISTER_SIZE];
    hash_sha384(bytes_of_buf(&preimage), digest);
    if (event->digest.len > 0 &&
        !bytes_equal(bytes_of_buf(&event->digest), bytes_of(digest, sizeof digest))) {
        return error_set(err, DSTACK_E_REFUSED,
                         "event log: digest of runtime event %zu does not match it", index);
    }
    if (event->preimage != NULL) {
        DSTACK_AUTO(buf) dstack_buf stored = {0};
        if (hex_decode(bytes_of_str(event->preimage), &stored, NULL) != 0) {
            return error_set(err, DSTACK_E_REFUSED,
                             "event log: runtime event %zu has a malformed digest preimage", index);
        }
        if (!bytes_equal(bytes_of_buf(&stored), bytes_of_buf(&preimage))) {
            return error_set(err, DSTACK_E_REFUSED,
                             "event log: preimage of runtime event %zu is not its canonical form",
                             index);
        }
    }
    return 0;
}

static bool same_event(const attest_event *a, const attest_event *b) {
    return strcmp(a->name, b->name) == 0 && a->version == b->version &&
           bytes_equal(bytes_of_buf(&a->payload), bytes_of_buf(&b->payload));
}

static int check_agreement(const dstack_event_log *log, const dstack_event_log *runtime,
                           dstack_error *err) {
    size_t next = 0;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < log->count; i++) {
        const attest_event *event = &log->events[i];
        if (attest_event_is_runtime(event) && event->imr != DSTACK_RUNTIME_REGISTER) {
            return refuse(err, "a runtime event outside register 3");
        }
        if (event->imr != DSTACK_RUNTIME_REGISTER) {
            continue;
        }
        if (!attest_event_is_runtime(event)) {
            return refuse(err, "a foreign event in register 3");
        }
        if (next >= runtime->count || !same_event(event, &runtime->events[next])) {
            return refuse(err, "it differs from the list of runtime events");
        }
        next++;
        rc = check_stored(event, i, err);
    }
    if (rc == 0 && next != runtime->count) {
        rc = refuse(err, "it lacks runtime events of the list");
    }
    return rc;
}

static int mismatch(unsigned index, const uint8_t *quoted, const uint8_t *replayed,
                    dstack_error *err) {
    char q[2 * DSTACK_REGISTER_SIZE + 1], r[2 * DSTACK_REGISTER_SIZE + 1];
    hex_encode(bytes_of(quoted, DSTACK_REGISTER_SIZE), q);
    hex_encode(bytes_of(replayed, DSTACK_REGISTER_SIZE), r);
    return error_set(err, DSTACK_E_REFUSED, "RTMR%u mismatch, quoted: %s, replayed: %s", index, q,
                     r);
}

/* Certificates carry the firmware's log without most of its events: then there is nothing to replay
 * it from. Whoever carries more than the marked ACPI events carries it whole. */
static bool firmware_log_is_whole(const dstack_event_log *log) {
    for (size_t i = 0; i < log->count; i++) {
        const attest_event *event = &log->events[i];
        if (event->imr != DSTACK_RUNTIME_REGISTER && !attest_event_is_acpi(event)) {
            return true;
        }
    }
    return false;
}

static int check_replay(const dstack_attestation *a, const dstack_td_report *td,
                        dstack_error *err) {
    uint8_t runtime[DSTACK_REGISTER_SIZE];
    int rc = dstack_event_log_replay_runtime(a->runtime, NULL, runtime, err);
    if (rc == 0 && memcmp(runtime, td->rt_mr[3], sizeof runtime) != 0) {
        rc = mismatch(3, td->rt_mr[3], runtime, err);
    }
    if (rc != 0 || !firmware_log_is_whole(a->event_log)) {
        return rc;
    }
    dstack_registers registers;
    rc = dstack_event_log_replay(a->event_log, &registers, err);
    for (unsigned i = 0; rc == 0 && i < 3; i++) {
        if (!registers.complete[i]) {
            rc = error_set(err, DSTACK_E_REFUSED, "event log: register %u lacks a digest", i);
        } else if (memcmp(registers.rtmr[i], td->rt_mr[i], DSTACK_REGISTER_SIZE) != 0) {
            rc = mismatch(i, td->rt_mr[i], registers.rtmr[i], err);
        }
    }
    return rc;
}

/* What identity is read from. Derivations join these values without lengths, so that a value of
 * another length must not get there. */
static const struct {
    const char *name;
    bool required;
    bool may_be_empty;
    size_t len; /* 0: judged elsewhere */
} trusted_claims[] = {
    {"app-id", true, false, 20},           {"compose-hash", true, false, 32},
    {"instance-id", false, true, 20},      {"os-image-hash", false, false, 32},
    {"gpu-policy-hash", false, false, 32}, {"key-provider", false, true, 0},
};

static int check_claims(const dstack_event_log *runtime, dstack_error *err) {
    for (size_t i = 0; i < sizeof trusted_claims / sizeof *trusted_claims; i++) {
        const char *name = trusted_claims[i].name;
        size_t count = attest_claim_count(runtime, name);
        if (count > 1) {
            return error_set(err, DSTACK_E_REFUSED, "event log: %s is claimed %zu times", name,
                             count);
        }
        if (count == 0 && trusted_claims[i].required) {
            return error_set(err, DSTACK_E_REFUSED, "event log: %s was not measured", name);
        }
        size_t len = attest_claim(runtime, name).len, want = trusted_claims[i].len;
        bool empty = len == 0 && (count == 0 || trusted_claims[i].may_be_empty);
        if (want != 0 && len != want && !empty) {
            return error_set(err, DSTACK_E_REFUSED, "event log: %s of %zu bytes, %zu are due", name,
                             len, want);
        }
    }
    return 0;
}

static int check_scripts(const dstack_event_log *runtime, dstack_error *err) {
    size_t count = 0;
    for (size_t i = 0; i < runtime->count; i++) {
        const attest_event *event = &runtime->events[i];
        if (strcmp(event->name, "system-ready") == 0) {
            break;
        }
        if (strcmp(event->name, "init-script-hash") != 0) {
            continue;
        }
        if (event->payload.len != 32 || ++count > DSTACK_INIT_SCRIPTS_MAX) {
            return refuse(err, "init-script-hash must be 32 bytes, at most five times");
        }
    }
    return 0;
}

int verify_claims(const dstack_event_log *runtime, dstack_error *err) {
    int rc = check_claims(runtime, err);
    return rc == 0 ? check_scripts(runtime, err) : rc;
}

int verify_events(const dstack_attestation *a, const dstack_td_report *td, dstack_error *err) {
    int rc = check_agreement(a->event_log, a->runtime, err);
    if (rc == 0) {
        rc = check_replay(a, td, err);
    }
    return rc == 0 ? verify_claims(a->runtime, err) : rc;
}
