/* The 64 bytes that evidence binds. */
#include <string.h>

#include "attest/attest.h"
#include "base/error.h"
#include "crypto/hash.h"

int dstack_report_data_pad(dstack_bytes data, uint8_t out[DSTACK_REPORT_DATA_SIZE],
                           dstack_error *err) {
    if (data.len > DSTACK_REPORT_DATA_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "report data of %zu bytes, at most %d are bound",
                         data.len, DSTACK_REPORT_DATA_SIZE);
    }
    memset(out, 0, DSTACK_REPORT_DATA_SIZE);
    if (data.len > 0) {
        memcpy(out, data.data, data.len);
    }
    return 0;
}

int dstack_report_data(const char *tag, const char *algorithm, dstack_bytes content,
                       uint8_t out[DSTACK_REPORT_DATA_SIZE], dstack_error *err) {
    if (algorithm == NULL || *algorithm == '\0') {
        algorithm = "sha512";
    }
    if (strcmp(algorithm, "raw") == 0) {
        return content.len == DSTACK_REPORT_DATA_SIZE
                   ? dstack_report_data_pad(content, out, err)
                   : error_set(err, DSTACK_E_ARGUMENT, "invalid content length");
    }
    hash_algorithm hash;
    if (!hash_from_name(algorithm, &hash)) {
        return error_set(err, DSTACK_E_ARGUMENT, "invalid hash algorithm");
    }
    memset(out, 0, DSTACK_REPORT_DATA_SIZE);
    hash_parts(hash, (const dstack_bytes[]){bytes_of_str(tag), bytes_of_str(":"), content}, 3, out);
    return 0;
}
