/* What a node says happened: logs and receipts. */
#include "base/auto.h"
#include "base/cursor.h"
#include "base/json.h"
#include "chain/event.h"
#include "chain/submit.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(json) json_t *value = json_parse(bytes_of(data, size), size, "input", NULL);
    DSTACK_AUTO(json) json_t *event = NULL;
    DSTACK_AUTO(chain_receipt) chain_receipt receipt = {0};
    if (value != NULL) {
        (void)chain_event_parse(value, &event, NULL);
        (void)chain_receipt_parse(value, &receipt, NULL);
    }
    return 0;
}
