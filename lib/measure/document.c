/* measurement.tdx.cbor: what a verifier needs of an image to predict its registers without it. */
#include <dstack/measure.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cbor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "measure/events.h"
#include "measure/kernel.h"
#include "measure/tdvf.h"

#define DOCUMENT_VERSION 3
#define DOCUMENT_MAX_SIZE ((size_t)64 << 10)
#define OVMF_VARIANT "pre202505"
/* Any memory size of at least 2816 MiB gives the kernel hash of a document. */
#define DOCUMENT_MEMORY_SIZE UINT64_C(0x100000000)

typedef struct document {
    measure_inputs inputs; /* mrtd and td_hob are filled per machine */
    uint8_t mrtd_single[DSTACK_MEASURE_SIZE], mrtd_two[DSTACK_MEASURE_SIZE];
    td_hob_layout layout;
    bool kernel_header_normalized;
} document;

static void put_named(dstack_buf *out, const char *name,
                      const uint8_t digest[DSTACK_MEASURE_SIZE]) {
    cbor_put_text(out, name);
    cbor_put_bytes(out, bytes_of(digest, DSTACK_MEASURE_SIZE));
}

/* The members beyond the reference's (kernel_header_normalized, cfv) stand last in their maps, and
 * only where they differ from what their absence means. */
static void write_document(const document *doc, dstack_buf *out) {
    const bool own_cfv =
        memcmp(doc->inputs.cfv, measure_cfv_reference, sizeof measure_cfv_reference) != 0;
    cbor_put_map(out, 3);
    cbor_put_text(out, "version");
    cbor_put_uint(out, DOCUMENT_VERSION);
    cbor_put_text(out, "image");
    cbor_put_map(out, doc->kernel_header_normalized ? 4 : 3);
    put_named(out, "cmdline_sha384", doc->inputs.cmdline);
    put_named(out, "kernel_authenticode", doc->inputs.kernel);
    put_named(out, "initrd_sha384", doc->inputs.initrd);
    if (doc->kernel_header_normalized) {
        cbor_put_text(out, "kernel_header_normalized");
        cbor_put_bool(out, true);
    }
    cbor_put_text(out, "tdvf");
    cbor_put_map(out, own_cfv ? 4 : 3);
    cbor_put_text(out, "ovmf");
    cbor_put_text(out, OVMF_VARIANT);
    cbor_put_text(out, "mrtd");
    cbor_put_map(out, 2);
    put_named(out, "single_pass", doc->mrtd_single);
    put_named(out, "two_pass", doc->mrtd_two);
    cbor_put_text(out, "td_hob");
    DSTACK_AUTO(buf) dstack_buf witness = {0};
    td_hob_witness_write(&doc->layout, &witness);
    out->failed |= witness.failed;
    cbor_put_bytes(out, bytes_of_buf(&witness));
    if (own_cfv) {
        put_named(out, "cfv", doc->inputs.cfv);
    }
}

static int document_of_image(const dstack_image *image, document *doc, dstack_error *err) {
    memset(doc, 0, sizeof *doc);
    tdvf metadata;
    const dstack_bytes kernel = bytes_of_buf(&image->kernel);
    doc->kernel_header_normalized = image->kernel_header_normalized;
    memcpy(doc->inputs.cfv, measure_cfv_reference, sizeof doc->inputs.cfv);
    int rc;
    if ((rc = measure_cmdline_check(bytes_of_buf(&image->cmdline), true, err)) != 0 ||
        (rc = tdvf_parse(&metadata, bytes_of_buf(&image->firmware), err)) != 0 ||
        (rc = td_hob_layout_of(&metadata, &doc->layout, err)) != 0 ||
        (image->cfv_from_file && (rc = tdvf_cfv_digest(&metadata, doc->inputs.cfv, err)) != 0) ||
        (rc = doc->kernel_header_normalized
                  ? kernel_authenticode(kernel, HASH_SHA384, doc->inputs.kernel, err)
                  : kernel_authenticode_patched(kernel, image->initrd.len, DOCUMENT_MEMORY_SIZE,
                                                KERNEL_XLF_ABOVE_4G, HASH_SHA384,
                                                doc->inputs.kernel, err)) != 0 ||
        (rc = measure_cmdline_digest(bytes_of_buf(&image->cmdline), doc->inputs.cmdline, err)) !=
            0) {
        return rc;
    }
    tdvf_mrtd(&metadata, false, doc->mrtd_single);
    tdvf_mrtd(&metadata, true, doc->mrtd_two);
    hash_sha384(bytes_of_buf(&image->initrd), doc->inputs.initrd);
    return 0;
}

