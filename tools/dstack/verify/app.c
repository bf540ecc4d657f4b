/* Who it is that the evidence speaks of: key provider, manifest, app id; and the gateway's. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "cert/cert.h"
#include "crypto/hash.h"
#include "verify/verify.h"

#define APP_ID_SIZE 20

static void hex_of(const dstack_value *value, char out[129]) {
    hex_encode(bytes_of(value->data, value->len), out);
}

/* An app id that is the beginning of the manifest's hash names that manifest and no other. Any
 * other id is a name that the guest took: it means what the KMS that gave keys to it made sure of.
 */
static bool is_named_after_manifest(const dstack_identity *id) {
    return id->app_id.len == APP_ID_SIZE && id->compose_hash.len >= APP_ID_SIZE &&
           memcmp(id->app_id.data, id->compose_hash.data, APP_ID_SIZE) == 0;
}

/* ---- KMS ---- */

static int compare_kms(const verify_demands *demands, const char *name, dstack_bytes id,
                       dstack_error *err) {
    DSTACK_AUTO(dstack_cert) dstack_cert *root = NULL;
    if (strcmp(name, "kms") != 0) {
        return error_set(err, DSTACK_E_REFUSED, "the app's keys are from \"%s\", not from a KMS",
                         name);
    }
    int rc = error_prefix(err, dstack_cert_parse(demands->kms_root, &root, err), "--kms-root");
    if (rc == 0 && !bytes_equal(dstack_cert_spki(root), id)) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "the app's keys are from another KMS than the one of --kms-root");
    }
    return rc;
}

static bool judge_kms(const verify_demands *demands, const dstack_identity *identity,
                      verify_report *report) {
    dstack_error err = {0};
    char name[32] = "none";
    DSTACK_AUTO(buf) dstack_buf id = {0};
    int rc = 0;
    if (*identity->key_provider_info != '\0') {
        rc = dstack_identity_key_provider(identity, name, &id, &err);
    }
    if (rc == 0 && id.len > 0) {
        uint8_t hash[HASH_SHA256_SIZE];
        char text[65];
        hash_sha256(bytes_of_buf(&id), hash);
        hex_encode(bytes_of(hash, sizeof hash), text);
        verify_evidence(report, VERIFY_KMS, "%s, root key sha256 %s", name, text);
    } else if (rc == 0) {
        verify_evidence(report, VERIFY_KMS, "key provider %s", name);
    }
    if (rc == 0 && demands->kms_root.len > 0) {
        rc = compare_kms(demands, name, bytes_of_buf(&id), &err);
    }
    if (rc != 0) {
        verify_fails(report, VERIFY_KMS, &err);
        return false;
    }
    if (demands->kms_root.len > 0) {
        verify_holds(report, VERIFY_KMS, DSTACK_ANCHOR_POLICY);
        verify_detail(report, VERIFY_KMS, "the KMS of --kms-root gave the app its keys");
    } else {
        verify_holds(report, VERIFY_KMS, DSTACK_ANCHOR_MEASURED);
        verify_caveat(report, VERIFY_KMS);
        verify_detail(report, VERIFY_KMS, "%s",
                      strcmp(name, "kms") == 0
                          ? "measured, not compared with one of yours; give --kms-root FILE"
                          : "no KMS stands behind the app's keys");
    }
    return true;
}

/* ---- manifest ---- */

