#include "verify/dcap/fetch_text.h"

#include <string.h>
#include <strings.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "verify/dcap/json_in.h"

static int bad(dstack_error *err, const char *text) {
    return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH, "collateral server: %s", text);
}

static void drop_suffix(dstack_buf *text, const char *suffix) {
    size_t len = strlen(suffix);
    if (text->len >= len && memcmp(text->data + text->len - len, suffix, len) == 0) {
        text->len -= len;
    }
}

void fetch_base_url(const char *url, dstack_buf *out) {
    buf_put_str(out, url);
    while (!out->failed && out->len > 0 && out->data[out->len - 1] == '/') {
        out->len--;
    }
    drop_suffix(out, "/sgx/certification/v4");
    drop_suffix(out, "/tdx/certification/v4");
}

bool fetch_is_intel(const char *base) {
    static const char intel[] = "https://api.trustedservices.intel.com";
    return strncmp(base, intel, sizeof intel - 1) == 0;
}

static void put_upper_hex(dstack_buf *out, dstack_bytes bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        buf_put_fmt(out, "%02X", bytes.data[i]);
    }
}

/* Certification data of types 1 to 3: PPID, plain or encrypted, CPUSVN 16, PCESVN 2, PCEID 2. A
 * plain PPID is not sent: caches know the platform by its QE's id, Intel's service wants it
 * encrypted. */
int fetch_pck_query(const dstack_quote *quote, dstack_buf *query, char tcbm[37],
                    dstack_error *err) {
    bool plain = quote->cert_type == DSTACK_QUOTE_CERT_PPID_PLAIN;
    size_t ppid_size = plain ? 16 : quote->cert_type == DSTACK_QUOTE_CERT_PPID_RSA2048 ? 256 : 384;
    cursor c = cursor_init(quote->cert_data);
    dstack_bytes ppid = cursor_take(&c, ppid_size);
    dstack_bytes cpu_svn = cursor_take(&c, 16);
    dstack_bytes pce_svn = cursor_take(&c, 2);
    dstack_bytes pce_id = cursor_take(&c, 2);
    if (!cursor_ok(&c)) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT,
                         "quote: certification data of type %u and %zu bytes are too short",
                         quote->cert_type, quote->cert_data.len);
    }
    const struct {
        const char *name;
        dstack_bytes value;
    } parameters[] = {{"qeid=", dstack_quote_qe_id(quote)},
                      {"&encrypted_ppid=", ppid},
                      {"&cpusvn=", cpu_svn},
                      {"&pcesvn=", pce_svn},
                      {"&pceid=", pce_id}};
    for (size_t i = 0; i < sizeof parameters / sizeof *parameters; i++) {
        if (i != 1 || !plain) {
            buf_put_str(query, parameters[i].name);
            put_upper_hex(query, parameters[i].value);
        }
    }
    hex_encode(cpu_svn, tcbm);
    hex_encode(pce_svn, tcbm + 32);
    return buf_check(query, err);
}

static int digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

int fetch_percent_decode(dstack_bytes text, dstack_buf *out, dstack_error *err) {
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] != '%') {
            buf_put_u8(out, text.data[i]);
            continue;
        }
        int high = i + 1 < text.len ? digit((char)text.data[i + 1]) : -1;
        int low = i + 2 < text.len ? digit((char)text.data[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return bad(err, "a header is not percent-encoded");
        }
        buf_put_u8(out, (uint8_t)(high << 4 | low));
        i += 2;
    }
    return buf_check(out, err);
}

int fetch_signed_text(dstack_bytes body, const char *member, dstack_bytes *text,
                      dstack_buf *signature, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf texts = {0};
    const char *const names[] = {member, "signature"};
    json_members members = {.names = names, .count = 2, .required = 3};
    json_in in = json_in_init(body, &texts);
    json_in_object(&in);
    for (int i; (i = json_in_member(&in, &members)) >= 0;) {
        if (i == 0) {
            *text = json_in_text(&in);
        } else if (hex_decode(json_in_string(&in), signature, NULL) != 0) {
            json_in_fail(&in, "the signature is not hex");
        }
    }
    if (!json_in_end(&in)) {
        return error_set(err, DSTACK_E_DCAP_COLLATERAL_FETCH,
                         "collateral server: answer with %s, at byte %zu: %s", member, in.c.pos,
                         in.fault);
    }
    return buf_check(signature, err);
}

int fetch_hex_or_der(dstack_bytes body, bool must_be_hex, dstack_buf *out, dstack_error *err) {
    size_t start = out->len;
    if (hex_decode(body, out, NULL) == 0 && body.len > 0) {
        return 0;
    }
    out->len = start;
    if (must_be_hex) {
        return bad(err, "the root list is not hex text");
    }
    buf_put_bytes(out, body);
    return buf_check(out, err);
}
