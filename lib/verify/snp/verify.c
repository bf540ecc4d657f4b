/* Verification of a report: chain, signature, policy, binding, expectations. */
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "verify/snp/snp.h"
#include "x509/chain.h"
#include "x509/signed.h"

/* The three certificates as parsed; ARK by product. */
typedef struct snp_chain {
    x509_cert ark, ask, vcek;
    ecdsa_key *key; /* the VCEK's */
} snp_chain;

static void snp_chain_clear(snp_chain *chain) {
    ecdsa_key_free(chain->key);
    chain->key = NULL;
}
DSTACK_AUTO_DEFINE_CLEAR(snp_chain, snp_chain, snp_chain_clear)

static int check_crl(const snp_chain *chain, dstack_bytes der, int64_t now, dstack_error *err) {
    x509_crl crl;
    int rc = x509_crl_parse_bare(&crl, der, err);
    if (rc == 0) {
        rc = x509_chain_check_crl(&crl, &chain->ark, now, err);
    }
    if (rc == 0 && (x509_crl_contains(&crl, chain->ask.serial, NULL) ||
                    x509_crl_contains(&crl, chain->vcek.serial, NULL))) {
        rc = error_set(err, DSTACK_E_X509_REVOKED, "AMD revoked a certificate of this chain");
    }
    return rc;
}

static int load_ark(snp_chain *chain, dstack_bytes der, dstack_error *err) {
    int rc = x509_cert_parse(&chain->ark, der, err);
    if (rc == 0 && !bytes_equal(chain->ark.subject, chain->ark.issuer)) {
        rc = error_set(err, DSTACK_E_X509_PATH, "the root is not self-issued");
    }
    if (rc == 0) {
        rc = x509_signed_cert(&chain->ark, chain->ark.spki, err);
    }
    return error_prefix(err, rc, "ARK");
}

static int check_chain(snp_chain *chain, const dstack_snp_certs *certs, dstack_bytes root,
                       const dstack_snp_options *options, dstack_snp_verdict *out,
                       dstack_error *err) {
    const x509_chain_options how = {.now = options->now};
    x509_chain path;
    int rc = load_ark(chain, root, err);
    if (rc == 0) {
        rc = error_prefix(err, x509_cert_parse(&chain->ask, bytes_of_buf(&certs->ask), err), "ASK");
    }
    if (rc == 0) {
        rc = error_prefix(err, x509_cert_parse(&chain->vcek, bytes_of_buf(&certs->vcek), err),
                          "VCEK");
    }
    if (rc == 0) {
        rc = x509_chain_verify(&chain->vcek, &chain->ask, 1, &chain->ark, &how, &path, err);
    }
    if (rc == 0 && path.count != 3) {
        rc = error_set(err, DSTACK_E_X509_PATH, "the VCEK is not certified by way of the ASK");
    }
    if (rc == 0) {
        out->valid_until = path.valid_until;
        rc = x509_cert_key(&chain->vcek, &chain->key, err);
    }
    if (rc == 0 && ecdsa_key_curve(chain->key) != ECDSA_P384) {
        rc = error_set(err, DSTACK_E_X509_PATH, "the VCEK's key is not on P-384");
    }
    if (rc == 0 && certs->crl.len > 0) {
        rc = error_prefix(err, check_crl(chain, bytes_of_buf(&certs->crl), options->now, err),
                          "revocation");
        out->crl_checked = rc == 0;
    }
    return rc;
}

static int check_signature(const snp_chain *chain, dstack_bytes report,
                           const dstack_snp_report *parsed, dstack_error *err) {
    uint8_t digest[HASH_SHA384_SIZE];
    hash_sha384(bytes_of(report.data, SNP_SIGNED_SIZE), digest);
    return error_prefix(err,
                        ecdsa_verify_raw(chain->key, bytes_of(digest, sizeof digest),
                                         bytes_of(parsed->signature, sizeof parsed->signature),
                                         err),
                        "report signature");
}

static void fill_anchor(const snp_chain *chain, dstack_snp_product product, bool builtin,
                        dstack_anchor_info *out) {
    static const char *const names[DSTACK_SNP_PRODUCTS] = {"milan", "genoa", "turin"};
    out->builtin = builtin;
    snprintf(out->name, sizeof out->name, "%sark-%s", builtin ? "amd-" : "pinned-", names[product]);
    hash_sha256(chain->ark.der, out->cert_sha256);
    hash_sha384(chain->ark.spki, out->key_id);
}

static dstack_bytes root_of(dstack_snp_product product, const dstack_snp_options *options) {
    const bool builtin = options->roots[product].len == 0;
    return builtin ? snp_builtin_root(product) : options->roots[product];
}

