/* How a platform's TCB is shown, by the commands that look ahead. */
#ifndef DSTACK_TCB_VIEW_H
#define DSTACK_TCB_VIEW_H

#include <dstack/outlook.h>

#include "cli.h"
#include "cli_trust.h"

/* --next, --eval-number and --early: the collateral that comes. */
#define TCB_NEXT_OPTIONS                                                                           \
    {"next", 0, "FILE", "the bundle that comes next: what it would make of the platform"},         \
        {"eval-number", 0, "N", "fetch the one with this TCB evaluation data number as the next"}, \
    {                                                                                              \
        "early", 0, NULL, "fetch the early TCB update as the next"                                 \
    }

/* dstack_quote_explain as a tree; NULL on failure. */
json_t *tcb_explain(dstack_bytes quote, const dstack_collateral *collateral, dstack_error *err);
void tcb_explain_print(struct cli *cli, const json_t *explained);

/* *out stays NULL when no option asks for one. What is fetched verifies. */
int tcb_next_collateral(struct cli *cli, dstack_bytes quote, dstack_verifier *verifier,
                        dstack_collateral **out, dstack_error *err);

/* What this collateral makes of the quote: {status, refused: name of the check or null, reason,
 * until, cause}. The last two, under the policy (may be NULL), for those that pass but not for ever.
 * report (may be NULL) is filled for a quote that verifies. */
json_t *tcb_verdict(struct cli *cli, dstack_bytes quote, dstack_verifier *verifier,
                    dstack_collateral *collateral, const dstack_policy *policy,
                    dstack_quote_report *report);

/* "2026-01-01T00:00:00Z" */
json_t *tcb_date_json(int64_t seconds);

#endif
