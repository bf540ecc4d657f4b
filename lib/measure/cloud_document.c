/* measurement.gcp.cbor and measurement.aws.cbor: what cloud machines' TPMs must hold of an image. */
#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "base/error.h"

#define CLOUD_VERSION 1

static const char key_version[] = "version", key_uki[] = "uki_auth", key_pcrs[] = "boot_pcr_digest";

static int encode(const char *key, const uint8_t digest[32], dstack_buf *out, dstack_error *err) {
    cbor_put_map(out, 2);
    cbor_put_text(out, key_version);
    cbor_put_uint(out, CLOUD_VERSION);
    cbor_put_text(out, key);
    cbor_put_bytes(out, bytes_of(digest, 32));
    return buf_check(out, err);
}

/* Exactly that map and nothing behind it. */
static int decode(const char *key, dstack_bytes document, uint8_t digest[32], dstack_error *err) {
    cursor c = cursor_init(document);
    const uint64_t members = cbor_read_map(&c);
    const dstack_bytes first = cbor_read_text(&c);
    if (cursor_ok(&c) && !bytes_equal_str(first, key_version)) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "measurement document without a version");
    }
    const uint64_t version = cbor_read_uint(&c);
    if (cursor_ok(&c) && version != CLOUD_VERSION) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "measurement document has version %llu, not %d",
                         (unsigned long long)version, CLOUD_VERSION);
    }
    const bool named = bytes_equal_str(cbor_read_text(&c), key);
    cbor_read_fixed(&c, digest, 32);
    if (!named || members != 2 || !cursor_done(&c)) {
        return error_set(err, DSTACK_E_FORMAT, "measurement document is malformed: %s expected",
                         key);
    }
    return 0;
}

int dstack_measure_gcp_encode(const uint8_t uki_auth[32], dstack_buf *out, dstack_error *err) {
    return encode(key_uki, uki_auth, out, err);
}

int dstack_measure_gcp_decode(dstack_bytes document, uint8_t uki_auth[32], dstack_error *err) {
    return decode(key_uki, document, uki_auth, err);
}

int dstack_measure_aws_encode(const uint8_t boot_pcr_digest[32], dstack_buf *out,
                              dstack_error *err) {
    return encode(key_pcrs, boot_pcr_digest, out, err);
}

int dstack_measure_aws_decode(dstack_bytes document, uint8_t boot_pcr_digest[32],
                              dstack_error *err) {
    return decode(key_pcrs, document, boot_pcr_digest, err);
}
