#include "evidence.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "boot/runtime_log.h"

/* Boot log events in front, then what this guest measured itself. */
static int full_log(const dstack_tee_report *report, const dstack_event_log *runtime,
                    dstack_event_log **out, dstack_error *err) {
    int rc;
    if (report->boot_log.len == 0) {
        *out = dstack_event_log_new();
        rc = *out == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
    } else {
        rc = dstack_event_log_parse_ccel(bytes_of_buf(&report->boot_log), out, err);
    }
    return rc != 0 ? rc : dstack_event_log_append(*out, runtime, err);
}

static int check_registers(const dstack_event_log *log, const dstack_tee_info *info,
                           dstack_error *err) {
    dstack_registers replayed;
    int rc = dstack_event_log_replay(log, &replayed, err);
    if (rc != 0) {
        return rc;
    }
    for (int i = 0; i < DSTACK_TEE_RTMR_COUNT; i++) {
        if (memcmp(replayed.rtmr[i], info->rtmr[i], DSTACK_REGISTER_SIZE) != 0) {
            return error_set(err, DSTACK_E_STATE,
                             "the event log does not replay to register RTMR%d", i);
        }
    }
    return 0;
}

int evidence_take(dstack_tee *tee, const char *event_dir, const char *config,
                  const uint8_t report_data[DSTACK_REPORT_DATA_SIZE], dstack_attestation **out,
                  dstack_error *err) {
    DSTACK_AUTO(tee_report) dstack_tee_report report = {0};
    DSTACK_AUTO(event_log) dstack_event_log *runtime = NULL;
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    int rc;
    if ((rc = runtime_log_load(event_dir, &runtime, err)) != 0 ||
        (rc = dstack_event_log_fill_digests(runtime, err)) != 0 ||
        (rc = dstack_tee_evidence(tee, report_data, &report, err)) != 0 ||
        (rc = full_log(&report, runtime, &log, err)) != 0 ||
        (rc = check_registers(log, &report.info, err)) != 0) {
        return rc;
    }
    return dstack_attestation_new_tdx(bytes_of_buf(&report.quote), log, runtime, config, out, err);
}
