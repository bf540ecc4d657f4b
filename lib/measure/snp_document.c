/* measurement.snp.cbor: what an image contributes to the launch digest. */
#include <string.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "base/error.h"
#include "measure/snp.h"

#define DOCUMENT_VERSION 3

static void put_named(dstack_buf *out, const char *name, const uint8_t *bytes, size_t len) {
    cbor_put_text(out, name);
    cbor_put_bytes(out, bytes_of(bytes, len));
}

static void put_number(dstack_buf *out, const char *name, uint64_t value) {
    cbor_put_text(out, name);
    cbor_put_uint(out, value);
}

int dstack_snp_image_document(const dstack_snp_image *image, dstack_buf *out, dstack_error *err) {
    cbor_put_map(out, 8);
    put_number(out, "version", DOCUMENT_VERSION);
    cbor_put_text(out, "cmdline");
    cbor_put_text(out, image->cmdline);
    put_named(out, "ovmf_hash", image->ovmf_hash, sizeof image->ovmf_hash);
    put_named(out, "kernel_hash", image->kernel_hash, sizeof image->kernel_hash);
    put_named(out, "initrd_hash", image->initrd_hash, sizeof image->initrd_hash);
    put_number(out, "hashes_table_gpa", image->hashes_table_gpa);
    put_number(out, "reset_eip", image->reset_eip);
    cbor_put_text(out, "ovmf_sections");
    cbor_put_array(out, image->section_count);
    for (size_t i = 0; i < image->section_count; i++) {
        cbor_put_map(out, 3);
        put_number(out, "gpa", image->sections[i].gpa);
        put_number(out, "size", image->sections[i].size);
        put_number(out, "type", image->sections[i].type);
    }
    return buf_check(out, err);
}

/* A text key that must come next. */
static void expect(cursor *c, const char *key) {
    if (!bytes_equal_str(cbor_read_text(c), key)) {
        c->failed = true;
    }
}

static uint64_t read_number(cursor *c, const char *key, uint64_t max) {
    expect(c, key);
    const uint64_t value = cbor_read_uint(c);
    c->failed |= value > max;
    return value;
}

static void read_named(cursor *c, const char *key, uint8_t *out, size_t len) {
    expect(c, key);
    cbor_read_fixed(c, out, len);
}

static void read_sections(cursor *c, dstack_snp_image *out) {
    expect(c, "ovmf_sections");
    const uint64_t count = cbor_read_array(c);
    c->failed |= count > DSTACK_SNP_MAX_SECTIONS;
    for (uint64_t i = 0; i < count && cursor_ok(c); i++) {
        c->failed |= cbor_read_map(c) != 3;
        out->sections[i].gpa = (uint32_t)read_number(c, "gpa", UINT32_MAX);
        out->sections[i].size = (uint32_t)read_number(c, "size", UINT32_MAX);
        out->sections[i].type = (uint32_t)read_number(c, "type", UINT32_MAX);
        out->section_count++;
    }
}

int dstack_snp_image_from_document(dstack_bytes document, dstack_snp_image *out,
                                   dstack_error *err) {
    *out = (dstack_snp_image){0};
    cursor c = cursor_init(document);
    c.failed |= cbor_read_map(&c) != 8;
    const uint64_t version = read_number(&c, "version", UINT32_MAX);
    if (cursor_ok(&c) && version != DOCUMENT_VERSION) {
        return error_set(err, DSTACK_E_UNSUPPORTED,
                         "measurement.snp.cbor has version %llu, 3 expected",
                         (unsigned long long)version);
    }
    expect(&c, "cmdline");
    const dstack_bytes cmdline = cbor_read_text(&c);
    read_named(&c, "ovmf_hash", out->ovmf_hash, sizeof out->ovmf_hash);
    read_named(&c, "kernel_hash", out->kernel_hash, sizeof out->kernel_hash);
    read_named(&c, "initrd_hash", out->initrd_hash, sizeof out->initrd_hash);
    out->hashes_table_gpa = read_number(&c, "hashes_table_gpa", UINT64_MAX);
    out->reset_eip = (uint32_t)read_number(&c, "reset_eip", UINT32_MAX);
    read_sections(&c, out);
    if (!cursor_done(&c)) {
        return error_set(err, DSTACK_E_FORMAT,
                         "measurement.snp.cbor does not have the members it must have");
    }
    return snp_image_set_cmdline(out, cmdline, err);
}
