/* TDVF metadata of an OVMF image and what the TDX module measures of it. Formats: Intel TDX Virtual
 * Firmware Design Guide, section 11 (metadata); Intel TDX Module ABI, TDH.MEM.PAGE.ADD and
 * TDH.MR.EXTEND (MRTD). */
#ifndef MEASURE_TDVF_H
#define MEASURE_TDVF_H

#include <dstack/bytes.h>

#define TDVF_MAX_SIZE ((size_t)64 << 20)
#define TDVF_MAX_SECTIONS 32
/* Most pages in all sections together: 1 GiB of guest memory. */
#define TDVF_MAX_PAGES ((uint64_t)1 << 18)

enum tdvf_type { TDVF_BFV = 0, TDVF_CFV = 1, TDVF_TD_HOB = 2, TDVF_TEMP = 3, TDVF_PERM = 4 };
#define TDVF_EXTEND 1U   /* the content is measured */
#define TDVF_PAGE_AUG 2U /* the guest adds the page later: not part of MRTD */

typedef struct tdvf_section {
    uint32_t data_offset, raw_size;
    uint64_t address, memory_size;
    uint32_t type, attributes;
} tdvf_section;

typedef struct tdvf {
    dstack_bytes firmware; /* borrowed */
    tdvf_section sections[TDVF_MAX_SECTIONS];
    size_t count;
} tdvf;

/* Finds and checks the metadata. Borrows firmware. DSTACK_E_FORMAT says what is wrong. */
int tdvf_parse(tdvf *out, dstack_bytes firmware, dstack_error *err);

/* MRTD. two_pass: all pages of a section are added before any is extended (QEMU 8.x). */
void tdvf_mrtd(const tdvf *metadata, bool two_pass, uint8_t out[48]);

/* SHA-384 of the configuration volume's bytes; DSTACK_E_FORMAT without exactly one. */
int tdvf_cfv_digest(const tdvf *metadata, uint8_t out[48], dstack_error *err);

/* What decides about the TD HOB beside the memory size: the pages QEMU accepts before boot. */
typedef struct td_hob_layout {
    uint64_t hob_address;
    struct {
        uint64_t start, len;
    } accepted[TDVF_MAX_SECTIONS];
    size_t count; /* in order of start */
} td_hob_layout;

int td_hob_layout_of(const tdvf *metadata, td_hob_layout *out, dstack_error *err);
/* LEB128: base page, HOB page - base, count, then (start page - base, pages) each. */
void td_hob_witness_write(const td_hob_layout *layout, dstack_buf *out);
int td_hob_witness_read(dstack_bytes witness, td_hob_layout *out, dstack_error *err);
/* Appends the hand-off blocks that QEMU writes for a guest with that much memory. DSTACK_E_ARGUMENT
 * when the memory does not hold the accepted pages. */
int td_hob_build(const td_hob_layout *layout, uint64_t memory_size, dstack_buf *out,
                 dstack_error *err);

#endif
