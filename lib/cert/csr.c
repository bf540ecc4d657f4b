/* Requests for certificates: a SCALE structure signed by the key that it asks about. */
#include <arpa/inet.h>
#include <string.h>

#include "attest/scale.h"
#include "base/error.h"
#include "cert/cert.h"
#include "crypto/hash.h"

#define CONFIRM "please sign cert:"
#define CSR_MAX_SIZE (DSTACK_ATTESTATION_MAX_SIZE + 65536)
#define CSR_NAMES_MAX 64

struct dstack_csr {
    char *org;
    char *subject;
    char *alt_names[CSR_NAMES_MAX];
    dstack_csr_spec spec; /* borrows the texts above */
    dstack_buf spki;
    dstack_attestation *attestation;
};

/* ---- writing ----------------------------------------------------------------------------------
 */

static void put_optional_u64(dstack_buf *out, bool given, uint64_t value) {
    buf_put_u8(out, given);
    if (given) {
        buf_put_u64le(out, value);
    }
}

static void put_spec(dstack_buf *out, const dstack_csr_spec *spec) {
    buf_put_u8(out, spec->org != NULL);
    if (spec->org != NULL) {
        scale_put_str(out, spec->org);
    }
    scale_put_str(out, spec->subject);
    scale_put_compact(out, spec->alt_name_count);
    for (size_t i = 0; i < spec->alt_name_count; i++) {
        scale_put_str(out, spec->alt_names[i]);
    }
    buf_put_u8(out, spec->server_auth);
    buf_put_u8(out, spec->client_auth);
    buf_put_u8(out, spec->with_quote);
    buf_put_u8(out, spec->with_app_info);
    put_optional_u64(out, spec->has_not_before, spec->not_before);
    put_optional_u64(out, spec->has_not_after, spec->not_after);
}

int dstack_csr_build(const dstack_csr_spec *spec, const dstack_secret *key,
                     const dstack_attestation *attestation, dstack_attestation_form form,
                     dstack_buf *csr, dstack_buf *signature, dstack_error *err) {
    if (spec->subject == NULL || spec->alt_name_count > CSR_NAMES_MAX) {
        return error_set(err, DSTACK_E_ARGUMENT, "a request needs a subject and at most %d names",
                         CSR_NAMES_MAX);
    }
    DSTACK_AUTO(ecdsa_private) ecdsa_private *signer = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    uint8_t bound[DSTACK_REPORT_DATA_SIZE];
    int rc = cert_key_load(key, &signer, err);
    if (rc == 0) {
        rc = ecdsa_key_spki(ecdsa_private_public(signer), &spki, err);
    }
    if (rc == 0) {
        rc = dstack_cert_report_data(bytes_of_buf(&spki), bound, err);
    }
    if (rc == 0 &&
        memcmp(bound, dstack_attestation_report_data(attestation).data, sizeof bound) != 0) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "the attestation is not bound to the key");
    }
    if (rc == 0) {
        scale_put_str(&out, CONFIRM);
        scale_put_bytes(&out, bytes_of_buf(&spki));
        put_spec(&out, spec);
        rc = dstack_attestation_encode(attestation, form, &out, err);
    }
    uint8_t digest[HASH_SHA256_SIZE];
    if (rc == 0) {
        hash_sha256(bytes_of_buf(&out), digest);
        rc = ecdsa_sign_der(signer, bytes_of(digest, sizeof digest), signature, err);
    }
    if (rc == 0) {
        buf_put_bytes(csr, bytes_of_buf(&out));
        rc = buf_check(csr, err);
    }
    return rc;
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static int malformed(const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "certificate request: %s is malformed or cut short",
                     what);
}

static int read_text(cursor *c, const char *what, char **out, dstack_error *err) {
    dstack_bytes text = scale_bytes(c);
    return cursor_ok(c) ? attest_text(text, what, out, err) : malformed(what, err);
}

static bool read_optional_u64(cursor *c, uint64_t *value) {
    bool given = scale_bool(c);
    *value = given ? cursor_u64le(c) : 0;
    return given;
}

static int read_names(cursor *c, dstack_csr *csr, dstack_error *err) {
    size_t count = scale_compact(c);
    if (count > CSR_NAMES_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "certificate request: more than %d names",
                         CSR_NAMES_MAX);
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        rc = read_text(c, "name", &csr->alt_names[i], err);
    }
    csr->spec.alt_names = (const char *const *)csr->alt_names;
    csr->spec.alt_name_count = count;
    return rc;
}

