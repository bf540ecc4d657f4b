/* The platform's keys on disk. */
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "sim/sim_keys.h"
#include "sim/sim_pki.h"
#include "x509/pem.h"

#define FILE_LIMIT ((size_t)1 << 20)
#define SCALAR_SIZE ECDSA_P256_SCALAR_SIZE

static int write_file(const char *dir, const char *name, dstack_bytes content, mode_t mode,
                      dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    return text == NULL   ? buf_check(&path, err)
           : mode == 0600 ? file_write_new(text, content, mode, err)
                          : file_write_atomic(text, content, mode, err);
}

/* keys.json is written last: a folder that has it is complete, and is never touched again. */
static int check_unused(const char *dir, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/keys.json", dir);
    const char *text = buf_text(&path);
    if (text != NULL && access(text, F_OK) == 0) {
        return error_set(err, DSTACK_E_EXISTS, "%s exists: its keys are not replaced", text);
    }
    return buf_check(&path, err);
}

static int read_file(const char *dir, const char *name, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf path = {0};
    buf_put_fmt(&path, "%s/%s", dir, name);
    const char *text = buf_text(&path);
    return text == NULL ? buf_check(&path, err) : file_read(text, FILE_LIMIT, out, err);
}

static void auto_secret_buf(dstack_buf *buf) {
    buf_wipe(buf);
}

static int write_keys(const char *dir, const sim_pki *pki, dstack_error *err) {
    DSTACK_AUTO(secret_buf) dstack_buf text = {0};
    buf_reserve(&text, 8192 + pki->pck_chain.len);
    buf_put_str(&text, "{\"version\":1,\"attestation_key\":\"");
    buf_put_hex(&text, ecdsa_private_scalar(pki->attestation));
    buf_put_str(&text, "\",\"qe_report\":\"");
    buf_put_hex(&text, bytes_of_buf(&pki->qe_report));
    buf_put_str(&text, "\",\"qe_signature\":\"");
    buf_put_hex(&text, bytes_of(pki->qe_signature, sizeof pki->qe_signature));
    buf_put_str(&text, "\",\"pck_chain\":\"");
    buf_put_hex(&text, bytes_of_buf(&pki->pck_chain));
    buf_put_str(&text, "\"}\n");
    const int rc = buf_check(&text, err);
    return rc != 0 ? rc : write_file(dir, "keys.json", bytes_of_buf(&text), 0600, err);
}

int sim_keys_init(const char *dir, const uint8_t *seed, int64_t now, dstack_error *err) {
    DSTACK_AUTO(sim_pki) sim_pki pki = {0};
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    int rc = file_make_dirs(dir, 0700, err);
    if (rc != 0 || (rc = check_unused(dir, err)) != 0 ||
        (rc = sim_pki_make(seed, now, &pki, err)) != 0 ||
        (rc = pem_append(&pem, "CERTIFICATE", bytes_of_buf(&pki.root_der), err)) != 0 ||
        (rc = write_file(dir, "root.der", bytes_of_buf(&pki.root_der), 0644, err)) != 0 ||
        (rc = write_file(dir, "root.pem", bytes_of_buf(&pem), 0644, err)) != 0 ||
        (rc = write_file(dir, "collateral.json", bytes_of_buf(&pki.collateral), 0644, err)) != 0) {
        return rc;
    }
    return write_keys(dir, &pki, err);
}

static int append_hex(const json_t *object, const char *key, dstack_buf *out, dstack_error *err) {
    const int rc = json_hex_or_empty(object, key, out, err);
    if (rc == 0 && out->len == 0) {
        return error_set(err, DSTACK_E_FORMAT, "keys.json: %s is missing", key);
    }
    return rc;
}

static int parse_keys(const json_t *object, sim_keys *out, dstack_error *err) {
    uint8_t scalar[SCALAR_SIZE];
    int rc = json_need_hex(object, "attestation_key", scalar, sizeof scalar, err);
    if (rc == 0) {
        rc = ecdsa_private_from_scalar(&out->attestation, ECDSA_P256,
                                       bytes_of(scalar, sizeof scalar), err);
    }
    explicit_bzero(scalar, sizeof scalar);
    if (rc != 0 ||
        (rc = json_need_hex(object, "qe_report", (uint8_t *)&out->qe_report, sizeof out->qe_report,
                            err)) != 0 ||
        (rc = json_need_hex(object, "qe_signature", out->qe_signature, sizeof out->qe_signature,
                            err)) != 0) {
        return rc;
    }
    return append_hex(object, "pck_chain", &out->pck_chain, err);
}

static int load(const char *dir, sim_keys *out, dstack_error *err) {
    DSTACK_AUTO(secret_buf) dstack_buf text = {0};
    buf_reserve(&text, FILE_LIMIT);
    int rc = read_file(dir, "keys.json", &text, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *object = json_parse(bytes_of_buf(&text), FILE_LIMIT, "keys.json", err);
    if (object == NULL) {
        return err != NULL ? (int)err->status : DSTACK_E_FORMAT;
    }
    if ((rc = parse_keys(object, out, err)) != 0 ||
        (rc = read_file(dir, "root.der", &out->root, err)) != 0) {
        return rc;
    }
    return read_file(dir, "collateral.json", &out->collateral, err);
}

int sim_keys_load(const char *dir, sim_keys **out, dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(sim_keys) sim_keys *keys = calloc(1, sizeof *keys);
    if (keys == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const int rc = load(dir, keys, err);
    if (rc != 0) {
        return error_prefix(err, rc, "simulation keys in %s", dir);
    }
    *out = keys;
    keys = NULL;
    return 0;
}

void sim_keys_free(sim_keys *keys) {
    if (keys != NULL) {
        ecdsa_private_free(keys->attestation);
        dstack_buf_clear(&keys->pck_chain);
        dstack_buf_clear(&keys->root);
        dstack_buf_clear(&keys->collateral);
        free(keys);
    }
}

dstack_bytes sim_keys_root(const sim_keys *keys) {
    return bytes_of_buf(&keys->root);
}

void sim_keys_root_hash(const sim_keys *keys, uint8_t out[32]) {
    hash_sha256(bytes_of_buf(&keys->root), out);
}

dstack_bytes sim_keys_collateral(const sim_keys *keys) {
    return bytes_of_buf(&keys->collateral);
}
