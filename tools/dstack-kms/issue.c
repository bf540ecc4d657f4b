#include "issue.h"

#include <string.h>
#include <strings.h>

#include <dstack/keys.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "cert/external.h"
#include "crypto/ecdsa_external.h"
#include "service/daemon.h"

#define RENEW_CA_BEFORE ((int64_t)365 * 86400)
/* 9999-12-31T23:59:59Z: the last time a certificate can name (RFC 5280, section 4.1.2.5.2). */
#define LAST_TIME 253402300799u

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)
DSTACK_AUTO_DEFINE(ca, dstack_ca, dstack_ca_free)

/* ---- keys that the signer has -----------------------------------------------------------------
 */

static int sign_by_root(void *user, dstack_bytes digest, dstack_buf *der, dstack_error *err) {
    return kms_signer_sign(user, (dstack_bytes){0}, digest, der, err);
}

/* The key of one app's CA. */
typedef struct app_key {
    kms_signer *signer;
    dstack_bytes app_id;
} app_key;

static int sign_by_app_ca(void *user, dstack_bytes digest, dstack_buf *der, dstack_error *err) {
    const app_key *key = user;
    return kms_signer_sign(key->signer, key->app_id, digest, der, err);
}

/* ---- CA certificates --------------------------------------------------------------------------
 */

static int self_signed(const char *subject, int path_len, bool insecure, const ecdsa_private *key,
                       int64_t now, dstack_buf *pem, dstack_error *err) {
    dstack_cert_spec spec = {.org = "Dstack",
                             .unit = insecure ? DAEMON_INSECURE_OU : NULL,
                             .subject = subject,
                             .is_ca = true,
                             .path_len = path_len,
                             .not_after = now + DSTACK_CA_LIFETIME};
    return cert_self_signed_by(&spec, key, pem, err);
}

/* A stored certificate of another key is an error; one that is near its end is issued again. */
static int judge_stored(dstack_bytes pem, const ecdsa_private *key, int64_t now, bool *good,
                        dstack_error *err) {
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    int rc = dstack_cert_parse(pem, &cert, err);
    rc = rc != 0 ? rc : ecdsa_key_spki(ecdsa_private_public(key), &spki, err);
    if (rc == 0 && !bytes_equal(dstack_cert_spki(cert), bytes_of_buf(&spki))) {
        rc = error_set(err, DSTACK_E_STATE, "CA certificate does not match private key");
    }
    *good = rc == 0 && dstack_cert_not_after(cert) > now + RENEW_CA_BEFORE;
    return rc;
}

static int open_cert(const kms_store *store, const char *file, const char *subject, int path_len,
                     bool insecure, const ecdsa_private *key, int64_t now, dstack_buf *pem,
                     dstack_error *err) {
    bool good = false;
    dstack_error unread = {0};
    int rc = kms_store_read(store, file, pem, &unread);
    if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
        return error_set(err, unread.status, "%s", unread.message);
    }
    rc = rc == 0 ? judge_stored(bytes_of_buf(pem), key, now, &good, err) : 0;
    if (rc != 0 || good) {
        return rc != 0 ? error_prefix(err, rc, "%s", file) : 0;
    }
    buf_reset(pem);
    rc = self_signed(subject, path_len, insecure, key, now, pem, err);
    return rc != 0 ? rc : kms_store_write(store, file, bytes_of_buf(pem), 0644, err);
}

