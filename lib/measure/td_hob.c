/* The hand-off blocks that QEMU passes to TDVF (UEFI Platform Initialization specification, volume 3,
 * section 5: PHIT and resource descriptors). TDVF measures them into RTMR0. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "measure/tdvf.h"

#define PAGE 4096U
#define GIB4 UINT64_C(0x100000000)
/* QEMU's q35 moves memory above 4 GiB once it reaches this, and keeps this much below. */
#define LOW_MEMORY_TURN UINT64_C(0xb0000000)
#define LOW_MEMORY_KEPT UINT64_C(0x80000000)
#define RESOURCE_SYSTEM_MEMORY 0U
#define RESOURCE_UNACCEPTED 7U

int td_hob_layout_of(const tdvf *metadata, td_hob_layout *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    bool found = false;
    for (size_t i = 0; i < metadata->count; i++) {
        const tdvf_section *s = &metadata->sections[i];
        if (s->type == TDVF_TD_HOB) {
            if (found) {
                return error_set(err, DSTACK_E_FORMAT, "firmware has two TD HOB sections");
            }
            found = true;
            out->hob_address = s->address;
        }
        if ((s->type != TDVF_TD_HOB && s->type != TDVF_TEMP) || s->memory_size == 0) {
            continue;
        }
        /* insertion keeps the list in order of start */
        size_t j = out->count;
        for (; j > 0 && out->accepted[j - 1].start > s->address; j--) {
            out->accepted[j] = out->accepted[j - 1];
        }
        out->accepted[j].start = s->address;
        out->accepted[j].len = s->memory_size;
        out->count++;
    }
    if (!found) {
        return error_set(err, DSTACK_E_FORMAT, "firmware has no TD HOB section");
    }
    for (size_t i = 1; i < out->count; i++) {
        if (out->accepted[i - 1].start + out->accepted[i - 1].len > out->accepted[i].start) {
            return error_set(err, DSTACK_E_FORMAT, "TDVF sections overlap");
        }
    }
    return 0;
}

static void leb128_put(dstack_buf *out, uint64_t value) {
    do {
        const uint8_t low = value & 0x7f;
        value >>= 7;
        buf_put_u8(out, (uint8_t)(low | (value != 0 ? 0x80 : 0)));
    } while (value != 0);
}

static uint64_t leb128_take(cursor *c) {
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 63; shift += 7) {
        const uint8_t byte = cursor_u8(c);
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            c->failed |= byte == 0 && shift > 0; /* not the shortest form */
            return value;
        }
    }
    c->failed = true;
    return 0;
}

void td_hob_witness_write(const td_hob_layout *layout, dstack_buf *out) {
    uint64_t base = layout->hob_address / PAGE;
    if (layout->count > 0 && layout->accepted[0].start / PAGE < base) {
        base = layout->accepted[0].start / PAGE;
    }
    leb128_put(out, base);
    leb128_put(out, layout->hob_address / PAGE - base);
    leb128_put(out, layout->count);
    for (size_t i = 0; i < layout->count; i++) {
        leb128_put(out, layout->accepted[i].start / PAGE - base);
        leb128_put(out, layout->accepted[i].len / PAGE);
    }
}

int td_hob_witness_read(dstack_bytes witness, td_hob_layout *out, dstack_error *err) {
    /* Keeps every sum below within 64 bits. */
    const uint64_t page_limit = UINT64_C(1) << 40;
    memset(out, 0, sizeof *out);
    cursor c = cursor_init(witness);
    const uint64_t base = leb128_take(&c);
    const uint64_t hob = leb128_take(&c);
    const uint64_t count = leb128_take(&c);
    if (!cursor_ok(&c) || base > page_limit || hob > page_limit || count > TDVF_MAX_SECTIONS) {
        return error_set(err, DSTACK_E_FORMAT, "TD HOB witness has a malformed head");
    }
    out->hob_address = (base + hob) * PAGE;
    uint64_t end = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t start = leb128_take(&c);
        const uint64_t pages = leb128_take(&c);
        if (!cursor_ok(&c) || start > page_limit || pages == 0 || pages > page_limit ||
            (base + start) * PAGE < end) {
            return error_set(err, DSTACK_E_FORMAT, "TD HOB witness has a malformed range %zu", i);
        }
        out->accepted[i].start = (base + start) * PAGE;
        out->accepted[i].len = pages * PAGE;
        end = out->accepted[i].start + out->accepted[i].len;
    }
    out->count = (size_t)count;
    if (!cursor_done(&c)) {
        return error_set(err, DSTACK_E_FORMAT, "TD HOB witness has bytes behind its ranges");
    }
    return 0;
}

/* Resource descriptor: EFI_HOB_TYPE_RESOURCE_DESCRIPTOR, 48 bytes, attributes present, initialized
 * and tested. */
static void put_resource(dstack_buf *out, uint32_t type, uint64_t start, uint64_t len) {
    buf_put_u16le(out, 3);
    buf_put_u16le(out, 48);
    buf_put_u32le(out, 0);
    buf_put_zeros(out, 16);
    buf_put_u32le(out, type);
    buf_put_u32le(out, 7);
    buf_put_u64le(out, start);
    buf_put_u64le(out, len);
}

/* The last range reaches the end of memory, and is where QEMU splits it around the 4 GiB hole. */
static void put_last(dstack_buf *out, uint64_t start, uint64_t memory_size) {
    if (memory_size < LOW_MEMORY_TURN) {
        put_resource(out, RESOURCE_UNACCEPTED, start, memory_size - start);
        return;
    }
    if (start < LOW_MEMORY_KEPT) {
        put_resource(out, RESOURCE_UNACCEPTED, start, LOW_MEMORY_KEPT - start);
    }
    put_resource(out, RESOURCE_UNACCEPTED, GIB4, memory_size - LOW_MEMORY_KEPT);
}

int td_hob_build(const td_hob_layout *layout, uint64_t memory_size, dstack_buf *out,
                 dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf resources = {0};
    uint64_t at = 0;
    for (size_t i = 0; i < layout->count; i++) {
        const uint64_t start = layout->accepted[i].start, end = start + layout->accepted[i].len;
        /* Strictly below: something must be left for the last range. */
        if (end >= memory_size || end > LOW_MEMORY_KEPT) {
            return error_set(err, DSTACK_E_ARGUMENT,
                             "%llu bytes of memory do not hold the firmware's pages",
                             (unsigned long long)memory_size);
        }
        if (start > at) {
            put_resource(&resources, RESOURCE_UNACCEPTED, at, start - at);
        }
        put_resource(&resources, RESOURCE_SYSTEM_MEMORY, start, end - start);
        at = end;
    }
    put_last(&resources, at, memory_size);
    const uint64_t phit = 56;
    buf_put_u16le(out, 1);
    buf_put_u16le(out, (uint16_t)phit);
    buf_put_u32le(out, 0);
    buf_put_u32le(out, 9);
    buf_put_zeros(out, 36);
    buf_put_u64le(out, layout->hob_address + phit + resources.len + 8);
    buf_put_bytes(out, bytes_of_buf(&resources));
    out->failed |= resources.failed;
    return buf_check(out, err);
}
