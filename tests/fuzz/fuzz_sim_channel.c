/* Both ends of the simulated TEE's channel: requests as the server reads them, answers as the guest
 * does. The first byte of the input chooses. */
#include "base/auto.h"
#include "base/cursor.h"
#include "tee/sim_protocol.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    const dstack_bytes message = bytes_of(data + 1, size - 1);
    if (data[0] >= SIM_CALL_COUNT) {
        sim_request request;
        if (sim_request_read(message, &request, NULL) == 0) {
            DSTACK_AUTO(buf) dstack_buf again = {0};
            sim_request_write(&request, &again);
        }
    } else {
        sim_answer answer;
        if (sim_answer_read(message, (sim_call)data[0], &answer, NULL) == 0) {
            DSTACK_AUTO(buf) dstack_buf again = {0};
            sim_answer_write((sim_call)data[0], &answer, &again);
        }
    }
    return 0;
}
