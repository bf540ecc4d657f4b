/* Quote parsing. Offsets and lengths: Intel SGX ECDSA QuoteLibReference, appendix A.4, and TDX DCAP
 * Quote Generation Library, appendix A.3. */
#include <dstack/quote.h>

#include <assert.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "verify/dcap/compat.h"
#include "verify/dcap/quote_fields.h"

static_assert(sizeof(dstack_quote_header) == 48, "quote header is 48 bytes");
static_assert(sizeof(dstack_td_report) == 584, "TD report 1.0 is 584 bytes");
static_assert(sizeof(dstack_td_report_15) == 64, "TD report 1.5 adds 64 bytes");
static_assert(sizeof(dstack_enclave_report) == 384, "enclave report is 384 bytes");

#define VIEW(c, type) ((const type *)(const void *)cursor_take((c), sizeof(type)).data)

static int bad(dstack_error *err, const char *text) {
    return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT, "quote: %s", text);
}

static size_t body_size(uint16_t type) {
    switch (type) {
    case DSTACK_QUOTE_BODY_SGX:
        return sizeof(dstack_enclave_report);
    case DSTACK_QUOTE_BODY_TD10:
        return sizeof(dstack_td_report);
    case DSTACK_QUOTE_BODY_TD15:
        return sizeof(dstack_td_report) + sizeof(dstack_td_report_15);
    default:
        return 0;
    }
}

static int parse_header(cursor *c, dstack_quote *q, dstack_error *err) {
    cursor numbers = *c;
    q->header = VIEW(c, dstack_quote_header);
    q->version = cursor_u16le(&numbers);
    q->attestation_key_type = cursor_u16le(&numbers);
    q->tee_type = cursor_u32le(&numbers);
    q->qe_svn = cursor_u16le(&numbers);
    q->pce_svn = cursor_u16le(&numbers);
    if (!cursor_ok(c)) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT,
                         "quote: %zu bytes are less than its header of 48", q->raw.len);
    }
    if (q->version < 3 || q->version > 5) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT, "quote: version %u is none of 3, 4, 5",
                         q->version);
    }
    bool known = q->tee_type == DSTACK_QUOTE_TEE_SGX ||
                 (q->tee_type == DSTACK_QUOTE_TEE_TDX && q->version != 3);
    if (q->version != 5 && !known) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT,
                         "quote: TEE type 0x%08x does not go with version %u", q->tee_type,
                         q->version);
    }
    return 0;
}

static int parse_body(cursor *c, dstack_quote *q, dcap_compat *compat, dstack_error *err) {
    uint16_t type =
        q->tee_type == DSTACK_QUOTE_TEE_SGX ? DSTACK_QUOTE_BODY_SGX : DSTACK_QUOTE_BODY_TD10;
    if (q->version == 5) {
        type = cursor_u16le(c);
        uint32_t stated = cursor_u32le(c);
        if (!cursor_ok(c)) {
            return bad(err, "ends within its body descriptor");
        }
        bool fits = stated == body_size(type) || dcap_waive(compat, DSTACK_COMPAT_QUOTE_SLACK);
        if (body_size(type) == 0 || !fits) {
            return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT,
                             "quote: body type %u of %u bytes is none that is known", type, stated);
        }
    }
    q->body_type = type;
    q->body = cursor_take(c, body_size(type));
    if (!cursor_ok(c)) {
        return bad(err, "ends within its body");
    }
    cursor body = cursor_init(q->body);
    if (type == DSTACK_QUOTE_BODY_SGX) {
        q->enclave = VIEW(&body, dstack_enclave_report);
    } else {
        q->td = VIEW(&body, dstack_td_report);
        q->td15 = type == DSTACK_QUOTE_BODY_TD15 ? VIEW(&body, dstack_td_report_15) : NULL;
    }
    return 0;
}

/* A field with a length before it. Its bounds are tested before anything else happens with it. */
static int take_sized(cursor *c, uint32_t size, const char *what, dstack_bytes *out,
                      dstack_error *err) {
    if (!cursor_ok(c) || size > cursor_left(c) || size > DSTACK_QUOTE_MAX_FIELD) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT,
                         "quote: %s of %u bytes where %zu are left (limit %u)", what, size,
                         cursor_left(c), DSTACK_QUOTE_MAX_FIELD);
    }
    *out = cursor_take(c, size);
    return 0;
}

