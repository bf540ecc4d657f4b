#include "inspect.h"

#include <string.h>

#include "address.h"
#include "answer.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "client/http_url.h"
#include "inspect_address.h"

#define ADDRESS_MAX 2048

static dstack_bytes trimmed(dstack_bytes text) {
    while (text.len > 0 && memchr(" \t\r\n", text.data[0], 4) != NULL) {
        text = bytes_of(text.data + 1, text.len - 1);
    }
    while (text.len > 0 && memchr(" \t\r\n", text.data[text.len - 1], 4) != NULL) {
        text.len--;
    }
    return text;
}

static bool starts_with(dstack_bytes text, const char *word) {
    size_t len = strlen(word);
    return text.len >= len && memcmp(text.data, word, len) == 0;
}

/* An envelope of either version, or a quote of version 3 to 5: their first bytes differ. */
static bool is_envelope(dstack_bytes content) {
    return content.len > 64 && (content.data[0] == 0 || (content.data[0] & 0xf0) == 0x80 ||
                                content.data[0] == 0xde || content.data[0] == 0xdf);
}

static bool is_quote(dstack_bytes content) {
    return content.len > 432 && content.data[0] >= 3 && content.data[0] <= 5 &&
           content.data[1] == 0;
}

static bool is_certificate(dstack_bytes content) {
    return content.len > 64 && content.data[0] == 0x30 && content.data[1] == 0x82;
}

static bool is_binary(dstack_bytes content) {
    return is_envelope(content) || is_quote(content) || is_certificate(content);
}

/* ---- answers ------------------------------------------------------------------------------------ */

static void claim(json_t *list, const char *name, const char *value, dstack_anchor anchor) {
    if (value != NULL && value[0] != '\0') {
        json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "name", name, "value", value,
                                              "anchor", dstack_anchor_name(anchor)));
    }
}

static void claim_bytes(json_t *list, const char *name, dstack_bytes value, dstack_anchor anchor) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_hex(&text, value);
    claim(list, name, buf_text(&text), anchor);
}

static json_t *quote_claims(const verdict *v) {
    json_t *list = json_array();
    const dstack_td_report *td = v->has_quote ? dstack_quote_report_td(&v->quote) : NULL;
    if (!v->has_quote) {
        return list;
    }
    claim(list, "Kind", td != NULL ? "Intel TDX" : "Intel SGX", DSTACK_ANCHOR_MEASURED);
    claim(list, "TCB status", dstack_tcb_status_name(v->quote.status), DSTACK_ANCHOR_MEASURED);
    claim_bytes(list, "Report data", dstack_quote_report_data_of(&v->quote),
                DSTACK_ANCHOR_MEASURED);
    if (td != NULL) {
        claim_bytes(list, "MRTD", bytes_of(td->mr_td, sizeof td->mr_td), DSTACK_ANCHOR_MEASURED);
    }
    return list;
}

/* The claims that people look for, under names that they read. */
static json_t *verified_claims(const verdict *v) {
    static const char *const shown[][2] = {
        {"app_id", "App id"},           {"compose_hash", "Compose hash"},
        {"os_image_hash", "OS image"},  {"tee_variant", "Platform"},
        {"tcb_status", "TCB status"},   {"key_provider", "Key provider"},
        {"instance_id", "Instance id"}, {"device_id", "Device id"},
        {"report_data", "Report data"},
    };
    json_t *list = json_array();
    for (size_t i = 0; v->stage >= STAGE_POLICY && i < sizeof shown / sizeof *shown; i++) {
        dstack_attestation_claim found;
        for (size_t j = 0; dstack_verified_claim(v->verified, j, &found); j++) {
            if (strcmp(found.name, shown[i][0]) == 0) {
                dstack_anchor anchor =
                    v->decision == NULL
                        ? found.anchor
                        : dstack_attestation_decision_anchor(v->decision, found.name);
                claim(list, shown[i][1], found.value, anchor);
            }
        }
    }
    return list;
}

