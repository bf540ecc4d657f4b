/* A quote as JSON. Member names and order are those of dcap-qvl's serialised quote, so that tools
 * which read one read the other; flat members beside it give every part under a name of its own. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "verify/dcap/chain.h"
#include "verify/dcap/pck.h"
#include "verify/dcap/quote_fields.h"

static json_int_t number_le(const uint8_t *data, size_t size) {
    json_int_t value = 0;
    for (size_t i = size; i > 0; i--) {
        value = value << 8 | data[i - 1];
    }
    return value;
}

json_t *quote_fields_json(const uint8_t *body, const quote_field *fields) {
    json_t *object = json_object();
    for (const quote_field *f = fields; f->name != NULL; f++) {
        const uint8_t *at = body + f->offset;
        json_object_set_new(object, f->name,
                            f->number ? json_integer(number_le(at, f->size))
                                      : json_hex(bytes_of(at, f->size)));
    }
    return object;
}

const char *quote_body_name(dstack_quote_body type) {
    return type == DSTACK_QUOTE_BODY_SGX    ? "SgxEnclave"
           : type == DSTACK_QUOTE_BODY_TD10 ? "TD10"
                                            : "TD15";
}

json_t *quote_report_json(dstack_quote_body type, const uint8_t *body) {
    json_t *fields = NULL;
    switch (type) {
    case DSTACK_QUOTE_BODY_SGX:
        fields = quote_fields_json(body, quote_enclave_fields);
        break;
    case DSTACK_QUOTE_BODY_TD10:
        fields = quote_fields_json(body, quote_td_fields);
        break;
    case DSTACK_QUOTE_BODY_TD15: {
        DSTACK_AUTO(json) json_t *added = quote_fields_json(body, quote_td15_fields);
        fields = json_object();
        json_object_set_new(fields, "base", quote_fields_json(body, quote_td_fields));
        json_object_update(fields, added);
    }
    }
    json_t *report = json_object();
    json_object_set_new(report, quote_body_name(type), fields);
    return report;
}

json_t *quote_header_json(const dstack_quote_header *h) {
    json_t *object = json_object();
#define NUMBER(name)                                                                               \
    json_object_set_new(object, #name, json_integer(number_le(h->name, sizeof h->name)))
#define BYTES(name) json_object_set_new(object, #name, json_hex(bytes_of(h->name, sizeof h->name)))
    NUMBER(version);
    NUMBER(attestation_key_type);
    NUMBER(tee_type);
    NUMBER(qe_svn);
    NUMBER(pce_svn);
    BYTES(qe_vendor_id);
    BYTES(user_data);
#undef NUMBER
#undef BYTES
    return object;
}

static json_t *certification_json(uint16_t type, dstack_bytes body) {
    json_t *object = json_object();
    json_object_set_new(object, "cert_type", json_integer(type));
    json_object_set_new(object, "body", json_hex(body));
    return object;
}

static void set_qe(json_t *object, const dstack_quote *q) {
    json_object_set_new(object, "qe_report", json_hex(bytes_of(q->qe_report, 384)));
    json_object_set_new(object, "qe_report_signature", json_hex(q->qe_report_signature));
    json_object_set_new(object, "qe_auth_data", json_hex(q->qe_auth_data));
    json_object_set_new(object, "certification_data",
                        certification_json(q->cert_type, q->cert_data));
}

static json_t *auth_json(const dstack_quote *q) {
    json_t *data = json_object();
    json_object_set_new(data, "ecdsa_signature", json_hex(q->signature));
    json_object_set_new(data, "ecdsa_attestation_key", json_hex(q->attestation_key));
    if (q->version == 3) {
        set_qe(data, q);
    } else {
        json_object_set_new(data, "certification_data",
                            certification_json(q->outer_type, q->outer_data));
        json_t *qe = json_object();
        set_qe(qe, q);
        json_object_set_new(data, "qe_report_data", qe);
    }
    json_t *auth = json_object();
    json_object_set_new(auth, q->version == 3 ? "V3" : "V4", data);
    return auth;
}

/* [offset, length] in the whole quote. */
static void set_place(json_t *offsets, const dstack_quote *q, const char *name, const void *at,
                      size_t len) {
    json_t *pair = json_array();
    json_array_append_new(pair, json_integer((const uint8_t *)at - q->raw.data));
    json_array_append_new(pair, json_integer((json_int_t)len));
    json_object_set_new(offsets, name, pair);
}

static json_t *offsets_json(const dstack_quote *q) {
    json_t *o = json_object();
    set_place(o, q, "header", q->header, sizeof *q->header);
    set_place(o, q, "body", q->body.data, q->body.len);
    set_place(o, q, "sig_data", q->signature_data.data - 4, 4);
    set_place(o, q, "quote_signature", q->signature.data, q->signature.len);
    set_place(o, q, "attest_key", q->attestation_key.data, q->attestation_key.len);
    if (q->version != 3) {
        set_place(o, q, "outer_cert", q->outer_data.data - 6, 6);
    }
    set_place(o, q, "qe_report", q->qe_report, sizeof *q->qe_report);
    set_place(o, q, "qe_report_sig", q->qe_report_signature.data, q->qe_report_signature.len);
    set_place(o, q, "qe_auth", q->qe_auth_data.data - 2, 2);
    set_place(o, q, "qe_auth_data", q->qe_auth_data.data, q->qe_auth_data.len);
    set_place(o, q, "inner_cert", q->cert_data.data - 6, 6);
    set_place(o, q, "inner_cert_data", q->cert_data.data, q->cert_data.len);
    const uint8_t *inner_end = q->cert_data.data + q->cert_data.len;
    const uint8_t *sig_end = q->signature_data.data + q->signature_data.len;
    if (q->version != 3) {
        const uint8_t *outer_end = q->outer_data.data + q->outer_data.len;
        set_place(o, q, "outer_end", inner_end, (size_t)(outer_end - inner_end));
        inner_end = outer_end;
    }
    set_place(o, q, "sig_data_end", inner_end, (size_t)(sig_end - inner_end));
    set_place(o, q, "trailing", sig_end, q->padding.len);
    return o;
}

