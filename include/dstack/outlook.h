/**
 * @file outlook.h
 * @brief How far behind a platform is, and until when a policy will accept it.
 *
 * Operators learn here before keys are refused, not after.
 */
#ifndef DSTACK_OUTLOOK_H
#define DSTACK_OUTLOOK_H

#include <dstack/collateral.h>
#include <dstack/policy.h>
#include <dstack/verifier.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Appends one JSON object that compares a quote's platform with every level of this collateral:
 *
 *     eval_data_number, qe_eval_data_number, issue_date, next_update
 *     platform  {fmspc, level, levels, status, tcb_date, advisory_ids, gaps, all: [...]}
 *     module    {version, svn, status, tcb_date, best_svn} or null
 *     qe        {svn, status, tcb_date, best_svn}
 *
 * "level" counts from 1, the best; null when none is met. Each gap says what is missing to the best
 * level: {part: "sgx" | "pcesvn" | "tdx", index, have, need, category, type}. "all" has the status,
 * date and gaps of each level. The collateral may be another than the quote is verified with: what
 * comes next, say. Nothing is verified.
 *
 * @param quote  binary; its PCK chain, or the collateral's, is needed.
 * @return 0, or the status of the part that cannot be read.
 */
DSTACK_API int dstack_quote_explain(dstack_bytes quote, const dstack_collateral *collateral,
                                    bool pretty, dstack_buf *out, dstack_error *err);

/** What a policy says of a platform from now on. */
typedef struct dstack_quote_outlook {
    int decision; /**< 0: accepted at the time asked for; otherwise the DSTACK_E_DCAP_POLICY_*. */
    bool ends;    /**< Accepted, but not for ever. */
    int64_t end;  /**< The first second at which it is refused, UNIX seconds. */
    dstack_status cause; /**< By which rule: DSTACK_E_DCAP_POLICY_PLATFORM_AGE or _QE_AGE. */
} dstack_quote_outlook;

/**
 * Decides over a verified quote as dstack_policy_decide, for a time that may be in the future. The
 * collateral's dates do not count: it is renewed, and what it says then is not known now.
 *
 * @param at  UNIX seconds.
 */
DSTACK_API void dstack_policy_outlook(const dstack_policy *policy,
                                      const dstack_quote_report *report, int64_t at,
                                      dstack_quote_outlook *out);

#ifdef __cplusplus
}
#endif
#endif