int kms_authority_open(kms_authority *authority, const kms_store *store, kms_signer *signer,
                       bool insecure, int64_t now, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *root = NULL;
    DSTACK_AUTO(ecdsa_private) ecdsa_private *temp = NULL;
    dstack_bytes temp_pem =
        bytes_of(dstack_secret_peek(store->temp_pem), dstack_secret_len(store->temp_pem));
    *authority = (kms_authority){.insecure = insecure, .signer = signer};
    int rc = ecdsa_private_external(&root, kms_signer_root(signer), sign_by_root, signer, err);
    rc = rc != 0 ? rc : ecdsa_private_from_pem(&temp, temp_pem, err);
    rc = rc != 0 ? rc
                 : open_cert(store, "root-ca.crt", "Dstack KMS CA", 1, insecure, root, now,
                             &authority->root_pem, err);
    rc = rc != 0 ? rc
                 : open_cert(store, "tmp-ca.crt", "Dstack Client Temp CA", 0, insecure, temp, now,
                             &authority->temp_pem, err);
    return rc != 0
               ? rc
               : cert_ca_of_key(bytes_of_buf(&authority->root_pem), &root, &authority->root, err);
}

void kms_authority_clear(kms_authority *authority) {
    dstack_ca_free(authority->root);
    dstack_buf_clear(&authority->root_pem);
    dstack_buf_clear(&authority->temp_pem);
    *authority = (kms_authority){0};
}

int kms_issue_rpc(const kms_authority *authority, const kms_store *store,
                  const dstack_attestation *attestation, int64_t now, dstack_buf *pem,
                  dstack_error *err) {
    const char *names[] = {store->domain};
    dstack_cert_spec spec = {.unit = authority->insecure ? DAEMON_INSECURE_OU : NULL,
                             .subject = store->domain,
                             .alt_names = names,
                             .alt_name_count = 1,
                             /* clocks of guests may be behind */
                             .not_before = now - 3600,
                             .not_after = now + DSTACK_RPC_CERT_LIFETIME,
                             .usage = DSTACK_USAGE_KMS_RPC,
                             .attestation = attestation};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    int rc = dstack_cert_key_public(store->rpc_pem, &spki, err);
    rc = rc != 0 ? rc : dstack_ca_sign(authority->root, &spec, bytes_of_buf(&spki), pem, err);
    return rc != 0 ? rc : kms_store_write(store, "rpc.crt", bytes_of_buf(pem), 0644, err);
}

/* ---- app certificates -------------------------------------------------------------------------
 */

/* The app's CA: its key derives from the root, so it is the same at every call. `key` must outlive
 * the CA. */
static int open_app_ca(const kms_authority *authority, app_key *key, int64_t now, dstack_ca **ca,
                       dstack_buf *pem, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *signer = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    dstack_cert_spec spec = {.org = "Dstack",
                             .unit = authority->insecure ? DAEMON_INSECURE_OU : NULL,
                             .subject = "Dstack App CA",
                             .is_ca = true,
                             .path_len = 0,
                             .not_after = now + DSTACK_CA_LIFETIME,
                             .app_id = key->app_id,
                             .usage = DSTACK_USAGE_APP_CA};
    int rc = kms_signer_app_ca(key->signer, key->app_id, &spki, err);
    rc = rc != 0 ? rc
                 : ecdsa_private_external(&signer, bytes_of_buf(&spki), sign_by_app_ca, key, err);
    rc = rc != 0 ? rc : dstack_ca_sign(authority->root, &spec, bytes_of_buf(&spki), pem, err);
    return rc != 0 ? rc : cert_ca_of_key(bytes_of_buf(pem), &signer, ca, err);
}

static int take_validity(const dstack_csr_spec *asked, int64_t now, dstack_cert_spec *spec,
                         dstack_error *err) {
    if ((asked->has_not_before && asked->not_before > LAST_TIME) ||
        (asked->has_not_after && asked->not_after > LAST_TIME)) {
        return error_set(err, DSTACK_E_FORMAT, "requested validity is beyond the year 9999");
    }
    spec->not_before = asked->has_not_before ? (int64_t)asked->not_before : 0;
    spec->not_after = asked->has_not_after ? (int64_t)asked->not_after : now + DSTACK_CA_LIFETIME;
    if (asked->has_not_before && asked->has_not_after && asked->not_before >= asked->not_after) {
        return error_set(err, DSTACK_E_FORMAT, "not_before must be earlier than not_after");
    }
    return 0;
}

