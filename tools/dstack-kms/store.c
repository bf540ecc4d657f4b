#include "store.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include <dstack/cert.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/ecdsa.h"
#include "crypto/k256.h"

#define FILE_LIMIT ((size_t)1 << 20)
#define DOMAIN_MAX 253
#define INSECURE_MARK "insecure-dev"

static char *path_of(const char *dir, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", dir, name) >= 0 ? path : NULL;
}

static bool file_is_there(const char *dir, const char *name) {
    DSTACK_AUTO(str) char *path = path_of(dir, name);
    return path != NULL && access(path, F_OK) == 0;
}

int kms_store_exists(const char *dir, bool *exists, dstack_error *err) {
    bool ca = file_is_there(dir, "root-ca.key");
    bool k256 = file_is_there(dir, "root-k256.key");
    if (ca != k256) {
        return error_set(err, DSTACK_E_STATE, "%s holds only %s: restore the other from a backup",
                         dir, ca ? "root-ca.key" : "root-k256.key");
    }
    *exists = ca;
    return 0;
}

/* ---- domain -----------------------------------------------------------------------------------
 */

static bool label_is_valid(const char *label, size_t len) {
    if (len == 0 || len > 63 || label[0] == '-' || label[len - 1] == '-') {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        if (!isalnum((unsigned char)label[i]) && label[i] != '-') {
            return false;
        }
    }
    return true;
}

int kms_store_check_domain(const char *domain, dstack_error *err) {
    size_t len = strlen(domain);
    bool ascii = true;
    for (size_t i = 0; i < len; i++) {
        ascii = ascii && (unsigned char)domain[i] < 0x80;
    }
    if (len == 0 || len > DOMAIN_MAX || !ascii) {
        return error_set(err, DSTACK_E_FORMAT,
                         "domain must be a non-empty ASCII DNS name of at most 253 bytes");
    }
    for (const char *label = domain;;) {
        size_t size = strcspn(label, ".");
        if (!label_is_valid(label, size)) {
            return error_set(err, DSTACK_E_FORMAT, "domain contains an invalid DNS label");
        }
        if (label[size] == 0) {
            return 0;
        }
        label += size + 1;
    }
}

/* ---- making -----------------------------------------------------------------------------------
 */

static dstack_bytes secret_bytes(const dstack_secret *secret) {
    return bytes_of(dstack_secret_peek(secret), dstack_secret_len(secret));
}