static int read_spec(cursor *c, unsigned version, dstack_csr *csr, dstack_error *err) {
    dstack_csr_spec *spec = &csr->spec;
    int rc = 0;
    if (scale_bool(c)) {
        rc = read_text(c, "organisation", &csr->org, err);
    }
    if (rc == 0) {
        rc = read_text(c, "subject", &csr->subject, err);
    }
    if (rc == 0) {
        rc = read_names(c, csr, err);
    }
    if (rc != 0) {
        return rc;
    }
    spec->org = csr->org;
    spec->subject = csr->subject;
    spec->server_auth = scale_bool(c);
    spec->client_auth = scale_bool(c);
    spec->with_quote = scale_bool(c);
    if (version == 2) {
        spec->with_app_info = scale_bool(c);
        spec->has_not_before = read_optional_u64(c, &spec->not_before);
        spec->has_not_after = read_optional_u64(c, &spec->not_after);
    }
    return cursor_ok(c) ? 0 : malformed("configuration", err);
}

static int read_evidence(cursor *c, unsigned version, dstack_csr *csr, dstack_error *err) {
    if (version == 2) {
        return dstack_attestation_decode(cursor_rest(c), &csr->attestation, err);
    }
    dstack_bytes quote = scale_bytes(c), log = scale_bytes(c);
    return cursor_done(c) ? dstack_attestation_from_quote(quote, log, &csr->attestation, err)
                          : malformed("evidence", err);
}

/* Over the received bytes: an encoding that another writer chose stays acceptable. */
static int verify_signature(const dstack_csr *csr, dstack_bytes raw, dstack_bytes signature,
                            dstack_error *err) {
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    int rc = ecdsa_key_from_spki(&key, bytes_of_buf(&csr->spki), err);
    if (rc == 0 && ecdsa_key_curve(key) != ECDSA_P256) {
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "the key must be of curve P-256");
    }
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(raw, digest);
    if (rc == 0) {
        rc = ecdsa_verify_der(key, bytes_of(digest, sizeof digest), signature, err);
    }
    return error_prefix(err, rc, "certificate request");
}

int dstack_csr_parse(unsigned version, dstack_bytes raw, dstack_bytes signature, dstack_csr **out,
                     dstack_error *err) {
    *out = NULL;
    if (version != 1 && version != 2) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "Unsupported API version: %u", version);
    }
    if (raw.len > CSR_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "certificate request of %zu bytes", raw.len);
    }
    DSTACK_AUTO(csr) dstack_csr *csr = calloc(1, sizeof *csr);
    if (csr == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a certificate request");
    }
    cursor c = cursor_init(raw);
    dstack_bytes confirm = scale_bytes(&c), spki = scale_bytes(&c);
    int rc = cursor_ok(&c) ? attest_copy(spki, &csr->spki, err) : malformed("key", err);
    if (rc == 0) {
        rc = read_spec(&c, version, csr, err);
    }
    if (rc == 0) {
        rc = verify_signature(csr, raw, signature, err);
    }
    if (rc == 0 && !bytes_equal_str(confirm, CONFIRM)) {
        rc = error_set(err, DSTACK_E_FORMAT, "certificate request: Invalid confirm word");
    }
    if (rc == 0) {
        rc = read_evidence(&c, version, csr, err);
    }
    if (rc == 0) {
        *out = csr;
        csr = NULL;
    }
    return rc;
}

void dstack_csr_free(dstack_csr *csr) {
    if (csr == NULL) {
        return;
    }
    free(csr->org);
    free(csr->subject);
    for (size_t i = 0; i < CSR_NAMES_MAX; i++) {
        free(csr->alt_names[i]);
    }
    dstack_buf_clear(&csr->spki);
    dstack_attestation_free(csr->attestation);
    free(csr);
}

const dstack_csr_spec *dstack_csr_get(const dstack_csr *csr) {
    return &csr->spec;
}

dstack_bytes dstack_csr_spki(const dstack_csr *csr) {
    return bytes_of_buf(&csr->spki);
}

const dstack_attestation *dstack_csr_attestation(const dstack_csr *csr) {
    return csr->attestation;
}

static bool is_address(const char *name) {
    uint8_t address[16];
    return inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
}

static int check_name(const char *name, const char *const *reserved, size_t reserved_count,
                      dstack_error *err) {
    if (!is_address(name) && !cert_name_is_host(name)) {
        return error_set(err, DSTACK_E_REFUSED, "a requested name is no host name or address");
    }
    for (size_t i = 0; i < reserved_count; i++) {
        if (cert_name_covers(bytes_of_str(name), bytes_of_str(reserved[i]))) {
            return error_set(err, DSTACK_E_REFUSED, "the name %s is reserved", reserved[i]);
        }
    }
    return 0;
}

int dstack_csr_check_names(const dstack_csr *csr, const char *const *reserved,
                           size_t reserved_count, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < csr->spec.alt_name_count; i++) {
        rc = check_name(csr->spec.alt_names[i], reserved, reserved_count, err);
    }
    /* a subject is free text, but must not stand for a reserved host with readers of old */
    for (size_t i = 0; rc == 0 && i < reserved_count; i++) {
        if (cert_name_covers(bytes_of_str(csr->spec.subject), bytes_of_str(reserved[i]))) {
            rc = error_set(err, DSTACK_E_REFUSED, "the subject %s is reserved", reserved[i]);
        }
    }
    return rc;
}
