/* When to register with the gateway again. Pure: time comes in, a decision goes out. */
#ifndef AGENT_NET_GATEWAY_CHECKER_H
#define AGENT_NET_GATEWAY_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#define GATEWAY_POLL_S 10

typedef enum gateway_action {
    GATEWAY_NOTHING,
    GATEWAY_PERIODIC, /* the peers may have changed */
    GATEWAY_FORCED,   /* the tunnel is dead or was never set up */
} gateway_action;

/* Zeroed at start; times in seconds of any clock that handshakes are told in too. */
typedef struct gateway_checker {
    bool attempted;
    int64_t last_attempt;
    unsigned failures; /* in a row */
    bool forced;
    int64_t last_forced;
    bool unseen; /* no handshake since */
    int64_t unseen_since;
} gateway_checker;

/* What is due at `now`. `handshake` is the newest of any peer, 0 for none. */
gateway_action gateway_checker_next(gateway_checker *checker, int64_t now, bool registered,
                                    int64_t handshake);
/* Tells how an action that was due ended. */
void gateway_checker_done(gateway_checker *checker, int64_t now, gateway_action action,
                          bool success);

#endif
