/* Quotes: what parses must be all inside the input, and be writable as JSON. */
#include <stdint.h>
#include <stdlib.h>

#include <dstack/quote.h>

#include "base/auto.h"
#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(dstack_bytes raw, dstack_bytes part) {
    if (part.len > 0 && (part.data < raw.data || part.data + part.len > raw.data + raw.len)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    dstack_quote q;
    dstack_bytes raw = {data, size};
    dstack_error err = {0};
    (void)dstack_quote_looks_binary(raw);
    if (dstack_quote_parse(&q, raw, &err) != 0) {
        return 0;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    inside(raw, q.body);
    inside(raw, q.signature_data);
    inside(raw, q.cert_data);
    inside(raw, q.qe_auth_data);
    inside(raw, q.padding);
    inside(raw, bytes_of(q.qe_report, sizeof *q.qe_report));
    inside(raw, dstack_quote_report_data(&q));
    if (dstack_quote_to_json(&q, false, &text, &err) != 0 || text.len == 0) {
        abort();
    }
    return 0;
}