static void set_flat(json_t *object, const dstack_quote *q) {
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(q->cert_data, digest);
    json_object_set_new(object, "size", json_integer((json_int_t)q->raw.len));
    json_object_set_new(object, "report_type", json_string(quote_body_name(q->body_type)));
    json_object_set_new(object, "signed_length", json_integer((json_int_t)q->signed_bytes.len));
    json_object_set_new(object, "offsets", offsets_json(q));
    json_object_set_new(object, "ecdsa_signature", json_hex(q->signature));
    json_object_set_new(object, "ecdsa_attestation_key", json_hex(q->attestation_key));
    if (q->version != 3) {
        json_object_set_new(object, "outer_cert_type", json_integer(q->outer_type));
    }
    json_object_set_new(object, "qe_report_signature", json_hex(q->qe_report_signature));
    json_object_set_new(object, "qe_auth_data", json_hex(q->qe_auth_data));
    json_object_set_new(object, "inner_cert_type", json_integer(q->cert_type));
    json_object_set_new(object, "inner_cert_size", json_integer((json_int_t)q->cert_data.len));
    json_object_set_new(object, "inner_cert_sha256", json_hex(bytes_of(digest, sizeof digest)));
}

/* ---- PCK certificate ---- */

static const char *const sgx_type_names[] = {"Standard", "Scalable", "Scalable with integrity"};

static const char *role_name(size_t index, const x509_cert *cert) {
    if (index == 0 && !cert->is_ca) {
        return "Leaf PCK";
    }
    if (!cert->is_ca) {
        return "Unknown";
    }
    return bytes_equal(cert->subject, cert->issuer) ? "Root CA" : "PCK CA";
}

static json_t *chain_json(const dcap_chain *chain) {
    json_t *array = json_array();
    for (size_t i = 0; i < chain->count; i++) {
        const x509_cert *cert = &chain->certs[i].x509;
        char name[256];
        json_t *entry = json_object();
        json_object_set_new(entry, "index", json_integer((json_int_t)i));
        json_object_set_new(entry, "role", json_string(role_name(i, cert)));
        json_object_set_new(entry, "subject",
                            json_string(x509_name_text(cert->subject, name, sizeof name)));
        json_object_set_new(entry, "issuer",
                            json_string(x509_name_text(cert->issuer, name, sizeof name)));
        json_array_append_new(array, entry);
    }
    return array;
}

json_t *quote_pck_json(const dstack_pck_info *pck) {
    json_t *object = json_object();
    json_object_set_new(object, "ppid", json_hex(bytes_of(pck->ppid, sizeof pck->ppid)));
    json_object_set_new(object, "cpu_svn", json_hex(bytes_of(pck->cpu_svn, sizeof pck->cpu_svn)));
    json_object_set_new(object, "pce_svn", json_integer(pck->pce_svn));
    json_object_set_new(object, "pce_id", json_hex(bytes_of(pck->pce_id, sizeof pck->pce_id)));
    json_object_set_new(object, "fmspc", json_hex(bytes_of(pck->fmspc, sizeof pck->fmspc)));
    json_object_set_new(object, "sgx_type", json_integer(pck->sgx_type));
    json_object_set_new(object, "sgx_type_name",
                        json_string(pck->sgx_type < 3 ? sgx_type_names[pck->sgx_type] : "Unknown"));
    json_object_set_new(object, "platform_instance_id",
                        pck->has_platform_instance_id
                            ? json_hex(bytes_of(pck->platform_instance_id, 16))
                            : json_null());
    return object;
}

static json_t *pck_of_quote(const dstack_quote *q) {
    DSTACK_AUTO(dcap_chain) dcap_chain chain = {0};
    dstack_pck_info pck;
    if (q->cert_type != DSTACK_QUOTE_CERT_PCK_CHAIN ||
        dcap_chain_load(&chain, q->cert_data, NULL, DSTACK_E_DCAP_PCK_CHAIN_FORMAT, "PCK chain",
                        NULL) != 0 ||
        dcap_pck_parse(&pck, &chain.certs[0].x509, NULL) != 0) {
        return json_null();
    }
    json_t *object = quote_pck_json(&pck);
    json_object_set_new(object, "ca", json_string(dcap_pck_ca_kind(&chain.certs[0].x509)));
    json_object_set_new(object, "chain_length", json_integer((json_int_t)chain.count));
    json_object_set_new(object, "certificate_chain", chain_json(&chain));
    return object;
}

int dstack_quote_to_json(const dstack_quote *quote, bool pretty, dstack_buf *out,
                         dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = json_object();
    json_object_set_new(object, "header", quote_header_json(quote->header));
    json_object_set_new(object, "report", quote_report_json(quote->body_type, quote->body.data));
    json_object_set_new(object, "auth_data", auth_json(quote));
    json_object_set_new(object, "tee",
                        json_string(quote->tee_type == DSTACK_QUOTE_TEE_SGX   ? "sgx"
                                    : quote->tee_type == DSTACK_QUOTE_TEE_TDX ? "tdx"
                                                                              : "unknown"));
    set_flat(object, quote);
    json_object_set_new(object, "pck", pck_of_quote(quote));
    return json_write(object, pretty, out, err);
}