/* QE report, its signature, authentication data, certification data. */
static int parse_qe(cursor *c, dstack_quote *q, dstack_error *err) {
    q->qe_report = VIEW(c, dstack_enclave_report);
    q->qe_report_signature = cursor_take(c, 64);
    int rc = take_sized(c, cursor_u16le(c), "QE authentication data", &q->qe_auth_data, err);
    if (rc != 0) {
        return rc;
    }
    q->cert_type = cursor_u16le(c);
    return take_sized(c, cursor_u32le(c), "certification data", &q->cert_data, err);
}

static int need_zero(dstack_bytes slack, const char *where, dcap_compat *compat,
                     dstack_error *err) {
    if (!bytes_are_zero(slack) && !dcap_waive(compat, DSTACK_COMPAT_QUOTE_SLACK)) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT, "quote: %zu bytes %s are not all zero",
                         slack.len, where);
    }
    return 0;
}

static int parse_wrapped_qe(cursor *c, dstack_quote *q, dcap_compat *compat, dstack_error *err) {
    q->outer_type = cursor_u16le(c);
    int rc = take_sized(c, cursor_u32le(c), "QE report certification data", &q->outer_data, err);
    if (rc != 0) {
        return rc;
    }
    /* Published conformance samples carry type 5 here with the content of type 6. */
    if (q->outer_type != DSTACK_QUOTE_CERT_QE_REPORT &&
        q->outer_type != DSTACK_QUOTE_CERT_PCK_CHAIN &&
        !dcap_waive(compat, DSTACK_COMPAT_QUOTE_SLACK)) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT,
                         "quote: outer certification data type is %u, not 6", q->outer_type);
    }
    cursor outer = cursor_init(q->outer_data);
    rc = parse_qe(&outer, q, err);
    return rc != 0 ? rc
                   : need_zero(cursor_rest(&outer), "after the certification data", compat, err);
}

static int parse_signature_data(dstack_quote *q, dcap_compat *compat, dstack_error *err) {
    cursor c = cursor_init(q->signature_data);
    q->signature = cursor_take(&c, 64);
    q->attestation_key = cursor_take(&c, 64);
    int rc = q->version == 3 ? parse_qe(&c, q, err) : parse_wrapped_qe(&c, q, compat, err);
    return rc != 0 ? rc
                   : need_zero(cursor_rest(&c), "at the end of the signature data", compat, err);
}

int dstack_quote_parse(dstack_quote *out, dstack_bytes raw, dstack_error *err) {
    return dcap_quote_parse(out, raw, NULL, err);
}

int dcap_quote_parse(dstack_quote *out, dstack_bytes raw, dcap_compat *compat, dstack_error *err) {
    if (raw.len > DSTACK_QUOTE_MAX_SIZE) {
        return error_set(err, DSTACK_E_DCAP_QUOTE_FORMAT, "quote: %zu bytes are more than %u",
                         raw.len, DSTACK_QUOTE_MAX_SIZE);
    }
    dstack_quote q = {.raw = raw};
    cursor c = cursor_init(raw);
    int rc = parse_header(&c, &q, err);
    if (rc == 0) {
        rc = parse_body(&c, &q, compat, err);
    }
    if (rc != 0) {
        return rc;
    }
    q.signed_bytes = (dstack_bytes){raw.data, c.pos};
    rc = take_sized(&c, cursor_u32le(&c), "signature data", &q.signature_data, err);
    if (rc == 0) {
        rc = parse_signature_data(&q, compat, err);
    }
    if (rc == 0) {
        q.padding = cursor_rest(&c);
        rc = need_zero(q.padding, "after the signature data", compat, err);
    }
    if (rc == 0) {
        *out = q;
    }
    return rc;
}

bool dstack_quote_looks_binary(dstack_bytes content) {
    /* the reserved bytes of every header are ones that no text has */
    size_t len =
        content.len < sizeof(dstack_quote_header) ? content.len : sizeof(dstack_quote_header);
    for (size_t i = 0; i < len; i++) {
        uint8_t c = content.data[i];
        if (c >= 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) {
            return true;
        }
    }
    return false;
}

/* Field names of a body, in their order; the JSON form and look-ups by name share them. */
#define TD(name, member)                                                                           \
    { name, offsetof(dstack_td_report, member), sizeof(((dstack_td_report *)0)->member), false }
