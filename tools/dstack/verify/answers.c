/* Answers of gateways and guests: JSON from outside to attestations. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "verify/verify.h"

#define KEYS_MAX 1024

void verify_answers_clear(verify_answers *answers) {
    for (size_t i = 0; i < VERIFY_CHAIN_MAX; i++) {
        dstack_buf_clear(&answers->chain[i]);
    }
    dstack_buf_clear(&answers->acme_info);
    dstack_buf_clear(&answers->evidence);
    dstack_buf_clear(&answers->evidence_leaf);
}

static int decode_member(const json_t *object, dstack_attestation **out, dstack_error *err) {
    const char *text = NULL;
    DSTACK_AUTO(buf) dstack_buf encoded = {0};
    int rc = json_need_str(object, "attestation", &text, err);
    rc = rc != 0 ? rc : hex_decode(bytes_of_str(text), &encoded, err);
    return rc != 0 ? rc : dstack_attestation_decode(bytes_of_buf(&encoded), out, err);
}

/* The text of a key's attestation is a JSON document of its own. */
static int decode_key(const json_t *key, dstack_attestation **out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_need_str(key, "attestation", &text, err);
    if (rc == 0 && *text == '\0') {
        rc = error_set(err, DSTACK_E_FORMAT, "the gateway has no attestation for this key");
    }
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *inner = json_parse(bytes_of_str(text), VERIFY_ACME_INFO_MAX, "attestation", err);
    return inner == NULL ? DSTACK_E_FORMAT : decode_member(inner, out, err);
}

static bool is_key(const json_t *key, dstack_bytes spki) {
    DSTACK_AUTO(buf) dstack_buf have = {0};
    return json_hex_or_empty(key, "public_key", &have, NULL) == 0 &&
           bytes_equal(bytes_of_buf(&have), spki);
}

int verify_parse_acme_info(dstack_bytes text, dstack_bytes spki, dstack_attestation **out,
                           size_t *keys, dstack_error *err) {
    *out = NULL;
    *keys = 0;
    DSTACK_AUTO(json) json_t *document = json_parse(text, VERIFY_ACME_INFO_MAX, "acme-info", err);
    if (document == NULL) {
        return DSTACK_E_FORMAT;
    }
    json_t *list = NULL;
    int rc = json_need_array(document, "quoted_hist_keys", &list, err);
    if (rc != 0) {
        return error_prefix(err, rc, "acme-info");
    }
    *keys = json_array_size(list);
    if (*keys > KEYS_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "acme-info: more than %d keys", KEYS_MAX);
    }
    for (size_t i = 0; i < *keys; i++) {
        const json_t *key = json_array_get(list, i);
        if (json_is_object(key) && is_key(key, spki)) {
            return error_prefix(err, decode_key(key, out, err), "acme-info");
        }
    }
    return error_set(err, DSTACK_E_NOT_FOUND,
                     "the key of this connection is not among the %zu that the gateway proves",
                     *keys);
}

int verify_parse_evidence(dstack_bytes text, dstack_attestation **out, dstack_buf *chain_pem,
                          dstack_error *err) {
    *out = NULL;
    DSTACK_AUTO(json) json_t *document = json_parse(text, VERIFY_EVIDENCE_MAX, "evidence", err);
    if (document == NULL) {
        return DSTACK_E_FORMAT;
    }
    const char *chain = NULL;
    int rc = json_need_str(document, "certificate", &chain, err);
    rc = rc != 0 ? rc : decode_member(document, out, err);
    if (rc == 0) {
        buf_put_str(chain_pem, chain);
        rc = buf_check(chain_pem, err);
    }
    if (rc != 0) {
        dstack_attestation_free(*out);
        *out = NULL;
    }
    return error_prefix(err, rc, "the app's evidence");
}
