/* The messages between the two processes: of fixed size, passed over a SOCK_SEQPACKET pair. */
#ifndef KMS_SIGNER_WIRE_H
#define KMS_SIGNER_WIRE_H

#include <limits.h>
#include <stdint.h>

#define SIGNER_FD 3 /* in the signer */

typedef enum signer_op {
    SIGNER_LOAD = 1,
    SIGNER_APP_KEYS,
    SIGNER_ENV_KEY,
    SIGNER_SIGN_ROOT,
    SIGNER_SIGN_APP,
    SIGNER_APP_CA,
    SIGNER_HANDOVER,
} signer_op;

typedef struct signer_request {
    uint32_t op;
    uint32_t insecure;     /* LOAD */
    uint8_t app_id[20];    /* all but LOAD, SIGN_ROOT, HANDOVER */
    uint32_t instance_len; /* APP_KEYS: 0 or 20 */
    uint8_t instance_id[20];
    uint64_t timestamp; /* ENV_KEY */
    uint8_t digest[32]; /* SIGN_* */
    char dir[PATH_MAX]; /* LOAD, zero-ended */
} signer_request;

#define SIGNER_DATA_MAX 1024

typedef struct signer_answer {
    int32_t status;
    uint32_t len;
    uint8_t data[SIGNER_DATA_MAX]; /* fields one after another, as each function says */
    char message[256];             /* where status is not 0, zero-ended */
} signer_answer;

#endif
