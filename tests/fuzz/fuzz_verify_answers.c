/* What `dstack verify` reads from strangers: host names, acme-info, a guest's public evidence. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "verify/verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_name(dstack_bytes input) {
    verify_name name;
    DSTACK_AUTO(buf) dstack_buf host = {0};
    buf_put_bytes(&host, input);
    const char *text = buf_text(&host);
    if (text != NULL) {
        verify_name_split(text, &name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint8_t spki[1] = {0x30};
    DSTACK_AUTO(dstack_attestation) dstack_attestation *of_key = NULL;
    DSTACK_AUTO(dstack_attestation) dstack_attestation *of_guest = NULL;
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    DSTACK_AUTO(dstack_cert) dstack_cert *leaf = NULL;
    const dstack_bytes input = bytes_of(data, size);
    size_t keys;
    fuzz_name(input);
    (void)verify_parse_acme_info(input, bytes_of(spki, sizeof spki), &of_key, &keys, NULL);
    if (verify_parse_evidence(input, &of_guest, &chain, NULL) == 0) {
        (void)dstack_cert_parse(bytes_of_buf(&chain), &leaf, NULL);
    }
    return 0;
}
