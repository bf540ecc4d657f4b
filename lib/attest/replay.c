/* Registers from events: mr = SHA-384(mr ‖ digest), from zero. */
#include <string.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"

static void extend(uint8_t mr[DSTACK_REGISTER_SIZE], const uint8_t digest[DSTACK_REGISTER_SIZE]) {
    hash_parts(HASH_SHA384,
               (const dstack_bytes[]){bytes_of(mr, DSTACK_REGISTER_SIZE),
                                      bytes_of(digest, DSTACK_REGISTER_SIZE)},
               2, mr);
}

static int runtime_digest(const attest_event *event, uint8_t out[DSTACK_REGISTER_SIZE],
                          dstack_error *err) {
    return dstack_runtime_event_digest(event->name, bytes_of_buf(&event->payload), event->version,
                                       out, err);
}

int dstack_event_log_replay(const dstack_event_log *log, dstack_registers *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    memset(out->complete, true, sizeof out->complete);
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < dstack_event_log_count(log); i++) {
        const attest_event *event = &log->events[i];
        uint8_t digest[DSTACK_REGISTER_SIZE];
        if (event->imr > 3) {
            rc = error_set(err, DSTACK_E_FORMAT, "event %zu: register %u does not exist", i,
                           event->imr);
        } else if (attest_event_is_runtime(event)) {
            rc = runtime_digest(event, digest, err);
        } else if (event->digest.len == DSTACK_REGISTER_SIZE) {
            memcpy(digest, event->digest.data, sizeof digest);
        } else {
            out->complete[event->imr] = false;
            continue;
        }
        if (rc == 0) {
            extend(out->rtmr[event->imr], digest);
        }
    }
    return rc;
}

int dstack_event_log_replay_runtime(const dstack_event_log *log, const char *stop,
                                    uint8_t out[DSTACK_REGISTER_SIZE], dstack_error *err) {
    memset(out, 0, DSTACK_REGISTER_SIZE);
    int rc = 0;
    bool stopped = false;
    for (size_t i = 0; rc == 0 && !stopped && i < dstack_event_log_count(log); i++) {
        const attest_event *event = &log->events[i];
        if (!attest_event_is_runtime(event)) {
            continue;
        }
        uint8_t digest[DSTACK_REGISTER_SIZE];
        rc = runtime_digest(event, digest, err);
        if (rc == 0) {
            extend(out, digest);
            stopped = stop != NULL && strcmp(event->name, stop) == 0;
        }
    }
    return rc;
}

int attest_replay_pcr14(const dstack_event_log *runtime, const char *stop, uint8_t out[32],
                        dstack_error *err) {
    memset(out, 0, HASH_SHA256_SIZE);
    int rc = 0;
    bool stopped = false;
    for (size_t i = 0; rc == 0 && !stopped && i < dstack_event_log_count(runtime); i++) {
        const attest_event *event = &runtime->events[i];
        DSTACK_AUTO(buf) dstack_buf preimage = {0};
        uint8_t digest[HASH_SHA256_SIZE];
        if (!attest_event_is_runtime(event)) {
            continue;
        }
        rc = dstack_runtime_event_preimage(event->name, bytes_of_buf(&event->payload),
                                           event->version, &preimage, err);
        if (rc == 0) {
            hash_sha256(bytes_of_buf(&preimage), digest);
            hash_parts(HASH_SHA256,
                       (const dstack_bytes[]){bytes_of(out, HASH_SHA256_SIZE),
                                              bytes_of(digest, sizeof digest)},
                       2, out);
            stopped = stop != NULL && strcmp(event->name, stop) == 0;
        }
    }
    return rc;
}
