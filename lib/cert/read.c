/* Reading certificates and their RA-TLS extensions. */
#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#include "attest/attest.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "cert/cert.h"
#include "x509/build.h"

/* The value of an extension, or empty where there is none; a repeated one is refused, since readers
 * could disagree about which counts. */
static int extension(const x509_cert *x509, cert_ext ext, dstack_bytes *value, dstack_error *err) {
    uint8_t raw[CERT_OID_SIZE];
    cert_ext_oid(ext, raw);
    dstack_bytes oid = bytes_of(raw, sizeof raw);
    *value = (dstack_bytes){0};
    if (x509_cert_extension_count(x509, oid) > 1) {
        return error_set(err, DSTACK_E_FORMAT, "certificate has extension %d twice", (int)ext);
    }
    const x509_extension *found = x509_cert_extension(x509, oid);
    int rc = found == NULL ? 0 : x509_octet_string_open(found->value, value, err);
    return error_prefix(err, rc, "certificate extension %d", (int)ext);
}

static int read_older_evidence(dstack_cert *cert, dstack_bytes quote, dstack_error *err) {
    dstack_bytes log = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = extension(&cert->x509, CERT_EXT_EVENT_LOG, &log, err);
    if (rc == 0 && log.len == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "certificate has a quote but no event log");
    }
    if (rc == 0) {
        rc = cert_event_log_text(log, &text, err);
    }
    return rc == 0
               ? dstack_attestation_from_quote(quote, bytes_of_buf(&text), &cert->attestation, err)
               : rc;
}

static int read_evidence(dstack_cert *cert, dstack_error *err) {
    dstack_bytes value = {0}, quote = {0};
    int rc = extension(&cert->x509, CERT_EXT_ATTESTATION, &value, err);
    if (rc == 0) {
        rc = extension(&cert->x509, CERT_EXT_QUOTE, &quote, err);
    }
    if (rc != 0 || (value.data == NULL && quote.data == NULL)) {
        return rc;
    }
    if (value.data != NULL) {
        rc = dstack_attestation_decode(value, &cert->attestation, err);
    } else {
        rc = read_older_evidence(cert, quote, err);
    }
    return error_prefix(err, rc, "attestation in the certificate");
}

static int read_claims(dstack_cert *cert, dstack_error *err) {
    dstack_bytes usage = {0}, info = {0};
    int rc = extension(&cert->x509, CERT_EXT_APP_ID, &cert->app_id, err);
    if (rc == 0 && cert->app_id.data != NULL && cert->app_id.len != 20) {
        rc = error_set(err, DSTACK_E_FORMAT, "app id in the certificate must be 20 bytes");
    }
    if (rc == 0) {
        rc = extension(&cert->x509, CERT_EXT_USAGE, &usage, err);
    }
    if (rc == 0 && usage.data != NULL) {
        rc = attest_text(usage, "usage in the certificate", &cert->usage, err);
    }
    if (rc == 0) {
        rc = extension(&cert->x509, CERT_EXT_APP_INFO, &info, err);
    }
    if (rc == 0 && info.data != NULL) {
        rc = dstack_identity_decode(info, &cert->app_info, &cert->has_app_info, err);
    }
    return rc;
}

int dstack_cert_parse(dstack_bytes encoded, dstack_cert **out, dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(cert_list) cert_list list = {0};
    DSTACK_AUTO(cert) dstack_cert *cert = calloc(1, sizeof *cert);
    if (cert == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a certificate");
    }
    int rc = cert_list_parse(encoded, &list, err);
    if (rc == 0) {
        buf_put_bytes(&cert->der, bytes_of_buf(&list.der[0]));
        rc = buf_check(&cert->der, err);
    }
    if (rc == 0) {
        rc = x509_cert_parse(&cert->x509, bytes_of_buf(&cert->der), err);
    }
    if (rc == 0) {
        rc = read_claims(cert, err);
    }
    if (rc == 0) {
        rc = read_evidence(cert, err);
    }
    if (rc == 0) {
        *out = cert;
        cert = NULL;
    }
    return rc;
}

void dstack_cert_free(dstack_cert *cert) {
    if (cert != NULL) {
        dstack_buf_clear(&cert->der);
        free(cert->usage);
        dstack_attestation_free(cert->attestation);
        free(cert);
    }
}

dstack_bytes dstack_cert_der(const dstack_cert *cert) {
    return bytes_of_buf(&cert->der);
}

dstack_bytes dstack_cert_spki(const dstack_cert *cert) {
    return cert->x509.spki;
}

int64_t dstack_cert_not_before(const dstack_cert *cert) {
    return cert->x509.not_before;
}

int64_t dstack_cert_not_after(const dstack_cert *cert) {
    return cert->x509.not_after;
}

