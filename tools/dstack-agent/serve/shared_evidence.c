#include "serve/shared_evidence.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"

#define SHARE_MS 1000

struct shared_evidence {
    atomic_uint references;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int64_t taken_ms;
    dstack_attestation *attestation;
};

bool shared_evidence_is_fresh(int64_t taken_ms, int64_t now_ms) {
    return now_ms >= taken_ms && now_ms - taken_ms < SHARE_MS;
}

const dstack_attestation *shared_evidence_peek(const shared_evidence *evidence) {
    return evidence->attestation;
}

void shared_evidence_release(shared_evidence *evidence) {
    if (evidence != NULL && atomic_fetch_sub(&evidence->references, 1) == 1) {
        dstack_attestation_free(evidence->attestation);
        free(evidence);
    }
}

/* With the lock held. */
static int take(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE], shared_evidence **out,
                dstack_error *err) {
    shared_evidence *made = calloc(1, sizeof *made);
    if (made == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    atomic_init(&made->references, 1);
    memcpy(made->report_data, report_data, DSTACK_REPORT_DATA_SIZE);
    int rc = agent_attest_locked(a, report_data, &made->attestation, err);
    if (rc != 0) {
        free(made);
        return rc;
    }
    made->taken_ms = clock_monotonic_ms();
    *out = made;
    return 0;
}

/* Callers with other report data wait at the lock for the device, those with the same find what was
 * taken meanwhile. Failures are not shared. */
int shared_evidence_get(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                        shared_evidence **out, dstack_error *err) {
    int rc = 0;
    pthread_mutex_lock(&a->evidence_lock);
    shared_evidence *last = a->last_evidence;
    bool usable = last != NULL &&
                  memcmp(last->report_data, report_data, DSTACK_REPORT_DATA_SIZE) == 0 &&
                  shared_evidence_is_fresh(last->taken_ms, clock_monotonic_ms());
    if (!usable && (rc = take(a, report_data, &last, err)) == 0) {
        shared_evidence_release(a->last_evidence);
        a->last_evidence = last;
    }
    if (rc == 0) {
        atomic_fetch_add(&last->references, 1);
        *out = last;
    }
    pthread_mutex_unlock(&a->evidence_lock);
    return rc;
}
