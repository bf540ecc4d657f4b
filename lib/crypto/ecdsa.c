#include "crypto/ecdsa.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/ecdsa_backend.h"
#include "x509/der.h"

/* SEC 2, sections 2.4.2 and 2.5.1: orders of the base points. The prefixes are the one DER encoding
 * of a SubjectPublicKeyInfo with id-ecPublicKey, the named curve and an uncompressed point (RFC
 * 5480, section 2), up to the point. */
static const struct {
    const char *name;
    size_t scalar_size;
    uint8_t order[ECDSA_MAX_SCALAR_SIZE];
    size_t prefix_len;
    uint8_t prefix[26];
} curves[] = {
    [ECDSA_P256] =
        {
            "P-256",
            32,
            {0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff,
             0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17,
             0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51},
            26,
            {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
             0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00},
        },
    [ECDSA_P384] =
        {
            "P-384",
            48,
            {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
             0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
             0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a, 0x0d, 0xb2,
             0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73},
            23,
            {0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02,
             0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00},
        },
};

/* What is counted and made while a key is in use; the key itself stays as it is. */
typedef struct key_reuse {
    ecdsa_tables *tables;
    atomic_uint uses;
    _Atomic(void *) table;
} key_reuse;

struct ecdsa_key {
    const ecdsa_backend_ops *backend;
    ecdsa_curve curve;
    void *loaded;     /* NULL in a compact key */
    key_reuse *reuse; /* NULL: not expected */
    uint8_t point[ECDSA_MAX_POINT_SIZE];
};

size_t ecdsa_scalar_size(ecdsa_curve curve) {
    return curves[curve].scalar_size;
}

bool ecdsa_scalar_in_range(ecdsa_curve curve, const uint8_t *scalar) {
    size_t size = curves[curve].scalar_size;
    uint8_t little[ECDSA_MAX_SCALAR_SIZE];
    uint8_t order[ECDSA_MAX_SCALAR_SIZE];
    for (size_t i = 0; i < size; i++) { /* sodium_compare wants little-endian */
        little[i] = scalar[size - 1 - i];
        order[i] = curves[curve].order[size - 1 - i];
    }
    bool in_range = sodium_is_zero(little, size) == 0 && sodium_compare(little, order, size) < 0;
    sodium_memzero(little, sizeof little);
    return in_range;
}

const char *ecdsa_backend(void) {
    return ecdsa_backend_default()->name;
}

/* The form of the point alone; nothing is loaded. */
static int key_fill(ecdsa_key *key, const ecdsa_backend_ops *backend, ecdsa_curve curve,
                    dstack_bytes point, dstack_error *err) {
    size_t size = curves[curve].scalar_size;
    bool prefixed = point.len == 2 * size + 1 && point.data[0] == 4;
    if (!prefixed && point.len != 2 * size) {
        return error_set(err, DSTACK_E_FORMAT,
                         "%s public key: want %zu bytes or %zu with a leading 04, found %zu",
                         curves[curve].name, 2 * size, 2 * size + 1, point.len);
    }
    *key = (ecdsa_key){.backend = backend, .curve = curve, .point = {4}};
    memcpy(key->point + 1, point.data + (prefixed ? 1 : 0), 2 * size);
    return 0;
}

static int key_new(ecdsa_key **out, const ecdsa_backend_ops *backend, ecdsa_curve curve,
                   dstack_bytes point, dstack_error *err) {
    ecdsa_key *key = calloc(1, sizeof *key);
    if (key == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a public key");
    }
    int rc = key_fill(key, backend, curve, point, err);
    if (rc != 0) {
        free(key);
        return rc;
    }
    *out = key;
    return 0;
}

int ecdsa_key_load(ecdsa_key **out, const ecdsa_backend_ops *backend, ecdsa_curve curve,
                   dstack_bytes point, dstack_error *err) {
    DSTACK_AUTO(ecdsa_key) ecdsa_key *key = NULL;
    int rc = key_new(&key, backend, curve, point, err);
    if (rc != 0) {
        return rc;
    }
    key->loaded = backend->load(curve, key->point);
    if (key->loaded == NULL) {
        return error_set(err, DSTACK_E_CRYPTO, "%s public key is not a point of the curve",
                         curves[curve].name);
    }
    *out = key;
    key = NULL;
    return 0;
}

