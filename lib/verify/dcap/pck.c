#include "verify/dcap/pck.h"

#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "x509/der.h"

/* 1.2.840.113741.1.13.1 and what stands below it */
#define SGX_OID 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01
#define SGX_OID_SIZE 9

enum { PPID = 1, TCB = 2, PCEID = 3, FMSPC = 4, SGX_TYPE = 5, INSTANCE = 6, CONFIGURATION = 7 };
enum { TCB_PCESVN = 17, TCB_CPUSVN = 18 };

typedef struct pck_reader {
    dstack_pck_info info;
    uint32_t top, tcb, configuration; /* bit per last arc seen */
    const char *fault;
} pck_reader;

static void fail(pck_reader *r, const char *fault) {
    if (r->fault == NULL) {
        r->fault = fault;
    }
}

/* A pair of OID and value below the given arcs; gives the last arc, or 0 for an OID that stands
 * elsewhere. One that comes twice is a fault. */
static unsigned read_pair(pck_reader *r, cursor *list, unsigned parent, uint32_t *seen,
                          der_element *value) {
    static const uint8_t prefix[SGX_OID_SIZE] = {SGX_OID};
    cursor pair = der_enter(list, DER_SEQUENCE);
    dstack_bytes oid = der_oid(&pair);
    *value = der_read(&pair);
    der_leave(list, &pair);
    size_t depth = parent == 0 ? 1 : 2;
    if (!cursor_ok(list) || oid.len != SGX_OID_SIZE + depth ||
        memcmp(oid.data, prefix, SGX_OID_SIZE) != 0 ||
        (parent != 0 && oid.data[SGX_OID_SIZE] != parent)) {
        return 0;
    }
    unsigned arc = oid.data[oid.len - 1];
    if (arc == 0 || arc >= 32) {
        return 0;
    }
    if ((*seen & (uint32_t)1 << arc) != 0) {
        fail(r, "an entry comes twice");
    }
    *seen |= (uint32_t)1 << arc;
    return arc;
}

static void octets(pck_reader *r, const der_element *value, uint8_t *out, size_t len,
                   const char *fault) {
    if (value->tag != DER_OCTET_STRING || value->value.len != len) {
        fail(r, fault);
    } else {
        memcpy(out, value->value.data, len);
    }
}

/* The content octets read as an unsigned number: writers differ on the sign octet. */
static unsigned small(pck_reader *r, const der_element *value, uint8_t tag, unsigned max,
                      const char *fault) {
    size_t len = value->value.len;
    unsigned number = 0;
    for (size_t i = 0; i < len && len <= 2; i++) {
        number = number << 8 | value->value.data[i];
    }
    if (value->tag != tag || len < 1 || len > 2 || number > max) {
        fail(r, fault);
        return 0;
    }
    return number;
}

static void read_tcb(pck_reader *r, const der_element *value) {
    cursor list = cursor_init(value->value);
    if (value->tag != DER_SEQUENCE) {
        fail(r, "TCB is not a sequence");
    }
    while (r->fault == NULL && cursor_left(&list) > 0) {
        der_element entry;
        unsigned arc = read_pair(r, &list, TCB, &r->tcb, &entry);
        if (arc >= 1 && arc <= 16) {
            r->info.components[arc - 1] =
                (uint8_t)small(r, &entry, DER_INTEGER, UINT8_MAX, "a component SVN is malformed");
        } else if (arc == TCB_PCESVN) {
            r->info.pce_svn =
                (uint16_t)small(r, &entry, DER_INTEGER, UINT16_MAX, "PCESVN is malformed");
        } else if (arc == TCB_CPUSVN) {
            octets(r, &entry, r->info.cpu_svn, 16, "CPUSVN is not 16 octets");
        }
        if (!cursor_ok(&list)) {
            fail(r, "TCB is malformed");
        }
    }
}

static dstack_pck_flag flag(pck_reader *r, const der_element *value) {
    if (value->tag != DER_BOOLEAN || value->value.len != 1) {
        fail(r, "a configuration flag is malformed");
        return DSTACK_PCK_FLAG_UNDEFINED;
    }
    return value->value.data[0] != 0 ? DSTACK_PCK_FLAG_TRUE : DSTACK_PCK_FLAG_FALSE;
}

