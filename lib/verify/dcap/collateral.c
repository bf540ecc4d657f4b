#include "verify/dcap/collateral.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "verify/dcap/chain.h"
#include "verify/dcap/tcb_info.h"

struct dstack_collateral {
    atomic_uint references;
    dstack_buf store; /* all parts, back to back */
    dstack_collateral_parts parts;
    uint8_t id[HASH_SHA256_SIZE];
};

/* Members of the bundle in the order in which they are written. */
static const struct {
    const char *name;
    bool hex; /* bytes as hex text; plain text otherwise */
    size_t offset;
} members[] = {
#define PART(name, hex)                                                                            \
    { #name, hex, offsetof(dstack_collateral_parts, name) }
    PART(pck_crl_issuer_chain, false),
    PART(root_ca_crl, true),
    PART(pck_crl, true),
    PART(tcb_info_issuer_chain, false),
    PART(tcb_info, false),
    PART(tcb_info_signature, true),
    PART(qe_identity_issuer_chain, false),
    PART(qe_identity, false),
    PART(qe_identity_signature, true),
    PART(pck_certificate_chain, false),
#undef PART
};
enum { MEMBERS = sizeof members / sizeof *members, CHAIN = MEMBERS - 1 };

static dstack_bytes *part_of(dstack_collateral_parts *parts, size_t i) {
    return (dstack_bytes *)(void *)((char *)parts + members[i].offset);
}

static dstack_bytes part_value(const dstack_collateral_parts *parts, size_t i) {
    return *(const dstack_bytes *)(const void *)((const char *)parts + members[i].offset);
}

int dstack_collateral_new(dstack_collateral **out, const dstack_collateral_parts *parts,
                          dstack_error *err) {
    dstack_collateral *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for collateral");
    }
    atomic_init(&c->references, 1);
    size_t count = parts->has_pck_certificate_chain ? MEMBERS : CHAIN;
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        total += part_value(parts, i).len;
    }
    buf_reserve(&c->store, total);
    hash_ctx hash;
    hash_init(&hash, HASH_SHA256);
    for (size_t i = 0; i < count && !c->store.failed; i++) {
        dstack_bytes value = part_value(parts, i);
        uint64_t size = value.len;
        size_t at = c->store.len;
        buf_put_bytes(&c->store, value);
        *part_of(&c->parts, i) = bytes_of(c->store.data + at, value.len);
        hash_update(&hash, bytes_of(&size, sizeof size));
        hash_update(&hash, value);
    }
    hash_final(&hash, c->id);
    c->parts.has_pck_certificate_chain = parts->has_pck_certificate_chain;
    int rc = buf_check(&c->store, err);
    if (rc != 0) {
        dstack_collateral_free(c);
        return rc;
    }
    *out = c;
    return 0;
}

static int bad(dstack_error *err, const char *name, const char *text) {
    return error_set(err, DSTACK_E_DCAP_COLLATERAL_FORMAT, "collateral: member \"%s\" %s", name,
                     text);
}

/* One member into `value`; a hex one is decoded into `bytes`. */
static int read_member(const json_t *object, size_t i, dstack_buf *bytes, dstack_bytes *value,
                       dstack_error *err) {
    const char *name = members[i].name;
    const json_t *member = json_object_get(object, name);
    if (!json_is_string(member)) {
        return bad(err, name, member == NULL ? "is missing" : "is not a string");
    }
    /* with its length: a PCK chain taken from a quote ends with a NUL */
    *value = bytes_of(json_string_value(member), json_string_length(member));
    if (members[i].hex) {
        dstack_bytes text = *value;
        if (hex_decode(text, bytes, NULL) != 0) {
            return bad(err, name, "is not hex");
        }
        *value = bytes_of_buf(bytes);
    }
    return 0;
}