int dstack_measure_document(const dstack_image *image, dstack_buf *out, dstack_error *err) {
    document doc;
    const int rc = document_of_image(image, &doc, err);
    if (rc != 0) {
        return rc;
    }
    write_document(&doc, out);
    return buf_check(out, err);
}

/* A text key that must come next. */
static void expect(cursor *c, const char *key) {
    if (!bytes_equal_str(cbor_read_text(c), key)) {
        c->failed = true;
    }
}

static void read_named(cursor *c, const char *key, uint8_t out[DSTACK_MEASURE_SIZE]) {
    expect(c, key);
    cbor_read_fixed(c, out, DSTACK_MEASURE_SIZE);
}

static void read_image(cursor *c, document *doc) {
    const uint64_t members = cbor_read_map(c);
    read_named(c, "cmdline_sha384", doc->inputs.cmdline);
    read_named(c, "kernel_authenticode", doc->inputs.kernel);
    read_named(c, "initrd_sha384", doc->inputs.initrd);
    if (members == 4) {
        expect(c, "kernel_header_normalized");
        doc->kernel_header_normalized = cbor_read_bool(c);
    }
    c->failed |= members != 3 && members != 4;
}

/* Gives the witness, whose own format is checked by its reader. */
static dstack_bytes read_tdvf(cursor *c, document *doc) {
    const uint64_t members = cbor_read_map(c);
    expect(c, "ovmf");
    expect(c, OVMF_VARIANT);
    expect(c, "mrtd");
    c->failed |= cbor_read_map(c) != 2;
    read_named(c, "single_pass", doc->mrtd_single);
    read_named(c, "two_pass", doc->mrtd_two);
    expect(c, "td_hob");
    const dstack_bytes witness = cbor_read_bytes(c);
    if (members == 4) {
        read_named(c, "cfv", doc->inputs.cfv);
    }
    c->failed |= members != 3 && members != 4;
    return witness;
}

static int read_document(dstack_bytes bytes, document *doc, dstack_error *err) {
    memset(doc, 0, sizeof *doc);
    memcpy(doc->inputs.cfv, measure_cfv_reference, sizeof doc->inputs.cfv);
    if (bytes.len > DOCUMENT_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "measurement document of %zu bytes is too long",
                         bytes.len);
    }
    cursor c = cursor_init(bytes);
    c.failed |= cbor_read_map(&c) != 3;
    expect(&c, "version");
    const uint64_t version = cbor_read_uint(&c);
    if (cursor_ok(&c) && version != DOCUMENT_VERSION) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "measurement document has version %llu, not %d",
                         (unsigned long long)version, DOCUMENT_VERSION);
    }
    expect(&c, "image");
    read_image(&c, doc);
    expect(&c, "tdvf");
    const dstack_bytes witness = read_tdvf(&c, doc);
    if (!cursor_done(&c)) {
        return error_set(err, DSTACK_E_FORMAT, "measurement document is malformed");
    }
    return td_hob_witness_read(witness, &doc->layout, err);
}

int dstack_measure_from_document(dstack_bytes bytes, const dstack_vm_shape *shape,
                                 dstack_measurements *out, dstack_error *err) {
    document doc;
    int rc = read_document(bytes, &doc, err);
    if (rc != 0) {
        return rc;
    }
    if (shape->swtpm) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "machines with swtpm cannot be measured");
    }
    if (!doc.kernel_header_normalized && !measure_memory_fits_document(shape->memory_size)) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "a measurement document holds for exactly 2 GiB or at least 2816 MiB of "
                         "memory, not for %llu bytes",
                         (unsigned long long)shape->memory_size);
    }
    DSTACK_AUTO(buf) dstack_buf hob = {0};
    rc = td_hob_build(&doc.layout, shape->memory_size, &hob, err);
    if (rc != 0) {
        return rc;
    }
    hash_sha384(bytes_of_buf(&hob), doc.inputs.td_hob);
    doc.inputs.image_source = doc.inputs.kernel_source = "measurement document";
    doc.inputs.cfv_source =
        memcmp(doc.inputs.cfv, measure_cfv_reference, sizeof measure_cfv_reference) == 0
            ? measure_cfv_reference_source
            : "measurement document";
    memcpy(doc.inputs.mrtd, shape->two_pass ? doc.mrtd_two : doc.mrtd_single,
           sizeof doc.inputs.mrtd);
    return measure_events(&doc.inputs, shape, out, err);
}