const char *dstack_cert_usage(const dstack_cert *cert) {
    return cert->usage;
}

dstack_bytes dstack_cert_app_id(const dstack_cert *cert) {
    return cert->app_id;
}

const dstack_identity *dstack_cert_app_info(const dstack_cert *cert) {
    return cert->has_app_info ? &cert->app_info : NULL;
}

const dstack_attestation *dstack_cert_attestation(const dstack_cert *cert) {
    return cert->attestation;
}

bool cert_name_is_host(const char *name) {
    size_t len = strlen(name), label = 0;
    if (len == 0 || len > 253) {
        return false;
    }
    size_t start = strncmp(name, "*.", 2) == 0 ? 2 : 0;
    for (size_t i = start; i < len; i++) {
        char c = name[i];
        bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
        if (c == '.' ? label == 0 || name[i - 1] == '-' : !alnum && (c != '-' || label == 0)) {
            return false;
        }
        label = c == '.' ? 0 : label + 1;
        if (label > 63) {
            return false;
        }
    }
    return label > 0 && name[len - 1] != '-';
}

static bool equal_names(dstack_bytes a, dstack_bytes b) {
    return a.len == b.len &&
           (a.len == 0 || strncasecmp((const char *)a.data, (const char *)b.data, a.len) == 0);
}

bool cert_name_covers(dstack_bytes pattern, dstack_bytes host) {
    if (pattern.len > 2 && memcmp(pattern.data, "*.", 2) == 0) {
        const uint8_t *dot = host.len == 0 ? NULL : memchr(host.data, '.', host.len);
        size_t first = dot == NULL ? 0 : (size_t)(dot - host.data);
        return first > 0 && equal_names(bytes_of(pattern.data + 1, pattern.len - 1),
                                        bytes_of(dot, host.len - first));
    }
    return equal_names(pattern, host);
}

bool dstack_cert_matches_host(const dstack_cert *cert, const char *host) {
    uint8_t address[16];
    size_t address_len = inet_pton(AF_INET, host, address) == 1    ? 4
                         : inet_pton(AF_INET6, host, address) == 1 ? 16
                                                                   : 0;
    size_t position = 0;
    x509_san name;
    bool found = false;
    while (!found && x509_cert_san_next(&cert->x509, &position, &name)) {
        if (address_len > 0) {
            found =
                name.kind == X509_SAN_IP && bytes_equal(name.value, bytes_of(address, address_len));
        } else {
            found = name.kind == X509_SAN_DNS && cert_name_covers(name.value, bytes_of_str(host));
        }
    }
    return found;
}

static json_t *names_json(const x509_cert *x509) {
    json_t *names = json_array();
    size_t position = 0;
    x509_san name;
    while (x509_cert_san_next(x509, &position, &name)) {
        char text[INET6_ADDRSTRLEN];
        if (name.kind == X509_SAN_IP) {
            int family = name.value.len == 4 ? AF_INET : AF_INET6;
            if ((name.value.len == 4 || name.value.len == 16) &&
                inet_ntop(family, name.value.data, text, sizeof text) != NULL) {
                json_array_append_new(names, json_string(text));
            }
        } else if (name.kind == X509_SAN_DNS) {
            json_array_append_new(names,
                                  json_stringn((const char *)name.value.data, name.value.len));
        }
    }
    return names;
}

static json_t *attestation_json(const dstack_attestation *a) {
    if (a == NULL) {
        return json_null();
    }
    return json_pack("{s:s, s:o}", "tee_variant", dstack_tee_variant_name(a->variant),
                     "report_data", json_hex(dstack_attestation_report_data(a)));
}

int dstack_cert_to_json(const dstack_cert *cert, dstack_buf *out, dstack_error *err) {
    char subject[256], issuer[256];
    const x509_cert *x = &cert->x509;
    DSTACK_AUTO(json)
    json_t *object = json_pack(
        "{s:s, s:s, s:o, s:I, s:I, s:b, s:o, s:o, s:s?, s:o, s:o, s:o}", "subject",
        x509_name_text(x->subject, subject, sizeof subject), "issuer",
        x509_name_text(x->issuer, issuer, sizeof issuer), "serial", json_hex(x->serial),
        "not_before", (json_int_t)x->not_before, "not_after", (json_int_t)x->not_after, "is_ca",
        x->is_ca, "names", names_json(x), "public_key", json_hex(x->spki), "usage", cert->usage,
        "app_id", cert->app_id.len == 0 ? json_null() : json_hex(cert->app_id), "app_info",
        cert->has_app_info ? attest_identity_json(&cert->app_info) : json_null(), "attestation",
        attestation_json(cert->attestation));
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the certificate's JSON");
    }
    return json_write(object, true, out, err);
}
