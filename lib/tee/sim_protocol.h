/* The channel between a simulated guest and its TEE: frames of u32 LE length and one CBOR map, one
 * request at a time. Keys stand in the order given here.
 *
 *   {"id": n, "call": "info"}                       -> {"id", "ok": true, "platform": "dstack-tdx",
 *                                                      "mrtd", "rtmr": [4], "mr_config_id"}
 *   {"id": n, "call": "extend", "index": 2 or 3,
 *    "digest": 48 bytes, "event": text}             -> {"id", "ok": true, "rtmr": 48 bytes}
 *   {"id": n, "call": "quote", "report_data": 64}   -> {"id", "ok": true, "quote": bytes}
 *   {"id": n, "call": "ccel"}                       -> {"id", "ok": true, "ccel": bytes}
 *   anything else                                   -> {"id", "ok": false, "error": text}
 *
 * The id tells an answer from one that a broken-off client left in the line. */
#ifndef TEE_SIM_PROTOCOL_H
#define TEE_SIM_PROTOCOL_H

#include <dstack/tee.h>

#include "base/cursor.h"

#define SIM_PLATFORM "dstack-tdx"
#define SIM_MAX_REQUEST ((size_t)4096)
#define SIM_MAX_ANSWER ((size_t)2 << 20)
#define SIM_MAX_EVENT ((size_t)128)
#define SIM_FRAME_HEAD 4

typedef enum sim_call { SIM_INFO, SIM_EXTEND, SIM_QUOTE, SIM_CCEL, SIM_CALL_COUNT } sim_call;

typedef struct sim_request {
    uint64_t id;
    sim_call call;
    uint64_t index;                                   /* extend */
    uint8_t digest[DSTACK_TEE_REGISTER_SIZE];         /* extend */
    dstack_bytes event;                               /* extend, borrowed */
    uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE]; /* quote */
} sim_request;

typedef struct sim_answer {
    uint64_t id;
    bool ok;
    dstack_bytes error;                     /* when not ok; borrowed */
    dstack_tee_info info;                   /* info: registers only */
    uint8_t rtmr[DSTACK_TEE_REGISTER_SIZE]; /* extend */
    dstack_bytes bytes;                     /* quote, ccel; borrowed */
} sim_answer;

/* "info", "extend", ... */
const char *sim_call_name(sim_call call);

/* The CBOR alone, without frame. The id is filled before failing whenever it could be read. */
void sim_request_write(const sim_request *request, dstack_buf *out);
int sim_request_read(dstack_bytes bytes, sim_request *out, dstack_error *err);
void sim_answer_write(sim_call call, const sim_answer *answer, dstack_buf *out);
int sim_answer_read(dstack_bytes bytes, sim_call call, sim_answer *out, dstack_error *err);

/* Appends a frame around a message. */
void sim_frame_write(dstack_bytes message, dstack_buf *out);

#endif
