/* A token bucket per client address, for methods that anybody may call. Thread-safe; fixed memory:
 * addresses share slots by hash, so a flood from many addresses slows others in its slots only. */
#ifndef SERVICE_RATE_H
#define SERVICE_RATE_H

#include <stdbool.h>

#include "service/http.h"

typedef struct rate_limit rate_limit;

/* per_second: refill; burst: size of the bucket. per_second 0: nothing is limited. NULL when memory
 * ran out. */
rate_limit *rate_limit_new(unsigned per_second, unsigned burst);
void rate_limit_free(rate_limit *limit);
/* Takes a token for the peer's address (IPv6: its /64). now_ms: monotonic milliseconds. */
bool rate_limit_take(rate_limit *limit, const http_peer *peer, int64_t now_ms);

#endif