int dstack_collateral_parse(dstack_collateral **out, dstack_bytes json, dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *object = json_parse(json, DSTACK_COLLATERAL_MAX_SIZE, "collateral", err);
    if (!json_is_object(object)) {
        if (object != NULL) {
            error_set(err, DSTACK_E_FORMAT, "it is not an object");
        }
        return dcap_reclass(err, DSTACK_E_DCAP_COLLATERAL_FORMAT, "collateral");
    }
    dstack_collateral_parts parts = {0};
    dstack_buf bytes[MEMBERS] = {0};
    int rc = 0;
    const json_t *chain = json_object_get(object, members[CHAIN].name);
    parts.has_pck_certificate_chain = chain != NULL && !json_is_null(chain);
    for (size_t i = 0; rc == 0 && i < (parts.has_pck_certificate_chain ? MEMBERS : CHAIN); i++) {
        rc = read_member(object, i, &bytes[i], part_of(&parts, i), err);
    }
    if (rc == 0) {
        rc = dstack_collateral_new(out, &parts, err);
    }
    for (size_t i = 0; i < MEMBERS; i++) {
        dstack_buf_clear(&bytes[i]);
    }
    return rc;
}

dstack_collateral *dstack_collateral_ref(dstack_collateral *collateral) {
    atomic_fetch_add_explicit(&collateral->references, 1, memory_order_relaxed);
    return collateral;
}

void dstack_collateral_free(dstack_collateral *collateral) {
    if (collateral != NULL &&
        atomic_fetch_sub_explicit(&collateral->references, 1, memory_order_acq_rel) == 1) {
        dstack_buf_clear(&collateral->store);
        free(collateral);
    }
}

void dstack_collateral_get(const dstack_collateral *collateral, dstack_collateral_parts *parts) {
    *parts = collateral->parts;
}

dstack_bytes dstack_collateral_id(const dstack_collateral *collateral) {
    return bytes_of(collateral->id, sizeof collateral->id);
}

int dstack_collateral_to_json(const dstack_collateral *collateral, bool pretty, dstack_buf *out,
                              dstack_error *err) {
    DSTACK_AUTO(json) json_t *object = json_object();
    for (size_t i = 0; i < MEMBERS; i++) {
        dstack_bytes value = part_value(&collateral->parts, i);
        json_t *member;
        if (i == CHAIN && !collateral->parts.has_pck_certificate_chain) {
            member = json_null();
        } else if (members[i].hex) {
            member = json_hex(value);
        } else {
            member = json_stringn((const char *)value.data, value.len);
        }
        if (json_object_set_new(object, members[i].name, member) != 0) {
            return error_set(err, DSTACK_E_FORMAT, "collateral: \"%s\" is not UTF-8 text",
                             members[i].name);
        }
    }
    return json_write(object, pretty, out, err);
}

int dstack_collateral_expires(const dstack_collateral *collateral, int64_t *expires,
                              dstack_error *err) {
    const dstack_collateral_parts *parts = &collateral->parts;
    DSTACK_AUTO(tcb_info) dcap_tcb_info tcb = {0};
    DSTACK_AUTO(qe_identity) dcap_qe_identity qe = {0};
    x509_crl root, pck;
    int rc = dcap_tcb_info_parse(&tcb, parts->tcb_info, err);
    if (rc == 0) {
        rc = dcap_qe_identity_parse(&qe, parts->qe_identity, err);
    }
    if (rc == 0) {
        rc = dcap_crl_parse(&root, parts->root_ca_crl, "root CRL", err);
    }
    if (rc == 0) {
        rc = dcap_crl_parse(&pck, parts->pck_crl, "PCK CRL", err);
    }
    if (rc != 0) {
        return rc;
    }
    /* texts serve through their last second, lists until it */
    int64_t ends[] = {tcb.text.next_update + 1, qe.text.next_update + 1, root.next_update,
                      pck.next_update};
    *expires = ends[0];
    for (size_t i = 1; i < sizeof ends / sizeof *ends; i++) {
        *expires = ends[i] < *expires ? ends[i] : *expires;
    }
    return 0;
}
