/* The edge's clocks. Calculations take `now` as a parameter instead. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

/* UNIX time in seconds. */
int64_t clock_unix(void);
/* Milliseconds of a clock that only moves forward, for deadlines. */
int64_t clock_monotonic_ms(void);

#endif
