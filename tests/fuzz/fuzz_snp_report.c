/* SEV-SNP reports, certificate tables, answers of the key distribution service, VCEK extensions. */
#include "verify/snp/kds.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_snp_report report;
    dstack_snp_certs certs;
    x509_cert cert;
    snp_vcek vcek;
    const dstack_bytes input = {data, size};
    if (dstack_snp_report_parse(&report, input, NULL) == 0) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        (void)dstack_snp_report_to_json(&report, &text, NULL);
    }
    if (dstack_snp_certs_from_blobs(&input, 1, &certs, NULL) == 0) {
        if (x509_cert_parse(&cert, bytes_of_buf(&certs.vcek), NULL) == 0) {
            (void)snp_vcek_read(&cert, &vcek, NULL);
        }
        dstack_snp_certs_clear(&certs);
    }
    if (x509_cert_parse(&cert, input, NULL) == 0) {
        (void)snp_vcek_read(&cert, &vcek, NULL);
    }
    for (size_t i = 0; i < KDS_PIECES; i++) {
        DSTACK_AUTO(buf) dstack_buf der = {0};
        (void)kds_read((kds_piece)i, input, &der, NULL);
    }
    return 0;
}
