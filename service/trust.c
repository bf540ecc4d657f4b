#include "service/trust.h"

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "x509/pem.h"

#define ROOT_FILE_MAX ((size_t)64 << 10)
#define COLLATERAL_FILE_MAX ((size_t)4 << 20)

void trust_clear(trust *t) {
    dstack_verifier_free(t->verifier);
    dstack_buf_clear(&t->sim_root);
    *t = (trust){0};
}

static int load_root(const char *path, dstack_buf *der, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    int rc = file_read(path, ROOT_FILE_MAX, &file, err);
    if (rc != 0) {
        return rc;
    }
    if (!pem_looks_like(bytes_of_buf(&file))) {
        buf_put_bytes(der, bytes_of_buf(&file));
        return buf_check(der, err);
    }
    pem_reader reader;
    pem_reader_init(&reader, bytes_of_buf(&file));
    DSTACK_AUTO(pem_block) pem_block block = {0};
    bool found = false;
    rc = pem_next(&reader, &block, &found, err);
    if (rc == 0 && !found) {
        rc = error_set(err, DSTACK_E_FORMAT, "no certificate");
    }
    if (rc == 0) {
        buf_put_bytes(der, bytes_of_buf(&block.der));
        rc = buf_check(der, err);
    }
    return error_prefix(err, rc, "%s", path);
}

static int add_collateral(dstack_verifier *verifier, const char *path, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    dstack_collateral *collateral = NULL;
    int rc = file_read(path, COLLATERAL_FILE_MAX, &file, err);
    rc = rc != 0 ? rc : dstack_collateral_parse(&collateral, bytes_of_buf(&file), err);
    rc = rc != 0 ? rc : dstack_verifier_add_collateral(verifier, collateral, err);
    dstack_collateral_free(collateral);
    return error_prefix(err, rc, "collateral %s", path);
}

int trust_open(trust *out, const char *sim_root_file, const char *const *collateral_files,
               size_t collateral_count, bool insecure_dev, dstack_error *err) {
    DSTACK_AUTO(trust) trust t = {0};
    dstack_trust_root root = {.name = "simulation root"};
    dstack_verifier_options options = {0};
    int rc = 0;
    if (sim_root_file[0] != '\0') {
        if (!insecure_dev) {
            return error_set(err, DSTACK_E_INSECURE,
                             "trusting a simulation root (%s) needs --insecure-dev", sim_root_file);
        }
        rc = load_root(sim_root_file, &t.sim_root, err);
        root.cert = bytes_of_buf(&t.sim_root);
        options.roots = &root;
        options.root_count = 1;
    }
    rc = rc != 0 ? rc : dstack_verifier_new(&t.verifier, &options, err);
    for (size_t i = 0; rc == 0 && i < collateral_count; i++) {
        rc = add_collateral(t.verifier, collateral_files[i], err);
    }
    if (rc == 0) {
        *out = t;
        t = (trust){0};
    }
    return rc;
}
