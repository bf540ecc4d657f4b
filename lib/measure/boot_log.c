/* Writing a CC event log: TCG PC Client Platform Firmware Profile, section 10.2 (crypto agile log),
 * with the register numbers of the UEFI confidential computing measurement protocol: RTMRn is
 * measurement register n + 1. */
#include <dstack/measure.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"

#define EV_NO_ACTION 3U
#define TPM_ALG_SHA384 0x000cU
#define LOG_END 0xffffffffU

static void put_header(dstack_buf *out) {
    static const char signature[16] = "Spec ID Event03";
    buf_put_u32le(out, 0); /* register */
    buf_put_u32le(out, EV_NO_ACTION);
    buf_put_zeros(out, 20); /* SHA-1 digest of the old format */
    const uint32_t size = 16 + 4 + 4 + 4 + 4 + 1;
    buf_put_u32le(out, size);
    buf_put(out, signature, sizeof signature);
    buf_put_u32le(out, 0); /* platform class: client */
    buf_put_u8(out, 0);    /* minor */
    buf_put_u8(out, 2);    /* major */
    buf_put_u8(out, 0);    /* errata */
    buf_put_u8(out, 2);    /* UINTN of 64 bits */
    buf_put_u32le(out, 1); /* one algorithm */
    buf_put_u16le(out, TPM_ALG_SHA384);
    buf_put_u16le(out, DSTACK_MEASURE_SIZE);
    buf_put_u8(out, 0); /* no vendor bytes */
}

int dstack_measure_boot_log(const dstack_measurements *measurements, dstack_buf *out,
                            dstack_error *err) {
    put_header(out);
    for (size_t i = 0; i < measurements->event_count; i++) {
        const dstack_measure_event *event = &measurements->events[i];
        buf_put_u32le(out, event->rtmr + 1);
        buf_put_u32le(out, event->type);
        buf_put_u32le(out, 1);
        buf_put_u16le(out, TPM_ALG_SHA384);
        buf_put(out, event->digest, sizeof event->digest);
        buf_put_u32le(out, (uint32_t)strlen(event->payload));
        buf_put_str(out, event->payload);
    }
    buf_put_u32le(out, LOG_END);
    return buf_check(out, err);
}
