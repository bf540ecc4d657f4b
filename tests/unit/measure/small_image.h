/* A guest image small enough to make in a test: nothing in it runs, everything in it measures. */
#ifndef TESTS_UNIT_MEASURE_SMALL_IMAGE_H
#define TESTS_UNIT_MEASURE_SMALL_IMAGE_H

#include "check.h"

#include <dstack/measure.h>

#include "measure/tdvf.h"

#define SMALL_ROOT "1111111111111111111111111111111111111111111111111111111111111111"

/* A firmware of 16 KiB with four sections: one measured page, a configuration
 * volume, HOB pages, temporary memory. */
static inline void small_firmware(dstack_buf *out) {
    static const uint8_t tdvf_guid[16] = {0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47,
                                          0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2};
    static const uint8_t footer_guid[16] = {0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45,
                                            0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d};
    static const uint64_t sections[4][6] = {
        {0, 4096, 0xfffff000, 4096, TDVF_BFV, TDVF_EXTEND},
        {4096, 4096, 0xffffe000, 4096, TDVF_CFV, 0},
        {0, 0, 0x809000, 0x2000, TDVF_TD_HOB, 0},
        {0, 0, 0x800000, 0x6000, TDVF_TEMP, 0},
    };
    const size_t size = 16384, descriptor = 8192;
    buf_put_zeros(out, descriptor);
    buf_put_str(out, "TDVF");
    buf_put_u32le(out, 16 + 32 * 4);
    buf_put_u32le(out, 1);
    buf_put_u32le(out, 4);
    for (size_t i = 0; i < 4; i++) {
        buf_put_u32le(out, (uint32_t)sections[i][0]);
        buf_put_u32le(out, (uint32_t)sections[i][1]);
        buf_put_u64le(out, sections[i][2]);
        buf_put_u64le(out, sections[i][3]);
        buf_put_u32le(out, (uint32_t)sections[i][4]);
        buf_put_u32le(out, (uint32_t)sections[i][5]);
    }
    buf_put_zeros(out, size - 32 - 18 - 22 - out->len);
    buf_put_u32le(out, (uint32_t)(size - descriptor));
    buf_put_u16le(out, 22);
    buf_put(out, tdvf_guid, 16);
    buf_put_u16le(out, 18 + 22);
    buf_put(out, footer_guid, 16);
    buf_put_zeros(out, 32);
    assert_int_equal(out->len, size);
}

/* A PE file with the fields of the Linux boot protocol that count. */
static inline void small_kernel(dstack_buf *out) {
    const size_t nt = 0x40, optional = nt + 24, section = optional + 240;
    buf_put_zeros(out, 0x1200);
    uint8_t *k = out->data;
    memcpy(k, "MZ", 2);
    k[0x3c] = (uint8_t)nt;
    memcpy(k + nt, "PE", 2);
    k[nt + 6] = 1; /* sections */
    k[nt + 20] = 240;
    k[optional] = 0x0b; /* PE32+ */
    k[optional + 1] = 0x02;
    k[optional + 61] = 0x04; /* SizeOfHeaders 0x400 */
    k[optional + 108] = 16;  /* directories */
    k[section + 17] = 0x0e;  /* SizeOfRawData 0xe00 */
    k[section + 21] = 0x04;  /* PointerToRawData 0x400 */
    k[0x206] = 0x0f;         /* protocol 2.15 */
    k[0x207] = 0x02;
    k[0x211] = 0x01;
    k[0x236] = 0x7f;
}

static inline void small_file(const char *dir, const char *name, dstack_bytes content) {
    char path[192];
    dstack_error err = {0};
    snprintf(path, sizeof path, "%s/%s", dir, name);
    assert_ok(file_write_atomic(path, content, 0644, &err), err);
}

/* Makes a complete image folder at a template for mkdtemp(); seed makes it another image. */
static inline void small_image_make(char *dir, const char *seed) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf firmware = {0}, kernel = {0}, metadata = {0};
    assert_non_null(mkdtemp(dir));
    small_firmware(&firmware);
    small_kernel(&kernel);
    buf_put_fmt(&metadata,
                "{\"bios\":\"ovmf.fd\",\"kernel\":\"bzImage\",\"initrd\":\"initramfs.cpio.gz\","
                "\"cmdline\":\"console=ttyS0 seed=%s dstack.rootfs_hash=" SMALL_ROOT "\","
                "\"version\":\"0.1.0\","
                "\"tdvf_constants\":\"file\"}",
                seed);
    small_file(dir, "ovmf.fd", bytes_of_buf(&firmware));
    small_file(dir, "bzImage", bytes_of_buf(&kernel));
    small_file(dir, "initramfs.cpio.gz", bytes_of_str(seed));
    small_file(dir, "metadata.json", bytes_of_buf(&metadata));
    assert_ok(dstack_measure_write(dir, NULL, &err), err);
}

static inline void small_image_remove(const char *dir) {
    static const char *const files[] = {
        "ovmf.fd",       "bzImage",    "initramfs.cpio.gz",   "metadata.json",
        "sha256sum.txt", "digest.txt", "measurement.tdx.cbor"};
    char path[192];
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

#endif
