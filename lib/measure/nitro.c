/* AWS: whether signed PCRs are those of an image. An enclave's image hash is over its PCRs; an
 * instance's boot PCRs have one digest in measurement.aws.cbor. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cbor.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "measure/cloud.h"
#include "crypto/hash.h"
#include "measure/checksums.h"

#define VM_CONFIG_MAX ((size_t)1 << 20)
#define DOCUMENT_NAME "measurement.aws.cbor"

static json_t *read_config(const dstack_image_question *question, const char **stated,
                           dstack_error *err) {
    json_t *config = json_parse(bytes_of_str(question->vm_config), VM_CONFIG_MAX, "vm_config", err);
    if (config != NULL && json_str_or(config, "os_image_hash", "", stated, err) != 0) {
        json_decref(config);
        config = NULL;
    }
    return config;
}

int nitro_enclave_answer(const dstack_image_question *question, dstack_anchor *anchor,
                         uint8_t image_hash[32], dstack_error *err) {
    const char *stated = NULL;
    char hash[65];
    DSTACK_AUTO(json) json_t *config = read_config(question, &stated, err);
    if (config == NULL) {
        return DSTACK_E_FORMAT;
    }
    hex_encode(bytes_of(question->image_hash, 32), hash);
    if (strcmp(stated, hash) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "os_image_hash mismatch: expected=%.64s, computed=%s", stated, hash);
    }
    *anchor = DSTACK_ANCHOR_MEASURED;
    memcpy(image_hash, question->image_hash, 32);
    return 0;
}

/* ---- NitroTPM ---- */

int cloud_material_read(const json_t *config, const char *member, const char *file,
                        const char *stated, dstack_buf *document, uint8_t image_hash[32],
                        dstack_error *err) {
    const json_t *pair = json_object_get(config, member);
    const char *checksums = NULL, *measurement = NULL;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    char hash[65];
    if (!json_is_object(pair)) {
        return error_set(err, DSTACK_E_REFUSED, "vm_config.%s is required", member);
    }
    int rc = json_need_str(pair, "checksum_file", &checksums, err);
    rc = rc == 0 ? json_need_str(pair, "measurement", &measurement, err) : rc;
    rc = rc == 0 ? base64_decode(bytes_of_str(checksums), BASE64_STANDARD, &text, err) : rc;
    rc = rc == 0 ? base64_decode(bytes_of_str(measurement), BASE64_STANDARD, document, err) : rc;
    if (rc != 0) {
        return error_prefix(err, rc, "%s", member);
    }
    hash_sha256(bytes_of_buf(&text), image_hash);
    hex_encode(bytes_of(image_hash, 32), hash);
    if (strcmp(stated, hash) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "%s does not match os_image_hash: expected sha256(sha256sum.txt)=%s, "
                         "actual=%.64s",
                         member, hash, stated);
    }
    return checksums_check(bytes_of_buf(&text), file, bytes_of_buf(document), err);
}

/* {boot_pcr_digest}, and with a version before it in newer images. */
static int read_document(dstack_bytes document, uint8_t digest[32], dstack_error *err) {
    cursor c = cursor_init(document);
    const uint64_t members = cbor_read_map(&c);
    dstack_bytes key = cbor_read_text(&c);
    if (members == 2) {
        c.failed |= !bytes_equal_str(key, "version") || cbor_read_uint(&c) != 1;
        key = cbor_read_text(&c);
    }
    c.failed |= members < 1 || members > 2 || !bytes_equal_str(key, "boot_pcr_digest");
    cbor_read_fixed(&c, digest, 32);
    return cursor_done(&c) ? 0
                           : error_set(err, DSTACK_E_FORMAT,
                                       DOCUMENT_NAME " does not have the members it must have");
}

int nitro_tpm_answer(const dstack_image_question *question, dstack_anchor *anchor,
                     uint8_t image_hash[32], dstack_error *err) {
    const char *stated = NULL;
    uint8_t expected[32], actual[32];
    char want[65], have[65];
    DSTACK_AUTO(buf) dstack_buf document = {0};
    DSTACK_AUTO(json) json_t *config = read_config(question, &stated, err);
    if (config == NULL) {
        return DSTACK_E_FORMAT;
    }
    int rc = cloud_material_read(config, "aws_measurement", DOCUMENT_NAME, stated, &document,
                                 image_hash, err);
    rc = rc == 0 ? read_document(bytes_of_buf(&document), expected, err) : rc;
    if (rc != 0) {
        return rc;
    }
    const dstack_bytes pcrs[3] = {bytes_of(question->boot_pcrs[0], 48),
                                  bytes_of(question->boot_pcrs[1], 48),
                                  bytes_of(question->boot_pcrs[2], 48)};
    hash_parts(HASH_SHA256, pcrs, 3, actual);
    if (memcmp(expected, actual, sizeof actual) != 0) {
        hex_encode(bytes_of(expected, 32), want);
        hex_encode(bytes_of(actual, 32), have);
        return error_set(err, DSTACK_E_REFUSED,
                         "AWS boot_pcr_digest mismatch: expected=%s, actual=%s", want, have);
    }
    *anchor = DSTACK_ANCHOR_SELF_ASSERTED;
    return 0;
}
