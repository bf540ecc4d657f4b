#include "store.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <dstack/cert.h>
#include <dstack/keys.h>
#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/ecdsa.h"
#include "crypto/hash.h"
#include "crypto/k256.h"

#define FILE_LIMIT ((size_t)1 << 20)
#define DOMAIN_MAX 253
#define INSECURE_MARK "insecure-dev"
#define KEY_SET "key-set"
#define PENDING "pending"
#define COMMITTED "committed"

/* What a set of keys consists of; the first four must be there. */
static const char *const set_files[] = {
    "root-ca.key", "root-k256.key", "tmp-ca.key",  "rpc.key",
    KEY_SET,       "rpc-domain",    INSECURE_MARK, "bootstrap-info.json"};
enum { KEY_FILES = 4, SET_FILES = sizeof set_files / sizeof set_files[0] };

static char *path_of(const char *dir, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", dir, name) >= 0 ? path : NULL;
}

static bool file_is_there(const char *dir, const char *name) {
    DSTACK_AUTO(str) char *path = path_of(dir, name);
    return path != NULL && access(path, F_OK) == 0;
}

int kms_store_exists(const char *dir, bool *exists, dstack_error *err) {
    size_t found = 0;
    const char *missing = NULL;
    for (size_t i = 0; i < KEY_FILES; i++) {
        bool there = file_is_there(dir, set_files[i]);
        found += there;
        missing = there ? missing : set_files[i];
    }
    if (found != 0 && found != KEY_FILES) {
        return error_set(err, DSTACK_E_STATE, "%s holds keys, but not %s: restore it from a backup",
                         dir, missing);
    }
    *exists = found == KEY_FILES;
    return 0;
}

int kms_store_lock(const char *dir, int *fd, dstack_error *err) {
    int rc = file_make_dirs(dir, 0700, err);
    if (rc != 0) {
        return rc;
    }
    *fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (*fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot open %s", dir);
    }
    return flock(*fd, LOCK_EX | LOCK_NB) == 0
               ? 0
               : error_set(err, DSTACK_E_STATE, "%s is in use by another process", dir);
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

int kms_store_check_new(const char *dir, const char *domain, const char *done, dstack_error *err) {
    int rc = kms_store_check_domain(domain, err);
    for (size_t i = 0; rc == 0 && i < SET_FILES; i++) {
        bool matters = strcmp(set_files[i], "rpc-domain") != 0 &&
                       strcmp(set_files[i], INSECURE_MARK) != 0 &&
                       strcmp(set_files[i], "rpc.key") != 0;
        if (matters && file_is_there(dir, set_files[i])) {
            rc = error_set(err, DSTACK_E_EXISTS, "KMS has already been %s", done);
        }
    }
    return rc;
}

int kms_keys_make(kms_keys *keys, dstack_error *err) {
    int rc = keys->root_pem == NULL ? dstack_cert_key_new(&keys->root_pem, err) : 0;
    rc = rc == 0 && keys->k256 == NULL ? new_k256(&keys->k256, err) : rc;
    rc = rc == 0 && keys->temp_pem == NULL ? dstack_cert_key_new(&keys->temp_pem, err) : rc;
    return rc == 0 && keys->rpc_pem == NULL ? dstack_cert_key_new(&keys->rpc_pem, err) : rc;
}

void kms_keys_clear(kms_keys *keys) {
    dstack_secret_free(keys->root_pem);
    dstack_secret_free(keys->k256);
    dstack_secret_free(keys->temp_pem);
    dstack_secret_free(keys->rpc_pem);
    *keys = (kms_keys){0};
}

/* SHA-256 over the public halves of the keys that all copies of a KMS share. */
static int key_set_id(const dstack_secret *root_pem, const dstack_secret *temp_pem,
                      const dstack_secret *k256, char out[65], dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    uint8_t point[DSTACK_K256_PUBLIC_SIZE], hash[32];
    int rc = dstack_cert_key_public(root_pem, &text, err);
    rc = rc != 0 ? rc : dstack_cert_key_public(temp_pem, &text, err);
    rc = rc != 0 ? rc : dstack_key_k256_public(k256, point, err);
    buf_put(&text, point, sizeof point);
    rc = rc != 0 ? rc : buf_check(&text, err);
    if (rc == 0) {
        hash_sha256(bytes_of_buf(&text), hash);
        hex_encode(bytes_of(hash, sizeof hash), out);
    }
    return rc;
}

/* Removes a folder of ours with the files that may be in it. */
static int drop_folder(const char *path, dstack_error *err) {
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return errno == ENOENT ? 0 : error_set_errno(err, DSTACK_E_IO, "cannot open %s", path);
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            unlinkat(dirfd(dir), entry->d_name, 0);
        }
    }
    closedir(dir);
    return rmdir(path) == 0 ? 0 : error_set_errno(err, DSTACK_E_IO, "cannot remove %s", path);
}

