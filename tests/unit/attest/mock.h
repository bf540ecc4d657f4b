/* The verifier and collateral of the signed test evidence in the shared data. */
#ifndef TESTS_UNIT_ATTEST_MOCK_H
#define TESTS_UNIT_ATTEST_MOCK_H

#include <ctype.h>

#include <dstack/collateral.h>
#include <dstack/verifier.h>

#include "check.h"
#include "x509/pem.h"

#define MOCK SHARED_DATA "attestation/mock/"

static inline void put_unescaped(dstack_buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (*text == '%' && isxdigit((unsigned char)text[1])) {
            char digits[3] = {text[1], text[2], '\0'};
            buf_put_u8(out, (uint8_t)strtoul(digits, NULL, 16));
            text += 2;
        } else {
            buf_put_u8(out, (uint8_t)*text);
        }
    }
}

static inline const json_t *answer(const json_t *list, const char *path) {
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)list, i, item) {
        if (strcmp(json_string_value(json_object_get(item, "path")), path) == 0) {
            return item;
        }
    }
    fail_msg("no collateral at %s", path);
    return NULL;
}

static inline void put_header(dstack_buf *out, const json_t *item, const char *name) {
    const json_t *headers = json_object_get(item, "headers");
    put_unescaped(out, json_string_value(json_object_get(headers, name)));
}

/* The signed text is the value of the first member, as it stands; the signature follows as hex. */
static inline void split(const json_t *item, const char *key, dstack_buf *text,
                         dstack_buf *signature) {
    const char *body = json_string_value(json_object_get(item, "body"));
    char start[64];
    snprintf(start, sizeof start, "{\"%s\":", key);
    assert_memory_equal(body, start, strlen(start));
    const char *from = body + strlen(start), *to = strstr(from, ",\"signature\":\"");
    assert_non_null(to);
    buf_put(text, from, (size_t)(to - from));
    const char *hex = to + strlen(",\"signature\":\"");
    dstack_error err = {0};
    assert_ok(hex_decode(bytes_of(hex, strcspn(hex, "\"")), signature, &err), err);
}

static inline dstack_collateral *mock_collateral(void) {
    DSTACK_AUTO(json) json_t *pccs = load_json(MOCK "pccs.json");
    DSTACK_AUTO(buf) dstack_buf pck_chain = {0};
    DSTACK_AUTO(buf) dstack_buf tcb_chain = {0};
    DSTACK_AUTO(buf) dstack_buf qe_chain = {0};
    DSTACK_AUTO(buf) dstack_buf pck_crl = {0};
    DSTACK_AUTO(buf) dstack_buf root_hex = {0};
    DSTACK_AUTO(buf) dstack_buf root_crl = {0};
    DSTACK_AUTO(buf) dstack_buf tcb = {0};
    DSTACK_AUTO(buf) dstack_buf tcb_signature = {0};
    DSTACK_AUTO(buf) dstack_buf qe = {0};
    DSTACK_AUTO(buf) dstack_buf qe_signature = {0};
    const json_t *item = answer(pccs, "/sgx/certification/v4/pckcrl");
    put_header(&pck_chain, item, "sgx-pck-crl-issuer-chain");
    put_hex(&pck_crl, json_string_value(json_object_get(item, "body_hex")));
    item = answer(pccs, "/sgx/certification/v4/rootcacrl");
    put_hex(&root_hex, json_string_value(json_object_get(item, "body_hex")));
    put_hex(&root_crl, buf_text(&root_hex));
    item = answer(pccs, "/tdx/certification/v4/tcb");
    put_header(&tcb_chain, item, "sgx-tcb-info-issuer-chain");
    split(item, "tcbInfo", &tcb, &tcb_signature);
    item = answer(pccs, "/tdx/certification/v4/qe/identity");
    put_header(&qe_chain, item, "sgx-enclave-identity-issuer-chain");
    split(item, "enclaveIdentity", &qe, &qe_signature);
    const dstack_collateral_parts parts = {
        .pck_crl_issuer_chain = bytes_of_buf(&pck_chain),
        .root_ca_crl = bytes_of_buf(&root_crl),
        .pck_crl = bytes_of_buf(&pck_crl),
        .tcb_info_issuer_chain = bytes_of_buf(&tcb_chain),
        .tcb_info = bytes_of_buf(&tcb),
        .tcb_info_signature = bytes_of_buf(&tcb_signature),
        .qe_identity_issuer_chain = bytes_of_buf(&qe_chain),
        .qe_identity = bytes_of_buf(&qe),
        .qe_identity_signature = bytes_of_buf(&qe_signature),
    };
    dstack_collateral *collateral = NULL;
    dstack_error err = {0};
    assert_ok(dstack_collateral_new(&collateral, &parts, &err), err);
    return collateral;
}

static inline void make_verifier(bool with_root, dstack_verifier **out) {
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    load_file(MOCK "roots/tdx.pem", &pem);
    pem_reader reader;
    pem_block block = {0};
    bool found = false;
    dstack_error err = {0};
    pem_reader_init(&reader, bytes_of_buf(&pem));
    assert_ok(pem_next(&reader, &block, &found, &err), err);
    const dstack_trust_root root = {.name = "test", .cert = bytes_of_buf(&block.der)};
    const dstack_verifier_options options = {.roots = &root, .root_count = with_root ? 1 : 0};
    assert_ok(dstack_verifier_new(out, &options, &err), err);
    pem_block_clear(&block);
    dstack_collateral *collateral = mock_collateral();
    assert_ok(dstack_verifier_add_collateral(*out, collateral, &err), err);
    dstack_collateral_free(collateral);
}

#endif
