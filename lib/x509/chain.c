#include "x509/chain.h"

#include "base/error.h"
#include "x509/constraints.h"
#include "x509/der.h"
#include "x509/oids.h"
#include "x509/signed.h"

static int refuse(const x509_cert *cert, const char *what, dstack_error *err) {
    char name[128];
    return error_set(err, DSTACK_E_X509_PATH, "certificate \"%s\" %s",
                     x509_name_text(cert->subject, name, sizeof name), what);
}

static int dates_check(const x509_cert *cert, int64_t now, dstack_error *err) {
    char name[128];
    if (now < cert->not_before || now > cert->not_after) {
        return error_set(err, DSTACK_E_X509_EXPIRED,
                         "certificate \"%s\" is valid from %lld to %lld, not at %lld",
                         x509_name_text(cert->subject, name, sizeof name),
                         (long long)cert->not_before, (long long)cert->not_after, (long long)now);
    }
    return 0;
}

/* Whether the extKeyUsage, if any, names one of the purposes. */
static bool purpose_fits(const x509_cert *cert, const x509_chain_options *options) {
    const x509_extension *extension = x509_cert_extension(cert, OID_EXT_KEY_USAGE);
    if (extension == NULL || options->purpose_count == 0) {
        return true;
    }
    bool fits = false;
    cursor outer = cursor_init(extension->value);
    cursor list = der_enter(&outer, DER_SEQUENCE);
    while (cursor_ok(&list) && cursor_left(&list) > 0) {
        const dstack_bytes oid = der_oid(&list);
        for (size_t i = 0; i < options->purpose_count; i++) {
            fits |= bytes_equal(oid, options->purposes[i]);
        }
    }
    return fits && cursor_done(&list);
}

static int ca_check(const x509_cert *cert, size_t cas_below, dstack_error *err) {
    if (!cert->has_basic_constraints || !cert->is_ca) {
        return refuse(cert, "is not a CA", err);
    }
    if (cert->has_path_len && cert->path_len < cas_below) {
        return refuse(cert, "allows fewer CA certificates below it than the path has", err);
    }
    if (cert->has_key_usage && (cert->key_usage & X509_KU_CERT_SIGN) == 0) {
        return refuse(cert, "may not sign certificates by its keyUsage", err);
    }
    return 0;
}

static int link_check(const x509_cert *cert, size_t depth, bool anchor,
                      const x509_chain_options *options, dstack_error *err) {
    int rc = depth > 0 ? ca_check(cert, depth - 1, err) : 0;
    if (rc == 0 && depth == 0 && cert->is_ca) {
        rc = refuse(cert, "is a CA and stands where a leaf belongs", err);
    }
    if (rc == 0 && cert->unknown_critical) {
        rc = refuse(cert, "has an unknown critical extension", err);
    }
    if (rc == 0 && !anchor && !purpose_fits(cert, options)) {
        rc = refuse(cert, "is not meant for this purpose (extKeyUsage)", err);
    }
    return rc == 0 ? dates_check(cert, options->now, err) : rc;
}

static bool on_chain(const x509_chain *chain, const x509_cert *cert) {
    bool found = false;
    for (size_t i = 0; i < chain->count; i++) {
        found |= bytes_equal(chain->certs[i]->der, cert->der);
    }
    return found;
}

static int signature_check(const x509_cert *cert, const x509_cert *issuer, dstack_error *err) {
    char name[128];
    return error_prefix(err, x509_signed_cert(cert, issuer->spki, err), "certificate \"%s\"",
                        x509_name_text(cert->subject, name, sizeof name));
}

/* The pool's next issuer: the first of that name whose signature holds. Bounded, since every
 * certificate is tried at most once per link and links are few. */
static int find_issuer(const x509_chain *chain, const x509_cert *pool, size_t pool_count,
                       const x509_cert **out, dstack_error *err) {
    const x509_cert *last = chain->certs[chain->count - 1];
    int rc = refuse(last, "has an issuer that is not known", err);
    for (size_t i = 0; i < pool_count; i++) {
        if (bytes_equal(pool[i].subject, last->issuer) && !on_chain(chain, &pool[i])) {
            rc = signature_check(last, &pool[i], err);
            if (rc == 0) {
                *out = &pool[i];
                return 0;
            }
        }
    }
    return rc;
}

int x509_chain_verify(const x509_cert *leaf, const x509_cert *pool, size_t pool_count,
                      const x509_cert *anchor, const x509_chain_options *options, x509_chain *out,
                      dstack_error *err) {
    x509_chain chain = {.certs = {leaf}, .count = 1, .valid_until = leaf->not_after};
    int rc = link_check(leaf, 0, false, options, err);
    while (rc == 0 && chain.certs[chain.count - 1] != anchor) {
        const x509_cert *issuer = anchor;
        const x509_cert *last = chain.certs[chain.count - 1];
        if (bytes_equal(last->issuer, anchor->subject)) {
            rc = signature_check(last, anchor, err);
        } else if (chain.count > X509_CHAIN_MAX_INTERMEDIATES) {
            rc = refuse(last, "stands at the end of too long a path", err);
        } else {
            rc = find_issuer(&chain, pool, pool_count, &issuer, err);
        }
        if (rc == 0) {
            rc = link_check(issuer, chain.count, issuer == anchor, options, err);
        }
        rc = rc == 0 ? x509_constraints_check(issuer, chain.certs, chain.count, err) : rc;
        if (rc == 0) {
            chain.certs[chain.count++] = issuer;
            chain.valid_until =
                issuer->not_after < chain.valid_until ? issuer->not_after : chain.valid_until;
        }
    }
    if (rc == 0) {
        *out = chain;
    }
    return rc;
}

int x509_chain_check_crl(const x509_crl *crl, const x509_cert *issuer, int64_t now,
                         dstack_error *err) {
    char name[128];
    if (!bytes_equal(crl->issuer, issuer->subject)) {
        return error_set(err, DSTACK_E_X509_PATH, "CRL is another issuer's");
    }
    if (issuer->has_key_usage && (issuer->key_usage & X509_KU_CRL_SIGN) == 0) {
        return refuse(issuer, "may not sign CRLs by its keyUsage", err);
    }
    int rc = x509_signed_crl(crl, issuer->spki, err);
    if (rc != 0) {
        return error_prefix(err, rc, "CRL of \"%s\"",
                            x509_name_text(issuer->subject, name, sizeof name));
    }
    if (now < crl->this_update || now >= crl->next_update) {
        return error_set(err, DSTACK_E_X509_EXPIRED,
                         "CRL is valid from %lld to before %lld, not at %lld",
                         (long long)crl->this_update, (long long)crl->next_update, (long long)now);
    }
    return 0;
}
