#include "engine.h"

#include <string.h>

#include <dstack/measure.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "x509/pem.h"

#define ROOT_FILE_MAX ((size_t)1 << 20)

DSTACK_AUTO_DEFINE_CLEAR(image, dstack_image, dstack_image_clear)
DSTACK_AUTO_DEFINE(collateral, dstack_collateral, dstack_collateral_free)

/* ---- trust -------------------------------------------------------------------------------------- */

typedef struct root_list {
    dstack_buf der[ENGINE_ROOTS_MAX];
    dstack_trust_root roots[ENGINE_ROOTS_MAX];
    size_t count;
} root_list;

static void root_list_clear(root_list *list) {
    for (size_t i = 0; i < ENGINE_ROOTS_MAX; i++) {
        dstack_buf_clear(&list->der[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(root_list, root_list, root_list_clear)

static int read_roots(const char *path, root_list *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    int rc = file_read(path, ROOT_FILE_MAX, &file, err);
    if (rc != 0) {
        return rc;
    }
    if (!pem_looks_like(bytes_of_buf(&file))) {
        buf_put_bytes(&out->der[0], bytes_of_buf(&file));
        out->count = 1;
        return buf_check(&out->der[0], err);
    }
    pem_reader reader;
    pem_reader_init(&reader, bytes_of_buf(&file));
    bool found = true;
    while (rc == 0 && found) {
        DSTACK_AUTO(pem_block) pem_block block = {0};
        rc = pem_next(&reader, &block, &found, err);
        if (rc == 0 && found && out->count == ENGINE_ROOTS_MAX) {
            rc = error_set(err, DSTACK_E_LIMIT, "%s: more than %d certificates", path,
                           ENGINE_ROOTS_MAX);
        } else if (rc == 0 && found) {
            out->der[out->count++] = block.der;
            block.der = (dstack_buf){0};
        }
    }
    if (rc == 0 && out->count == 0) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s holds no certificate", path);
    }
    return rc;
}

static int open_trust(engine *e, const char *root, dstack_error *err) {
    DSTACK_AUTO(root_list) root_list list = {0};
    dstack_verifier_options options = {0};
    if (root != NULL && root[0] != '\0') {
        const char *slash = strrchr(root, '/');
        const char *name = slash == NULL || slash[1] == '\0' ? root : slash + 1;
        int rc = read_roots(root, &list, err);
        if (rc != 0) {
            return rc;
        }
        char shown[64];
        snprintf(shown, sizeof shown, "%.60s", name);
        for (size_t i = 0; i < list.count; i++) {
            list.roots[i] = (dstack_trust_root){shown, bytes_of_buf(&list.der[i])};
        }
        options.roots = list.roots;
        options.root_count = list.count;
        options.no_builtin_root = true;
        return error_prefix(err, dstack_verifier_new(&e->verifier, &options, err), "%s", root);
    }
    return dstack_verifier_new(&e->verifier, &options, err);
}

/* One certificate; "" or NULL leaves the vendor's. */
static int open_platform_root(const char *path, dstack_buf *der, dstack_bytes *out,
                              dstack_error *err) {
    DSTACK_AUTO(root_list) root_list list = {0};
    if (path == NULL || path[0] == '\0') {
        return 0;
    }
    int rc = read_roots(path, &list, err);
    if (rc == 0 && list.count != 1) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s must hold one certificate", path);
    }
    if (rc == 0) {
        *der = list.der[0];
        list.der[0] = (dstack_buf){0};
        *out = bytes_of_buf(der);
    }
    return rc;
}

static int open_platform_roots(engine *e, const engine_options *options, dstack_error *err) {
    const struct {
        const char *path;
        dstack_bytes *root;
    } roots[] = {{options->snp_milan_root, &e->platform.snp_milan},
                 {options->snp_genoa_root, &e->platform.snp_genoa},
                 {options->snp_turin_root, &e->platform.snp_turin},
                 {options->nitro_enclave_root, &e->platform.nitro_enclave},
                 {options->nitro_tpm_root, &e->platform.nitro_tpm},
                 {options->gcp_tpm_root, &e->platform.gcp_tpm}};
    _Static_assert(sizeof roots / sizeof *roots == sizeof e->root_ders / sizeof *e->root_ders,
                   "a place for each root");
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof roots / sizeof *roots; i++) {
        rc = open_platform_root(roots[i].path, &e->root_ders[i], roots[i].root, err);
    }
    return rc;
}

static int add_collateral(engine *e, const char *path, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    int rc = file_read(path, DSTACK_COLLATERAL_MAX_SIZE, &file, err);
    rc = rc != 0 ? rc : dstack_collateral_parse(&collateral, bytes_of_buf(&file), err);
    rc = rc != 0 ? rc : dstack_verifier_add_collateral(e->verifier, collateral, err);
    return error_prefix(err, rc, "collateral %s", path);
}

/* The folder's identity is taken now; its files are checked against it each time they are used. */
static int add_folder(engine *e, const char *path, dstack_error *err) {
    if (e->folder_count == ENGINE_FOLDERS_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d image folders", ENGINE_FOLDERS_MAX);
    }
    engine_folder *folder = &e->folders[e->folder_count];
    DSTACK_AUTO(image) dstack_image image = {0};
    int rc = dstack_image_load(path, &image, err);
    if (rc == 0 && image.os_image_hash[0] == '\0') {
        rc = error_set(err, DSTACK_E_NOT_FOUND, "there is no sha256sum.txt");
    }
    if (rc == 0) {
        memcpy(folder->hash, image.os_image_hash, sizeof folder->hash);
        memcpy(folder->version, image.version, sizeof folder->version);
        folder->is_dev = image.is_dev;
        folder->path = strdup(path);
        rc = folder->path != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    e->folder_count += rc == 0;
    return error_prefix(err, rc, "image %s", path);
}

int engine_load_policy(engine *e, const char *path, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_attestation_policy *policy = NULL;
    int rc = file_read(path, DSTACK_ATTESTATION_POLICY_MAX, &text, err);
    rc = rc != 0 ? rc : dstack_attestation_policy_parse(&policy, bytes_of_buf(&text), err);
    if (rc != 0) {
        return error_prefix(err, rc, "%s", path);
    }
    pthread_rwlock_wrlock(&e->policy_lock);
    dstack_attestation_policy *old = e->policy;
    e->policy = policy;
    pthread_rwlock_unlock(&e->policy_lock);
    dstack_attestation_policy_free(old);
    return 0;
}

static int fill(engine *e, const engine_options *options, dstack_error *err) {
    int rc = open_trust(e, options->tdx_root, err);
    rc = rc != 0 ? rc : open_platform_roots(e, options, err);
    for (size_t i = 0; rc == 0 && i < options->collateral_count; i++) {
        rc = add_collateral(e, options->collateral[i], err);
    }
    for (size_t i = 0; rc == 0 && i < options->image_dir_count; i++) {
        rc = add_folder(e, options->image_dirs[i], err);
    }
    if (rc == 0) {
        e->fetcher =
            collateral_fetcher_new(options->pccs, options->pccs_count, options->pccs_timeout_ms);
        bool kept = e->fetcher != NULL &&
                    collateral_fetcher_keep_in(
                        e->fetcher, options->pccs_cache != NULL ? options->pccs_cache : "");
        rc = kept ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (rc == 0 && options->fetch_tpm) {
        const dstack_tpm_fetcher_options how = {.timeout_ms = options->pccs_timeout_ms};
        rc = dstack_tpm_fetcher_new(&e->tpm_fetcher, &how, err);
    }
    if (rc == 0) {
        e->snp_require_crl = options->snp_require_crl;
        e->snp_fetcher = snp_fetcher_new(options->kds, options->kds_count, options->pccs_timeout_ms,
                                         options->pccs_cache != NULL ? options->pccs_cache : "");
        rc = e->snp_fetcher != NULL ? 0 : error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    if (rc == 0 && options->download) {
        e->store = image_store_new(&options->store, err);
        rc = e->store != NULL ? 0 : DSTACK_E_MEMORY;
    }
    if (rc == 0 && options->policy != NULL && options->policy[0] != '\0') {
        rc = engine_load_policy(e, options->policy, err);
    }
    return rc;
}

int engine_open(engine *out, const engine_options *options, dstack_error *err) {
    *out = (engine){.open = true};
    pthread_rwlock_init(&out->policy_lock, NULL);
    int rc = fill(out, options, err);
    if (rc != 0) {
        engine_close(out);
    }
    return rc;
}

void engine_close(engine *e) {
    if (!e->open) {
        return;
    }
    for (size_t i = 0; i < e->folder_count; i++) {
        free(e->folders[i].path);
    }
    for (size_t i = 0; i < sizeof e->root_ders / sizeof *e->root_ders; i++) {
        dstack_buf_clear(&e->root_ders[i]);
    }
    dstack_attestation_policy_free(e->policy);
    pthread_rwlock_destroy(&e->policy_lock);
    collateral_fetcher_free(e->fetcher);
    dstack_tpm_fetcher_free(e->tpm_fetcher);
    snp_fetcher_free(e->snp_fetcher);
    image_store_free(e->store);
    dstack_verifier_free(e->verifier);
    *e = (engine){0};
}
