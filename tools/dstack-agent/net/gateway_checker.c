#include "net/gateway_checker.h"

#define REFRESH_S 180
#define STALE_S 180
#define RETRY_FIRST_S 30
#define RETRY_LAST_S 120

static int64_t retry_delay(unsigned failures) {
    int64_t delay = RETRY_FIRST_S;
    for (unsigned i = 1; i < failures && delay < RETRY_LAST_S; i++) {
        delay *= 2;
    }
    return delay < RETRY_LAST_S ? delay : RETRY_LAST_S;
}

/* Seconds without a sign of life. Only a handshake ends the time in which none was seen. */
static int64_t silence(gateway_checker *checker, int64_t now, int64_t handshake) {
    if (handshake != 0) {
        checker->unseen = false;
        return now - handshake;
    }
    if (!checker->unseen) {
        checker->unseen = true;
        checker->unseen_since = now;
    }
    return now - checker->unseen_since;
}

gateway_action gateway_checker_next(gateway_checker *checker, int64_t now, bool registered,
                                    int64_t handshake) {
    if (!registered) {
        bool due =
            !checker->attempted || now - checker->last_attempt >= retry_delay(checker->failures);
        return due ? GATEWAY_FORCED : GATEWAY_NOTHING;
    }
    if (silence(checker, now, handshake) >= STALE_S) {
        bool due = !checker->forced || now - checker->last_forced >= STALE_S;
        return due ? GATEWAY_FORCED : GATEWAY_NOTHING;
    }
    bool due = !checker->attempted || now - checker->last_attempt >= REFRESH_S;
    return due ? GATEWAY_PERIODIC : GATEWAY_NOTHING;
}

void gateway_checker_done(gateway_checker *checker, int64_t now, gateway_action action,
                          bool success) {
    checker->attempted = true;
    checker->last_attempt = now;
    checker->failures = success ? 0 : checker->failures + 1;
    if (action == GATEWAY_FORCED) {
        checker->forced = true;
        checker->last_forced = now;
    }
}
