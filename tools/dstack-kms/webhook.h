/* Client of an authorization webhook. */
#ifndef KMS_WEBHOOK_H
#define KMS_WEBHOOK_H

#include "auth.h"

/* POST <url>/bootAuth/app or /bootAuth/kms with the boot info as body. */
int kms_webhook_decide(const char *url, int timeout_ms, kms_boot_kind kind, dstack_bytes boot_info,
                       kms_decision *decision, dstack_error *err);
/* GET <url>. */
int kms_webhook_info(const char *url, int timeout_ms, kms_auth_info *info, dstack_error *err);

#endif
