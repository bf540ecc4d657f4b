/* A unified kernel image small enough to make in a test: nothing in it runs, everything in it
 * measures. */
#ifndef TESTS_UNIT_MEASURE_SMALL_UKI_H
#define TESTS_UNIT_MEASURE_SMALL_UKI_H

#include "small_image.h"

#define UKI_NT 0x80
#define UKI_OPTIONAL (UKI_NT + 24)
#define UKI_CHECKSUM (UKI_OPTIONAL + 64)
#define UKI_CERTIFICATES (UKI_OPTIONAL + 112 + 8 * 4)
#define UKI_TABLE (UKI_OPTIONAL + 240)
#define UKI_HEADERS 0x400
#define UKI_ALIGNMENT 0x200

typedef struct small_section {
    const char *name;
    dstack_bytes content;
} small_section;

static inline void uki_u32(dstack_buf *out, size_t at, uint32_t value) {
    for (size_t i = 0; i < 4; i++) {
        out->data[at + i] = (uint8_t)(value >> 8 * i);
    }
}

/* A PE32+ file of these sections, each padded with zeros to the file's alignment. */
static inline void small_pe(const small_section *sections, size_t count, dstack_buf *out) {
    buf_reset(out);
    buf_put_zeros(out, UKI_HEADERS);
    memcpy(out->data, "MZ", 2);
    uki_u32(out, 0x3c, UKI_NT);
    memcpy(out->data + UKI_NT, "PE", 2);
    out->data[UKI_NT + 6] = (uint8_t)count;
    out->data[UKI_NT + 20] = 240;
    out->data[UKI_OPTIONAL] = 0x0b;
    out->data[UKI_OPTIONAL + 1] = 0x02;
    uki_u32(out, UKI_OPTIONAL + 60, UKI_HEADERS);
    uki_u32(out, UKI_CHECKSUM, 0xdeadbeef);
    uki_u32(out, UKI_OPTIONAL + 108, 16);
    for (size_t i = 0; i < count; i++) {
        const size_t entry = UKI_TABLE + 40 * i, at = out->len;
        const size_t padding = -sections[i].content.len % UKI_ALIGNMENT;
        assert_true(entry + 40 <= UKI_HEADERS && strlen(sections[i].name) <= 8);
        memcpy(out->data + entry, sections[i].name, strlen(sections[i].name));
        buf_put_bytes(out, sections[i].content);
        buf_put_zeros(out, padding);
        uki_u32(out, entry + 8, (uint32_t)sections[i].content.len);
        uki_u32(out, entry + 16, (uint32_t)(out->len - at));
        uki_u32(out, entry + 20, (uint32_t)at);
    }
}

#endif