static void read_configuration(pck_reader *r, const der_element *value) {
    cursor list = cursor_init(value->value);
    dstack_pck_flag *const flags[] = {NULL, &r->info.dynamic_platform, &r->info.cached_keys,
                                      &r->info.smt_enabled};
    if (value->tag != DER_SEQUENCE) {
        fail(r, "configuration is not a sequence");
    }
    while (r->fault == NULL && cursor_left(&list) > 0) {
        der_element entry;
        unsigned arc = read_pair(r, &list, CONFIGURATION, &r->configuration, &entry);
        if (arc >= 1 && arc <= 3) {
            *flags[arc] = flag(r, &entry);
        }
        if (!cursor_ok(&list)) {
            fail(r, "configuration is malformed");
        }
    }
}

static void read_entry(pck_reader *r, unsigned arc, const der_element *value) {
    switch (arc) {
    case PPID:
        octets(r, value, r->info.ppid, 16, "PPID is not 16 octets");
        break;
    case TCB:
        read_tcb(r, value);
        break;
    case PCEID:
        octets(r, value, r->info.pce_id, 2, "PCEID is not 2 octets");
        break;
    case FMSPC:
        octets(r, value, r->info.fmspc, 6, "FMSPC is not 6 octets");
        break;
    case SGX_TYPE:
        r->info.sgx_type =
            (uint16_t)small(r, value, DER_ENUMERATED, UINT16_MAX, "SGX type is malformed");
        break;
    case INSTANCE:
        r->info.has_platform_instance_id = true;
        octets(r, value, r->info.platform_instance_id, 16, "instance id is not 16 octets");
        break;
    case CONFIGURATION:
        read_configuration(r, value);
        break;
    default:
        break;
    }
}

#define BITS(first, last) ((((uint32_t)1 << ((last) - (first) + 1)) - 1) << (first))

int dcap_pck_parse_extension(dstack_pck_info *out, dstack_bytes value, dstack_error *err) {
    pck_reader r = {0};
    cursor c = cursor_init(value);
    cursor list = der_enter(&c, DER_SEQUENCE);
    while (r.fault == NULL && cursor_ok(&list) && cursor_left(&list) > 0) {
        der_element entry;
        unsigned arc = read_pair(&r, &list, 0, &r.top, &entry);
        read_entry(&r, arc, &entry);
    }
    der_leave(&c, &list);
    if (!cursor_done(&c)) {
        fail(&r, "it is not well-formed DER");
    }
    if ((r.top & BITS(PPID, SGX_TYPE)) != BITS(PPID, SGX_TYPE)) {
        fail(&r, "PPID, TCB, PCEID, FMSPC or SGX type is missing");
    }
    if ((r.tcb & BITS(TCB_PCESVN, TCB_CPUSVN)) != BITS(TCB_PCESVN, TCB_CPUSVN)) {
        fail(&r, "PCESVN or CPUSVN is missing");
    }
    if (r.fault != NULL) {
        return error_set(err, DSTACK_E_DCAP_PCK_EXTENSION,
                         "SGX extension of the PCK certificate: %s", r.fault);
    }
    if ((r.tcb & BITS(1, 16)) != BITS(1, 16)) {
        /* Simulated platforms issue certificates without component entries. */
        memcpy(r.info.components, r.info.cpu_svn, sizeof r.info.components);
    }
    *out = r.info;
    return 0;
}

int dcap_pck_parse(dstack_pck_info *out, const x509_cert *leaf, dstack_error *err) {
    dstack_bytes oid = DER_OID_BYTES(SGX_OID);
    size_t count = x509_cert_extension_count(leaf, oid);
    if (count != 1) {
        return error_set(err, DSTACK_E_DCAP_PCK_EXTENSION,
                         "the PCK certificate has %zu SGX extensions, not one", count);
    }
    return dcap_pck_parse_extension(out, x509_cert_extension(leaf, oid)->value, err);
}

bool dcap_name_contains(dstack_bytes name, const char *part) {
    dstack_bytes cn = x509_name_common_name(name);
    return cn.len > 0 && memmem(cn.data, cn.len, part, strlen(part)) != NULL;
}

const char *dcap_pck_ca_kind(const x509_cert *leaf) {
    if (dcap_name_contains(leaf->issuer, "Processor")) {
        return "processor";
    }
    return dcap_name_contains(leaf->issuer, "Platform") ? "platform" : "processor";
}
