/* A key distribution service to fetch from: certificates of our own making over real HTTP in the
 * shape of AMD's, soundly or with a fault. */
#ifndef TESTS_VERIFY_SNP_KDS_SERVER_H
#define TESTS_VERIFY_SNP_KDS_SERVER_H

#include <stdatomic.h>

#include "made_snp.h"
#include "service/http.h"

typedef enum kds_fault {
    KDS_SOUND,
    KDS_SLOW,      /* each answer takes delay_ms */
    KDS_TRUNCATED, /* half of each body */
    KDS_OVERSIZE,  /* more than the client's limit */
    KDS_EMPTY,
    KDS_UNKNOWN, /* 404 for the chip */
    KDS_BUSY,    /* 503 */
    KDS_LIMITED, /* 429 */
    KDS_NO_LIST, /* 404 for the list */
    KDS_GARBAGE, /* a page in place of each */
} kds_fault;

typedef struct kds_server {
    http_server *server;
    char url[64]; /* with the service's own path */
    dstack_bytes vcek, chain, crl;
    _Atomic(kds_fault) fault;
    int delay_ms;
    atomic_uint requests, leaves, chains, lists;
    atomic_int busy_left; /* so many requests are answered 503 first */
    char last[256];       /* path and query of the last request for a leaf */
} kds_server;

/* Serves what is set in it; the bytes are borrowed. */
void kds_server_start(kds_server *s);
void kds_server_stop(kds_server *s);

#endif
