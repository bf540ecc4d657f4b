/* A verifier's questions: is the measurement material the named image's, and do the registers of a
 * quote follow from it? */
#include <dstack/measure.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "measure/checksums.h"

int dstack_measure_material_check(const dstack_vm_config *config, char os_image_hash[65],
                                  dstack_error *err) {
    if (!config->has_measurement) {
        return error_set(err, DSTACK_E_NOT_FOUND, "vm_config has no tdx_measurement");
    }
    uint8_t hash[32];
    char actual[65];
    hash_sha256(bytes_of_buf(&config->checksum_file), hash);
    hex_encode(bytes_of(hash, sizeof hash), actual);
    if (config->os_image_hash[0] != '\0' && strcmp(config->os_image_hash, actual) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "os_image_hash mismatch: expected sha256(sha256sum.txt)=%s, actual=%s",
                         actual, config->os_image_hash);
    }
    const int rc = checksums_check(bytes_of_buf(&config->checksum_file), "measurement.tdx.cbor",
                                   bytes_of_buf(&config->measurement), err);
    if (rc == 0 && os_image_hash != NULL) {
        memcpy(os_image_hash, actual, sizeof actual);
    }
    return rc;
}

static int compare(const char *name, const uint8_t *expected, const uint8_t *actual,
                   dstack_error *err) {
    if (memcmp(expected, actual, DSTACK_MEASURE_SIZE) == 0) {
        return 0;
    }
    char want[2 * DSTACK_MEASURE_SIZE + 1], have[2 * DSTACK_MEASURE_SIZE + 1];
    hex_encode(bytes_of(expected, DSTACK_MEASURE_SIZE), want);
    hex_encode(bytes_of(actual, DSTACK_MEASURE_SIZE), have);
    return error_set(err, DSTACK_E_REFUSED, "MRs do not match: %s mismatch: expected=%s, actual=%s",
                     name, want, have);
}

int dstack_measure_compare(const dstack_measurements *expected,
                           const uint8_t mrtd[DSTACK_MEASURE_SIZE],
                           const uint8_t rtmr[3][DSTACK_MEASURE_SIZE], dstack_error *err) {
    int rc;
    if ((rc = compare("MRTD", expected->mrtd, mrtd, err)) != 0 ||
        (rc = compare("RTMR0", expected->rtmr[0], rtmr[0], err)) != 0) {
        return rc;
    }
    const bool distributed = expected->has_rtmr1_distributed &&
                             memcmp(expected->rtmr1_distributed, rtmr[1], DSTACK_MEASURE_SIZE) == 0;
    if (!distributed && (rc = compare("RTMR1", expected->rtmr[1], rtmr[1], err)) != 0) {
        return rc;
    }
    return compare("RTMR2", expected->rtmr[2], rtmr[2], err);
}