/* Under a root of the operator's own a VCEK without any of AMD's extensions passes, unbound. */
static int check_binding(const snp_chain *chain, const dstack_snp_report *report, bool builtin,
                         const dstack_snp_options *options, bool *bound, dstack_error *err) {
    snp_vcek vcek;
    int rc = snp_vcek_read(&chain->vcek, &vcek, err);
    *bound = builtin || !vcek.bare;
    return rc == 0 && *bound ? snp_vcek_check(&vcek, report, options, err) : rc;
}

int snp_certs_check(const dstack_snp_report *report, const dstack_snp_certs *certs,
                    dstack_snp_product product, const dstack_snp_options *options,
                    dstack_error *err) {
    DSTACK_AUTO(snp_chain) snp_chain chain = {0};
    dstack_snp_verdict unused = {0};
    bool bound;
    int rc = check_chain(&chain, certs, root_of(product, options), options, &unused, err);
    return rc != 0 ? rc
                   : check_binding(&chain, report, options->roots[product].len == 0, options,
                                   &bound, err);
}

/* Everything that depends on which product's root is used. */
static int check_product(dstack_bytes report, const dstack_snp_certs *certs,
                         dstack_snp_product product, const dstack_snp_options *options,
                         dstack_snp_verdict *out, dstack_error *err) {
    DSTACK_AUTO(snp_chain) snp_chain chain = {0};
    const bool builtin = options->roots[product].len == 0;
    bool bound = false;
    int rc = check_chain(&chain, certs, root_of(product, options), options, out, err);
    if (rc == 0) {
        rc = check_signature(&chain, report, &out->report, err);
    }
    if (rc == 0) {
        rc = snp_policy_check(&out->report, options, err);
    }
    if (rc == 0) {
        rc = check_binding(&chain, &out->report, builtin, options, &bound, err);
    }
    if (rc == 0) {
        out->product = product;
        out->vcek_bound = bound;
        fill_anchor(&chain, product, builtin, &out->anchor);
    }
    return error_prefix(err, rc, "%s", dstack_snp_product_name(product));
}

/* A version 2 report does not tell its product: the root that certifies it does. The reason of a
 * refusal beyond the chain is worth more than that another root did not fit either. */
static int check_products(dstack_bytes report, const dstack_snp_certs *certs,
                          const dstack_snp_options *options, dstack_snp_verdict *out,
                          dstack_error *err) {
    static const dstack_snp_product order[] = {DSTACK_SNP_GENOA, DSTACK_SNP_MILAN,
                                               DSTACK_SNP_TURIN};
    if (out->report.product != DSTACK_SNP_PRODUCTS) {
        return check_product(report, certs, out->report.product, options, out, err);
    }
    DSTACK_AUTO(buf) dstack_buf reasons = {0};
    dstack_error why = {0};
    int rc = DSTACK_E_X509_PATH;
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        const int tried = check_product(report, certs, order[i], options, out, &why);
        if (tried == 0) {
            return 0;
        }
        rc = tried == DSTACK_E_REFUSED || rc != DSTACK_E_REFUSED ? tried : rc;
        buf_put_fmt(&reasons, "%s%s", i == 0 ? "" : "; ", why.message);
    }
    const char *text = buf_text(&reasons);
    return error_set(err, (dstack_status)rc, "%s", text != NULL ? text : "no product's root fits");
}

int dstack_snp_verify(dstack_bytes report, const dstack_snp_certs *certs,
                      const dstack_snp_options *options, dstack_snp_verdict *out,
                      dstack_error *err) {
    *out = (dstack_snp_verdict){0};
    dstack_snp_report *r = &out->report;
    int rc = dstack_snp_report_parse(r, report, err);
    if (rc == 0 && certs->is_vlek && options->vlek_provider == NULL) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "amd sev-snp vlek certificates are not accepted without a named provider");
    }
    if (rc == 0) {
        rc = error_prefix(err, check_products(report, certs, options, out, err),
                          "amd sev-snp report verification failed for supported products");
    }
    if (rc == 0 && options->report_data != NULL &&
        memcmp(options->report_data, r->report_data, sizeof r->report_data) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "amd sev-snp report_data mismatch");
    }
    if (rc == 0 && options->host_data != NULL &&
        memcmp(options->host_data, r->host_data, sizeof r->host_data) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED, "amd sev-snp host_data mismatch");
    }
    const bool same = snp_tcb_equal(&r->current_tcb, &r->reported_tcb) &&
                      snp_tcb_equal(&r->committed_tcb, &r->reported_tcb) &&
                      snp_tcb_equal(&r->launch_tcb, &r->reported_tcb);
    out->status = same ? DSTACK_TCB_UP_TO_DATE : DSTACK_TCB_OUT_OF_DATE;
    return rc;
}
