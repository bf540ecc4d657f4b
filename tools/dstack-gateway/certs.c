#include "certs.h"

#include <gnutls/abstract.h>
#include <gnutls/x509.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"

#define BASES_MAX 64
#define CHAIN_MAX 10

struct cert_entry {
    atomic_uint references;
    char *base;
    gnutls_certificate_credentials_t credentials;
    int64_t not_after;
    dstack_buf spki;
};

struct cert_store {
    pthread_mutex_t lock;
    cert_entry *entries[BASES_MAX];
    size_t count;
};

cert_store *cert_store_new(void) {
    cert_store *store = calloc(1, sizeof *store);
    if (store != NULL) {
        pthread_mutex_init(&store->lock, NULL);
    }
    return store;
}

void cert_entry_unref(cert_entry *entry) {
    if (entry == NULL || atomic_fetch_sub(&entry->references, 1) > 1) {
        return;
    }
    if (entry->credentials != NULL) {
        gnutls_certificate_free_credentials(entry->credentials);
    }
    dstack_buf_clear(&entry->spki);
    free(entry->base);
    free(entry);
}

DSTACK_AUTO_DEFINE(entry, cert_entry, cert_entry_unref)

void cert_store_free(cert_store *store) {
    if (store == NULL) {
        return;
    }
    for (size_t i = 0; i < store->count; i++) {
        cert_entry_unref(store->entries[i]);
    }
    pthread_mutex_destroy(&store->lock);
    free(store);
}

static int gnutls_problem(int rc, const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "%s: %s", what, gnutls_strerror(rc));
}

/* Reads what the gateway needs to know of the leaf, and checks that it may serve the domain. */
static int inspect_leaf(cert_entry *entry, dstack_bytes chain_pem, int64_t now, dstack_error *err) {
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned count = CHAIN_MAX;
    gnutls_datum_t pem = {(unsigned char *)(uintptr_t)chain_pem.data, (unsigned)chain_pem.len};
    int rc = gnutls_x509_crt_list_import(chain, &count, &pem, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0 || count == 0) {
        return gnutls_problem(rc, "certificate chain", err);
    }
    char probe[300];
    snprintf(probe, sizeof probe, "x.%s", entry->base);
    entry->not_after = gnutls_x509_crt_get_expiration_time(chain[0]);
    int result = 0;
    if (entry->not_after <= now) {
        result = error_set(err, DSTACK_E_FORMAT, "certificate for *.%s has expired", entry->base);
    } else if (gnutls_x509_crt_check_hostname(chain[0], probe) == 0) {
        result = error_set(err, DSTACK_E_FORMAT, "certificate does not cover *.%s", entry->base);
    } else {
        gnutls_pubkey_t key = NULL;
        gnutls_datum_t der = {0};
        gnutls_pubkey_init(&key);
        rc = gnutls_pubkey_import_x509(key, chain[0], 0);
        rc = rc < 0 ? rc : gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &der);
        result = rc < 0 ? gnutls_problem(rc, "certificate key", err) : 0;
        if (result == 0) {
            buf_put(&entry->spki, der.data, der.size);
            result = buf_check(&entry->spki, err);
        }
        gnutls_free(der.data);
        gnutls_pubkey_deinit(key);
    }
    for (unsigned i = 0; i < count; i++) {
        gnutls_x509_crt_deinit(chain[i]);
    }
    return result;
}

static int make_entry(cert_entry **out, const char *base, dstack_bytes chain_pem,
                      const dstack_secret *key_pem, int64_t now, dstack_error *err) {
    DSTACK_AUTO(entry) cert_entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    atomic_init(&entry->references, 1);
    entry->base = strdup(base);
    if (entry->base == NULL || gnutls_certificate_allocate_credentials(&entry->credentials) < 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = inspect_leaf(entry, chain_pem, now, err);
    if (rc != 0) {
        return rc;
    }
    gnutls_datum_t chain = {(unsigned char *)(uintptr_t)chain_pem.data, (unsigned)chain_pem.len};
    gnutls_datum_t key = {(unsigned char *)(uintptr_t)dstack_secret_peek(key_pem),
                          (unsigned)dstack_secret_len(key_pem)};
    rc = gnutls_certificate_set_x509_key_mem(entry->credentials, &chain, &key, GNUTLS_X509_FMT_PEM);
    if (rc < 0) {
        return gnutls_problem(rc, "certificate and key", err);
    }
    *out = entry;
    entry = NULL;
    return 0;
}

int cert_store_set(cert_store *store, const char *base, dstack_bytes chain_pem,
                   const dstack_secret *key_pem, int64_t now, dstack_error *err) {
    cert_entry *entry = NULL;
    int rc = make_entry(&entry, base, chain_pem, key_pem, now, err);
    if (rc != 0) {
        return rc;
    }
    cert_entry *old = NULL;
    pthread_mutex_lock(&store->lock);
    size_t i = 0;
    while (i < store->count && strcmp(store->entries[i]->base, base) != 0) {
        i++;
    }
    if (i == BASES_MAX) {
        old = entry;
        rc = error_set(err, DSTACK_E_LIMIT, "more than %d base domains", BASES_MAX);
    } else {
        old = store->entries[i];
        store->entries[i] = entry;
        store->count += i == store->count;
    }
    pthread_mutex_unlock(&store->lock);
    cert_entry_unref(old);
    return rc;
}

cert_entry *cert_store_find(cert_store *store, const char *base) {
    cert_entry *found = NULL;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < store->count && found == NULL; i++) {
        if (strcmp(store->entries[i]->base, base) == 0) {
            found = store->entries[i];
            atomic_fetch_add(&found->references, 1);
        }
    }
    pthread_mutex_unlock(&store->lock);
    return found;
}

gnutls_certificate_credentials_t cert_entry_credentials(const cert_entry *entry) {
    return entry->credentials;
}

int64_t cert_entry_not_after(const cert_entry *entry) {
    return entry->not_after;
}

dstack_bytes cert_entry_spki(const cert_entry *entry) {
    return (dstack_bytes){entry->spki.data, entry->spki.len};
}
