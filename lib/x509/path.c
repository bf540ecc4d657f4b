#include "x509/path.h"

#include "base/buf.h"
#include "base/error.h"
#include "x509/common.h"
#include "x509/constraints.h"

void x509_path_clear(x509_path *path) {
    for (size_t i = 0; i < path->count; i++) {
        ecdsa_key_free(path->keys[i]);
    }
    *path = (x509_path){0};
}

static const char *common_name(const x509_cert *cert, char text[64]) {
    dstack_bytes name = x509_name_common_name(cert->subject);
    size_t len = name.len < 63 ? name.len : 63;
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)(name.data[i] >= 0x20 && name.data[i] < 0x7f ? name.data[i] : '?');
    }
    text[len] = 0;
    return text;
}

static bool critical_known(dstack_bytes oid, const x509_path_options *options) {
    bool known = x509_extension_is_decoded(oid);
    for (size_t i = 0; !known && i < options->known_critical_count; i++) {
        known = bytes_equal(oid, options->known_critical[i]);
    }
    return known;
}

static int dates_check(const x509_cert *cert, int64_t now, dstack_error *err) {
    char name[64];
    if (now < cert->not_before || now > cert->not_after) {
        return error_set(err, DSTACK_E_X509_EXPIRED,
                         "certificate \"%s\" is valid from %lld to %lld, not at %lld",
                         common_name(cert, name), (long long)cert->not_before,
                         (long long)cert->not_after, (long long)now);
    }
    return 0;
}

static int ca_check(const x509_cert *cert, size_t cas_below, dstack_error *err) {
    char name[64];
    const char *broken = NULL;
    if (!cert->has_basic_constraints || !cert->is_ca) {
        broken = "is not a CA";
    } else if (cert->has_path_len && cert->path_len < cas_below) {
        broken = "allows fewer CA certificates below it than the path has";
    } else if (cert->has_key_usage && (cert->key_usage & X509_KU_CERT_SIGN) == 0) {
        broken = "may not sign certificates by its keyUsage";
    }
    if (broken != NULL) {
        return error_set(err, DSTACK_E_X509_PATH, "certificate \"%s\" %s", common_name(cert, name),
                         broken);
    }
    return 0;
}

/* The rules for one certificate below the anchor. depth 0 is the leaf; a CA at depth n has n - 1 CA
 * certificates below it. */
static int rules_check(const x509_cert *cert, size_t depth, const x509_path_options *options,
                       dstack_error *err) {
    char name[64];
    for (size_t i = 0; i < cert->extension_count; i++) {
        if (cert->extensions[i].critical && !critical_known(cert->extensions[i].oid, options)) {
            return error_set(err, DSTACK_E_X509_PATH,
                             "certificate \"%s\" has an unknown critical extension",
                             common_name(cert, name));
        }
    }
    if (cert->has_eku && options->required_eku != 0 && (cert->eku & X509_EKU_ANY) == 0 &&
        (cert->eku & options->required_eku) != options->required_eku) {
        return error_set(err, DSTACK_E_X509_PATH,
                         "certificate \"%s\" does not allow the required purpose (extKeyUsage)",
                         common_name(cert, name));
    }
    if (options->p256_only && cert->signature_algorithm != X509_SIG_ECDSA_SHA256) {
        return error_set(err, DSTACK_E_X509_PATH,
                         "certificate \"%s\" is not signed with ECDSA P-256 and SHA-256",
                         common_name(cert, name));
    }
    if (depth > 0) {
        int rc = ca_check(cert, depth - 1, err);
        if (rc != 0) {
            return rc;
        }
    } else if (cert->is_ca && !options->leaf_may_be_ca) {
        return error_set(err, DSTACK_E_X509_PATH, "leaf certificate \"%s\" is a CA",
                         common_name(cert, name));
    }
    return dates_check(cert, options->now, err);
}

/* The state of one search. */
typedef struct path_search {
    const x509_cert *pool;
    size_t pool_count;
    const x509_cert *anchor;
    const x509_path_options *options;
    size_t checks; /* signatures verified so far */
    x509_path *path;
} path_search;

static int key_load(const x509_cert *cert, const x509_path_options *options, ecdsa_key **key,
                    dstack_error *err) {
    char name[64];
    int rc = x509_cert_key(cert, key, err);
    if (rc == 0 && options->p256_only && ecdsa_key_curve(*key) != ECDSA_P256) {
        ecdsa_key_free(*key);
        *key = NULL;
        rc = error_set(err, DSTACK_E_UNSUPPORTED, "key is not on P-256");
    }
    return rc == 0 ? 0 : error_prefix(err, rc, "certificate \"%s\"", common_name(cert, name));
}

/* Loads the issuer's key and verifies the signature of the last certificate on the path with it.
 * On success the key is kept at the issuer's place, which becomes part of the path. */
static int link_verify(path_search *search, const x509_cert *issuer, dstack_error *err) {
    char name[64];
    x509_path *path = search->path;
    const x509_cert *subject = path->certs[path->count - 1];
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    if (search->checks++ >= X509_PATH_MAX_CHECKS) {
        return error_set(err, DSTACK_E_LIMIT, "path search needs more than %d signature checks",
                         X509_PATH_MAX_CHECKS);
    }
    int rc = key_load(issuer, search->options, &key, err);
    if (rc == 0) {
        rc = x509_cert_verify_signature(subject, key, err);
        if (rc != 0) {
            rc = error_prefix(err, rc, "certificate \"%s\"", common_name(subject, name));
        }
    }
    if (rc == 0) {
        rc = x509_constraints_check(issuer, path->certs, path->count, err);
    }
    if (rc == 0) {
        path->certs[path->count] = issuer;
        path->keys[path->count] = key;
        path->count++;
        key = NULL;
    }
    return rc;
}

