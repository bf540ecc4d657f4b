/* The extensions that RA-TLS certificates carry. */
#include <string.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/error.h"
#include "cert/cert.h"

void cert_ext_oid(cert_ext ext, uint8_t oid[CERT_OID_SIZE]) {
    static const uint8_t arc[CERT_OID_SIZE] = {0x2b, 0x06, 0x01, 0x04, 0x01,
                                               0x83, 0xe7, 0x3d, 0x01, 0x00};
    memcpy(oid, arc, CERT_OID_SIZE);
    oid[CERT_OID_SIZE - 1] = (uint8_t)ext;
}

static int unfold(dstack_bytes gzip, dstack_buf *out, dstack_error *err) {
    uint8_t text[CERT_EVENT_LOG_MAX + 1];
    z_stream stream = {0};
    stream.next_in = (Bytef *)gzip.data;
    stream.avail_in = (uInt)gzip.len;
    stream.next_out = text;
    stream.avail_out = sizeof text;
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) {
        return error_set(err, DSTACK_E_MEMORY, "no memory to decompress an event log");
    }
    int state = inflate(&stream, Z_FINISH);
    size_t len = sizeof text - stream.avail_out, left = stream.avail_in;
    inflateEnd(&stream);
    if (len > CERT_EVENT_LOG_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "event log extension too large (> %d bytes)",
                         CERT_EVENT_LOG_MAX);
    }
    if (state != Z_STREAM_END || left != 0) {
        return error_set(err, DSTACK_E_FORMAT, "event log extension is not whole gzip data");
    }
    buf_put(out, text, len);
    return buf_check(out, err);
}

int cert_event_log_text(dstack_bytes value, dstack_buf *out, dstack_error *err) {
    static const char magic[] = "ELGZv1";
    size_t len = sizeof magic - 1;
    if (value.len >= len && memcmp(value.data, magic, len) == 0) {
        return unfold(bytes_of(value.data + len, value.len - len), out, err);
    }
    buf_put_bytes(out, value);
    return buf_check(out, err);
}
