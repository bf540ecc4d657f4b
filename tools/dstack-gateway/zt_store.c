/* Certificates and account keys at rest: AES-256-GCM under a key that only this app's evidence gets
 * from the KMS; the file's name is bound as associated data, so that files can't change places. */
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/aes_gcm.h"
#include "crypto/random.h"
#include "gateway.h"

#define MAGIC "dstack-gateway-sealed-1\n"
#define SEALED_MAX ((size_t)1 << 20)

static int sealed_path(const gateway *g, const char *name, char **path, dstack_error *err) {
    int rc = file_check_name(name, "store entry", err);
    if (rc == 0 && asprintf(path, "%s/sealed/%s", g->state_dir, name) < 0) {
        *path = NULL;
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return rc;
}

static dstack_bytes store_key(const gateway *g) {
    return bytes_of(dstack_secret_peek(g->store_key), dstack_secret_len(g->store_key));
}

int zt_store_save(const gateway *g, const char *name, dstack_bytes plain, dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    DSTACK_AUTO(str) char *folder = NULL;
    int rc = sealed_path(g, name, &path, err);
    if (rc != 0) {
        return rc;
    }
    if (asprintf(&folder, "%s/sealed", g->state_dir) < 0) {
        folder = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    uint8_t nonce[AES_GCM_NONCE_SIZE];
    random_fill(nonce, sizeof nonce);
    DSTACK_AUTO(buf) dstack_buf file = {0};
    buf_put_str(&file, MAGIC);
    buf_put(&file, nonce, sizeof nonce);
    rc = aes_gcm_seal(store_key(g), bytes_of(nonce, sizeof nonce), bytes_of_str(name), plain, &file,
                      err);
    rc = rc != 0 ? rc : file_make_dirs(folder, 0700, err);
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&file), 0600, err);
}

int zt_store_load(const gateway *g, const char *name, dstack_secret **plain, dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    DSTACK_AUTO(buf) dstack_buf file = {0};
    int rc = sealed_path(g, name, &path, err);
    rc = rc != 0 ? rc : file_read(path, SEALED_MAX, &file, err);
    if (rc != 0) {
        return rc;
    }
    cursor c = cursor_init(bytes_of_buf(&file));
    dstack_bytes magic = cursor_take(&c, strlen(MAGIC));
    dstack_bytes nonce = cursor_take(&c, AES_GCM_NONCE_SIZE);
    dstack_bytes sealed = cursor_rest(&c);
    if (!cursor_ok(&c) || !bytes_equal_str(magic, MAGIC) || sealed.len <= AES_GCM_TAG_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "%s is not a sealed file", path);
    }
    DSTACK_AUTO(buf) dstack_buf opened = {0};
    buf_reserve(&opened, sealed.len);
    rc = aes_gcm_open(store_key(g), nonce, bytes_of_str(name), sealed, &opened, err);
    if (rc == 0 && (*plain = dstack_secret_copy(opened.data, opened.len)) == NULL) {
        rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    buf_wipe(&opened);
    return error_prefix(err, rc, "%s", path);
}
