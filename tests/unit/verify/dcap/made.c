#include "made.h"

#include "crypto/hash.h"
#include "verify/dcap/date.h"
#include "verify/dcap/quote_build.h"
#include "x509/build.h"
#include "x509/der.h"
#include "x509/pem.h"

#define YEAR ((int64_t)365 * 86400)
#define DAY ((int64_t)86400)

#define SGX_OID 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01

void made_spec_init(made_spec *s) {
    const uint16_t ca_usage = X509_KU_CERT_SIGN | X509_KU_CRL_SIGN;
    const int64_t from = MADE_NOW - YEAR, until = MADE_NOW + 10 * YEAR;
    *s = (made_spec){
        .certs = {{"Made SGX Root CA", from, until, true, ca_usage, 0},
                  {"Made SGX PCK Platform CA", from, until, true, ca_usage, 0},
                  {"Made SGX PCK Certificate", from, until, false, X509_KU_DIGITAL_SIGNATURE, 0},
                  {"Made SGX TCB Signing", from, until, false, X509_KU_DIGITAL_SIGNATURE, 0}},
        .root_crl = {MADE_NOW - 10 * DAY, MADE_NOW + 300 * DAY},
        .pck_crl = {MADE_NOW - 10 * DAY, MADE_NOW + 20 * DAY},
        .texts_from = MADE_NOW - 5 * DAY,
        .texts_until = MADE_NOW + 25 * DAY,
        .components = {3, 3, 2, 2, 4, 1, 0, 5},
        .pce_svn = 11,
        .version = 4,
        .auth_size = QUOTE_QE_AUTH_SIZE,
    };
    memset(&s->td, 0x11, sizeof s->td);
    memset(s->td.mr_signer_seam, 0, sizeof s->td.mr_signer_seam);
    memset(s->td.seam_attributes, 0, sizeof s->td.seam_attributes);
    memset(s->td.tee_tcb_svn, 0, sizeof s->td.tee_tcb_svn);
    memcpy(s->td.tee_tcb_svn, "\x05\x01\x02", 3);
    memset(s->td.td_attributes, 0, sizeof s->td.td_attributes);
    s->td.td_attributes[3] = 0x10; /* SEPT_VE_DISABLE */
    memcpy(s->td15.tee_tcb_svn2, s->td.tee_tcb_svn, 16);
    memset(s->qe.mr_signer, 0x44, sizeof s->qe.mr_signer);
    memset(s->qe.mr_enclave, 0x55, sizeof s->qe.mr_enclave);
    s->qe.attributes[0] = 0x11;
    s->qe.isv_prod_id[0] = 2;
    s->qe.isv_svn[0] = 8;
}

/* ---- keys and signatures ---- */

/* The key of a role: its scalar is the role's number and a constant; test keys need no secrecy. */
static ecdsa_private *role_key(enum made_role role) {
    uint8_t scalar[32];
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    memset(scalar, 0x21 + (int)role, sizeof scalar);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(scalar, 32), &err), err);
    return key;
}

static ecdsa_private *signing_key(const made_spec *s, enum made_role right, enum made_signed what) {
    return role_key((s->forged & MADE_BIT(what)) != 0 ? MADE_STRANGER : right);
}

static void sign_text(const made_spec *s, enum made_role role, enum made_signed what,
                      dstack_bytes data, uint8_t raw[64]) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = signing_key(s, role, what);
    uint8_t digest[32];
    dstack_error err = {0};
    hash_sha256(data, digest);
    assert_ok(ecdsa_sign_deterministic(key, bytes_of(digest, 32), raw, &err), err);
}

/* ---- certificates ---- */

static size_t begin_item(dstack_buf *out, uint8_t a, uint8_t b) {
    const uint8_t oid[] = {SGX_OID, a, b};
    size_t mark = der_begin(out, DER_SEQUENCE);
    der_put_oid(out, bytes_of(oid, b == 0 ? sizeof oid - 1 : sizeof oid));
    return mark;
}

static void put_octets(dstack_buf *out, uint8_t a, uint8_t b, const void *value, size_t len) {
    size_t item = begin_item(out, a, b);
    der_put(out, DER_OCTET_STRING, bytes_of(value, len));
    der_end(out, item);
}