static bool judge_manifest(const verify_demands *demands, const verify_name *name,
                           const dstack_identity *identity, verify_report *report) {
    char hash[129];
    hex_of(&identity->compose_hash, hash);
    verify_evidence(report, VERIFY_MANIFEST, "compose hash %s", hash);
    if (demands->compose_hash == NULL) {
        verify_holds(report, VERIFY_MANIFEST, DSTACK_ANCHOR_MEASURED);
        char app_id[129];
        hex_of(&identity->app_id, app_id);
        bool named = is_named_after_manifest(identity) &&
                     (strcmp(app_id, name->id) == 0 || demands->app_id != NULL);
        if (named) {
            verify_detail(report, VERIFY_MANIFEST, "the app id you named is this hash's beginning");
        } else {
            verify_caveat(report, VERIFY_MANIFEST);
            verify_detail(report, VERIFY_MANIFEST,
                          "measured, not compared with one of yours; give --manifest FILE");
        }
        return true;
    }
    if (!bytes_equal(bytes_of(demands->compose_hash, HASH_SHA256_SIZE),
                     bytes_of(identity->compose_hash.data, identity->compose_hash.len))) {
        dstack_error err = {0};
        char text[65];
        hex_encode(bytes_of(demands->compose_hash, HASH_SHA256_SIZE), text);
        error_set(&err, DSTACK_E_REFUSED, "the app runs manifest %s, not %s", hash, text);
        verify_fails(report, VERIFY_MANIFEST, &err);
        return false;
    }
    verify_holds(report, VERIFY_MANIFEST, DSTACK_ANCHOR_POLICY);
    verify_detail(report, VERIFY_MANIFEST, "the manifest you named, byte for byte");
    return true;
}

/* ---- identity ---- */

static int check_ids(const verify_demands *demands, const verify_name *name, const char *app_id,
                     const char *instance_id, dstack_error *err) {
    if (demands->app_id != NULL) {
        char want[2 * APP_ID_SIZE + 1];
        hex_encode(bytes_of(demands->app_id, APP_ID_SIZE), want);
        if (strcmp(want, app_id) != 0) {
            return error_set(err, DSTACK_E_REFUSED, "this is app %s, not %s of --app-id", app_id,
                             want);
        }
    }
    if (*name->id != '\0' && strcmp(name->id, app_id) != 0 && strcmp(name->id, instance_id) != 0) {
        return error_set(err, DSTACK_E_REFUSED,
                         "the name says %s, but app %s, instance %s answered", name->id, app_id,
                         *instance_id != '\0' ? instance_id : "none");
    }
    return 0;
}

static bool judge_identity(const verify_demands *demands, const verify_name *name,
                           const dstack_identity *identity, verify_report *report) {
    dstack_error err = {0};
    char app_id[129], instance_id[129];
    hex_of(&identity->app_id, app_id);
    hex_of(&identity->instance_id, instance_id);
    verify_evidence(report, VERIFY_IDENTITY, "app %s, instance %s", app_id,
                    *instance_id != '\0' ? instance_id : "none");
    if (check_ids(demands, name, app_id, instance_id, &err) != 0) {
        verify_fails(report, VERIFY_IDENTITY, &err);
        return false;
    }
    bool asked = *name->id != '\0' || demands->app_id != NULL;
    if (is_named_after_manifest(identity)) {
        verify_holds(report, VERIFY_IDENTITY, DSTACK_ANCHOR_MEASURED);
        verify_detail(report, VERIFY_IDENTITY, "the app id is the manifest's hash");
    } else if (demands->kms_root.len > 0 || demands->compose_hash != NULL) {
        verify_holds(report, VERIFY_IDENTITY, DSTACK_ANCHOR_POLICY);
        verify_detail(report, VERIFY_IDENTITY, "%s",
                      demands->compose_hash != NULL ? "it runs the manifest you named"
                                                    : "your KMS lets this manifest use the app id");
    } else {
        verify_holds(report, VERIFY_IDENTITY, DSTACK_ANCHOR_SELF_ASSERTED);
        verify_caveat(report, VERIFY_IDENTITY);
        verify_detail(report, VERIFY_IDENTITY,
                      "SELF-ASSERTED: any guest can take an app id that is not its manifest's "
                      "hash; give --kms-root or --manifest");
    }
    if (!asked) {
        verify_caveat(report, VERIFY_IDENTITY);
        verify_detail(report, VERIFY_IDENTITY,
                      "the name does not say which app it is; give --app-id HEX");
    }
    return true;
}

