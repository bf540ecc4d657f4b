/* Matching a platform with TCB levels, and merging what several levels say. Pure functions over
 * parsed texts. */
#ifndef VERIFY_DCAP_TCB_H
#define VERIFY_DCAP_TCB_H

#include <dstack/verifier.h>

#include "verify/dcap/tcb_info.h"

/* Best first: SGX components, then svn, then TDX components, each descending; stable. */
void dcap_levels_sort(dcap_levels *levels);

/* The union of what two statuses say. */
dstack_tcb_status dcap_status_merge(dstack_tcb_status a, dstack_tcb_status b);

/* What a platform brings to the comparison. */
typedef struct dcap_platform_tcb {
    const uint8_t *components; /* 16, of the PCK certificate */
    uint16_t pce_svn;
    const uint8_t *tee_tcb_svn; /* 16, of the TD report; NULL for SGX */
} dcap_platform_tcb;

/* The first level that the platform reaches. DSTACK_E_DCAP_TCB_COMPONENT_COUNT when any level is
 * malformed, DSTACK_E_DCAP_TCB_NOT_SUPPORTED when none matches. */
int dcap_platform_match(const dcap_tcb_info *info, const dcap_platform_tcb *platform,
                        dcap_compat *compat, const dcap_level **level, dstack_error *err);

/* Tests the TDX module of a TD report against the TCB info; *level is its TCB level, NULL for
 * modules of version 0, which have none. DSTACK_E_DCAP_TDX_MODULE. */
int dcap_module_match(const dcap_tcb_info *info, const uint8_t *tee_tcb_svn,
                      const dstack_td_report *td, dcap_compat *compat, const dcap_level **level,
                      dstack_error *err);

/* TDX components before this one are not compared: from module version 1 on its identity has them. */
unsigned dcap_first_tdx_component(const uint8_t *tee_tcb_svn);
/* The identity of a module version, or NULL. */
const dcap_module *dcap_module_find(const dcap_tcb_info *info, unsigned version);

/* The first level with isvsvn not above svn, or NULL. */
const dcap_level *dcap_svn_match(const dcap_levels *levels, uint16_t svn);

/* Appends a level's advisories that are not in the list yet. DSTACK_E_LIMIT when it is full. */
int dcap_advisories_add(dstack_advisories *list, const dcap_text *text, dcap_advisory_range range,
                        dstack_error *err);

/* Says which components keep the platform below the best level: "SGX component 2 is 1, 2 needed;
 * ...". Writes "" when none does. */
void dcap_shortfall(const dcap_tcb_info *info, const dcap_platform_tcb *platform, char *out,
                    size_t size);

#endif
