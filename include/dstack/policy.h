/**
 * @file policy.h
 * @brief Which verified TCB levels are good enough.
 *
 * A quote can verify with a status other than UpToDate. A policy says what passes. Its JSON form is
 * that of dcap-qvl's simple policy; every member is optional, unknown ones are refused:
 *
 *     allowed_statuses           list of status names; empty or absent: ["UpToDate"]
 *     platform_grace_period_secs how long an out-of-date platform level still passes (0)
 *     qe_grace_period_secs       the same for the quoting enclave (0)
 *     rejected_advisory_ids      advisories that refuse, compared without regard to case
 *     min_tcb_eval_data_number   lowest TCB evaluation data number (0: off)
 *     allow_dynamic_platform, allow_cached_keys, allow_smt   flags of the PCK certificate (false)
 *     accepted_sgx_types         list of numbers, or null: any
 *
 * and, beyond dcap-qvl's, bits of TDs as 16 hex digits in the order of the report's bytes:
 *
 *     required_td_attributes, forbidden_td_attributes, required_xfam, forbidden_xfam
 *
 * A grace period alone does not allow a status; Revoked never passes.
 */
#ifndef DSTACK_POLICY_H
#define DSTACK_POLICY_H

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

struct dstack_quote_report;

/** Immutable; may be shared among threads. */
typedef struct dstack_policy dstack_policy;

/** Parses the JSON form. @return 0, DSTACK_E_DCAP_POLICY_FORMAT or DSTACK_E_MEMORY. */
DSTACK_API int dstack_policy_parse(dstack_policy **out, dstack_bytes json, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_policy_free(dstack_policy *policy);
/**
 * Decides over the report of a successful verification.
 *
 * @param now  UNIX seconds, the time that the report was made for.
 * @return 0, or the DSTACK_E_DCAP_POLICY_* of the first rule that refuses, in the order: status,
 *         collateral, platform age, QE age, advisory, evaluation number, dynamic platform, cached
 *         keys, SMT, SGX type, attributes.
 */
DSTACK_API int dstack_policy_decide(const dstack_policy *policy,
                                    const struct dstack_quote_report *report, int64_t now,
                                    dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
