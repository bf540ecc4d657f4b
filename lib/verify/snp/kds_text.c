/* What goes over the wire to AMD's key distribution service, and what comes back. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/hash.h"
#include "verify/snp/kds.h"
#include "x509/pem.h"

/* Turin's chips have ids of 8 bytes. */
static dstack_bytes chip_of(dstack_snp_product product, const dstack_snp_report *report) {
    return bytes_of(report->chip_id, product == DSTACK_SNP_TURIN ? 8 : sizeof report->chip_id);
}

/* The service has one tree for keys of chips and one for those of providers. */
static void put_base(const char *base, bool vlek, dstack_buf *out) {
    static const char chips[] = "/vcek/";
    size_t len = strlen(base);
    while (len > 0 && base[len - 1] == '/') {
        len--;
    }
    size_t at = len;
    while (vlek && at > 0 && strncmp(base + at, chips, sizeof chips - 1) != 0) {
        at--;
    }
    if (vlek && at > 0) {
        buf_put(out, base, at);
        buf_put_str(out, "/vlek/");
        at += sizeof chips - 1;
        buf_put(out, base + at, len - at);
    } else {
        buf_put(out, base, len);
    }
}

int kds_url(kds_piece piece, const char *base, dstack_snp_product product,
            const dstack_snp_report *report, dstack_buf *out, dstack_error *err) {
    const dstack_snp_tcb *tcb = &report->reported_tcb;
    buf_reset(out);
    put_base(base, report->signing_key == DSTACK_SNP_KEY_VLEK, out);
    buf_put_fmt(out, "/%s/", dstack_snp_product_name(product));
    switch (piece) {
    case KDS_LEAF:
        buf_put_hex(out, chip_of(product, report));
        buf_put_str(out, "?");
        if (tcb->has_fmc) {
            buf_put_fmt(out, "fmcSPL=%u&", tcb->fmc);
        }
        buf_put_fmt(out, "blSPL=%u&teeSPL=%u&snpSPL=%u&ucodeSPL=%u", tcb->boot_loader, tcb->tee,
                    tcb->snp, tcb->microcode);
        break;
    case KDS_ASK:
        buf_put_str(out, "cert_chain");
        break;
    default:
        buf_put_str(out, "crl");
        break;
    }
    return buf_check(out, err);
}

void kds_record_name(kds_piece piece, dstack_snp_product product, const dstack_snp_report *report,
                     char out[KDS_NAME_SIZE]) {
    const char *key = report->signing_key == DSTACK_SNP_KEY_VLEK ? "vlek" : "vcek";
    const char *name = dstack_snp_product_name(product);
    if (piece != KDS_LEAF) {
        snprintf(out, KDS_NAME_SIZE, "snp-%s-%s-%s.json", name, key,
                 piece == KDS_ASK ? "chain" : "crl");
        return;
    }
    const dstack_snp_tcb *tcb = &report->reported_tcb;
    const uint8_t levels[] = {tcb->has_fmc, tcb->fmc, tcb->boot_loader,
                              tcb->tee,     tcb->snp, tcb->microcode};
    const dstack_bytes parts[] = {bytes_of(levels, sizeof levels),
                                  bytes_of(report->chip_id, sizeof report->chip_id)};
    uint8_t digest[HASH_SHA256_SIZE];
    char hex[2 * HASH_SHA256_SIZE + 1];
    hash_parts(HASH_SHA256, parts, 2, digest);
    hex_encode(bytes_of(digest, sizeof digest), hex);
    snprintf(out, KDS_NAME_SIZE, "snp-%s-%s-%s.json", name, key, hex);
}

int kds_read(kds_piece piece, dstack_bytes body, dstack_buf *out, dstack_error *err) {
    const char *label = piece == KDS_CRL ? "X509 CRL" : "CERTIFICATE";
    DSTACK_AUTO(pem_block) pem_block block = {0};
    pem_reader reader;
    bool found = false;
    buf_reset(out);
    if (body.len == 0) {
        return error_set(err, DSTACK_E_FORMAT, "the answer is empty");
    }
    if (!pem_looks_like(body)) {
        buf_put_bytes(out, body);
        return buf_check(out, err);
    }
    pem_reader_init(&reader, body);
    int rc = pem_next(&reader, &block, &found, err);
    if (rc == 0 && (!found || !bytes_equal_str(block.label, label))) {
        rc = error_set(err, DSTACK_E_FORMAT, "the answer does not begin with a PEM block \"%s\"",
                       label);
    }
    if (rc == 0) {
        buf_put_bytes(out, bytes_of_buf(&block.der));
        rc = buf_check(out, err);
    }
    return rc;
}
