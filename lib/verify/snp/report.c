/* The attestation report as bytes. */
#include <string.h>

#include "base/error.h"
#include "verify/snp/snp.h"

#define SIGNATURE_ALGORITHM_ECDSA_P384 1

const char *dstack_snp_product_name(dstack_snp_product product) {
    static const char *const names[] = {"Milan", "Genoa", "Turin"};
    return (unsigned)product < DSTACK_SNP_PRODUCTS ? names[product] : "unknown";
}

/* A reader that remembers whether all reserved bytes were zero. */
typedef struct reader {
    cursor c;
    bool reserved_set;
} reader;

static void reserved(reader *r, size_t count) {
    r->reserved_set |= !bytes_are_zero(cursor_take(&r->c, count));
}

static void copy(reader *r, uint8_t *out, size_t count) {
    cursor_copy(&r->c, out, count);
}

/* Family and model to product (01h "CPUID_FAM_ID", "CPUID_MOD_ID"). */
static int product_of(dstack_snp_report *out, dstack_error *err) {
    const unsigned family = out->cpuid_family, model = out->cpuid_model;
    if (out->version == 2) {
        out->product = DSTACK_SNP_PRODUCTS;
    } else if (family == 0x19 && model <= 0x0f) {
        out->product = DSTACK_SNP_MILAN;
    } else if (family == 0x19 &&
               ((model >= 0x10 && model <= 0x1f) || (model >= 0xa0 && model <= 0xaf))) {
        out->product = DSTACK_SNP_GENOA;
    } else if (family == 0x1a && model <= 0x11) {
        out->product = DSTACK_SNP_TURIN;
    } else if (family == 0x19 || family == 0x1a) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "unsupported amd sev-snp CPUID model for family %02xh: 0x%02x", family,
                         model);
    } else {
        return error_set(err, DSTACK_E_UNSUPPORTED, "unsupported amd sev-snp CPUID family: 0x%02x",
                         family);
    }
    return 0;
}

/* The bytes between the components are reserved in each layout. */
static dstack_snp_tcb read_tcb(const uint8_t raw[8], const dstack_snp_report *report,
                               bool *reserved_set) {
    dstack_snp_tcb tcb = {.has_fmc = report->version >= 3 && report->cpuid_family >= 0x1a,
                          .microcode = raw[7]};
    if (tcb.has_fmc) {
        tcb.fmc = raw[0];
        tcb.boot_loader = raw[1];
        tcb.tee = raw[2];
        tcb.snp = raw[3];
        *reserved_set |= !bytes_are_zero(bytes_of(raw + 4, 3));
    } else {
        tcb.boot_loader = raw[0];
        tcb.tee = raw[1];
        tcb.snp = raw[6];
        *reserved_set |= !bytes_are_zero(bytes_of(raw + 2, 4));
    }
    return tcb;
}

/* One half of the signature: 72 bytes, little endian, of which 48 can be set. */
static bool read_scalar(reader *r, uint8_t out[48]) {
    const dstack_bytes low = cursor_take(&r->c, 48);
    for (size_t i = 0; i < low.len; i++) {
        out[i] = low.data[47 - i];
    }
    return bytes_are_zero(cursor_take(&r->c, 24));
}

static void read_version(reader *r, uint8_t out[3]) {
    out[2] = cursor_u8(&r->c); /* build */
    out[1] = cursor_u8(&r->c);
    out[0] = cursor_u8(&r->c);
    reserved(r, 1);
}

/* Raw TCBs, whose layout is known once the CPU is. */
typedef struct raw_tcbs {
    uint8_t current[8], reported[8], committed[8], launch[8];
} raw_tcbs;

