#include "tee/sim_protocol.h"

#include <string.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "base/error.h"

static const struct call_info {
    const char *name;
    unsigned parameters, results;
} calls[SIM_CALL_COUNT] = {
    [SIM_INFO] = {"info", 0, 4},
    [SIM_EXTEND] = {"extend", 3, 1},
    [SIM_QUOTE] = {"quote", 1, 1},
    [SIM_CCEL] = {"ccel", 0, 1},
};

const char *sim_call_name(sim_call call) {
    return calls[call].name;
}

static void put_named(dstack_buf *out, const char *key, const uint8_t *value, size_t len) {
    cbor_put_text(out, key);
    cbor_put_bytes(out, bytes_of(value, len));
}

static void expect(cursor *c, const char *key) {
    if (!bytes_equal_str(cbor_read_text(c), key)) {
        c->failed = true;
    }
}

static void read_named(cursor *c, const char *key, uint8_t *out, size_t len) {
    expect(c, key);
    cbor_read_fixed(c, out, len);
}

void sim_request_write(const sim_request *request, dstack_buf *out) {
    cbor_put_map(out, 2 + calls[request->call].parameters);
    cbor_put_text(out, "id");
    cbor_put_uint(out, request->id);
    cbor_put_text(out, "call");
    cbor_put_text(out, calls[request->call].name);
    if (request->call == SIM_EXTEND) {
        char event[SIM_MAX_EVENT + 1] = {0};
        memcpy(event, request->event.data != NULL ? (const void *)request->event.data : "",
               request->event.len < SIM_MAX_EVENT ? request->event.len : SIM_MAX_EVENT);
        cbor_put_text(out, "index");
        cbor_put_uint(out, request->index);
        put_named(out, "digest", request->digest, sizeof request->digest);
        cbor_put_text(out, "event");
        cbor_put_text(out, event);
    } else if (request->call == SIM_QUOTE) {
        put_named(out, "report_data", request->report_data, sizeof request->report_data);
    }
}

int sim_request_read(dstack_bytes bytes, sim_request *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    cursor c = cursor_init(bytes);
    const uint64_t members = cbor_read_map(&c);
    expect(&c, "id");
    out->id = cbor_read_uint(&c);
    expect(&c, "call");
    const dstack_bytes name = cbor_read_text(&c);
    if (!cursor_ok(&c)) {
        return error_set(err, DSTACK_E_FORMAT, "request is malformed");
    }
    size_t call = 0;
    while (call < SIM_CALL_COUNT && !bytes_equal_str(name, calls[call].name)) {
        call++;
    }
    if (call == SIM_CALL_COUNT) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "unknown call");
    }
    out->call = (sim_call)call;
    if (out->call == SIM_EXTEND) {
        expect(&c, "index");
        out->index = cbor_read_uint(&c);
        read_named(&c, "digest", out->digest, sizeof out->digest);
        expect(&c, "event");
        out->event = cbor_read_text(&c);
    } else if (out->call == SIM_QUOTE) {
        read_named(&c, "report_data", out->report_data, sizeof out->report_data);
    }
    if (!cursor_done(&c) || members != 2 + calls[call].parameters ||
        out->event.len > SIM_MAX_EVENT) {
        return error_set(err, DSTACK_E_FORMAT, "parameters of %s are malformed", calls[call].name);
    }
    return 0;
}

static void put_info(dstack_buf *out, const dstack_tee_info *info) {
    cbor_put_text(out, "platform");
    cbor_put_text(out, SIM_PLATFORM);
    put_named(out, "mrtd", info->mrtd, sizeof info->mrtd);
    cbor_put_text(out, "rtmr");
    cbor_put_array(out, DSTACK_TEE_RTMR_COUNT);
    for (size_t i = 0; i < DSTACK_TEE_RTMR_COUNT; i++) {
        cbor_put_bytes(out, bytes_of(info->rtmr[i], sizeof info->rtmr[i]));
    }
    put_named(out, "mr_config_id", info->mr_config_id, sizeof info->mr_config_id);
}

static void read_info(cursor *c, dstack_tee_info *info) {
    expect(c, "platform");
    expect(c, SIM_PLATFORM);
    read_named(c, "mrtd", info->mrtd, sizeof info->mrtd);
    expect(c, "rtmr");
    c->failed |= cbor_read_array(c) != DSTACK_TEE_RTMR_COUNT;
    for (size_t i = 0; i < DSTACK_TEE_RTMR_COUNT; i++) {
        cbor_read_fixed(c, info->rtmr[i], sizeof info->rtmr[i]);
    }
    read_named(c, "mr_config_id", info->mr_config_id, sizeof info->mr_config_id);
}

void sim_answer_write(sim_call call, const sim_answer *answer, dstack_buf *out) {
    cbor_put_map(out, 2 + (answer->ok ? calls[call].results : 1));
    cbor_put_text(out, "id");
    cbor_put_uint(out, answer->id);
    cbor_put_text(out, "ok");
    cbor_put_bool(out, answer->ok);
    if (!answer->ok) {
        char text[DSTACK_ERROR_MESSAGE_SIZE] = {0};
        const size_t len = answer->error.len < sizeof text ? answer->error.len : sizeof text - 1;
        memcpy(text, answer->error.data, len);
        cbor_put_text(out, "error");
        cbor_put_text(out, text);
    } else if (call == SIM_INFO) {
        put_info(out, &answer->info);
    } else if (call == SIM_EXTEND) {
        put_named(out, "rtmr", answer->rtmr, sizeof answer->rtmr);
    } else {
        put_named(out, calls[call].name, answer->bytes.data, answer->bytes.len);
    }
}

int sim_answer_read(dstack_bytes bytes, sim_call call, sim_answer *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    cursor c = cursor_init(bytes);
    const uint64_t members = cbor_read_map(&c);
    expect(&c, "id");
    out->id = cbor_read_uint(&c);
    expect(&c, "ok");
    out->ok = cbor_read_bool(&c);
    if (!out->ok) {
        expect(&c, "error");
        out->error = cbor_read_text(&c);
    } else if (call == SIM_INFO) {
        read_info(&c, &out->info);
    } else if (call == SIM_EXTEND) {
        read_named(&c, "rtmr", out->rtmr, sizeof out->rtmr);
    } else {
        expect(&c, calls[call].name);
        out->bytes = cbor_read_bytes(&c);
    }
    if (!cursor_done(&c) || members != 2 + (out->ok ? calls[call].results : 1)) {
        return error_set(err, DSTACK_E_FORMAT, "answer of the simulated TEE to %s is malformed",
                         calls[call].name);
    }
    return 0;
}

void sim_frame_write(dstack_bytes message, dstack_buf *out) {
    buf_put_u32le(out, (uint32_t)message.len);
    buf_put_bytes(out, message);
}
