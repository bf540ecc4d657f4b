/* The firmware's boot log, little endian. */
#include <string.h>

#include <dstack/tpm.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"

#define EV_NO_ACTION 3
#define TPM_ALG_SHA256 0x000b
#define MAX_BANKS 16
#define END_OF_LOG UINT32_MAX

typedef struct log_banks {
    size_t count;
    uint16_t algorithm[MAX_BANKS], size[MAX_BANKS];
} log_banks;

static int malformed(dstack_error *err, const char *what) {
    return error_set(err, DSTACK_E_FORMAT, "TPM boot log: %s", what);
}

/* The first event, in the old form, tells which digests the others have. */
static int read_spec(cursor *c, log_banks *banks, dstack_error *err) {
    cursor_skip(c, 4 + 4 + 20);
    cursor spec = cursor_init(cursor_take(c, cursor_u32le(c)));
    if (!bytes_equal(cursor_take(&spec, 16), bytes_of("Spec ID Event03", 16))) {
        return malformed(err, "it does not begin with a Spec ID event of version 3");
    }
    cursor_skip(&spec, 4 + 4);
    const uint32_t count = cursor_u32le(&spec);
    if (count == 0 || count > MAX_BANKS) {
        return malformed(err, "the Spec ID event names no or too many digests");
    }
    for (uint32_t i = 0; i < count; i++) {
        banks->algorithm[i] = cursor_u16le(&spec);
        banks->size[i] = cursor_u16le(&spec);
        if (banks->algorithm[i] == TPM_ALG_SHA256 && banks->size[i] != DSTACK_TPM_PCR_SIZE) {
            return malformed(err, "its SHA-256 has another size");
        }
    }
    banks->count = count;
    cursor_skip(&spec, cursor_u8(&spec)); /* vendor information */
    return cursor_ok(&spec) && cursor_ok(c) ? 0 : malformed(err, "the Spec ID event is cut off");
}

/* The size of a digest, or 0 for an algorithm that the Spec ID event did not name. */
static uint16_t digest_size(const log_banks *banks, uint16_t algorithm) {
    uint16_t size = 0;
    for (size_t i = 0; i < banks->count; i++) {
        size = banks->algorithm[i] == algorithm ? banks->size[i] : size;
    }
    return size;
}

/* Gives the SHA-256 digest, empty where the event has none. */
static int read_digests(cursor *c, const log_banks *banks, dstack_bytes *sha256,
                        dstack_error *err) {
    const uint32_t count = cursor_u32le(c);
    if (count > MAX_BANKS) {
        return malformed(err, "an event has too many digests");
    }
    for (uint32_t i = 0; i < count && cursor_ok(c); i++) {
        const uint16_t algorithm = cursor_u16le(c);
        const uint16_t size = digest_size(banks, algorithm);
        if (size == 0) {
            return malformed(err, "an event has a digest that was not announced");
        }
        const dstack_bytes digest = cursor_take(c, size);
        if (algorithm == TPM_ALG_SHA256) {
            *sha256 = digest;
        }
    }
    return 0;
}

static void take_locality(dstack_bytes data, dstack_tpm_log *out) {
    if (data.len == 17 && memcmp(data.data, "StartupLocality", 16) == 0) {
        out->has_startup_locality = true;
        out->startup_locality = data.data[16];
    }
}

static int add(dstack_tpm_log *out, uint32_t pcr, dstack_bytes digest, dstack_error *err) {
    if (out->count == DSTACK_TPM_MAX_EVENTS) {
        return error_set(err, DSTACK_E_LIMIT, "TPM boot log of more than %d events",
                         DSTACK_TPM_MAX_EVENTS);
    }
    dstack_tpm_event *event = &out->events[out->count++];
    event->pcr = pcr;
    memcpy(event->digest, digest.data, sizeof event->digest);
    return 0;
}

static int read_event(cursor *c, const log_banks *banks, uint32_t pcr, dstack_tpm_log *out,
                      dstack_error *err) {
    dstack_bytes sha256 = {0};
    const uint32_t type = cursor_u32le(c);
    int rc = read_digests(c, banks, &sha256, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_bytes data = cursor_take(c, cursor_u32le(c));
    if (!cursor_ok(c)) {
        return malformed(err, "it ends within an event");
    }
    if (type == EV_NO_ACTION) {
        take_locality(data, out);
        return 0;
    }
    return sha256.len > 0 ? add(out, pcr, sha256, err) : 0;
}

int dstack_tpm_log_parse(dstack_tpm_log *out, dstack_bytes log, dstack_error *err) {
    log_banks banks = {0};
    cursor c = cursor_init(log);
    *out = (dstack_tpm_log){.events = calloc(DSTACK_TPM_MAX_EVENTS, sizeof *out->events)};
    int rc = out->events == NULL ? error_set(err, DSTACK_E_MEMORY, "no memory for a boot log")
                                 : read_spec(&c, &banks, err);
    while (rc == 0 && cursor_left(&c) >= 4) {
        const uint32_t pcr = cursor_u32le(&c);
        if (pcr == END_OF_LOG) {
            break;
        }
        rc = read_event(&c, &banks, pcr, out, err);
    }
    if (rc != 0) {
        dstack_tpm_log_clear(out);
    }
    return rc;
}

void dstack_tpm_log_clear(dstack_tpm_log *log) {
    if (log != NULL) {
        free(log->events);
        *log = (dstack_tpm_log){0};
    }
}

void dstack_tpm_replay(const dstack_tpm_event *events, size_t count, uint32_t pcr, uint8_t locality,
                       uint8_t out[DSTACK_TPM_PCR_SIZE]) {
    memset(out, 0, DSTACK_TPM_PCR_SIZE);
    out[DSTACK_TPM_PCR_SIZE - 1] = pcr == 0 ? locality : 0;
    for (size_t i = 0; i < count; i++) {
        if (events[i].pcr == pcr) {
            const dstack_bytes parts[2] = {bytes_of(out, DSTACK_TPM_PCR_SIZE),
                                           bytes_of(events[i].digest, DSTACK_TPM_PCR_SIZE)};
            uint8_t next[DSTACK_TPM_PCR_SIZE];
            hash_parts(HASH_SHA256, parts, 2, next);
            memcpy(out, next, sizeof next);
        }
    }
}
