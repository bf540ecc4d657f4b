/* Files of a VM's folder, and QEMU's machine protocol. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/json.h"
#include "tools/dstack-vmm/qmp.h"
#include "tools/dstack-vmm/vm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(vm_manifest) struct vm_manifest manifest = {0};
    DSTACK_AUTO(vm_manifest) struct vm_manifest again = {0};
    DSTACK_AUTO(json) json_t *json = json_parse(bytes_of(data, size), 65536, "manifest", NULL);
    if (json != NULL && vm_manifest_from_json(json, &manifest, NULL) == 0) {
        DSTACK_AUTO(json) json_t *written = vm_manifest_to_json(&manifest);
        if (strchr(manifest.id, '/') != NULL || strchr(manifest.image, '/') != NULL ||
            (written != NULL && vm_manifest_from_json(written, &again, NULL) != 0)) {
            abort();
        }
    }
    struct qmp qmp = {.fd = -1};
    (void)qmp_feed(&qmp, bytes_of(data, size), NULL);
    qmp_clear(&qmp);
    return 0;
}