int kms_issue_app(const kms_authority *authority, const dstack_csr *csr,
                  const dstack_identity *verified, int64_t now, dstack_buf *leaf,
                  dstack_buf *app_ca, dstack_error *err) {
    const dstack_csr_spec *asked = dstack_csr_get(csr);
    dstack_bytes app_id = bytes_of(verified->app_id.data, verified->app_id.len);
    app_key key = {authority->signer, app_id};
    DSTACK_AUTO(ca) dstack_ca *ca = NULL;
    dstack_cert_spec spec = {.org = asked->org,
                             .unit = authority->insecure ? DAEMON_INSECURE_OU : NULL,
                             .subject = asked->subject,
                             .alt_names = asked->alt_names,
                             .alt_name_count = asked->alt_name_count,
                             .server_auth = asked->server_auth,
                             .client_auth = asked->client_auth,
                             .app_id = app_id,
                             .app_info = asked->with_app_info ? verified : NULL,
                             .usage = DSTACK_USAGE_APP_CUSTOM,
                             .attestation = asked->with_quote ? dstack_csr_attestation(csr) : NULL};
    int rc = take_validity(asked, now, &spec, err);
    rc = rc != 0 ? rc : open_app_ca(authority, &key, now, &ca, app_ca, err);
    return rc != 0 ? rc : dstack_ca_sign(ca, &spec, dstack_csr_spki(csr), leaf, err);
}

/* ---- names ------------------------------------------------------------------------------------
 */

static const char *without_dot(const char *name, size_t *len) {
    *len = strlen(name);
    if (*len > 0 && name[*len - 1] == '.') {
        --*len;
    }
    return name;
}

static bool same_name(const char *a, size_t a_len, const char *b, size_t b_len) {
    return a_len == b_len && strncasecmp(a, b, a_len) == 0;
}

/* Whether a certificate for `name` would be taken for `host`. */
static bool covers(const char *name, const char *host) {
    size_t name_len, host_len;
    without_dot(name, &name_len);
    without_dot(host, &host_len);
    if (same_name(name, name_len, host, host_len)) {
        return true;
    }
    const char *dot = strchr(host, '.');
    return name_len > 2 && name[0] == '*' && name[1] == '.' && dot != NULL &&
           same_name(name + 1, name_len - 1, dot, host_len - (size_t)(dot - host));
}

/* Whether name is domain or below it. */
static bool is_below(const char *name, const char *domain) {
    size_t name_len, domain_len;
    without_dot(name, &name_len);
    without_dot(domain, &domain_len);
    if (same_name(name, name_len, domain, domain_len)) {
        return true;
    }
    return name_len > domain_len + 1 && name[name_len - domain_len - 1] == '.' &&
           same_name(name + name_len - domain_len, domain_len, domain, domain_len);
}

static int check_name(const char *name, const char *kms_domain, const char *const *reserved,
                      size_t reserved_count, bool is_gateway, dstack_error *err) {
    if (covers(name, kms_domain)) {
        return error_set(err, DSTACK_E_REFUSED, "the name %s belongs to the KMS", name);
    }
    for (size_t i = 0; i < reserved_count && !is_gateway; i++) {
        if (is_below(name, reserved[i]) || covers(name, reserved[i])) {
            return error_set(err, DSTACK_E_REFUSED, "the name %s is reserved", name);
        }
    }
    return 0;
}

int kms_issue_check_names(const dstack_csr_spec *spec, const char *kms_domain,
                          const char *const *reserved, size_t reserved_count, bool is_gateway,
                          dstack_error *err) {
    int rc = spec->subject != NULL
                 ? check_name(spec->subject, kms_domain, reserved, reserved_count, is_gateway, err)
                 : 0;
    for (size_t i = 0; rc == 0 && i < spec->alt_name_count; i++) {
        rc = check_name(spec->alt_names[i], kms_domain, reserved, reserved_count, is_gateway, err);
    }
    return rc;
}
