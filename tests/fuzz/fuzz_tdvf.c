#include "base/auto.h"
#include "base/cursor.h"
#include "measure/tdvf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tdvf metadata;
    td_hob_layout layout;
    uint8_t digest[48];
    DSTACK_AUTO(buf) dstack_buf hob = {0}, witness = {0};
    if (tdvf_parse(&metadata, bytes_of(data, size), NULL) == 0) {
        uint64_t pages = 0;
        for (size_t i = 0; i < metadata.count; i++) {
            pages += metadata.sections[i].memory_size / 4096;
        }
        if (pages < 64) {
            tdvf_mrtd(&metadata, true, digest);
        }
        (void)tdvf_cfv_digest(&metadata, digest, NULL);
        if (td_hob_layout_of(&metadata, &layout, NULL) == 0) {
            (void)td_hob_build(&layout, UINT64_C(4) << 30, &hob, NULL);
            td_hob_witness_write(&layout, &witness);
        }
    }
    if (td_hob_witness_read(bytes_of(data, size), &layout, NULL) == 0) {
        (void)td_hob_build(&layout, UINT64_C(2) << 30, &hob, NULL);
    }
    return 0;
}
