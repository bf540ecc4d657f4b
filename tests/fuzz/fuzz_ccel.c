#include <dstack/attestation.h>

#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_event_log *log = NULL;
    if (dstack_event_log_parse_ccel(bytes_of(data, size), &log, NULL) == 0) {
        dstack_registers registers;
        (void)dstack_event_log_replay(log, &registers, NULL);
        dstack_event_log_free(log);
    }
    return 0;
}
