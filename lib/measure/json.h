/* Predictions as JSON: what `dstack measure tdx --json` prints and the simulated TEE reads. */
#ifndef MEASURE_JSON_H
#define MEASURE_JSON_H

#include <dstack/measure.h>
#include <jansson.h>

/* {"mrtd", "rtmr0", "rtmr1", "rtmr2", "events": [{"rtmr", "type", "name", "digest", "payload"}]};
 * NULL when memory ran out. The caller owns it. */
json_t *measure_to_json(const dstack_measurements *measurements);

/* Reads it back. The registers must be what the events replay to: DSTACK_E_REFUSED otherwise.
 * Names are not kept. */
int measure_from_json(const json_t *object, dstack_measurements *out, dstack_error *err);

#endif
