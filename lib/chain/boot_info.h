/* The question of the contracts IAppAuth and DstackKms: may what booted so have keys? */
#ifndef CHAIN_BOOT_INFO_H
#define CHAIN_BOOT_INFO_H

#include <jansson.h>

#include "base/auto.h"
#include "chain/value.h"

/* Appends the calldata of isAppAllowed, or of isKmsAllowed. boot_info is the object that also goes
 * to webhooks: mrAggregated, osImageHash, appId, composeHash, instanceId and deviceId are needed,
 * mrSystem, tcbStatus and advisoryIds may be absent. Hex may have "0x" and is padded on the left, as
 * the reference does. DSTACK_E_FORMAT, with the message "invalid authorization request: ...". */
int chain_boot_info_encode(bool kms, const json_t *boot_info, dstack_buf *calldata,
                           dstack_error *err);
/* Reads (bool, string). The reason is cut to what fits, and control characters of it are replaced:
 * any app's contract can say what it likes. */
int chain_boot_info_answer(dstack_bytes returned, bool *allowed, char *reason, size_t room,
                           dstack_error *err);
/* Reads one string, under the same rules, but DSTACK_E_LIMIT where it does not fit. */
int chain_text_answer(dstack_bytes returned, char *out, size_t room, dstack_error *err);

#endif