#define TD15(name, member)                                                                         \
    {                                                                                              \
        name, sizeof(dstack_td_report) + offsetof(dstack_td_report_15, member),                    \
            sizeof(((dstack_td_report_15 *)0)->member), false                                      \
    }
#define SGX(name, member)                                                                          \
    {                                                                                              \
        name, offsetof(dstack_enclave_report, member),                                             \
            sizeof(((dstack_enclave_report *)0)->member), false                                    \
    }
#define SGX_NUMBER(name, member)                                                                   \
    {                                                                                              \
        name, offsetof(dstack_enclave_report, member),                                             \
            sizeof(((dstack_enclave_report *)0)->member), true                                     \
    }

const quote_field quote_td_fields[] = {
    TD("tee_tcb_svn", tee_tcb_svn),
    TD("mr_seam", mr_seam),
    TD("mr_signer_seam", mr_signer_seam),
    TD("seam_attributes", seam_attributes),
    TD("td_attributes", td_attributes),
    TD("xfam", xfam),
    TD("mr_td", mr_td),
    TD("mr_config_id", mr_config_id),
    TD("mr_owner", mr_owner),
    TD("mr_owner_config", mr_owner_config),
    TD("rt_mr0", rt_mr[0]),
    TD("rt_mr1", rt_mr[1]),
    TD("rt_mr2", rt_mr[2]),
    TD("rt_mr3", rt_mr[3]),
    TD("report_data", report_data),
    {NULL, 0, 0, false},
};

const quote_field quote_td15_fields[] = {
    TD15("tee_tcb_svn2", tee_tcb_svn2),
    TD15("mr_service_td", mr_service_td),
    {NULL, 0, 0, false},
};

const quote_field quote_enclave_fields[] = {
    SGX("cpu_svn", cpu_svn),
    SGX_NUMBER("misc_select", misc_select),
    SGX("reserved1", reserved1),
    SGX("attributes", attributes),
    SGX("mr_enclave", mr_enclave),
    SGX("reserved2", reserved2),
    SGX("mr_signer", mr_signer),
    SGX("reserved3", reserved3),
    SGX_NUMBER("isv_prod_id", isv_prod_id),
    SGX_NUMBER("isv_svn", isv_svn),
    SGX("reserved4", reserved4),
    SGX("report_data", report_data),
    {NULL, 0, 0, false},
};

static dstack_bytes field_in(dstack_bytes body, const quote_field *fields, const char *name) {
    for (const quote_field *f = fields; f->name != NULL; f++) {
        if (strcmp(f->name, name) == 0) {
            return (dstack_bytes){body.data + f->offset, f->size};
        }
    }
    return (dstack_bytes){NULL, 0};
}

dstack_bytes dstack_quote_field(const dstack_quote *quote, const char *name) {
    if (quote->enclave != NULL) {
        return field_in(quote->body, quote_enclave_fields, name);
    }
    dstack_bytes found = field_in(quote->body, quote_td_fields, name);
    if (found.data == NULL && quote->td15 != NULL) {
        found = field_in(quote->body, quote_td15_fields, name);
    }
    return found;
}

dstack_bytes dstack_quote_report_data(const dstack_quote *quote) {
    return bytes_of(quote->td != NULL ? quote->td->report_data : quote->enclave->report_data, 64);
}

dstack_bytes dstack_quote_qe_id(const dstack_quote *quote) {
    return bytes_of(quote->header->user_data, 16);
}

uint64_t dstack_quote_td_attributes(const dstack_quote *quote) {
    if (quote->td == NULL) {
        return 0;
    }
    cursor c = cursor_init(bytes_of(quote->td->td_attributes, 8));
    return cursor_u64le(&c);
}

bool dstack_quote_is_debug(const dstack_quote *quote) {
    /* SGX: bit 1 of the attribute flags */
    return quote->td != NULL ? (quote->td->td_attributes[0] & 1) != 0
                             : (quote->enclave->attributes[0] & 2) != 0;
}

const char *dstack_quote_tee_name(const dstack_quote *quote) {
    return quote->tee_type == DSTACK_QUOTE_TEE_SGX   ? "SGX"
           : quote->tee_type == DSTACK_QUOTE_TEE_TDX ? "TDX"
                                                     : "unknown";
}
