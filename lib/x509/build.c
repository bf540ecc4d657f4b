#include "x509/build.h"

#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "x509/common.h"
#include "x509/der.h"
#include "x509/oids.h"

int x509_default_serial(dstack_bytes spki, uint8_t serial[20], dstack_error *err) {
    uint8_t digest[HASH_SHA256_SIZE];
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    int rc = ecdsa_key_from_spki(&key, spki, err);
    if (rc == 0) {
        hash_sha256(ecdsa_key_point(key), digest);
        memcpy(serial, digest, 20);
        serial[0] &= 0x7f; /* the INTEGER stays positive and within 20 octets */
    }
    return rc;
}

/* ---- extensions ----------------------------------------------------------------------------- */

static int put_alt_names(dstack_buf *out, const x509_build *build, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (build->alt_name_count == 0) {
        return 0;
    }
    int rc = x509_put_general_names(&value, build->alt_names, build->alt_name_count, err);
    if (rc == 0) {
        x509_put_extension(out, OID_SUBJECT_ALT_NAME, false, bytes_of_buf(&value));
    }
    return rc;
}

static void put_key_usage(dstack_buf *out, const x509_build *build) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (build->key_usage != 0) {
        /* The ninth bit fixes the width; its value is then taken back. */
        const uint16_t ninth = build->nine_bit_key_usage ? 1 << 8 : 0;
        der_put_named_bits(&value, build->key_usage | ninth);
        if (ninth != 0 && !value.failed) {
            value.data[value.len - 1] = 0;
        }
        x509_put_extension(out, OID_KEY_USAGE, true, bytes_of_buf(&value));
    }
}

static void put_ext_key_usage(dstack_buf *out, const x509_build *build) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (build->eku != 0) {
        size_t mark = der_begin(&value, DER_SEQUENCE);
        if ((build->eku & X509_EKU_SERVER_AUTH) != 0) {
            der_put_oid(&value, OID_SERVER_AUTH);
        }
        if ((build->eku & X509_EKU_CLIENT_AUTH) != 0) {
            der_put_oid(&value, OID_CLIENT_AUTH);
        }
        der_end(&value, mark);
        x509_put_extension(out, OID_EXT_KEY_USAGE, false, bytes_of_buf(&value));
    }
}

static void put_subject_key_id(dstack_buf *out, const x509_build *build) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (build->with_ski) {
        uint8_t digest[HASH_SHA256_SIZE];
        hash_sha256(build->spki, digest);
        der_put(&value, DER_OCTET_STRING, bytes_of(digest, 20));
        x509_put_extension(out, OID_SUBJECT_KEY_ID, false, bytes_of_buf(&value));
    }
}

static void put_basic_constraints(dstack_buf *out, const x509_build *build) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (build->with_basic_constraints) {
        size_t mark = der_begin(&value, DER_SEQUENCE);
        if (build->is_ca) {
            der_put_boolean(&value, true);
            if (build->path_len >= 0) {
                der_put_uint(&value, (uint64_t)build->path_len);
            }
        }
        der_end(&value, mark);
        x509_put_extension(out, OID_BASIC_CONSTRAINTS, true, bytes_of_buf(&value));
    }
}

static int put_extensions(dstack_buf *out, const x509_build *build, dstack_error *err) {
    size_t start = out->len;
    size_t wrapper = der_begin(out, DER_CONTEXT_CONSTRUCTED(3));
    size_t list = der_begin(out, DER_SEQUENCE);
    size_t content = out->len;
    int rc = put_alt_names(out, build, err);
    put_key_usage(out, build);
    put_ext_key_usage(out, build);
    put_subject_key_id(out, build);
    put_basic_constraints(out, build);
    for (size_t i = 0; i < build->custom_count; i++) {
        x509_put_extension(out, build->custom[i].oid, build->custom[i].critical,
                           build->custom[i].value);
    }
    if (out->len == content) { /* RFC 5280, 4.1: an empty list is not written */
        out->len = start;
        return rc;
    }
    der_end(out, list);
    der_end(out, wrapper);
    return rc;
}

/* ---- certificates --------------------------------------------------------------------------- */

static int put_names_and_dates(dstack_buf *out, const x509_build *build, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf subject = {0};
    int rc = 0;
    if (build->subject_der.len > 0) {
        buf_put_bytes(&subject, build->subject_der);
    } else {
        rc = x509_name_build(&build->subject, &subject, err);
    }
    buf_put_bytes(out, build->issuer_der.len > 0 ? build->issuer_der : bytes_of_buf(&subject));
    size_t validity = der_begin(out, DER_SEQUENCE);
    der_put_time(out, build->not_before);
    der_put_time(out, build->not_after);
    der_end(out, validity);
    buf_put_bytes(out, bytes_of_buf(&subject));
    return rc;
}

