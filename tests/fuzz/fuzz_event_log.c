/* Event logs as JSON, and the guest's file of runtime events. */
#include <stdlib.h>

#include "attest/attest.h"
#include "base/buf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(event_log) dstack_event_log *log = NULL;
    DSTACK_AUTO(event_log) dstack_event_log *runtime = NULL;
    if (dstack_event_log_parse_json(bytes_of(data, size), &log, NULL) == 0) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        DSTACK_AUTO(event_log) dstack_event_log *again = NULL;
        dstack_registers registers;
        if (dstack_event_log_to_json(log, &text, NULL) != 0 ||
            dstack_event_log_parse_json(bytes_of_buf(&text), &again, NULL) != 0 ||
            again->count != log->count) {
            abort();
        }
        (void)dstack_event_log_replay(log, &registers, NULL);
        (void)dstack_event_log_to_quote_json(log, &text, NULL);
    }
    if (dstack_event_log_parse_runtime(bytes_of(data, size), &runtime, NULL) == 0) {
        (void)dstack_event_log_fill_digests(runtime, NULL);
    }
    return 0;
}