static void link_undo(x509_path *path) {
    path->count--;
    ecdsa_key_free(path->keys[path->count]);
    path->keys[path->count] = NULL;
}

static bool on_path(const x509_path *path, const x509_cert *cert) {
    bool found = false;
    for (size_t i = 0; i < path->count; i++) {
        found |= path->certs[i] == cert || bytes_equal(path->certs[i]->der, cert->der);
    }
    return found;
}

/* Extends the path by one certificate after the other; depth-first, bounded by the number of
 * intermediates and of signature checks. The error of the deepest refusal is the one reported. */
static int search_extend(path_search *search, dstack_error *err) {
    char name[64];
    x509_path *path = search->path;
    size_t depth = path->count - 1;
    const x509_cert *last = path->certs[depth];
    int rc = rules_check(last, depth, search->options, err);
    if (rc != 0) {
        return rc;
    }
    if (bytes_equal(last->issuer, search->anchor->subject)) {
        return link_verify(search, search->anchor, err);
    }
    rc = error_set(err, DSTACK_E_X509_PATH, "certificate \"%s\": its issuer is not known",
                   common_name(last, name));
    if (depth >= X509_PATH_MAX_INTERMEDIATES) {
        return error_set(err, DSTACK_E_X509_PATH, "path has more than %d intermediates",
                         X509_PATH_MAX_INTERMEDIATES);
    }
    for (size_t i = 0; i < search->pool_count; i++) {
        const x509_cert *candidate = &search->pool[i];
        if (!bytes_equal(candidate->subject, last->issuer) || on_path(path, candidate)) {
            continue;
        }
        int tried = link_verify(search, candidate, err);
        if (tried == 0) {
            tried = search_extend(search, err);
            if (tried == 0) {
                return 0;
            }
            link_undo(path);
        }
        rc = tried;
        if (rc == DSTACK_E_LIMIT) {
            return rc;
        }
    }
    return rc;
}

static void validity_intersect(x509_path *path, bool with_anchor) {
    path->valid_from = INT64_MIN;
    path->valid_until = INT64_MAX;
    for (size_t i = 0; i < path->count - (with_anchor ? 0 : 1); i++) {
        if (path->certs[i]->not_before > path->valid_from) {
            path->valid_from = path->certs[i]->not_before;
        }
        if (path->certs[i]->not_after < path->valid_until) {
            path->valid_until = path->certs[i]->not_after;
        }
    }
}

int x509_path_verify(const x509_cert *leaf, const x509_cert *pool, size_t pool_count,
                     const x509_cert *anchor, const x509_path_options *options, x509_path *out,
                     dstack_error *err) {
    x509_path path = {.certs = {leaf}, .count = 1};
    path_search search = {pool, pool_count, anchor, options, 0, &path};
    int rc = options->check_anchor_dates ? dates_check(anchor, options->now, err) : 0;
    if (rc == 0) {
        rc = key_load(leaf, options, &path.keys[0], err);
    }
    if (rc == 0) {
        rc = search_extend(&search, err);
    }
    if (rc != 0) {
        x509_path_clear(&path);
        return rc;
    }
    validity_intersect(&path, options->check_anchor_dates);
    *out = path;
    return 0;
}

static bool crl_covers(const x509_crl *crl, const x509_cert *cert) {
    bool has_points = false;
    if (!bytes_equal(crl->issuer, cert->issuer)) {
        return false;
    }
    if (!crl->has_issuing_point) {
        return true;
    }
    if ((crl->only_user_certs && cert->is_ca) || (crl->only_ca_certs && !cert->is_ca)) {
        return false;
    }
    bool common = x509_cert_has_crl_point(cert, crl->issuing_point_uri, &has_points);
    return common || !has_points;
}

int x509_crl_check(const x509_crl *crl, const x509_cert *cert, const x509_cert *issuer,
                   const ecdsa_key *issuer_key, int64_t now, dstack_error *err) {
    char name[64];
    if (!crl_covers(crl, cert)) {
        return error_set(err, DSTACK_E_X509_PATH,
                         "certificate \"%s\": revocation status unknown, the CRL does not cover it",
                         common_name(cert, name));
    }
    if (issuer->has_key_usage && (issuer->key_usage & X509_KU_CRL_SIGN) == 0) {
        return error_set(err, DSTACK_E_X509_PATH,
                         "certificate \"%s\" may not sign CRLs by its keyUsage",
                         common_name(issuer, name));
    }
    if (now < crl->this_update || now >= crl->next_update) {
        return error_set(err, DSTACK_E_X509_EXPIRED,
                         "CRL is valid from %lld to before %lld, not at %lld",
                         (long long)crl->this_update, (long long)crl->next_update, (long long)now);
    }
    int rc = x509_crl_verify_signature(crl, issuer_key, err);
    if (rc != 0) {
        return error_prefix(err, rc, "CRL of \"%s\"", common_name(issuer, name));
    }
    if (x509_crl_contains(crl, cert->serial, NULL)) {
        return error_set(err, DSTACK_E_X509_REVOKED, "certificate \"%s\" is revoked",
                         common_name(cert, name));
    }
    return 0;
}