static void put_number(dstack_buf *out, uint8_t a, uint8_t b, uint64_t value) {
    size_t item = begin_item(out, a, b);
    der_put_uint(out, value);
    der_end(out, item);
}

static void sgx_extension(const made_spec *s, dstack_buf *out) {
    uint8_t ppid[16];
    memset(ppid, 0x77, sizeof ppid);
    size_t whole = der_begin(out, DER_SEQUENCE);
    put_octets(out, 1, 0, ppid, 16);
    size_t item = begin_item(out, 2, 0);
    size_t tcb = der_begin(out, DER_SEQUENCE);
    for (uint8_t i = 0; i < 16; i++) {
        put_number(out, 2, (uint8_t)(i + 1), s->components[i]);
    }
    put_number(out, 2, 17, s->pce_svn);
    put_octets(out, 2, 18, s->components, 16);
    der_end(out, tcb);
    der_end(out, item);
    put_octets(out, 3, 0, "\0\0", 2);
    put_octets(out, 4, 0, "\x00\x90\x6e\xa1\x00\x00", 6);
    item = begin_item(out, 5, 0);
    der_put(out, DER_ENUMERATED, bytes_of("\x01", 1));
    der_end(out, item);
    der_end(out, whole);
}

/* CRL distribution points with one URI (RFC 5280, 4.2.1.13). */
static void crl_points(const char *uri, dstack_buf *out) {
    size_t points = der_begin(out, DER_SEQUENCE);
    size_t point = der_begin(out, DER_SEQUENCE);
    size_t name = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
    size_t full = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
    der_put(out, DER_CONTEXT(6), bytes_of_str(uri));
    der_end(out, full);
    der_end(out, name);
    der_end(out, point);
    der_end(out, points);
}

static void make_cert(const made_spec *s, enum made_role role, enum made_role issuer,
                      enum made_signed what, dstack_buf *der) {
    static const uint8_t oid[] = {SGX_OID};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *own = role_key(role);
    DSTACK_AUTO(ecdsa_private)
    ecdsa_private *signer = role == MADE_ROOT ? role_key(MADE_ROOT) : signing_key(s, issuer, what);
    DSTACK_AUTO(buf) dstack_buf spki = {0}, sgx = {0}, points = {0}, issuer_name = {0};
    static const uint8_t points_oid[] = {0x55, 0x1d, 0x1f};
    dstack_error err = {0};
    const x509_name_spec issuer_spec = {.common_name = s->certs[issuer].name};
    assert_ok(x509_name_build(&issuer_spec, &issuer_name, &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(own), &spki, &err), err);
    sgx_extension(s, &sgx);
    bool pointed = role == MADE_ROOT && s->root_crl_uri != NULL;
    crl_points(pointed ? s->root_crl_uri : "", &points);
    /* NameConstraints { permittedSubtrees { { dNSName "a" } } }, RFC 5280 section 4.2.1.10; the
     * same with directoryName "CN=a", and with rfc822Name "a" */
    static const uint8_t constraints_oid[] = {0x55, 0x1d, 0x1e};
    static const uint8_t dns_only[] = {0x30, 7, 0xa0, 5, 0x30, 3, 0x82, 1, 'a'};
    static const uint8_t directory[] = {0x30, 20,   0xa0, 18,   0x30, 16, 0xa4, 14,
                                        0x30, 12,   0x31, 10,   0x30, 8,  0x06, 3,
                                        0x55, 0x04, 0x03, 0x0c, 1,    'a'};
    static const uint8_t unknown[] = {0x30, 7, 0xa0, 5, 0x30, 3, 0x81, 1, 'a'};
    const dstack_bytes constraints[] = {{0},
                                        bytes_of(dns_only, sizeof dns_only),
                                        bytes_of(directory, sizeof directory),
                                        bytes_of(unknown, sizeof unknown)};
    bool constrained = role == MADE_CA && s->name_constraints != MADE_FREE;
    const x509_extension names = {.oid = bytes_of(constraints_oid, sizeof constraints_oid),
                                  .critical = true,
                                  .value = constraints[s->name_constraints]};
    const x509_extension custom = {.oid = pointed ? bytes_of(points_oid, sizeof points_oid)
                                                  : bytes_of(oid, sizeof oid),
                                   .value = bytes_of_buf(pointed ? &points : &sgx)};
    const uint8_t serial[] = {(uint8_t)(role + 1)};
    const made_cert *c = &s->certs[role];
    const x509_build build = {
        .serial = bytes_of(serial, 1),
        .subject = {.common_name = c->name},
        .issuer_der = bytes_of_buf(&issuer_name),
        .not_before = c->from,
        .not_after = c->until,
        .spki = bytes_of_buf(&spki),
        .key_usage = c->key_usage,
        .eku = c->eku,
        .with_basic_constraints = true,
        .is_ca = c->is_ca,
        .path_len = role == MADE_CA ? 0 : -1,
        .custom = constrained ? &names : &custom,
        .custom_count = role == MADE_LEAF || pointed || constrained ? 1 : 0,
    };
    assert_ok(x509_cert_build(&build, signer, true, der, &err), err);
}

