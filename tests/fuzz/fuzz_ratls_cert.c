/* Certificates with the RA-TLS extensions, and the values of these extensions by themselves. */
#include "base/buf.h"
#include "cert/cert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    if (dstack_cert_parse(bytes_of(data, size), &cert, NULL) == 0) {
        DSTACK_AUTO(buf) dstack_buf json = {0};
        (void)dstack_cert_to_json(cert, &json, NULL);
        (void)dstack_cert_matches_host(cert, "a.example.com");
        (void)dstack_cert_matches_host(cert, "::1");
    }
    (void)dstack_cert_check_client(bytes_of(data, size), 0, NULL);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    (void)cert_event_log_text(bytes_of(data, size), &text, NULL);
    dstack_identity identity;
    bool present;
    (void)dstack_identity_decode(bytes_of(data, size), &identity, &present, NULL);
    return 0;
}
