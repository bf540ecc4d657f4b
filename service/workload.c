#include "service/workload.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include <dstack/manifest.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/hash.h"

#define LOG_LIMIT ((size_t)1 << 20)
#define APP_ID_SIZE 20
#define SEED_SIZE 20
#define KEY_PROVIDER_NONE "{\"name\":\"none\",\"id\":\"\"}"

struct workload {
    pthread_mutex_t lock; /* guards tee */
    dstack_tee *tee;
    bool simulated;
    dstack_event_log *events; /* immutable once open */
    char *vm_config;
    char *log_path;
    uint8_t app_id[APP_ID_SIZE];
};

DSTACK_AUTO_DEFINE(events, dstack_event_log, dstack_event_log_free)
DSTACK_AUTO_DEFINE(manifest, dstack_manifest, dstack_manifest_free)
DSTACK_AUTO_DEFINE_CLEAR(report, dstack_tee_report, dstack_tee_report_clear)

void workload_free(workload *w) {
    if (w != NULL) {
        dstack_tee_close(w->tee);
        dstack_event_log_free(w->events);
        free(w->vm_config);
        free(w->log_path);
        pthread_mutex_destroy(&w->lock);
        free(w);
    }
}

/* One planned event. */
struct plan {
    const char *name;
    dstack_bytes payload;
};

