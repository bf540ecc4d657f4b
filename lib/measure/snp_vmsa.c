/* The initial state of a virtual CPU, as QEMU and KVM make it. */
#include <string.h>
#include <strings.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "measure/snp.h"

/* CPUID 1 EAX of QEMU's models. */
static const struct {
    const char *name;
    uint32_t signature;
} models[] = {
    {"EPYC", 0x00800f12},          {"EPYC-v1", 0x00800f12},      {"EPYC-v2", 0x00800f12},
    {"EPYC-v3", 0x00800f12},       {"EPYC-v4", 0x00800f12},      {"EPYC-IBPB", 0x00800f12},
    {"EPYC-Rome", 0x00830f10},     {"EPYC-Rome-v1", 0x00830f10}, {"EPYC-Rome-v2", 0x00830f10},
    {"EPYC-Rome-v3", 0x00830f10},  {"EPYC-Milan", 0x00a00f11},   {"EPYC-Milan-v1", 0x00a00f11},
    {"EPYC-Milan-v2", 0x00a00f11}, {"EPYC-Genoa", 0x00a10f10},   {"EPYC-Genoa-v1", 0x00a10f10},
};

int snp_cpu_signature(const char *vcpu_type, uint32_t *out, dstack_error *err) {
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        if (strcasecmp(models[i].name, vcpu_type) == 0) {
            *out = models[i].signature;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_UNSUPPORTED, "unknown vcpu_type \"%.31s\"", vcpu_type);
}

static void put(uint8_t *page, size_t offset, uint64_t value, size_t size) {
    for (size_t i = 0; i < size; i++) {
        page[offset + i] = (uint8_t)(value >> (8 * i));
    }
}

/* A segment: selector, attributes, limit, base. */
static void put_segment(uint8_t *page, size_t offset, uint16_t selector, uint16_t attributes,
                        uint64_t base) {
    put(page, offset, selector, 2);
    put(page, offset + 2, attributes, 2);
    put(page, offset + 4, 0xffff, 4);
    put(page, offset + 8, base, 8);
}

void snp_vmsa_hash(uint32_t eip, uint32_t cpu_signature, uint64_t features, uint8_t out[48]) {
    uint8_t page[SNP_PAGE] = {0};
    static const struct {
        uint16_t offset, attributes;
    } segments[] = {{0x00, 0x93}, {0x20, 0x93}, {0x30, 0x93}, {0x40, 0x93}, {0x50, 0x93},
                    {0x60, 0},    {0x70, 0x82}, {0x80, 0},    {0x90, 0x8b}};
    for (size_t i = 0; i < sizeof segments / sizeof *segments; i++) {
        put_segment(page, segments[i].offset, 0, segments[i].attributes, 0);
    }
    put_segment(page, 0x10, 0xf000, 0x9b, eip & 0xffff0000U); /* CS */
    put(page, 0xd0, 0x1000, 8);                               /* EFER: SVME */
    put(page, 0x148, 0x40, 8);                                /* CR4: MCE */
    put(page, 0x158, 0x10, 8);                                /* CR0: ET */
    put(page, 0x160, 0x400, 8);                               /* DR7 */
    put(page, 0x168, 0xffff0ff0U, 8);                         /* DR6 */
    put(page, 0x170, 2, 8);                                   /* RFLAGS */
    put(page, 0x178, eip & 0xffffU, 8);                       /* RIP */
    put(page, 0x268, UINT64_C(0x0007040600070406), 8);        /* PAT */
    put(page, 0x310, cpu_signature, 8);                       /* RDX */
    put(page, 0x3b0, features, 8);                            /* SEV_FEATURES */
    put(page, 0x3e8, 1, 8);                                   /* XCR0 */
    put(page, 0x408, 0x1f80, 4);                              /* MXCSR */
    put(page, 0x410, 0x37f, 2);                               /* x87 control word */
    hash_sha384(bytes_of(page, sizeof page), out);
}
