/* The policy of a DstackKms contract, read from several RPC nodes (lib/chain/reader.h). */
#ifndef KMS_CHAIN_POLICY_H
#define KMS_CHAIN_POLICY_H

#include "auth.h"

typedef struct kms_chain kms_chain;

/* Keys are below "<prefix>.chain". `state` keeps the newest block seen when that key is empty; NULL:
 * nothing does. */
int kms_chain_open(kms_chain **out, const service_config *config, const char *prefix,
                   const char *state, dstack_error *err);
void kms_chain_free(kms_chain *chain);
/* What of the configuration needs no node to be seen wrong. */
int kms_chain_check(const service_config *config, const char *prefix, bool insecure_dev,
                    dstack_error *err);
int kms_chain_decide(kms_chain *chain, kms_boot_kind kind, dstack_bytes boot_info,
                     kms_decision *decision, dstack_error *err);
int kms_chain_info(kms_chain *chain, kms_auth_info *info, dstack_error *err);
json_t *kms_chain_describe(kms_chain *chain);
void kms_chain_measure(kms_chain *chain, metrics *registry, const char *program);

#endif
