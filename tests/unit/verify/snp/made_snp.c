#include "made_snp.h"

#include "check.h"

#include "crypto/ecdsa.h"
#include "crypto/hash.h"
#include "x509/build.h"
#include "x509/der.h"

#define YEAR ((int64_t)365 * 86400)
#define AMD 0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01

enum role { ROLE_ARK, ROLE_ASK, ROLE_VCEK, ROLE_STRANGER };

static ecdsa_private *role_key(enum role role) {
    uint8_t scalar[48];
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    memset(scalar, 0x31 + (int)role, sizeof scalar);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P384, bytes_of(scalar, 48), &err), err);
    return key;
}

static const char *const names[] = {"ARK-Made", "SEV-Made", "SEV-VCEK"};

void made_snp_init(made_snp *m) {
    *m = (made_snp){.spl = {4, 0, 23, 213},
                    .vcek_from = MADE_SNP_NOW - YEAR,
                    .vcek_until = MADE_SNP_NOW + 6 * YEAR};
    static const uint8_t tcb[8] = {4, 0, 0, 0, 0, 0, 23, 213};
    memset(m->hardware_id, 0x5c, sizeof m->hardware_id);
    m->report[0] = 3;       /* version */
    m->report[0x0a] = 0x03; /* policy: SMT allowed, bit 17 */
    m->report[0x34] = 1;    /* ECDSA P-384 with SHA-384 */
    m->report[0x40] = 0x01; /* SMT is on */
    memset(m->report + 0x50, 0x42, 64);
    memset(m->report + 0x90, 0x33, 48);
    memset(m->report + 0xc0, 0x22, 32);
    m->report[0x188] = 0x19;
    m->report[0x189] = 0x01;
    m->report[0x18a] = 0x01;
    memcpy(m->report + 0x1a0, m->hardware_id, 64);
    memcpy(m->report + 0x38, tcb, 8);
    memcpy(m->report + 0x180, tcb, 8);
    memcpy(m->report + 0x1e0, tcb, 8);
    memcpy(m->report + 0x1f0, tcb, 8);
}

void made_snp_clear(made_snp *m) {
    dstack_buf_clear(&m->root);
    dstack_snp_certs_clear(&m->certs);
}

static void make_cert(const x509_build *given, enum role role, enum role issuer, enum role signer,
                      dstack_buf *out) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *own = role_key(role);
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = role_key(signer);
    DSTACK_AUTO(buf) dstack_buf spki = {0}, name = {0};
    dstack_error err = {0};
    const x509_name_spec issuer_spec = {.common_name = names[issuer]};
    assert_ok(x509_name_build(&issuer_spec, &name, &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(own), &spki, &err), err);
    x509_build build = *given;
    build.subject.common_name = names[role];
    build.issuer_der = bytes_of_buf(&name);
    build.spki = bytes_of_buf(&spki);
    buf_reset(out);
    assert_ok(x509_cert_build(&build, key, true, out, &err), err);
}

static void make_vcek(made_snp *m) {
    static const uint8_t spl_oids[4][10] = {{AMD, 3, 1}, {AMD, 3, 2}, {AMD, 3, 3}, {AMD, 3, 8}};
    static const uint8_t hardware_oid[] = {AMD, 4};
    dstack_buf values[4] = {0};
    x509_extension custom[5];
    for (size_t i = 0; i < 4; i++) {
        der_put_uint(&values[i], m->spl[i]);
        custom[i] = (x509_extension){bytes_of(spl_oids[i], 10), bytes_of_buf(&values[i]), false};
    }
    custom[4] = (x509_extension){bytes_of(hardware_oid, sizeof hardware_oid),
                                 bytes_of(m->hardware_id, 64), false};
    const x509_build vcek = {.serial = bytes_of("\0", 1),
                             .not_before = m->vcek_from,
                             .not_after = m->vcek_until,
                             .custom = custom,
                             .custom_count = 5};
    make_cert(&vcek, ROLE_VCEK, ROLE_ASK, ROLE_ASK, &m->certs.vcek);
    for (size_t i = 0; i < 4; i++) {
        dstack_buf_clear(&values[i]);
    }
}

static void make_crl(made_snp *m) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = role_key(ROLE_ARK);
    DSTACK_AUTO(buf) dstack_buf name = {0};
    dstack_error err = {0};
    const x509_name_spec issuer = {.common_name = names[ROLE_ARK]};
    assert_ok(x509_name_build(&issuer, &name, &err), err);
    const uint8_t serial = MADE_SNP_ASK_SERIAL;
    const x509_crl_entry entry = {bytes_of(&serial, 1), MADE_SNP_NOW - 86400};
    const x509_crl_build_spec spec = {.issuer_der = bytes_of_buf(&name),
                                      .this_update = MADE_SNP_NOW - 86400,
                                      .next_update = m->crl_until,
                                      .number = 1,
                                      .entries = &entry,
                                      .entry_count = m->revoke_ask ? 1 : 0};
    buf_reset(&m->certs.crl);
    assert_ok(x509_crl_build(&spec, key, true, &m->certs.crl, &err), err);
}

static void sign_report(made_snp *m) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = role_key(ROLE_VCEK);
    uint8_t digest[48], raw[96];
    dstack_error err = {0};
    hash_sha384(bytes_of(m->report, 0x2a0), digest);
    assert_ok(ecdsa_sign_deterministic(key, bytes_of(digest, 48), raw, &err), err);
    for (size_t i = 0; i < 48; i++) {
        m->report[0x2a0 + i] = raw[47 - i];
        m->report[0x2e8 + i] = raw[95 - i];
    }
}

void made_snp_build(made_snp *m) {
    const uint16_t ca_usage = X509_KU_CERT_SIGN | X509_KU_CRL_SIGN;
    const uint8_t serial = MADE_SNP_ASK_SERIAL;
    const x509_build ark = {.not_before = MADE_SNP_NOW - 2 * YEAR,
                            .not_after = MADE_SNP_NOW + 20 * YEAR,
                            .key_usage = ca_usage,
                            .with_basic_constraints = true,
                            .is_ca = true,
                            .path_len = -1};
    x509_build ask = ark;
    ask.serial = bytes_of(&serial, 1);
    ask.path_len = 0;
    ask.is_ca = !m->ask_not_ca;
    make_cert(&ark, ROLE_ARK, ROLE_ARK, ROLE_ARK, &m->root);
    make_cert(&ask, ROLE_ASK, ROLE_ARK, m->foreign_ask ? ROLE_STRANGER : ROLE_ARK, &m->certs.ask);
    make_vcek(m);
    if (m->crl_until != 0) {
        make_crl(m);
    }
    sign_report(m);
}

int made_snp_verify(const made_snp *m, const dstack_snp_options *options, dstack_snp_verdict *out,
                    dstack_error *err) {
    dstack_snp_options how = options == NULL ? (dstack_snp_options){0} : *options;
    how.now = MADE_SNP_NOW;
    for (size_t i = 0; i < DSTACK_SNP_PRODUCTS; i++) {
        how.roots[i] = bytes_of_buf(&m->root);
    }
    return dstack_snp_verify(bytes_of(m->report, sizeof m->report), &m->certs, &how, out, err);
}