static int tbs_build(const x509_build *build, dstack_bytes serial, ecdsa_curve curve,
                     dstack_buf *out, dstack_error *err) {
    size_t tbs = der_begin(out, DER_SEQUENCE);
    size_t version = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
    der_put_uint(out, 2);
    der_end(out, version);
    der_put_unsigned(out, serial);
    x509_put_algorithm(out, curve);
    int rc = put_names_and_dates(out, build, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_bytes(out, build->spki);
    rc = put_extensions(out, build, err);
    der_end(out, tbs);
    return rc != 0 ? rc : buf_check(out, err);
}

static int validity_check(const x509_build *build, dstack_error *err) {
    const int64_t year_1950 = -631152000, year_10000 = 253402300800;
    if (build->not_before > build->not_after || build->not_before < year_1950 ||
        build->not_after >= year_10000) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "certificate validity %lld to %lld is empty or outside the years 1950 to "
                         "9999",
                         (long long)build->not_before, (long long)build->not_after);
    }
    return 0;
}

int x509_cert_build(const x509_build *build, const ecdsa_private *signer, bool deterministic,
                    dstack_buf *out, dstack_error *err) {
    uint8_t default_serial[20];
    DSTACK_AUTO(buf) dstack_buf tbs = {0};
    dstack_bytes serial = build->serial;
    int rc = validity_check(build, err);
    if (rc == 0 && serial.len == 0) {
        rc = x509_default_serial(build->spki, default_serial, err);
        serial = bytes_of(default_serial, sizeof default_serial);
    }
    if (rc == 0) {
        rc = tbs_build(build, serial, ecdsa_key_curve(ecdsa_private_public(signer)), &tbs, err);
    }
    return rc != 0 ? rc : x509_put_signed(out, bytes_of_buf(&tbs), signer, deterministic, err);
}

/* ---- lists ---------------------------------------------------------------------------------- */

static void put_revoked(dstack_buf *out, const x509_crl_build_spec *build) {
    if (build->entry_count == 0) {
        return;
    }
    size_t list = der_begin(out, DER_SEQUENCE);
    for (size_t i = 0; i < build->entry_count; i++) {
        size_t entry = der_begin(out, DER_SEQUENCE);
        der_put(out, DER_INTEGER, build->entries[i].serial);
        der_put_time(out, build->entries[i].revoked_at);
        der_end(out, entry);
    }
    der_end(out, list);
}

static void put_crl_extensions(dstack_buf *out, const x509_crl_build_spec *build) {
    DSTACK_AUTO(buf) dstack_buf number = {0};
    DSTACK_AUTO(buf) dstack_buf key_id = {0};
    size_t wrapper = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
    size_t list = der_begin(out, DER_SEQUENCE);
    if (build->aki.len > 0) {
        size_t mark = der_begin(&key_id, DER_SEQUENCE);
        der_put(&key_id, DER_CONTEXT(0), build->aki);
        der_end(&key_id, mark);
        x509_put_extension(out, OID_AUTHORITY_KEY_ID, false, bytes_of_buf(&key_id));
    }
    der_put_uint(&number, build->number);
    x509_put_extension(out, OID_CRL_NUMBER, false, bytes_of_buf(&number));
    der_end(out, list);
    der_end(out, wrapper);
}

int x509_crl_build(const x509_crl_build_spec *build, const ecdsa_private *signer,
                   bool deterministic, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf tbs = {0};
    size_t mark = der_begin(&tbs, DER_SEQUENCE);
    der_put_uint(&tbs, 1); /* v2 */
    x509_put_algorithm(&tbs, ecdsa_key_curve(ecdsa_private_public(signer)));
    buf_put_bytes(&tbs, build->issuer_der);
    der_put_time(&tbs, build->this_update);
    der_put_time(&tbs, build->next_update);
    put_revoked(&tbs, build);
    put_crl_extensions(&tbs, build);
    der_end(&tbs, mark);
    int rc = buf_check(&tbs, err);
    return rc != 0 ? rc : x509_put_signed(out, bytes_of_buf(&tbs), signer, deterministic, err);
}

int x509_octet_string(dstack_bytes value, dstack_buf *out, dstack_error *err) {
    der_put(out, DER_OCTET_STRING, value);
    return buf_check(out, err);
}

int x509_octet_string_open(dstack_bytes der, dstack_bytes *value, dstack_error *err) {
    cursor c = cursor_init(der);
    *value = der_take(&c, DER_OCTET_STRING);
    return der_finish(&c, "OCTET STRING", err);
}
