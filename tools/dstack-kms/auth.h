/* Who decides about keys: the allow-list file, a webhook, or (development) nobody. Shared among
 * threads. */
#ifndef KMS_AUTH_H
#define KMS_AUTH_H

#include "policy.h"
#include "service/config.h"

typedef struct kms_auth kms_auth;

/* What GetMeta tells about the policy; texts empty and chain id 0 where unknown. */
typedef struct kms_auth_info {
    char gateway_app_id[512];
    char contract_address[128];
    char eth_rpc_url[256];
    char app_implementation[128];
    uint64_t chain_id;
    bool has_contract;
} kms_auth_info;

int kms_auth_open(kms_auth **out, const service_config *config, dstack_error *err);
void kms_auth_free(kms_auth *auth);
bool kms_auth_is_dev(const kms_auth *auth);
/* boot_info: JSON text as dstack_verified_boot_info() writes it. An error means that no decision
 * was had, which is never an allowance. The file is read again when it changed. */
int kms_auth_decide(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                    kms_decision *decision, dstack_error *err);
int kms_auth_info_get(kms_auth *auth, kms_auth_info *info, dstack_error *err);

#endif