/* The seed makes the instance id: made once, kept in the state folder. */
static int load_seed(const char *state_dir, uint8_t seed[SEED_SIZE], dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    if (asprintf(&path, "%s/instance_id_seed", state_dir) < 0) {
        path = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    DSTACK_AUTO(buf) dstack_buf content = {0};
    int rc = file_read(path, SEED_SIZE, &content, err);
    if (rc == 0 && content.len == SEED_SIZE) {
        memcpy(seed, content.data, SEED_SIZE);
        return 0;
    }
    if (rc == 0) {
        return error_set(err, DSTACK_E_FORMAT, "%s must hold %d bytes", path, SEED_SIZE);
    }
    if (rc != DSTACK_E_NOT_FOUND) {
        return rc;
    }
    randombytes_buf(seed, SEED_SIZE);
    return file_write_new(path, bytes_of(seed, SEED_SIZE), 0600, err);
}

/* RTMR3 after the first `count` events of the log. */
static int replay_prefix(const dstack_event_log *log, size_t count,
                         uint8_t out[DSTACK_REGISTER_SIZE], dstack_error *err) {
    DSTACK_AUTO(events) dstack_event_log *prefix = dstack_event_log_new();
    for (size_t i = 0; prefix != NULL && i < count; i++) {
        dstack_event event;
        if (dstack_event_log_get(log, i, &event)) {
            int rc = dstack_event_log_add(prefix, &event, err);
            if (rc != 0) {
                return rc;
            }
        }
    }
    return prefix == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory")
                          : dstack_event_log_replay_runtime(prefix, NULL, out, err);
}

static int extend(workload *w, const dstack_event *event, dstack_error *err) {
    uint8_t digest[DSTACK_REGISTER_SIZE];
    int rc = dstack_runtime_event_digest(event->name, event->payload, event->version, digest, err);
    return rc != 0 ? rc
                   : dstack_tee_extend(w->tee, DSTACK_RUNTIME_REGISTER, digest, event->name, err);
}

/* Makes the register agree with the log read from the file: it may lack the last event, when a run
 * ended between writing and extending. */
static int catch_up(workload *w, dstack_error *err) {
    dstack_tee_info info;
    int rc = dstack_tee_info_get(w->tee, &info, err);
    if (rc != 0) {
        return rc;
    }
    const uint8_t *have = info.rtmr[DSTACK_RUNTIME_REGISTER];
    size_t count = dstack_event_log_count(w->events);
    uint8_t expected[DSTACK_REGISTER_SIZE];
    rc = replay_prefix(w->events, count, expected, err);
    if (rc != 0 || memcmp(expected, have, sizeof expected) == 0) {
        return rc;
    }
    if (count > 0) {
        rc = replay_prefix(w->events, count - 1, expected, err);
        dstack_event last;
        if (rc == 0 && memcmp(expected, have, sizeof expected) == 0 &&
            dstack_event_log_get(w->events, count - 1, &last)) {
            return extend(w, &last, err);
        }
    }
    return error_set(err, DSTACK_E_STATE,
                     "RTMR3 of the TEE does not replay from %s: something else extended it; start "
                     "the TEE afresh",
                     w->log_path);
}

static int load_events(workload *w, dstack_error *err) {
    dstack_tee_info info;
    int rc = dstack_tee_info_get(w->tee, &info, err);
    if (rc != 0) {
        return rc;
    }
    /* A fresh TEE knows nothing of an old log. */
    if (bytes_are_zero(bytes_of(info.rtmr[DSTACK_RUNTIME_REGISTER], DSTACK_REGISTER_SIZE))) {
        w->events = dstack_event_log_new();
        return w->events == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory")
                                 : file_write_atomic(w->log_path, bytes_of("", 0), 0600, err);
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    rc = file_read(w->log_path, LOG_LIMIT, &text, err);
    rc = rc != 0 ? rc : dstack_event_log_parse_runtime(bytes_of_buf(&text), &w->events, err);
    return rc != 0 ? rc : catch_up(w, err);
}

static int append_line(const workload *w, const struct plan *plan, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(w->log_path, LOG_LIMIT, &text, err);
    rc = rc != 0 ? rc : dstack_runtime_event_line(plan->name, plan->payload, 1, &text, err);
    return rc != 0 ? rc : file_write_atomic(w->log_path, bytes_of_buf(&text), 0600, err);
}

static int measure(workload *w, const struct plan *plans, size_t count, dstack_error *err) {
    size_t done = dstack_event_log_count(w->events);
    for (size_t i = 0; i < done; i++) {
        dstack_event event;
        if (i >= count || !dstack_event_log_get(w->events, i, &event) ||
            strcmp(event.name, plans[i].name) != 0 ||
            !bytes_equal(event.payload, plans[i].payload)) {
            return error_set(err, DSTACK_E_STATE,
                             "%s measured another manifest before: start the TEE afresh",
                             w->log_path);
        }
    }
    for (size_t i = done; i < count; i++) {
        dstack_event event = {.imr = DSTACK_RUNTIME_REGISTER,
                              .type = DSTACK_RUNTIME_EVENT_TYPE,
                              .version = 1,
                              .name = plans[i].name,
                              .payload = plans[i].payload};
        int rc = append_line(w, &plans[i], err);
        rc = rc != 0 ? rc : extend(w, &event, err);
        rc = rc != 0 ? rc
                     : dstack_event_log_add_runtime(w->events, event.name, event.payload, 1, err);
        if (rc != 0) {
            return error_prefix(err, rc, "measuring %s", plans[i].name);
        }
    }
    return dstack_event_log_fill_digests(w->events, err);
}

static int measure_manifest(workload *w, const workload_options *options, dstack_error *err) {
    DSTACK_AUTO(manifest) dstack_manifest *manifest = NULL;
    int rc = dstack_manifest_parse(options->manifest, &manifest, err);
    if (rc != 0) {
        return error_prefix(err, rc, "manifest");
    }
    uint8_t compose_hash[HASH_SHA256_SIZE];
    hash_sha256(options->manifest, compose_hash);
    memcpy(w->app_id, compose_hash, APP_ID_SIZE);
    uint8_t seed[SEED_SIZE];
    uint8_t instance_id[20];
    rc = load_seed(options->state_dir, seed, err);
    rc = rc != 0 ? rc
                 : dstack_instance_id(bytes_of(seed, SEED_SIZE), bytes_of(w->app_id, APP_ID_SIZE),
                                      bytes_of("", 0), instance_id, err);
    rc = rc != 0 ? rc : load_events(w, err);
    if (rc != 0) {
        return rc;
    }
    /* An app whose instances share their keys has no instance id in its identity either. */
    bool shared = dstack_manifest_get(manifest)->no_instance_id;
    dstack_bytes instance = shared ? bytes_of("", 0) : bytes_of(instance_id, sizeof instance_id);
    const struct plan plans[] = {
        {"system-preparing", bytes_of("", 0)},
        {"app-id", bytes_of(w->app_id, APP_ID_SIZE)},
        {"compose-hash", bytes_of(compose_hash, sizeof compose_hash)},
        {"instance-id", instance},
        {"boot-mr-done", bytes_of("", 0)},
        {"key-provider", bytes_of_str(KEY_PROVIDER_NONE)},
        {"system-ready", bytes_of("", 0)},
    };
    return measure(w, plans, sizeof plans / sizeof *plans, err);
}

int workload_open(workload **out, const workload_options *options, dstack_error *err) {
    DSTACK_AUTO(workload) workload *w = calloc(1, sizeof *w);
    if (w == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    pthread_mutex_init(&w->lock, NULL);
    w->vm_config = strdup(options->vm_config == NULL ? "" : options->vm_config);
    if (w->vm_config == NULL ||
        asprintf(&w->log_path, "%s/runtime_events.jsonl", options->state_dir) < 0) {
        w->log_path = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = file_make_dirs(options->state_dir, 0700, err);
    dstack_tee_options tee_options = {.sim_root = options->sim_root,
                                      .timeout_ms = options->timeout_ms};
    rc = rc != 0 ? rc : dstack_tee_open(options->tee_url, &tee_options, &w->tee, err);
    if (rc != 0) {
        return error_prefix(err, rc, "TEE %s", options->tee_url);
    }
    w->simulated = dstack_tee_is_simulated(w->tee);
    rc = measure_manifest(w, options, err);
    if (rc == 0) {
        *out = w;
        w = NULL;
    }
    return rc;
}

static int assemble(const workload *w, const dstack_tee_report *report, dstack_attestation **out,
                    dstack_error *err) {
    DSTACK_AUTO(events) dstack_event_log *log = NULL;
    int rc = dstack_event_log_parse_ccel(bytes_of_buf(&report->boot_log), &log, err);
    rc = rc != 0 ? rc : dstack_event_log_append(log, w->events, err);
    return rc != 0 ? rc
                   : dstack_attestation_new_tdx(bytes_of_buf(&report->quote), log, w->events,
                                                w->vm_config, out, err);
}

int workload_attest(workload *w, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                    dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(report) dstack_tee_report report = {0};
    pthread_mutex_lock(&w->lock);
    int rc = dstack_tee_evidence(w->tee, report_data, &report, err);
    pthread_mutex_unlock(&w->lock);
    if (rc != 0) {
        return rc;
    }
    uint8_t replayed[DSTACK_REGISTER_SIZE];
    rc = dstack_event_log_replay_runtime(w->events, NULL, replayed, err);
    if (rc != 0) {
        return rc;
    }
    if (memcmp(replayed, report.info.rtmr[DSTACK_RUNTIME_REGISTER], sizeof replayed) != 0) {
        return error_set(err, DSTACK_E_STATE, "RTMR3 was extended by somebody else");
    }
    return assemble(w, &report, out, err);
}

bool workload_is_simulated(const workload *w) {
    return w->simulated;
}

dstack_bytes workload_app_id(const workload *w) {
    return bytes_of(w->app_id, APP_ID_SIZE);
}

const char *workload_vm_config(const workload *w) {
    return w->vm_config;
}
