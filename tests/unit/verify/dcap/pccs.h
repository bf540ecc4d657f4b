/* A collateral cache to fetch from: a bundle served over real HTTP in the shape of Intel's service,
 * soundly or with a fault. */
#ifndef TESTS_VERIFY_DCAP_PCCS_H
#define TESTS_VERIFY_DCAP_PCCS_H

#include <stdatomic.h>

#include <dstack/collateral.h>

#include "service/http.h"

typedef enum pccs_fault {
    PCCS_SOUND,
    PCCS_SLOW,        /* each answer takes pccs.delay_ms */
    PCCS_TRUNCATED,   /* half of each body */
    PCCS_OVERSIZE,    /* TCB info of more than the client's limit */
    PCCS_MISSING,     /* 404 */
    PCCS_BUSY,        /* 503 */
    PCCS_LIMITED,     /* 429 */
    PCCS_NO_CHAIN,    /* no issuer chain headers */
    PCCS_WRONG_CHAIN, /* TCB info under the PCK CA's chain */
} pccs_fault;

typedef struct pccs {
    http_server *server;
    char url[64];
    dstack_collateral *collateral;
    _Atomic(pccs_fault) fault;
    int delay_ms;
    atomic_uint requests;
} pccs;

/* Serves what verifies quotes of the bundle's platforms. The bundle is kept by reference. */
void pccs_start(pccs *p, dstack_collateral *collateral);
void pccs_stop(pccs *p);

#endif
