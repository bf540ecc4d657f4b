#include "verify/dcap/anchor.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "verify/dcap/intel_root.h"
#include "verify/dcap/pck.h"
#include "x509/pem.h"

int dcap_reclass(dstack_error *err, dstack_status status, const char *what) {
    error_prefix(err, status, "%s", what);
    if (err != NULL) {
        err->status = status;
    }
    return status;
}

static int anchor_form(dcap_anchor *a, dstack_error *err) {
    dstack_bytes der = bytes_of_buf(&a->der);
    int rc = x509_cert_parse(&a->cert, der, err);
    if (rc == 0 && !bytes_equal(a->cert.subject, a->cert.issuer)) {
        rc = error_set(err, DSTACK_E_FORMAT, "it is not self-issued");
    }
    if (rc == 0) {
        rc = x509_cert_key(&a->cert, &a->key, err);
    }
    if (rc == 0 && ecdsa_key_curve(a->key) != ECDSA_P256) {
        rc = error_set(err, DSTACK_E_FORMAT, "its key is not P-256");
    }
    return rc;
}

int dcap_anchor_load(dcap_anchor *out, const char *name, bool builtin, dstack_bytes der,
                     dstack_error *err) {
    *out = (dcap_anchor){.info.builtin = builtin};
    if (name == NULL || name[0] == '\0' || strlen(name) >= sizeof out->info.name) {
        return error_set(err, DSTACK_E_ARGUMENT, "a trust root needs a name of 1 to %zu bytes",
                         sizeof out->info.name - 1);
    }
    memcpy(out->info.name, name, strlen(name));
    buf_put_bytes(&out->der, der);
    int rc = buf_check(&out->der, err);
    if (rc != 0) {
        return rc;
    }
    if (anchor_form(out, err) != 0) {
        error_prefix(err, DSTACK_E_DCAP_ROOT_CA_FORMAT, "trust root \"%s\"", name);
        return dcap_reclass(err, DSTACK_E_DCAP_ROOT_CA_FORMAT, "anchor");
    }
    rc = pem_append(&out->pem, "CERTIFICATE", bytes_of_buf(&out->der), err);
    if (rc != 0) {
        return rc;
    }
    hash_sha256(bytes_of_buf(&out->der), out->info.cert_sha256);
    hash_sha384(ecdsa_key_point(out->key), out->info.key_id);
    return 0;
}

/* Set once and constant from then on, but for the count of its key's uses. */
static _Atomic(dcap_anchor *) builtin_anchor;
static ecdsa_tables builtin_tables = {1};

static void free_anchor(dcap_anchor *anchor) {
    if (anchor != NULL) {
        dcap_anchor_clear(anchor);
        free(anchor);
    }
}
DSTACK_AUTO_DEFINE(anchor, dcap_anchor, free_anchor)

int dcap_anchor_builtin(dcap_anchor *out, dstack_error *err) {
    dcap_anchor *known = atomic_load_explicit(&builtin_anchor, memory_order_acquire);
    if (known == NULL) {
        DSTACK_AUTO(anchor) dcap_anchor *made = calloc(1, sizeof *made);
        if (made == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "no memory for a trust root");
        }
        int rc = dcap_anchor_load(made, "intel-sgx-root-ca", true,
                                  bytes_of(dcap_intel_root, sizeof dcap_intel_root), err);
        if (rc != 0) {
            return rc;
        }
        ecdsa_key_expect_reuse(made->key, &builtin_tables);
        if (atomic_compare_exchange_strong(&builtin_anchor, &known, made)) {
            known = made;
            made = NULL;
        }
    }
    *out = *known;
    out->shared = true;
    return 0;
}

void dcap_anchor_clear(dcap_anchor *anchor) {
    if (!anchor->shared) {
        ecdsa_key_free(anchor->key);
        dstack_buf_clear(&anchor->der);
        dstack_buf_clear(&anchor->pem);
    }
    *anchor = (dcap_anchor){0};
}

int dcap_cert_check_dates(const x509_cert *cert, int64_t now, dstack_error *err) {
    char name[128];
    if (now < cert->not_before) {
        return error_set(err, DSTACK_E_DCAP_CERT_NOT_YET_VALID,
                         "certificate \"%s\" is valid from %lld, now is %lld",
                         x509_name_text(cert->subject, name, sizeof name),
                         (long long)cert->not_before, (long long)now);
    }
    if (now > cert->not_after) {
        return error_set(err, DSTACK_E_DCAP_CERT_EXPIRED,
                         "certificate \"%s\" was valid until %lld, now is %lld",
                         x509_name_text(cert->subject, name, sizeof name),
                         (long long)cert->not_after, (long long)now);
    }
    return 0;
}

int dcap_cert_bad_name(const x509_cert *cert, const char *role, dstack_error *err) {
    char name[128];
    return error_set(err, DSTACK_E_DCAP_CERT_NAME,
                     "certificate \"%s\" does not have the name of %s",
                     x509_name_text(cert->subject, name, sizeof name), role);
}

int dcap_anchor_check(const dcap_anchor *anchor, int64_t now, dcap_compat *compat,
                      dstack_error *err) {
    if (anchor->enforce_names && !dcap_name_contains(anchor->cert.subject, "SGX Root CA") &&
        !dcap_waive(compat, DSTACK_COMPAT_CERTIFICATE_NAMES)) {
        return dcap_cert_bad_name(&anchor->cert, "Intel's SGX root CA", err);
    }
    int rc = dcap_cert_check_dates(&anchor->cert, now, err);
    return rc != 0 && dcap_waive(compat, DSTACK_COMPAT_ANCHOR_DATES) ? 0 : rc;
}