int ecdsa_key_compact(ecdsa_key **out, ecdsa_curve curve, dstack_bytes point, dstack_error *err) {
    return key_new(out, ecdsa_backend_default(), curve, point, err);
}

int ecdsa_key_from_point(ecdsa_key **out, ecdsa_curve curve, dstack_bytes point,
                         dstack_error *err) {
    return ecdsa_key_load(out, ecdsa_backend_default(), curve, point, err);
}

int ecdsa_key_from_spki(ecdsa_key **out, dstack_bytes spki, dstack_error *err) {
    for (ecdsa_curve curve = ECDSA_P256; curve <= ECDSA_P384; curve++) {
        size_t prefix = curves[curve].prefix_len;
        size_t point = 2 * curves[curve].scalar_size + 1;
        if (spki.len == prefix + point && memcmp(spki.data, curves[curve].prefix, prefix) == 0 &&
            spki.data[prefix] == 4) {
            return ecdsa_key_from_point(out, curve, bytes_of(spki.data + prefix, point), err);
        }
    }
    return error_set(err, DSTACK_E_UNSUPPORTED,
                     "public key is not an uncompressed P-256 or P-384 point in a DER "
                     "SubjectPublicKeyInfo (%zu bytes)",
                     spki.len);
}

/* ---- tables of keys that are used again and again ---- */

void ecdsa_key_expect_reuse(ecdsa_key *key, ecdsa_tables *tables) {
    if (key->curve == ECDSA_P256 && key->backend->table_make != NULL && key->reuse == NULL) {
        key->reuse = calloc(1, sizeof *key->reuse); /* without memory there is no table */
        if (key->reuse != NULL) {
            key->reuse->tables = tables;
        }
    }
}

static bool tables_take(ecdsa_tables *tables) {
    int left = atomic_load(&tables->left);
    while (left > 0 && !atomic_compare_exchange_weak(&tables->left, &left, left - 1)) {
    }
    return left > 0;
}

/* Made by the one thread whose verification is the 1024th, 2048th, ...; should the next round come
 * before it is ready, the second table is dropped. */
static void *reuse_make_table(const ecdsa_key *key) {
    key_reuse *reuse = key->reuse;
    void *none = NULL;
    if (!tables_take(reuse->tables)) {
        return NULL;
    }
    void *table = key->backend->table_make(key->point);
    if (table == NULL || !atomic_compare_exchange_strong(&reuse->table, &none, table)) {
        atomic_fetch_add(&reuse->tables->left, 1);
        key->backend->table_free(table);
        table = none;
    }
    return table;
}

static void *reuse_table(const ecdsa_key *key) {
    void *table = atomic_load_explicit(&key->reuse->table, memory_order_acquire);
    if (table == NULL) {
        unsigned uses = atomic_fetch_add_explicit(&key->reuse->uses, 1, memory_order_relaxed) + 1;
        table = uses % ECDSA_TABLE_AFTER == 0 ? reuse_make_table(key) : NULL;
    }
    return table;
}

static void reuse_free(const ecdsa_key *key) {
    void *table = key->reuse == NULL ? NULL : atomic_load(&key->reuse->table);
    if (table != NULL) {
        key->backend->table_free(table);
        atomic_fetch_add(&key->reuse->tables->left, 1);
    }
    free(key->reuse);
}

bool ecdsa_key_has_table(const ecdsa_key *key) {
    return key->reuse != NULL && atomic_load(&key->reuse->table) != NULL;
}

void ecdsa_key_free(ecdsa_key *key) {
    if (key != NULL) {
        reuse_free(key);
        if (key->loaded != NULL) {
            key->backend->unload(key->loaded);
        }
        free(key);
    }
}

ecdsa_curve ecdsa_key_curve(const ecdsa_key *key) {
    return key->curve;
}

dstack_bytes ecdsa_key_point(const ecdsa_key *key) {
    return bytes_of(key->point, 2 * curves[key->curve].scalar_size + 1);
}

int ecdsa_key_spki(const ecdsa_key *key, dstack_buf *out, dstack_error *err) {
    buf_put(out, curves[key->curve].prefix, curves[key->curve].prefix_len);
    buf_put_bytes(out, ecdsa_key_point(key));
    return buf_check(out, err);
}

