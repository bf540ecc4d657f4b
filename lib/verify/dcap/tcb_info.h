/* TCB info version 3 and QE identity version 2 and 3, as Intel's Provisioning Certification Service
 * signs them: parsed, with their levels in the order in which they are to be tried. */
#ifndef VERIFY_DCAP_TCB_INFO_H
#define VERIFY_DCAP_TCB_INFO_H

#include <dstack/verifier.h>

#include "base/auto.h"
#include "verify/dcap/compat.h"

#define DCAP_COMPONENTS 16
/* More in one list than any published text comes near to is refused. */
#define DCAP_MAX_LEVELS 1024
#define DCAP_MAX_MODULES 256

typedef struct dcap_components {
    uint8_t svn[DCAP_COMPONENTS];
    unsigned count; /* as stated; only 16 is right */
} dcap_components;

/* Advisory ids of one level: a range of the owner's pool. */
typedef struct dcap_advisory_range {
    size_t first, count;
} dcap_advisory_range;

typedef struct dcap_level {
    dcap_components sgx; /* platform levels */
    dcap_components tdx; /* platform levels for TDX; count 0 when absent */
    uint16_t svn;        /* pcesvn of a platform level, isvsvn of a module's or enclave's */
    dstack_tcb_status status;
    bool has_date; /* tcbDate is RFC 3339 */
    int64_t date;
    dcap_advisory_range advisories;
} dcap_level;

typedef struct dcap_levels {
    dcap_level *items;
    size_t count, cap;
} dcap_levels;

/* The measurements of a TDX module; hex texts whose content is tested where they are used. */
typedef struct dcap_module {
    dstack_bytes id; /* "TDX_01"; empty in the basic one */
    dstack_bytes mr_signer, attributes, attributes_mask;
    dcap_levels levels; /* highest isvsvn first */
} dcap_module;

/* What both texts share. */
typedef struct dcap_text {
    dstack_bytes id;
    uint32_t version;
    int64_t issue_date, next_update;
    uint32_t eval_data_number;
    dstack_bytes *advisories; /* pool */
    size_t advisory_count, advisory_cap;
    dstack_buf texts; /* decoded strings */
} dcap_text;

typedef struct dcap_tcb_info {
    dcap_text text;
    uint32_t tcb_type;
    dstack_bytes fmspc, pce_id; /* hex texts */
    bool has_module;
    dcap_module module;
    dcap_module *modules; /* tdxModuleIdentities, in file order */
    size_t module_count, module_cap;
    dcap_levels levels; /* best first */
} dcap_tcb_info;

typedef struct dcap_qe_identity {
    dcap_text text;
    uint32_t misc_select, misc_select_mask;
    uint8_t attributes[16], attributes_mask[16];
    uint8_t mr_signer[32];
    uint16_t isv_prod_id;
    dcap_levels levels; /* highest isvsvn first */
} dcap_qe_identity;

/* Parse the texts as signed; `json` must outlive the result, which is cleared by the caller also
 * after a failure. DSTACK_E_DCAP_TCB_INFO_FORMAT, DSTACK_E_DCAP_QE_IDENTITY_FORMAT. */
int dcap_tcb_info_parse(dcap_tcb_info *out, dstack_bytes json, dstack_error *err);
/* With waived rules. */
int dcap_tcb_info_parse_as(dcap_tcb_info *out, dstack_bytes json, dcap_compat *compat,
                           dstack_error *err);
void dcap_tcb_info_clear(dcap_tcb_info *info);
DSTACK_AUTO_DEFINE_CLEAR(tcb_info, dcap_tcb_info, dcap_tcb_info_clear)
int dcap_qe_identity_parse(dcap_qe_identity *out, dstack_bytes json, dstack_error *err);
void dcap_qe_identity_clear(dcap_qe_identity *identity);
DSTACK_AUTO_DEFINE_CLEAR(qe_identity, dcap_qe_identity, dcap_qe_identity_clear)

/* Status by its exact name. */
bool dcap_status_parse(dstack_bytes name, dstack_tcb_status *status);

#endif
