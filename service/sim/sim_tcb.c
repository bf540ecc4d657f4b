#include "sim/sim_tcb.h"

#include <string.h>
#include <time.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "x509/der.h"

#define COMPONENTS 16
#define PREFIX 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01
#define QE_MRSIGNER_BYTE 0x44
#define QE_ISV 1

dstack_bytes sim_oid_sgx_extension(void) {
    static const uint8_t oid[] = {PREFIX};
    return bytes_of(oid, sizeof oid);
}

/* SEQUENCE { OID prefix.a or prefix.2.b, ... }, left open for the value. */
static size_t begin_item(dstack_buf *out, uint8_t a, uint8_t b) {
    const uint8_t oid[] = {PREFIX, a, b};
    const size_t mark = der_begin(out, DER_SEQUENCE);
    der_put_oid(out, bytes_of(oid, b == 0 ? sizeof oid - 1 : sizeof oid));
    return mark;
}

static void put_octets(dstack_buf *out, uint8_t a, uint8_t b, const uint8_t *value, size_t len) {
    const size_t item = begin_item(out, a, b);
    der_put(out, DER_OCTET_STRING, bytes_of(value, len));
    der_end(out, item);
}

static void put_uint(dstack_buf *out, uint8_t a, uint8_t b, uint64_t value) {
    const size_t item = begin_item(out, a, b);
    der_put_uint(out, value);
    der_end(out, item);
}

int sim_sgx_extension(const uint8_t ppid[16], bool with_components, dstack_buf *out,
                      dstack_error *err) {
    static const uint8_t zeros[COMPONENTS];
    const size_t whole = der_begin(out, DER_SEQUENCE);
    put_octets(out, 1, 0, ppid, 16); /* PPID */
    put_octets(out, 3, 0, zeros, 2); /* PCEID */
    put_octets(out, 4, 0, zeros, 6); /* FMSPC */
    size_t item = begin_item(out, 5, 0);
    der_put(out, DER_ENUMERATED, bytes_of(zeros, 1)); /* SGX type: standard */
    der_end(out, item);
    item = begin_item(out, 2, 0); /* TCB */
    const size_t tcb = der_begin(out, DER_SEQUENCE);
    for (uint8_t i = 1; with_components && i <= COMPONENTS; i++) {
        put_uint(out, 2, i, 0);
    }
    put_uint(out, 2, 17, 0);                   /* PCESVN */
    put_octets(out, 2, 18, zeros, COMPONENTS); /* CPUSVN */
    der_end(out, tcb);
    der_end(out, item);
    der_end(out, whole);
    return buf_check(out, err);
}

static void put_time(dstack_buf *out, const char *key, int64_t seconds) {
    const time_t clock = (time_t)seconds;
    struct tm parts;
    char text[32] = "";
    if (gmtime_r(&clock, &parts) != NULL) {
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    buf_put_fmt(out, "\"%s\":\"%s\"", key, text);
}

static void put_hex_field(dstack_buf *out, const char *key, uint8_t byte, size_t count) {
    buf_put_fmt(out, "\"%s\":\"", key);
    for (size_t i = 0; i < count; i++) {
        buf_put_fmt(out, "%02x", byte);
    }
    buf_put_str(out, "\"");
}

static void put_components(dstack_buf *out, const char *key) {
    buf_put_fmt(out, "\"%s\":[", key);
    for (size_t i = 0; i < COMPONENTS; i++) {
        buf_put_str(out, i == 0 ? "{\"svn\":0}" : ",{\"svn\":0}");
    }
    buf_put_str(out, "]");
}

/* The end that every TCB level has. */
static void put_level_end(dstack_buf *out, int64_t issued) {
    buf_put_str(out, "},");
    put_time(out, "tcbDate", issued);
    buf_put_str(out, ",\"tcbStatus\":\"UpToDate\"}]}");
}

int sim_tcb_info(int64_t issued, int64_t next_update, dstack_buf *out, dstack_error *err) {
    buf_put_str(out, "{\"id\":\"TDX\",\"version\":3,");
    put_time(out, "issueDate", issued);
    buf_put_str(out, ",");
    put_time(out, "nextUpdate", next_update);
    buf_put_str(out, ",\"fmspc\":\"000000000000\",\"pceId\":\"0000\",\"tcbType\":0,"
                     "\"tcbEvaluationDataNumber\":1,\"tdxModule\":{");
    put_hex_field(out, "mrsigner", 0, 48);
    buf_put_str(out, ",");
    put_hex_field(out, "attributes", 0, 8);
    buf_put_str(out, ",");
    put_hex_field(out, "attributesMask", 0xff, 8);
    buf_put_str(out, "},\"tcbLevels\":[{\"tcb\":{");
    put_components(out, "sgxtcbcomponents");
    buf_put_str(out, ",\"pcesvn\":0,");
    put_components(out, "tdxtcbcomponents");
    put_level_end(out, issued);
    return buf_check(out, err);
}

int sim_qe_identity(int64_t issued, int64_t next_update, dstack_buf *out, dstack_error *err) {
    buf_put_str(out, "{\"id\":\"TD_QE\",\"version\":2,");
    put_time(out, "issueDate", issued);
    buf_put_str(out, ",");
    put_time(out, "nextUpdate", next_update);
    buf_put_str(out, ",\"tcbEvaluationDataNumber\":1,\"miscselect\":\"00000000\","
                     "\"miscselectMask\":\"ffffffff\",");
    put_hex_field(out, "attributes", 0, 16);
    buf_put_str(out, ",");
    put_hex_field(out, "attributesMask", 0xff, 16);
    buf_put_str(out, ",");
    put_hex_field(out, "mrsigner", QE_MRSIGNER_BYTE, 32);
    buf_put_fmt(out, ",\"isvprodid\":%d,\"tcbLevels\":[{\"tcb\":{\"isvsvn\":%d", QE_ISV, QE_ISV);
    put_level_end(out, issued);
    return buf_check(out, err);
}

void sim_qe_report_fill(dstack_enclave_report *report) {
    memset(report, 0, sizeof *report);
    memset(report->mr_signer, QE_MRSIGNER_BYTE, sizeof report->mr_signer);
    report->isv_prod_id[0] = QE_ISV;
    report->isv_svn[0] = QE_ISV;
}
