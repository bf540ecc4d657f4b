/* What the simulated platform is, in Intel's formats: SGX extension of its PCK certificate, TCB info
 * and QE identity that say "UpToDate" of it, report of its quoting enclave. */
#ifndef SERVICE_SIM_TCB_H
#define SERVICE_SIM_TCB_H

#include <dstack/bytes.h>
#include <dstack/quote.h>

/* 1.2.840.113741.1.13.1, content octets. */
dstack_bytes sim_oid_sgx_extension(void);
/* Value of the extension. with_components: also the 16 component SVNs, which the reference's mock
 * certificates leave out. */
int sim_sgx_extension(const uint8_t ppid[16], bool with_components, dstack_buf *out,
                      dstack_error *err);
/* JSON texts, valid in [issued, next_update) UNIX seconds. */
int sim_tcb_info(int64_t issued, int64_t next_update, dstack_buf *out, dstack_error *err);
int sim_qe_identity(int64_t issued, int64_t next_update, dstack_buf *out, dstack_error *err);
/* Everything but the report data. */
void sim_qe_report_fill(dstack_enclave_report *report);

#endif
