/* What a guest may say to its host: notifications' instance info, terminal output, events. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "tools/dstack-vmm/ansi.h"
#include "tools/dstack-vmm/host_api.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(buf) dstack_buf info = {0};
    DSTACK_AUTO(buf) dstack_buf again = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(vm_runtime) struct vm_runtime runtime = {0};
    struct ansi_filter filter = {0};
    if (instance_info_clean(bytes_of(data, size), &info, NULL) == 0) {
        /* What was cleaned once is clean. */
        if (instance_info_clean(bytes_of_buf(&info), &again, NULL) != 0 ||
            !bytes_equal(bytes_of_buf(&info), bytes_of_buf(&again))) {
            abort();
        }
    }
    ansi_filter_put(&filter, bytes_of(data, size), &text);
    if (text.len > size || (text.len > 0 && memchr(text.data, 0x1b, text.len) != NULL)) {
        abort();
    }
    char *copy = strndup((const char *)data, size < 6000 ? size : 6000);
    if (copy != NULL) {
        vm_runtime_event(&runtime, "boot.error", copy, 1);
        vm_runtime_event(&runtime, copy, copy, 2);
    }
    free(copy);
    return 0;
}
