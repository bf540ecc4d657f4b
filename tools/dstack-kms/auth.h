/* Who decides about keys: the allow-list file, a contract on a chain, a webhook, or (development)
 * nobody. Shared among threads. */
#ifndef KMS_AUTH_H
#define KMS_AUTH_H

#include "policy.h"
#include "service/config.h"
#include "service/metrics.h"

typedef struct kms_auth kms_auth;

/* What GetMeta tells about the policy; texts empty and chain id 0 where unknown. */
typedef struct kms_auth_info {
    char gateway_app_id[512];
    char contract_address[128];
    char eth_rpc_url[256];
    char app_implementation[128];
    uint64_t chain_id;
    int64_t policy_time; /* as in kms_decision */
    bool has_contract;
} kms_auth_info;

/* Rows of a configuration table for the back ends that need no other service. */
#define KMS_AUTH_KEYS(prefix, file)                                                                \
    {prefix ".file.path", CONFIG_PATH, file, "allow-list, read when changed"},                     \
        {prefix ".file.max_age", CONFIG_DURATION, "never",                                         \
         "an allow-list that was written longer ago allows nothing"},                              \
        {prefix ".chain.contract", CONFIG_STR, "", "address of the DstackKms contract"},           \
        {prefix ".chain.chain_id", CONFIG_INT, "0", "the only chain whose nodes count"},           \
        {prefix ".chain.urls", CONFIG_LIST, "", "RPC nodes: https, http on this machine, unix"},   \
        {prefix ".chain.quorum", CONFIG_INT, "0", "how many must say the same, 0: all"},           \
        {prefix ".chain.block", CONFIG_STR, "finalized", "read at finalized, safe or latest"},     \
        {prefix ".chain.confirmations", CONFIG_INT, "0", "read that many blocks behind it"},       \
        {prefix ".chain.max_age", CONFIG_DURATION, "20m",                                          \
         "nothing is allowed when that block is older"},                                           \
        {prefix ".chain.cache", CONFIG_DURATION, "10s", "how long a block is read at"},            \
        {prefix ".chain.timeout", CONFIG_DURATION, "5s", "of one question to one node"},           \
        {prefix ".chain.ca_file", CONFIG_PATH, "", "the only authorities for https; empty: any"},  \
    {                                                                                              \
        prefix ".chain.state", CONFIG_PATH, "", "file that keeps the newest block seen"            \
    }

/* Keys are "<prefix>.type" and those below it. state: file for the newest block seen where the
 * configuration names none; NULL: no file. */
int kms_auth_open(kms_auth **out, const service_config *config, const char *prefix,
                  const char *state, dstack_error *err);
/* What of the configuration can be seen to be wrong: for daemon_description.check. */
int kms_auth_check(const service_config *config, const char *prefix, bool insecure_dev,
                   dstack_error *err);
void kms_auth_free(kms_auth *auth);
bool kms_auth_is_dev(const kms_auth *auth);
/* boot_info: JSON text as dstack_verified_boot_info() writes it. An error means that no decision
 * was had, which is never an allowance. The file is read again when it changed. */
int kms_auth_decide(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                    kms_decision *decision, dstack_error *err);
int kms_auth_info_get(kms_auth *auth, kms_auth_info *info, dstack_error *err);
/* Where the policy comes from, for a page: {"block": ..., "nodes": [...]} of a chain, else NULL. */
json_t *kms_auth_describe(kms_auth *auth);
/* Brings the series "<program>_policy_..." up to date. */
void kms_auth_measure(kms_auth *auth, metrics *registry, const char *program);

#endif