bool verify_judge_app(const verify_demands *demands, const verify_name *name,
                      verify_report *report) {
    const dstack_identity *identity = dstack_verified_identity(report->app);
    return judge_kms(demands, identity, report) &&
           judge_manifest(demands, name, identity, report) &&
           judge_identity(demands, name, identity, report);
}

/* ---- gateway ---- */

bool verify_judge_gateway(const verify_demands *demands, verify_report *report) {
    const dstack_identity *identity = dstack_verified_identity(report->gateway);
    char app_id[129], hash[129];
    hex_of(&identity->app_id, app_id);
    hex_of(&identity->compose_hash, hash);
    verify_evidence(report, VERIFY_GATEWAY_IDENTITY, "app %s, compose hash %s", app_id, hash);
    if (demands->gateway_app_id == NULL) {
        verify_holds(report, VERIFY_GATEWAY_IDENTITY, DSTACK_ANCHOR_MEASURED);
        verify_caveat(report, VERIFY_GATEWAY_IDENTITY);
        verify_detail(report, VERIFY_GATEWAY_IDENTITY,
                      "measured, not compared with one of yours; give --gateway-app-id HEX");
        return true;
    }
    dstack_error err = {0};
    char want[2 * APP_ID_SIZE + 1];
    hex_encode(bytes_of(demands->gateway_app_id, APP_ID_SIZE), want);
    int rc = 0;
    if (strcmp(want, app_id) != 0) {
        rc = error_set(&err, DSTACK_E_REFUSED, "the gateway is app %s, not %s of --gateway-app-id",
                       app_id, want);
    } else if (!is_named_after_manifest(identity)) {
        rc = error_set(&err, DSTACK_E_REFUSED,
                       "the gateway runs a manifest that its app id does not name: %s", hash);
    }
    if (rc != 0) {
        verify_fails(report, VERIFY_GATEWAY_IDENTITY, &err);
        return false;
    }
    verify_holds(report, VERIFY_GATEWAY_IDENTITY, DSTACK_ANCHOR_POLICY);
    verify_detail(report, VERIFY_GATEWAY_IDENTITY, "the gateway you named");
    return true;
}

/* ---- issuer ---- */

/* Issuers in an insecure mode put this into every subject. It can only make a certificate be
 * refused, so where in it the text stands does not matter. */
#define INSECURE_MARK "dstack insecure-dev"

static int find_mark(const verify_demands *demands, const cert_list *chain, bool *marked,
                     dstack_error *err) {
    for (size_t i = 0; i < chain->count; i++) {
        *marked |= memmem(chain->der[i].data, chain->der[i].len, INSECURE_MARK,
                          strlen(INSECURE_MARK)) != NULL;
    }
    return !*marked || demands->insecure_dev
               ? 0
               : error_set(err, DSTACK_E_INSECURE,
                           "the app's certificate is marked \"" INSECURE_MARK "\" by its issuer");
}

int verify_check_issuer(const verify_demands *demands, dstack_bytes chain_pem,
                        const dstack_identity *app, bool *marked, dstack_error *err) {
    DSTACK_AUTO(cert_list) cert_list chain = {0};
    DSTACK_AUTO(dstack_cert) dstack_cert *leaf = NULL;
    *marked = false;
    int rc = cert_list_parse(chain_pem, &chain, err);
    rc = rc != 0 ? rc : find_mark(demands, &chain, marked, err);
    if (rc == 0 && demands->kms_root.len > 0) {
        const dstack_cert_check check = {
            .now = demands->now,
            .root = demands->kms_root,
            .intermediates = chain_pem,
            .usage = DSTACK_USAGE_APP_CUSTOM,
            .app_id = bytes_of(app->app_id.data, app->app_id.len),
        };
        rc = dstack_cert_parse(chain_pem, &leaf, err);
        rc = rc != 0 ? rc : dstack_cert_verify(NULL, leaf, &check, NULL, err);
        rc = error_prefix(err, rc, "the app's certificate under --kms-root");
    }
    return rc;
}