static void make_list(const made_spec *s, enum made_role issuer, enum made_signed what,
                      const made_list *dates, unsigned issued, dstack_buf *der) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *signer = signing_key(s, issuer, what);
    DSTACK_AUTO(buf) dstack_buf name = {0};
    const x509_name_spec spec = {.common_name = s->certs[issuer].name};
    uint8_t serials[4];
    x509_crl_entry entries[4];
    size_t count = 0;
    dstack_error err = {0};
    assert_ok(x509_name_build(&spec, &name, &err), err);
    for (uint8_t role = 0; role < 4; role++) {
        if ((s->revoked & issued & MADE_BIT(role)) != 0) {
            serials[count] = (uint8_t)(role + 1);
            entries[count] = (x509_crl_entry){bytes_of(&serials[count], 1), dates->from};
            count++;
        }
    }
    const x509_crl_build_spec build = {
        .issuer_der = bytes_of_buf(&name),
        .this_update = dates->from,
        .next_update = dates->until,
        .number = 7,
        .entries = entries,
        .entry_count = count,
    };
    assert_ok(x509_crl_build(&build, signer, true, der, &err), err);
}

/* ---- texts ---- */

static void replace(dstack_buf *text, const char *from, const char *to) {
    dstack_buf out = {0};
    const char *rest = buf_text(text);
    const char *at = strstr(rest, from);
    assert_non_null(at); /* an edit that changes nothing would test nothing */
    buf_put(&out, rest, (size_t)(at - rest));
    buf_put_str(&out, to);
    buf_put_str(&out, at + strlen(from));
    dstack_buf_clear(text);
    *text = out;
}

static void apply(dstack_buf *text, const char *const *edits) {
    for (; edits[0] != NULL; edits += 2) {
        replace(text, edits[0], edits[1]);
    }
}

static void put_dates(const made_spec *s, dstack_buf *out) {
    char from[32], until[32];
    dcap_date_text(s->texts_from, from);
    dcap_date_text(s->texts_until, until);
    buf_put_fmt(out, "\"issueDate\":\"%s\",\"nextUpdate\":\"%s\",", from, until);
}

static void put_components(dstack_buf *out, const char *name, const char *svns) {
    buf_put_fmt(out, "\"%s\":[", name);
    for (int i = 0; i < 16; i++) {
        buf_put_fmt(out, "%s{\"svn\":%d}", i == 0 ? "" : ",", svns[i]);
    }
    buf_put_str(out, "]");
}

static void put_repeated(dstack_buf *out, const char *name, const char *pair, int count) {
    buf_put_fmt(out, "\"%s\":\"", name);
    for (int i = 0; i < count; i++) {
        buf_put_str(out, pair);
    }
    buf_put_str(out, "\",");
}

static void put_module(dstack_buf *out) {
    put_repeated(out, "mrsigner", "00", 48);
    put_repeated(out, "attributes", "00", 8);
    put_repeated(out, "attributesMask", "FF", 7);
    out->len -= 2;
    buf_put_str(out, "FF\"");
}

#define LEVEL_END(status, advisories)                                                              \
    "},\"tcbDate\":\"2026-03-01T00:00:00Z\",\"tcbStatus\":\"" status                               \
    "\",\"advisoryIDs\":[" advisories "]}"

