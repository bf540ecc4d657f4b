/* Certificates beside a report: two blobs, or the kernel's certificate table. */
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "verify/snp/amd_roots.h"
#include "verify/snp/snp.h"
#include "x509/pem.h"

#define TABLE_ENTRY_SIZE 24
/* A table of more entries than this is no table. */
#define TABLE_MAX_ENTRIES 64

dstack_bytes snp_builtin_root(dstack_snp_product product) {
    static const struct {
        const uint8_t *data;
        size_t size;
    } roots[DSTACK_SNP_PRODUCTS] = {{snp_ark_milan, sizeof snp_ark_milan},
                                    {snp_ark_genoa, sizeof snp_ark_genoa},
                                    {snp_ark_turin, sizeof snp_ark_turin}};
    return bytes_of(roots[product].data, roots[product].size);
}

void dstack_snp_certs_clear(dstack_snp_certs *certs) {
    if (certs != NULL) {
        dstack_buf_clear(&certs->ask);
        dstack_buf_clear(&certs->vcek);
        dstack_buf_clear(&certs->crl);
        *certs = (dstack_snp_certs){0};
    }
}

static int put_blob(dstack_bytes blob, dstack_buf *out, dstack_error *err) {
    if (blob.len > SNP_MAX_CERT_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "certificate of %zu bytes, at most %zu are read",
                         blob.len, SNP_MAX_CERT_SIZE);
    }
    if (!pem_looks_like(blob)) {
        buf_put_bytes(out, blob);
        return buf_check(out, err);
    }
    DSTACK_AUTO(pem_block) pem_block block = {0};
    pem_reader reader;
    bool found = false;
    pem_reader_init(&reader, blob);
    int rc = pem_next(&reader, &block, &found, err);
    if (rc == 0 && (!found || !bytes_equal_str(block.label, "CERTIFICATE"))) {
        rc = error_set(err, DSTACK_E_FORMAT, "the PEM text holds no certificate");
    }
    if (rc == 0) {
        buf_put_bytes(out, bytes_of_buf(&block.der));
        rc = buf_check(out, err);
    }
    return rc;
}

/* ---- the kernel's table ---- */

static int table_error(dstack_error *err, const char *what) {
    return error_set(err, DSTACK_E_FORMAT, "amd sev-snp certificate table %s", what);
}

/* GUIDs of the GHCB specification (extended guest request), in the order in which they are
 * written. */
static const struct table_guid {
    uint8_t guid[16];
    enum { ENTRY_ASK, ENTRY_VCEK, ENTRY_VLEK, ENTRY_CRL } kind;
} table_guids[] = {
    {{0x4a, 0xb7, 0xb3, 0x79, 0xbb, 0xac, 0x4f, 0xe4, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7,
      0x82},
     ENTRY_ASK},
    {{0x63, 0xda, 0x75, 0x8d, 0xe6, 0x64, 0x45, 0x64, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac,
      0xcd},
     ENTRY_VCEK},
    {{0xa8, 0x07, 0x4b, 0xc2, 0xa2, 0x5a, 0x48, 0x3e, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8,
      0xa1},
     ENTRY_VLEK},
    {{0x92, 0xf8, 0x1b, 0xc3, 0x58, 0x11, 0x4d, 0x3d, 0x97, 0xff, 0xd1, 0x9f, 0x88, 0xdc, 0x67,
      0xea},
     ENTRY_CRL},
};

static int table_entry(dstack_bytes guid, dstack_bytes content, dstack_bytes found[4],
                       dstack_error *err) {
    if (content.len > SNP_MAX_CERT_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "amd sev-snp certificate table has a large entry");
    }
    for (size_t i = 0; i < sizeof table_guids / sizeof *table_guids; i++) {
        if (bytes_equal(guid, bytes_of(table_guids[i].guid, 16))) {
            found[table_guids[i].kind] = content;
        }
    }
    return 0;
}

/* Entries may overlap and repeat; of each kind the last counts. */
static int table_read(dstack_bytes table, dstack_bytes found[4], dstack_error *err) {
    if (table.len < TABLE_ENTRY_SIZE) {
        return table_error(err, "is too short");
    }
    cursor c = cursor_init(table);
    for (size_t i = 0; i < TABLE_MAX_ENTRIES; i++) {
        const dstack_bytes guid = cursor_take(&c, 16);
        const uint32_t offset = cursor_u32le(&c), length = cursor_u32le(&c);
        if (!cursor_ok(&c)) {
            break;
        }
        if (bytes_are_zero(guid) && offset == 0 && length == 0) {
            return 0;
        }
        if (offset < TABLE_ENTRY_SIZE || offset > table.len || length == 0 ||
            length > table.len - offset) {
            return table_error(err, "entry has invalid bounds");
        }
        const int rc = table_entry(guid, bytes_of(table.data + offset, length), found, err);
        if (rc != 0) {
            return rc;
        }
    }
    return table_error(err, "is missing terminator");
}

static int from_table(dstack_bytes table, dstack_snp_certs *out, dstack_error *err) {
    dstack_bytes found[4] = {0};
    int rc = table_read(table, found, err);
    if (rc != 0) {
        return rc;
    }
    out->is_vlek = found[ENTRY_VLEK].len > 0;
    const dstack_bytes leaf = found[out->is_vlek ? ENTRY_VLEK : ENTRY_VCEK];
    if (found[ENTRY_ASK].len == 0) {
        return table_error(err, "missing ASK certificate");
    }
    if (leaf.len == 0) {
        return table_error(err, "missing VCEK certificate");
    }
    buf_put_bytes(&out->ask, found[ENTRY_ASK]);
    buf_put_bytes(&out->vcek, leaf);
    buf_put_bytes(&out->crl, found[ENTRY_CRL]);
    out->ask.failed |= out->vcek.failed || out->crl.failed;
    return buf_check(&out->ask, err);
}

int dstack_snp_certs_from_blobs(const dstack_bytes *blobs, size_t count, dstack_snp_certs *out,
                                dstack_error *err) {
    *out = (dstack_snp_certs){0};
    int rc = 0;
    if (count == 0) {
        return error_set(err, DSTACK_E_NOT_FOUND,
                         "amd sev-snp evidence carries no certificates (ASK and VCEK)");
    }
    if (count == 1) {
        rc = from_table(blobs[0], out, err);
    } else if (count == 2) {
        rc = error_prefix(err, put_blob(blobs[0], &out->ask, err), "ASK");
        if (rc == 0) {
            rc = error_prefix(err, put_blob(blobs[1], &out->vcek, err), "VCEK");
        }
    } else {
        rc = error_set(err, DSTACK_E_FORMAT,
                       "amd sev-snp cert_chain must contain either ASK and VCEK certificates or "
                       "one kernel certificate table auxblob");
    }
    if (rc != 0) {
        dstack_snp_certs_clear(out);
    }
    return rc;
}
