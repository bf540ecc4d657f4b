/* TCB info and QE identity, the two signed texts, through the same reader. */
#include <stdint.h>
#include <stdlib.h>

#include "verify/dcap/tcb.h"
#include "verify/dcap/tcb_info.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void match(const dcap_tcb_info *info) {
    static const uint8_t components[16] = {3, 3, 2, 2, 4, 1, 0, 5}, tee[16] = {5, 1, 2};
    static const dstack_td_report td;
    const dcap_platform_tcb platform = {components, 11, tee};
    const dcap_level *level;
    char text[256];
    (void)dcap_platform_match(info, &platform, NULL, &level, NULL);
    (void)dcap_module_match(info, tee, &td, NULL, &level, NULL);
    dcap_shortfall(info, &platform, text, sizeof text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(tcb_info) dcap_tcb_info info = {0};
    DSTACK_AUTO(qe_identity) dcap_qe_identity identity = {0};
    dstack_error err = {0};
    if (dcap_tcb_info_parse(&info, (dstack_bytes){data, size}, &err) == 0) {
        if (info.text.version != 3 || info.text.issue_date < 0) {
            abort();
        }
        match(&info);
    }
    if (dcap_qe_identity_parse(&identity, (dstack_bytes){data, size}, &err) == 0) {
        (void)dcap_svn_match(&identity.levels, 8);
    }
    return 0;
}