static void tcb_info(const made_spec *s, dstack_buf *out) {
    buf_put_str(out, "{\"id\":\"TDX\",\"version\":3,");
    put_dates(s, out);
    buf_put_str(out, "\"fmspc\":\"00906EA10000\",\"pceId\":\"0000\",\"tcbType\":0,"
                     "\"tcbEvaluationDataNumber\":18,\"tdxModule\":{");
    put_module(out);
    buf_put_str(out, "},\"tdxModuleIdentities\":[{\"id\":\"TDX_01\",");
    put_module(out);
    buf_put_str(out, ",\"tcbLevels\":[{\"tcb\":{\"isvsvn\":5" LEVEL_END(
                         "UpToDate", "") ","
                                         "{\"tcb\":{\"isvsvn\":2" LEVEL_END(
                                             "OutOfDate",
                                             "\"INTEL-SA-00002\"") "]}],"
                                                                   "\"tcbLevels\":[{\"tcb\":{");
    put_components(out, "sgxtcbcomponents", "\3\3\2\2\4\1\0\5\0\0\0\0\0\0\0");
    buf_put_str(out, ",\"pcesvn\":11,");
    put_components(out, "tdxtcbcomponents", "\5\0\2\0\0\0\0\0\0\0\0\0\0\0\0");
    buf_put_str(out, LEVEL_END("UpToDate", "") ",{\"tcb\":{");
    put_components(out, "sgxtcbcomponents", "\2\2\2\2\3\1\0\3\0\0\0\0\0\0\0");
    buf_put_str(out, ",\"pcesvn\":5,");
    put_components(out, "tdxtcbcomponents", "\3\0\2\0\0\0\0\0\0\0\0\0\0\0\0");
    buf_put_str(out, LEVEL_END("OutOfDate", "\"INTEL-SA-00001\"") "]}");
    apply(out, s->tcb_edits);
}

static void qe_identity(const made_spec *s, dstack_buf *out) {
    buf_put_str(out, "{\"id\":\"TD_QE\",\"version\":2,");
    put_dates(s, out);
    buf_put_str(out, "\"tcbEvaluationDataNumber\":17,\"miscselect\":\"00000000\","
                     "\"miscselectMask\":\"FFFFFFFF\","
                     "\"attributes\":\"11000000000000000000000000000000\","
                     "\"attributesMask\":\"FBFFFFFFFFFFFFFF0000000000000000\",");
    put_repeated(out, "mrsigner", "44", 32);
    buf_put_str(out,
                "\"isvprodid\":2,\"tcbLevels\":[{\"tcb\":{\"isvsvn\":8" LEVEL_END(
                    "UpToDate", "") ",{\"tcb\":{\"isvsvn\":6" LEVEL_END("OutOfDate",
                                                                        "\"INTEL-SA-00003\"") "]}");
    apply(out, s->qe_edits);
}

/* ---- everything ---- */

static void put_pem(dstack_buf *out, const dstack_buf *der) {
    dstack_error err = {0};
    assert_ok(pem_append(out, "CERTIFICATE", bytes_of_buf(der), &err), err);
}

static void build_collateral(const made_spec *s, const dstack_buf *certs, made *out) {
    DSTACK_AUTO(buf) dstack_buf ca_chain = {0}, signer_chain = {0}, tcb = {0}, qe = {0};
    DSTACK_AUTO(buf) dstack_buf root_crl = {0}, pck_crl = {0};
    uint8_t tcb_signature[64], qe_signature[64];
    put_pem(&ca_chain, &certs[MADE_CA]);
    put_pem(&ca_chain, &certs[MADE_ROOT]);
    put_pem(&signer_chain, &certs[MADE_SIGNER]);
    put_pem(&signer_chain, &certs[MADE_ROOT]);
    make_list(s, MADE_ROOT, MADE_SIGNED_ROOT_CRL, &s->root_crl,
              MADE_BIT(MADE_ROOT) | MADE_BIT(MADE_CA) | MADE_BIT(MADE_SIGNER), &root_crl);
    make_list(s, MADE_CA, MADE_SIGNED_PCK_CRL, &s->pck_crl, MADE_BIT(MADE_LEAF), &pck_crl);
    tcb_info(s, &tcb);
    qe_identity(s, &qe);
    sign_text(s, MADE_SIGNER, MADE_SIGNED_TCB_INFO, bytes_of_buf(&tcb), tcb_signature);
    sign_text(s, MADE_SIGNER, MADE_SIGNED_QE_IDENTITY, bytes_of_buf(&qe), qe_signature);
    const dstack_collateral_parts parts = {
        .pck_crl_issuer_chain = bytes_of_buf(&ca_chain),
        .root_ca_crl = bytes_of_buf(s->swap_lists ? &pck_crl : &root_crl),
        .pck_crl = bytes_of_buf(s->swap_lists ? &root_crl : &pck_crl),
        .tcb_info_issuer_chain = bytes_of_buf(&signer_chain),
        .tcb_info = bytes_of_buf(&tcb),
        .tcb_info_signature = bytes_of(tcb_signature, 64),
        .qe_identity_issuer_chain = bytes_of_buf(&signer_chain),
        .qe_identity = bytes_of_buf(&qe),
        .qe_identity_signature = bytes_of(qe_signature, 64),
    };
    dstack_error err = {0};
    assert_ok(dstack_collateral_new(&out->collateral, &parts, &err), err);
}