static int write_new(const char *dir, const char *name, dstack_bytes content, mode_t mode,
                     dstack_error *err) {
    DSTACK_AUTO(str) char *path = path_of(dir, name);
    return path != NULL ? file_write_new(path, content, mode, err)
                        : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

static int new_k256(dstack_secret **out, dstack_error *err) {
    *out = dstack_secret_new(K256_SECRET_SIZE);
    if (*out == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    do {
        randombytes_buf(dstack_secret_data(*out), K256_SECRET_SIZE);
    } while (!k256_secret_valid(dstack_secret_peek(*out)));
    return 0;
}

int kms_store_check_new(const char *dir, const char *domain, dstack_error *err) {
    int rc = kms_store_check_domain(domain, err);
    if (rc == 0 && (file_is_there(dir, "root-ca.key") || file_is_there(dir, "root-k256.key") ||
                    file_is_there(dir, "bootstrap-info.json"))) {
        rc = error_set(err, DSTACK_E_EXISTS, "KMS has already been bootstrapped");
    }
    return rc;
}

int kms_store_create(const char *dir, const char *domain, bool insecure, dstack_error *err) {
    int rc = kms_store_check_new(dir, domain, err);
    rc = rc != 0 ? rc : file_make_dirs(dir, 0700, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(secret) dstack_secret *root = NULL;
    DSTACK_AUTO(secret) dstack_secret *k256 = NULL;
    DSTACK_AUTO(kms_store) kms_store place = {.dir = strdup(dir)};
    rc = dstack_cert_key_new(&root, err);
    rc = rc != 0 ? rc : new_k256(&k256, err);
    /* The mark and the name first: they mean nothing without keys, and a crash between must not
     * leave development keys that look like real ones. */
    if (insecure) {
        rc = rc != 0 ? rc : kms_store_write(&place, INSECURE_MARK, bytes_of_str("1\n"), 0600, err);
    }
    rc = rc != 0 ? rc : kms_store_write(&place, "rpc-domain", bytes_of_str(domain), 0644, err);
    rc = rc != 0 ? rc : write_new(dir, "root-k256.key", secret_bytes(k256), 0600, err);
    return rc != 0 ? rc : write_new(dir, "root-ca.key", secret_bytes(root), 0600, err);
}

/* ---- loading ----------------------------------------------------------------------------------
 */

/* Key files that others may read are no secrets any more. */
static int check_mode(const char *path, dstack_error *err) {
    struct stat info;
    if (stat(path, &info) != 0) {
        return error_set_errno(err, errno == ENOENT ? DSTACK_E_NOT_FOUND : DSTACK_E_IO, "%s", path);
    }
    return (info.st_mode & 077) == 0
               ? 0
               : error_set(err, DSTACK_E_STATE, "%s is open to others (mode %03o, must be 0600)",
                           path, info.st_mode & 0777);
}

static int read_secret(const char *dir, const char *name, dstack_secret **out, dstack_error *err) {
    DSTACK_AUTO(str) char *path = path_of(dir, name);
    dstack_buf content = {0};
    buf_reserve(&content, 4096);
    int rc =
        path != NULL ? check_mode(path, err) : error_set(err, DSTACK_E_MEMORY, "out of memory");
    rc = rc != 0 ? rc : file_read(path, 4096, &content, err);
    if (rc == 0) {
        *out = content.len > 0 ? dstack_secret_copy(content.data, content.len) : NULL;
        rc = *out != NULL ? 0 : error_set(err, DSTACK_E_FORMAT, "%s is empty", name);
    }
    buf_wipe(&content);
    return rc;
}

/* These keys vouch for nothing lasting: made anew where missing. */
static int read_or_make_key(const kms_store *store, const char *name, dstack_secret **out,
                            dstack_error *err) {
    if (file_is_there(store->dir, name)) {
        return read_secret(store->dir, name, out, err);
    }
    int rc = dstack_cert_key_new(out, err);
    return rc != 0 ? rc : kms_store_write(store, name, secret_bytes(*out), 0600, err);
}

static int read_scalar(kms_store *store, dstack_error *err) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    int rc = ecdsa_private_from_pem(&key, secret_bytes(store->root_pem), err);
    if (rc != 0) {
        return error_prefix(err, rc, "root-ca.key");
    }
    dstack_bytes scalar = ecdsa_private_scalar(key);
    if (scalar.len != ECDSA_P256_SCALAR_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "root-ca.key is not a P-256 key");
    }
    store->root = dstack_secret_copy(scalar.data, scalar.len);
    return store->root != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

static int read_domain(kms_store *store, const char *given, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = 0;
    if (given[0] != 0) {
        buf_put_str(&text, given);
    } else {
        rc = kms_store_read(store, "rpc-domain", &text, err);
    }
    while (text.len > 0 && isspace(text.data[text.len - 1])) {
        text.len--;
    }
    store->domain = buf_detach_text(&text);
    if (rc == 0 && store->domain == NULL) {
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return rc != 0 ? rc : kms_store_check_domain(store->domain, err);
}

static int check_mark(const kms_store *store, bool insecure, dstack_error *err) {
    bool marked = file_is_there(store->dir, INSECURE_MARK);
    if (marked == insecure) {
        return 0;
    }
    return error_set(err, DSTACK_E_INSECURE,
                     marked
                         ? "the keys in %s were made with --insecure-dev and serve nothing else"
                         : "the keys in %s are production keys: --insecure-dev would expose them",
                     store->dir);
}

int kms_store_load(kms_store *store, const char *dir, const char *domain, bool insecure,
                   dstack_error *err) {
    *store = (kms_store){.dir = strdup(dir)};
    if (store->dir == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = check_mark(store, insecure, err);
    rc = rc != 0 ? rc : read_secret(dir, "root-ca.key", &store->root_pem, err);
    rc = rc != 0 ? rc : read_scalar(store, err);
    rc = rc != 0 ? rc : read_secret(dir, "root-k256.key", &store->k256, err);
    if (rc == 0 && (dstack_secret_len(store->k256) != K256_SECRET_SIZE ||
                    !k256_secret_valid(dstack_secret_peek(store->k256)))) {
        rc = error_set(err, DSTACK_E_FORMAT, "root-k256.key is not a secp256k1 scalar");
    }
    rc = rc != 0 ? rc : read_domain(store, domain, err);
    rc = rc != 0 ? rc : read_or_make_key(store, "tmp-ca.key", &store->temp_pem, err);
    rc = rc != 0 ? rc : read_or_make_key(store, "rpc.key", &store->rpc_pem, err);
    if (rc == 0 && file_is_there(dir, "bootstrap-info.json")) {
        rc = kms_store_read(store, "bootstrap-info.json", &store->bootstrap_info, err);
    }
    if (rc != 0) {
        kms_store_clear(store);
    }
    return rc;
}

void kms_store_clear(kms_store *store) {
    free(store->dir);
    free(store->domain);
    dstack_secret_free(store->root_pem);
    dstack_secret_free(store->root);
    dstack_secret_free(store->k256);
    dstack_secret_free(store->temp_pem);
    dstack_secret_free(store->rpc_pem);
    dstack_buf_clear(&store->bootstrap_info);
    *store = (kms_store){0};
}

int kms_store_read(const kms_store *store, const char *name, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(str) char *path = path_of(store->dir, name);
    return path != NULL ? file_read(path, FILE_LIMIT, out, err)
                        : error_set(err, DSTACK_E_MEMORY, "out of memory");
}

int kms_store_write(const kms_store *store, const char *name, dstack_bytes content, mode_t mode,
                    dstack_error *err) {
    DSTACK_AUTO(str) char *path = path_of(store->dir, name);
    return path != NULL ? file_write_atomic(path, content, mode, err)
                        : error_set(err, DSTACK_E_MEMORY, "out of memory");
}