static json_t *answer_of(const verdict *v, const char *kind, bool insecure) {
    DSTACK_AUTO(json) json_t *trust = trust_json(v);
    bool quote = strcmp(kind, "quote") == 0;
    return json_pack("{s:s, s:s, s:s, s:b, s:O, s:o, s:O}", "kind", kind, "verdict",
                     v->valid ? "verified" : "refused", "reason", v->reason, "insecure_dev",
                     insecure, "time", json_object_get(trust, "time"), "claims",
                     quote ? quote_claims(v) : verified_claims(v), "steps",
                     json_object_get(trust, "steps"));
}

/* ---- kinds -------------------------------------------------------------------------------------- */

static json_t *look_at_request(engine *e, const inspect_options *options, dstack_bytes content,
                               int64_t now, dstack_error *err) {
    DSTACK_AUTO(request) verify_request request = {0};
    DSTACK_AUTO(verdict) verdict v = {0};
    if (request_parse(content, &request, err) != 0) {
        return NULL;
    }
    engine_judge(e, &request, now, &v);
    if (v.stage == STAGE_DECODE) {
        error_set(err, DSTACK_E_FORMAT, "%s", v.error.message);
        return NULL;
    }
    return answer_of(&v, "attestation", options->insecure);
}

static json_t *look_at_cert(engine *e, const inspect_options *options, dstack_bytes content,
                            int64_t now, dstack_error *err) {
    DSTACK_AUTO(verdict) verdict v = {0};
    engine_judge_cert(e, content, now, &v);
    if (v.stage == STAGE_DECODE) {
        error_set(err, DSTACK_E_FORMAT, "%s", v.error.message);
        return NULL;
    }
    return answer_of(&v, "certificate", options->insecure);
}

static json_t *look_at_binary(engine *e, const inspect_options *options, dstack_bytes content,
                              int64_t now, dstack_error *err) {
    if (is_certificate(content)) {
        return look_at_cert(e, options, content, now, err);
    }
    DSTACK_AUTO(verdict) verdict v = {0};
    if (is_quote(content)) {
        engine_judge_quote(e, content, now, &v);
        return answer_of(&v, "quote", options->insecure);
    }
    verify_request request = {.has_attestation = true};
    buf_put_bytes(&request.attestation, content);
    engine_judge(e, &request, now, &v);
    request_clear(&request);
    if (v.stage == STAGE_DECODE) {
        error_set(err, DSTACK_E_FORMAT, "this is no attestation that can be read");
        return NULL;
    }
    return answer_of(&v, "attestation", options->insecure);
}

static json_t *look_at_address(engine *e, const inspect_options *options, dstack_bytes content,
                               int64_t now, dstack_error *err) {
    char text[ADDRESS_MAX], connect[128];
    http_url url;
    if (options->addresses == INSPECT_NO_ADDRESS) {
        error_set(err, DSTACK_E_REFUSED, "this verifier looks at no addresses");
        return NULL;
    }
    if (content.len >= sizeof text || memchr(content.data, '\0', content.len) != NULL) {
        error_set(err, DSTACK_E_FORMAT, "this is no https address");
        return NULL;
    }
    memcpy(text, content.data, content.len);
    text[content.len] = '\0';
    if (http_url_parse(text, &url, err) != 0 ||
        address_resolve(url.host, url.port, options->addresses == INSPECT_ANY_ADDRESS, connect,
                        sizeof connect, err) != 0) {
        return NULL;
    }
    return inspect_address(e, options, text, connect, now, err);
}

json_t *inspect(engine *e, const inspect_options *options, dstack_bytes content, int64_t now,
                dstack_error *err) {
    if (is_binary(content)) {
        return look_at_binary(e, options, content, now, err);
    }
    dstack_bytes text = trimmed(content);
    if (starts_with(text, "https://")) {
        return look_at_address(e, options, text, now, err);
    }
    if (starts_with(text, "-----BEGIN")) {
        return look_at_cert(e, options, text, now, err);
    }
    if (starts_with(text, "{")) {
        return look_at_request(e, options, text, now, err);
    }
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    if (text.len == 0 || bytes_from_any_text(text, is_binary, &raw, NULL) != 0 ||
        !is_binary(bytes_of_buf(&raw))) {
        error_set(err, DSTACK_E_FORMAT,
                  "this is neither a quote, an attestation, a certificate nor an https address");
        return NULL;
    }
    return look_at_binary(e, options, bytes_of_buf(&raw), now, err);
}
