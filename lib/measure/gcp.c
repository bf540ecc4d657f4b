/* Google Cloud: whether signed PCRs are those of an image. PCR0 is the cloud's firmware; the third
 * event of PCR2 is the Authenticode digest of the unified kernel image that it started, and
 * measurement.gcp.cbor holds that digest. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "measure/checksums.h"
#include "measure/cloud.h"

#define VM_CONFIG_MAX ((size_t)1 << 20)
#define DOCUMENT_MAX ((size_t)4096)
#define DOCUMENT_NAME "measurement.gcp.cbor"

/* "GCP OVMF v2": what PCR0 holds on Google's TDX machines. */
static const char *const firmware_known[] = {
    "0cca9ec161b09288802e5a112255d21340ed5b797f5fe29cecccfd8f67b9f802",
};

static int check_firmware(const uint8_t pcr0[32], dstack_error *err) {
    char found[65];
    hex_encode(bytes_of(pcr0, 32), found);
    for (size_t i = 0; i < sizeof firmware_known / sizeof *firmware_known; i++) {
        if (strcmp(found, firmware_known[i]) == 0) {
            return 0;
        }
    }
    return error_set(err, DSTACK_E_REFUSED, "PCR 0 mismatch: expected GCP OVMF v2, got %s", found);
}

static int check_uki(const uint8_t *actual, dstack_bytes document, dstack_error *err) {
    uint8_t expected[32];
    char want[65], have[65];
    int rc = dstack_measure_gcp_decode(document, expected, err);
    if (rc != 0) {
        return rc;
    }
    if (actual == NULL) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the TPM's boot log has no third event of PCR2, the kernel image");
    }
    if (memcmp(expected, actual, sizeof expected) != 0) {
        hex_encode(bytes_of(expected, 32), want);
        hex_encode(bytes_of(actual, 32), have);
        return error_set(err, DSTACK_E_REFUSED, "UKI hash mismatch: expected=%s, actual=%s", want,
                         have);
    }
    return 0;
}

/* The operator's own copy of the image, when it is the one stated: *known. Its checksum file decides,
 * so the document must be listed there. */
static int read_folder(const char *dir, const char *stated, dstack_buf *document, bool *known,
                       dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf checksums = {0}, path = {0};
    uint8_t hash[32];
    char digest[65];
    *known = false;
    if (dir == NULL) {
        return 0;
    }
    buf_put_fmt(&path, "%s/sha256sum.txt", dir);
    int rc = file_read(buf_text(&path), CHECKSUMS_MAX_SIZE, &checksums, err);
    hash_sha256(bytes_of_buf(&checksums), hash);
    hex_encode(bytes_of(hash, sizeof hash), digest);
    if (rc != 0 || strcmp(digest, stated) != 0) {
        return rc;
    }
    buf_reset(&path);
    buf_put_fmt(&path, "%s/" DOCUMENT_NAME, dir);
    rc = file_read(buf_text(&path), DOCUMENT_MAX, document, err);
    rc = rc == 0
             ? checksums_check(bytes_of_buf(&checksums), DOCUMENT_NAME, bytes_of_buf(document), err)
             : rc;
    *known = rc == 0;
    return rc;
}

int gcp_answer(const char *dir, const dstack_image_question *question, dstack_anchor *anchor,
               uint8_t image_hash[32], dstack_error *err) {
    const char *stated = NULL;
    bool known = false;
    DSTACK_AUTO(buf) dstack_buf document = {0};
    DSTACK_AUTO(json)
    json_t *config = json_parse(bytes_of_str(question->vm_config), VM_CONFIG_MAX, "vm_config", err);
    if (config == NULL || question->gcp_pcr0 == NULL) {
        return config == NULL ? DSTACK_E_FORMAT
                              : error_set(err, DSTACK_E_ARGUMENT, "PCR0 is not given");
    }
    int rc = json_str_or(config, "os_image_hash", "", &stated, err);
    rc = rc == 0 ? read_folder(dir, stated, &document, &known, err) : rc;
    if (rc == 0 && known) {
        rc = hex_decode_fixed(stated, image_hash, 32, err);
    } else if (rc == 0) {
        rc = cloud_material_read(config, "gcp_measurement", DOCUMENT_NAME, stated, &document,
                                 image_hash, err);
    }
    rc = rc == 0 ? check_firmware(question->gcp_pcr0, err) : rc;
    rc = rc == 0 ? check_uki(question->gcp_uki, bytes_of_buf(&document), err) : rc;
    if (rc == 0) {
        *anchor = known ? DSTACK_ANCHOR_REFERENCE_IMAGE : DSTACK_ANCHOR_SELF_ASSERTED;
    }
    return rc;
}
