/* The extensions of a VCEK certificate, and what they must agree with. */
#include <string.h>

#include "base/error.h"
#include "verify/snp/snp.h"
#include "x509/der.h"

/* 1.3.6.1.4.1.3704.1 */
#define AMD 0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01

bool snp_tcb_equal(const dstack_snp_tcb *a, const dstack_snp_tcb *b) {
    return a->has_fmc == b->has_fmc && a->fmc == b->fmc && a->boot_loader == b->boot_loader &&
           a->tee == b->tee && a->snp == b->snp && a->microcode == b->microcode;
}

/* The extensions stand bare: the value of extnValue is the INTEGER itself. Twice the same would
 * leave open which of them counts. */
static int read_spl(const x509_cert *cert, dstack_bytes oid, bool required, uint8_t *out,
                    bool *present, dstack_error *err) {
    const x509_extension *extension = x509_cert_extension(cert, oid);
    *present = extension != NULL;
    if (extension == NULL && !required) {
        return 0;
    }
    if (extension == NULL || x509_cert_extension_count(cert, oid) != 1) {
        return error_set(err, DSTACK_E_FORMAT,
                         "VCEK certificate must have each TCB extension exactly once");
    }
    cursor c = cursor_init(extension->value);
    const uint64_t value = der_uint(&c);
    if (!cursor_done(&c) || value > 255) {
        return error_set(err, DSTACK_E_FORMAT, "VCEK certificate has a malformed TCB extension");
    }
    *out = (uint8_t)value;
    return 0;
}

/* True where an extension below AMD's arc is there. */
static bool has_amd_extension(const x509_cert *cert) {
    const dstack_bytes arc = DER_OID_BYTES(AMD);
    bool found = false;
    for (size_t i = 0; i < cert->extension_count; i++) {
        const dstack_bytes oid = cert->extensions[i].oid;
        found |= oid.len > arc.len && memcmp(oid.data, arc.data, arc.len) == 0;
    }
    return found;
}

int snp_vcek_read(const x509_cert *cert, snp_vcek *out, dstack_error *err) {
    *out = (snp_vcek){.bare = !has_amd_extension(cert)};
    if (out->bare) {
        return 0;
    }
    const struct {
        dstack_bytes oid;
        uint8_t *value;
        bool required;
    } spls[] = {
        {DER_OID_BYTES(AMD, 3, 1), &out->tcb.boot_loader, true},
        {DER_OID_BYTES(AMD, 3, 2), &out->tcb.tee, true},
        {DER_OID_BYTES(AMD, 3, 3), &out->tcb.snp, true},
        {DER_OID_BYTES(AMD, 3, 8), &out->tcb.microcode, true},
        {DER_OID_BYTES(AMD, 3, 9), &out->tcb.fmc, false},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof spls / sizeof *spls; i++) {
        bool present = false;
        rc = read_spl(cert, spls[i].oid, spls[i].required, spls[i].value, &present, err);
        out->tcb.has_fmc |= present && !spls[i].required;
    }
    const x509_extension *hardware = x509_cert_extension(cert, DER_OID_BYTES(AMD, 4));
    const x509_extension *provider = x509_cert_extension(cert, DER_OID_BYTES(AMD, 5));
    if (hardware != NULL) {
        out->hardware_id = hardware->value;
    }
    if (rc == 0 && provider != NULL) {
        cursor c = cursor_init(provider->value);
        out->provider = der_take(&c, DER_IA5_STRING);
        rc = der_finish(&c, "VLEK provider id", err);
    }
    if (rc == 0 && (x509_cert_extension_count(cert, DER_OID_BYTES(AMD, 4)) > 1 ||
                    x509_cert_extension_count(cert, DER_OID_BYTES(AMD, 5)) > 1)) {
        rc = error_set(err, DSTACK_E_FORMAT, "VCEK certificate has an extension twice");
    }
    return rc;
}

/* Turin's id has 8 bytes, and the rest of the report's field is zero. */
static int check_chip(const snp_vcek *vcek, const dstack_snp_report *report, dstack_error *err) {
    const dstack_bytes chip = bytes_of(report->chip_id, sizeof report->chip_id);
    const dstack_bytes id = vcek->hardware_id;
    if (bytes_are_zero(chip)) {
        return error_set(err, DSTACK_E_REFUSED, "amd sev-snp chip_id is masked");
    }
    if ((id.len != 64 && id.len != 8) || (id.len == 8 && !vcek->tcb.has_fmc) ||
        memcmp(id.data, chip.data, id.len) != 0 ||
        !bytes_are_zero(bytes_of(chip.data + id.len, chip.len - id.len))) {
        return error_set(err, DSTACK_E_REFUSED, "amd sev-snp VCEK belongs to another chip");
    }
    return 0;
}

int snp_vcek_check(const snp_vcek *vcek, const dstack_snp_report *report,
                   const dstack_snp_options *options, dstack_error *err) {
    /* without this check a host could serve the key of other firmware */
    if (!snp_tcb_equal(&vcek->tcb, &report->reported_tcb)) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp VCEK stands for another TCB than the reported one");
    }
    if (report->signing_key != DSTACK_SNP_KEY_VLEK) {
        return vcek->provider.len > 0
                   ? error_set(err, DSTACK_E_REFUSED, "amd sev-snp certificate is a VLEK's")
                   : check_chip(vcek, report, err);
    }
    if (vcek->hardware_id.len > 0 || !bytes_equal_str(vcek->provider, options->vlek_provider)) {
        return error_set(err, DSTACK_E_REFUSED,
                         "amd sev-snp VLEK is another provider's than the one allowed");
    }
    return 0;
}