static void build_quote(const made_spec *s, const dstack_buf *certs, dstack_buf *quote) {
    DSTACK_AUTO(buf) dstack_buf chain = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = role_key(MADE_ATTESTATION);
    const uint8_t *point = ecdsa_key_point(ecdsa_private_public(key)).data + 1;
    uint8_t auth[64] = {1, 2, 3}, signature[64], qe_signature[64];
    dstack_enclave_report qe = s->qe;
    quote_build_key_hash(point, bytes_of(auth, s->auth_size), qe.report_data);
    if (s->unbound_key) {
        qe.report_data[31] ^= 1;
    }
    if (!s->no_chain) {
        put_pem(&chain, &certs[MADE_LEAF]);
        put_pem(&chain, &certs[MADE_CA]);
        put_pem(&chain, &certs[MADE_ROOT]);
    }
    quote_build_signed_part(s->version, NULL, &s->td, s->with_td15 ? &s->td15 : NULL, quote);
    sign_text(s, MADE_ATTESTATION, MADE_SIGNED_QUOTE, bytes_of_buf(quote), signature);
    sign_text(s, MADE_LEAF, MADE_SIGNED_QE_REPORT, bytes_of(&qe, sizeof qe), qe_signature);
    const quote_build_auth data = {
        .signature = signature,
        .attestation_key = point,
        .qe_report = &qe,
        .qe_report_signature = qe_signature,
        .qe_auth_data = bytes_of(auth, s->auth_size),
        .pck_chain = bytes_of_buf(&chain),
    };
    quote_build_signature_data(&data, quote);
}

void made_build(const made_spec *s, made *out) {
    dstack_buf certs[4] = {0};
    *out = (made){0};
    make_cert(s, MADE_ROOT, MADE_ROOT, MADE_SIGNED_CA, &certs[MADE_ROOT]);
    make_cert(s, MADE_CA, MADE_ROOT, MADE_SIGNED_CA, &certs[MADE_CA]);
    make_cert(s, MADE_LEAF, MADE_CA, MADE_SIGNED_LEAF, &certs[MADE_LEAF]);
    make_cert(s, MADE_SIGNER, MADE_ROOT, MADE_SIGNED_SIGNER, &certs[MADE_SIGNER]);
    build_collateral(s, certs, out);
    build_quote(s, certs, &out->quote);
    buf_put_bytes(&out->root, bytes_of_buf(&certs[MADE_ROOT]));
    for (size_t i = 0; i < 4; i++) {
        dstack_buf_clear(&certs[i]);
    }
}

void made_clear(made *m) {
    dstack_buf_clear(&m->quote);
    dstack_buf_clear(&m->root);
    dstack_collateral_free(m->collateral);
    *m = (made){0};
}

dstack_verifier *made_verifier(const made *m, dstack_verifier_options options) {
    const dstack_trust_root root = {"made root", bytes_of_buf(&m->root)};
    dstack_verifier *v = NULL;
    dstack_error err = {0};
    options.roots = &root;
    options.root_count = 1;
    options.no_builtin_root = true;
    assert_ok(dstack_verifier_new(&v, &options, &err), err);
    return v;
}