/* As ecdsa_scalar_in_range, for numbers that are no secret. */
static bool public_in_range(ecdsa_curve curve, const uint8_t *scalar) {
    size_t size = curves[curve].scalar_size;
    return !bytes_are_zero(bytes_of(scalar, size)) && memcmp(scalar, curves[curve].order, size) < 0;
}

static bool signature_holds(const ecdsa_key *key, dstack_bytes digest, const uint8_t *raw) {
    const void *table = key->reuse == NULL ? NULL : reuse_table(key);
    if (table != NULL) {
        return key->backend->table_verify(table, digest, raw);
    }
    if (key->loaded != NULL) {
        return key->backend->verify(key->loaded, key->curve, digest, raw);
    }
    void *loaded = key->backend->load(key->curve, key->point);
    bool good = loaded != NULL && key->backend->verify(loaded, key->curve, digest, raw);
    if (loaded != NULL) {
        key->backend->unload(loaded);
    }
    return good;
}

int ecdsa_verify_raw(const ecdsa_key *key, dstack_bytes digest, dstack_bytes signature,
                     dstack_error *err) {
    const char *name = curves[key->curve].name;
    size_t size = curves[key->curve].scalar_size;
    if (digest.len != 32 && digest.len != 48 && digest.len != 64) {
        return error_set(err, DSTACK_E_ARGUMENT, "digest of %zu bytes: want 32, 48 or 64",
                         digest.len);
    }
    if (signature.len != 2 * size) {
        return error_set(err, DSTACK_E_CRYPTO, "%s signature: want %zu bytes, found %zu", name,
                         2 * size, signature.len);
    }
    if (!public_in_range(key->curve, signature.data) ||
        !public_in_range(key->curve, signature.data + size)) {
        return error_set(err, DSTACK_E_CRYPTO, "%s signature: r or s is outside [1, n-1]", name);
    }
    if (!signature_holds(key, digest, signature.data)) {
        return error_set(err, DSTACK_E_CRYPTO, "%s signature does not verify", name);
    }
    return 0;
}

int ecdsa_verify_point(ecdsa_curve curve, dstack_bytes point, dstack_bytes digest,
                       dstack_bytes signature, dstack_error *err) {
    ecdsa_key key;
    int rc = key_fill(&key, ecdsa_backend_default(), curve, point, err);
    return rc != 0 ? rc : ecdsa_verify_raw(&key, digest, signature, err);
}

int ecdsa_verify_der(const ecdsa_key *key, dstack_bytes digest, dstack_bytes signature,
                     dstack_error *err) {
    uint8_t raw[ECDSA_MAX_RAW_SIZE];
    int rc = ecdsa_der_to_raw(key->curve, signature, raw, err);
    if (rc != 0) {
        return rc;
    }
    return ecdsa_verify_raw(key, digest, bytes_of(raw, 2 * curves[key->curve].scalar_size), err);
}

int ecdsa_der_to_raw(ecdsa_curve curve, dstack_bytes der, uint8_t *raw, dstack_error *err) {
    size_t size = curves[curve].scalar_size;
    cursor outer = cursor_init(der);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    der_unsigned_fixed(&inner, raw, size);
    der_unsigned_fixed(&inner, raw + size, size);
    der_leave(&outer, &inner);
    if (!cursor_done(&outer)) {
        return error_set(err, DSTACK_E_CRYPTO,
                         "%s signature is not a canonical DER SEQUENCE of two INTEGERs",
                         curves[curve].name);
    }
    return 0;
}

int ecdsa_raw_to_der(ecdsa_curve curve, dstack_bytes raw, dstack_buf *out, dstack_error *err) {
    size_t size = curves[curve].scalar_size;
    if (raw.len != 2 * size) {
        return error_set(err, DSTACK_E_ARGUMENT, "%s signature: want %zu bytes, found %zu",
                         curves[curve].name, 2 * size, raw.len);
    }
    size_t mark = der_begin(out, DER_SEQUENCE);
    der_put_unsigned(out, bytes_of(raw.data, size));
    der_put_unsigned(out, bytes_of(raw.data + size, size));
    der_end(out, mark);
    return buf_check(out, err);
}