/* Gives the signature algorithm. */
static uint32_t read_fields(reader *r, dstack_snp_report *out, raw_tcbs *tcbs) {
    cursor *c = &r->c;
    out->version = cursor_u32le(c);
    out->guest_svn = cursor_u32le(c);
    out->policy = cursor_u64le(c);
    copy(r, out->family_id, 16);
    copy(r, out->image_id, 16);
    out->vmpl = cursor_u32le(c);
    const uint32_t algorithm = cursor_u32le(c);
    copy(r, tcbs->current, 8);
    out->platform_info = cursor_u64le(c);
    const uint32_t key_info = cursor_u32le(c);
    out->author_key_enabled = (key_info & 1) != 0;
    out->mask_chip_key = (key_info & 2) != 0;
    out->signing_key = (key_info >> 2) & 7;
    r->reserved_set |= key_info >> 5 != 0;
    reserved(r, 4);
    copy(r, out->report_data, 64);
    copy(r, out->measurement, 48);
    copy(r, out->host_data, 32);
    copy(r, out->id_key_digest, 48);
    copy(r, out->author_key_digest, 48);
    copy(r, out->report_id, 32);
    copy(r, out->report_id_ma, 32);
    copy(r, tcbs->reported, 8);
    if (out->version >= 3) {
        out->cpuid_family = cursor_u8(c);
        out->cpuid_model = cursor_u8(c);
        out->cpuid_stepping = cursor_u8(c);
    } else {
        reserved(r, 3);
    }
    reserved(r, 21);
    copy(r, out->chip_id, 64);
    copy(r, tcbs->committed, 8);
    read_version(r, out->current_version);
    read_version(r, out->committed_version);
    copy(r, tcbs->launch, 8);
    if (out->version >= 5) {
        out->launch_mitigations = cursor_u64le(c);
        out->current_mitigations = cursor_u64le(c);
    } else {
        reserved(r, 16);
    }
    reserved(r, 152);
    return algorithm;
}

static int check_form(const reader *r, const dstack_snp_report *out, uint32_t algorithm,
                      bool padded, dstack_error *err) {
    if (!cursor_done(&r->c)) {
        return error_set(err, DSTACK_E_FORMAT, "amd sev-snp report is cut off");
    }
    if (out->version != 2 && out->version != 3 && out->version != 5) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "unsupported amd sev-snp report version: %u",
                         out->version);
    }
    if (r->reserved_set) {
        return error_set(err, DSTACK_E_FORMAT,
                         "failed to parse amd sev-snp report: a reserved byte is not zero");
    }
    if (algorithm != SIGNATURE_ALGORITHM_ECDSA_P384) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "unsupported amd sev-snp signature algorithm: %u", algorithm);
    }
    if (!padded) {
        return error_set(err, DSTACK_E_FORMAT,
                         "amd sev-snp report: bytes beside the signature are not zero");
    }
    return 0;
}

int dstack_snp_report_parse(dstack_snp_report *out, dstack_bytes report, dstack_error *err) {
    *out = (dstack_snp_report){0};
    if (report.len != DSTACK_SNP_REPORT_SIZE) {
        return error_set(err, DSTACK_E_FORMAT,
                         "invalid amd sev-snp report length: expected %d bytes, got %zu",
                         DSTACK_SNP_REPORT_SIZE, report.len);
    }
    reader r = {.c = cursor_init(report)};
    raw_tcbs tcbs;
    const uint32_t algorithm = read_fields(&r, out, &tcbs);
    out->current_tcb = read_tcb(tcbs.current, out, &r.reserved_set);
    out->reported_tcb = read_tcb(tcbs.reported, out, &r.reserved_set);
    out->committed_tcb = read_tcb(tcbs.committed, out, &r.reserved_set);
    out->launch_tcb = read_tcb(tcbs.launch, out, &r.reserved_set);
    bool padded = read_scalar(&r, out->signature);
    padded &= read_scalar(&r, out->signature + 48);
    padded &= bytes_are_zero(cursor_take(&r.c, 368));
    const int rc = check_form(&r, out, algorithm, padded, err);
    return rc == 0 ? product_of(out, err) : rc;
}