static int sync_folder(const char *path, dstack_error *err) {
    DSTACK_AUTO(fd) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 && fsync(fd) == 0 ? 0
                                     : error_set_errno(err, DSTACK_E_IO, "cannot sync %s", path);
}

/* Moves the files of a complete set to their places; goes on where an earlier run stopped. */
static int move_committed(const char *dir, const char *committed, dstack_error *err) {
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < SET_FILES; i++) {
        DSTACK_AUTO(str) char *from = path_of(committed, set_files[i]);
        DSTACK_AUTO(str) char *to = path_of(dir, set_files[i]);
        if (from == NULL || to == NULL) {
            rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
        } else if (access(from, F_OK) != 0) {
            continue;
        } else if (i < KEY_FILES && access(to, F_OK) == 0) {
            rc = error_set(err, DSTACK_E_STATE, "%s is in the way of %s", to, from);
        } else if (rename(from, to) != 0) {
            rc = error_set_errno(err, DSTACK_E_IO, "cannot move %s", from);
        }
    }
    rc = rc != 0 ? rc : sync_folder(dir, err);
    return rc != 0 ? rc : drop_folder(committed, err);
}

int kms_store_recover(const char *dir, dstack_error *err) {
    DSTACK_AUTO(str) char *pending = path_of(dir, PENDING);
    DSTACK_AUTO(str) char *committed = path_of(dir, COMMITTED);
    if (pending == NULL || committed == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = drop_folder(pending, err);
    return rc == 0 && access(committed, F_OK) == 0 ? move_committed(dir, committed, err) : rc;
}

static int write_set(const char *pending, const char *domain, bool insecure, const kms_keys *keys,
                     dstack_bytes bootstrap_info, dstack_error *err) {
    kms_store place = {.dir = (char *)pending};
    char id[65];
    int rc = key_set_id(keys->root_pem, keys->temp_pem, keys->k256, id, err);
    rc = rc != 0 ? rc : file_make_dirs(pending, 0700, err);
    if (insecure) {
        rc = rc != 0 ? rc : kms_store_write(&place, INSECURE_MARK, bytes_of_str("1\n"), 0600, err);
    }
    const struct {
        const char *name;
        dstack_bytes content;
        mode_t mode;
    } files[] = {{"rpc-domain", bytes_of_str(domain), 0644},
                 {KEY_SET, bytes_of_str(id), 0644},
                 {"bootstrap-info.json", bootstrap_info, 0644},
                 {"root-k256.key", secret_bytes(keys->k256), 0600},
                 {"tmp-ca.key", secret_bytes(keys->temp_pem), 0600},
                 {"rpc.key", secret_bytes(keys->rpc_pem), 0600},
                 {"root-ca.key", secret_bytes(keys->root_pem), 0600}};
    for (size_t i = 0; rc == 0 && i < sizeof files / sizeof files[0]; i++) {
        if (files[i].content.len > 0) {
            rc = kms_store_write(&place, files[i].name, files[i].content, files[i].mode, err);
        }
    }
    return rc;
}

int kms_store_create(const char *dir, const char *domain, bool insecure, const kms_keys *keys,
                     dstack_bytes bootstrap_info, dstack_error *err) {
    DSTACK_AUTO(str) char *pending = path_of(dir, PENDING);
    DSTACK_AUTO(str) char *committed = path_of(dir, COMMITTED);
    if (pending == NULL || committed == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = kms_store_check_new(dir, domain, "bootstrapped", err);
    rc = rc != 0 ? rc : file_make_dirs(dir, 0700, err);
    rc = rc != 0 ? rc : drop_folder(pending, err);
    rc = rc != 0 ? rc : write_set(pending, domain, insecure, keys, bootstrap_info, err);
    if (rc == 0 && rename(pending, committed) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot rename %s", pending);
    }
    rc = rc != 0 ? rc : sync_folder(dir, err);
    return rc != 0 ? rc : move_committed(dir, committed, err);
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

/* The keys belong to one set, and to the public halves that were told when they were made. A store
 * that came from elsewhere without the hash gets one. */
static int check_set(const kms_store *store, dstack_error *err) {
    char id[65];
    DSTACK_AUTO(buf) dstack_buf stored = {0};
    int rc = key_set_id(store->root_pem, store->temp_pem, store->k256, id, err);
    if (rc == 0 && !file_is_there(store->dir, KEY_SET)) {
        return kms_store_write(store, KEY_SET, bytes_of_str(id), 0644, err);
    }
    rc = rc != 0 ? rc : kms_store_read(store, KEY_SET, &stored, err);
    if (rc == 0 && !bytes_equal_str(bytes_of_buf(&stored), id)) {
        rc =
            error_set(err, DSTACK_E_STATE, "the key files in %s are of different sets", store->dir);
    }
    return rc;
}

static int check_bootstrap_info(const kms_store *store, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf told = {0}, told_k256 = {0};
    uint8_t point[DSTACK_K256_PUBLIC_SIZE];
    DSTACK_AUTO(json)
    json_t *info =
        json_parse(bytes_of_buf(&store->bootstrap_info), FILE_LIMIT, "bootstrap-info.json", err);
    int rc = info == NULL ? DSTACK_E_FORMAT : json_hex_or_empty(info, "ca_pubkey", &told, err);
    rc = rc != 0 ? rc : json_hex_or_empty(info, "k256_pubkey", &told_k256, err);
    rc = rc != 0 ? rc : dstack_cert_key_public(store->root_pem, &spki, err);
    rc = rc != 0 ? rc : dstack_key_k256_public(store->k256, point, err);
    if (rc == 0 && (!bytes_equal(bytes_of_buf(&told), bytes_of_buf(&spki)) ||
                    !bytes_equal(bytes_of_buf(&told_k256), bytes_of(point, sizeof point)))) {
        rc = error_set(err, DSTACK_E_STATE, "bootstrap-info.json names other keys than those in %s",
                       store->dir);
    }
    return rc;
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

int kms_store_load_roots(kms_store *store, const char *dir, bool insecure, dstack_error *err) {
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
    rc = rc != 0 ? rc : read_secret(dir, "tmp-ca.key", &store->temp_pem, err);
    rc = rc != 0 ? rc : check_set(store, err);
    if (rc == 0 && file_is_there(dir, "bootstrap-info.json")) {
        rc = kms_store_read(store, "bootstrap-info.json", &store->bootstrap_info, err);
        rc = rc != 0 ? rc : check_bootstrap_info(store, err);
    }
    if (rc != 0) {
        kms_store_clear(store);
    }
    return rc;
}

int kms_store_load(kms_store *store, const char *dir, const char *domain, bool insecure,
                   dstack_error *err) {
    *store = (kms_store){.dir = strdup(dir)};
    if (store->dir == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = check_mark(store, insecure, err);
    rc = rc != 0 ? rc : read_domain(store, domain, err);
    rc = rc != 0 ? rc : read_secret(dir, "tmp-ca.key", &store->temp_pem, err);
    rc = rc != 0 ? rc : read_secret(dir, "rpc.key", &store->rpc_pem, err);
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
