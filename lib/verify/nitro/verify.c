/* Verification of a document: age, chain, signature, expectations, debug mode. */
#include <stdio.h>
#include <string.h>

#include <dstack/nitro.h>

#include "base/buf.h"
#include "base/cbor.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "verify/nitro/aws_root.h"
#include "x509/path.h"

/* The path and the certificates that it points into. */
typedef struct nitro_chain {
    x509_cert leaf, root, pool[DSTACK_NITRO_MAX_CERTS];
    size_t pool_count;
    x509_path path;
} nitro_chain;

static void nitro_chain_clear(nitro_chain *chain) {
    x509_path_clear(&chain->path);
}
DSTACK_AUTO_DEFINE_CLEAR(nitro_chain, nitro_chain, nitro_chain_clear)

static int check_age(const dstack_nitro_document *d, const dstack_nitro_options *options,
                     dstack_error *err) {
    const int64_t max_age = options->max_age > 0 ? options->max_age : DSTACK_NITRO_MAX_AGE;
    const uint64_t now_ms = options->now > 0 ? (uint64_t)options->now * 1000 : 0;
    if (d->timestamp_ms > now_ms && d->timestamp_ms - now_ms > DSTACK_NITRO_MAX_AHEAD * 1000) {
        return error_set(err, DSTACK_E_REFUSED,
                         "attestation document timestamp is in the future by %llu ms",
                         (unsigned long long)(d->timestamp_ms - now_ms));
    }
    if (d->timestamp_ms < now_ms && now_ms - d->timestamp_ms > (uint64_t)max_age * 1000) {
        return error_set(err, DSTACK_E_REFUSED,
                         "attestation document is stale: %llu ms old, at most %lld s are accepted",
                         (unsigned long long)(now_ms - d->timestamp_ms), (long long)max_age);
    }
    return 0;
}

/* The bundle's first certificate is the prover's idea of the root: nobody asked. */
static int load_chain(const dstack_nitro_document *d, dstack_bytes root, nitro_chain *chain,
                      dstack_error *err) {
    int rc = error_prefix(err, x509_cert_parse(&chain->root, root, err), "root");
    if (rc == 0) {
        rc = error_prefix(err, x509_cert_parse(&chain->leaf, d->certificate, err),
                          "document certificate");
    }
    for (size_t i = 1; rc == 0 && i < d->cabundle_count; i++) {
        rc = error_prefix(err,
                          x509_cert_parse(&chain->pool[chain->pool_count++], d->cabundle[i], err),
                          "cabundle certificate %zu", i);
    }
    return rc;
}

static int check_chain(const dstack_nitro_document *d, const dstack_nitro_options *options,
                       nitro_chain *chain, dstack_error *err) {
    const x509_path_options how = {
        .now = options->now, .required_eku = X509_EKU_CLIENT_AUTH, .check_anchor_dates = true};
    const dstack_bytes root =
        options->root.len > 0 ? options->root : bytes_of(nitro_aws_root, sizeof nitro_aws_root);
    int rc = load_chain(d, root, chain, err);
    if (rc == 0) {
        rc = x509_path_verify(&chain->leaf, chain->pool, chain->pool_count, &chain->root, &how,
                              &chain->path, err);
    }
    if (rc == 0 && chain->leaf.has_key_usage &&
        (chain->leaf.key_usage & X509_KU_DIGITAL_SIGNATURE) == 0) {
        rc = error_set(err, DSTACK_E_X509_PATH, "the document certificate may not sign");
    }
    return error_prefix(err, rc, "certificate chain verification failed");
}

/* RFC 9052, section 4.4: what is signed. */
static int check_signature(const dstack_nitro_document *d, const ecdsa_key *key,
                           dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    uint8_t digest[HASH_SHA384_SIZE];
    if (ecdsa_key_curve(key) != ECDSA_P384) {
        return error_set(err, DSTACK_E_CRYPTO, "the document certificate's key is not on P-384");
    }
    cbor_put_array(&text, 4);
    cbor_put_text(&text, "Signature1");
    cbor_put_bytes(&text, d->protected_header);
    cbor_put_bytes(&text, (dstack_bytes){0});
    cbor_put_bytes(&text, d->payload);
    int rc = buf_check(&text, err);
    if (rc == 0) {
        hash_sha384(bytes_of_buf(&text), digest);
        rc = ecdsa_verify_raw(key, bytes_of(digest, sizeof digest), d->signature, err);
    }
    return error_prefix(err, rc, "COSE signature verification failed");
}

static int check_expected(const dstack_nitro_document *d, const dstack_nitro_options *options,
                          dstack_error *err) {
    if (options->user_data != NULL &&
        (!d->has_user_data || !bytes_equal(d->user_data, *options->user_data))) {
        return error_set(err, DSTACK_E_REFUSED, "user_data is not the expected one");
    }
    if (options->nonce != NULL && (!d->has_nonce || !bytes_equal(d->nonce, *options->nonce))) {
        return error_set(err, DSTACK_E_REFUSED, "nonce is not the expected one");
    }
    if (d->user_data.len > sizeof((dstack_nitro_verdict *)NULL)->user_data) {
        return error_set(err, DSTACK_E_LIMIT, "user_data of %zu bytes", d->user_data.len);
    }
    return 0;
}

/* An enclave whose memory the parent can read says so by zero PCRs. One zero among them is no
 * measurement of anything either. */
static int check_mode(const dstack_nitro_document *d, const dstack_nitro_options *options,
                      bool *debug, dstack_error *err) {
    unsigned zeros = 0;
    *debug = false;
    if (options->tpm) {
        return 0;
    }
    if (d->is_tpm) {
        return error_set(err, DSTACK_E_REFUSED, "the document is a NitroTPM's, not an enclave's");
    }
    if ((d->pcr_mask & 7) != 7) {
        return error_set(err, DSTACK_E_REFUSED, "PCR0, PCR1 and PCR2 must be there");
    }
    for (size_t i = 0; i < 3; i++) {
        zeros += bytes_are_zero(d->pcrs[i]);
    }
    *debug = zeros == 3;
    if (zeros > 0 && !(*debug && options->allow_debug)) {
        return error_set(err, DSTACK_E_REFUSED,
                         *debug ? "nitro enclave is in debug mode (PCR0/1/2 are zeroed)"
                                : "one of PCR0, PCR1 and PCR2 is zero");
    }
    return 0;
}

static void fill(const dstack_nitro_document *d, const dstack_nitro_options *options,
                 const nitro_chain *chain, dstack_nitro_verdict *out) {
    const size_t len =
        d->module_id.len < sizeof out->module_id ? d->module_id.len : sizeof out->module_id - 1;
    for (size_t i = 0; i < len; i++) {
        const uint8_t c = d->module_id.data[i];
        out->module_id[i] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    out->timestamp_ms = d->timestamp_ms;
    out->pcr_mask = d->pcr_mask;
    for (size_t i = 0; i < DSTACK_NITRO_MAX_PCRS; i++) {
        if ((d->pcr_mask >> i & 1) != 0) {
            memcpy(out->pcrs[i], d->pcrs[i].data, DSTACK_NITRO_PCR_SIZE);
        }
    }
    out->user_data_len = d->user_data.len;
    if (d->user_data.len > 0) {
        memcpy(out->user_data, d->user_data.data, d->user_data.len);
    }
    if (!options->tpm) {
        hash_parts(HASH_SHA256, d->pcrs, 3, out->image_hash);
    }
    out->valid_until = chain->path.valid_until;
    out->anchor.builtin = options->root.len == 0;
    snprintf(out->anchor.name, sizeof out->anchor.name, "%s",
             out->anchor.builtin ? "aws-nitro-root-g1" : "pinned-nitro-root");
    hash_sha256(chain->root.der, out->anchor.cert_sha256);
    hash_sha384(ecdsa_key_point(chain->path.keys[chain->path.count - 1]), out->anchor.key_id);
}

int dstack_nitro_verify(dstack_bytes document, const dstack_nitro_options *options,
                        dstack_nitro_verdict *out, dstack_error *err) {
    *out = (dstack_nitro_verdict){0};
    DSTACK_AUTO(nitro_chain) nitro_chain chain = {0};
    dstack_nitro_document d;
    bool debug = false;
    int rc = dstack_nitro_document_parse(&d, document, err);
    rc = rc == 0 ? check_age(&d, options, err) : rc;
    rc = rc == 0 ? check_chain(&d, options, &chain, err) : rc;
    rc = rc == 0 ? check_signature(&d, chain.path.keys[0], err) : rc;
    rc = rc == 0 ? check_expected(&d, options, err) : rc;
    rc = rc == 0 ? check_mode(&d, options, &debug, err) : rc;
    if (rc == 0) {
        fill(&d, options, &chain, out);
        out->debug = debug;
    }
    return rc;
}

int dstack_nitro_verdict_to_json(const dstack_nitro_verdict *v, dstack_buf *out,
                                 dstack_error *err) {
    json_t *pcrs = json_object();
    for (size_t i = 0; i < DSTACK_NITRO_MAX_PCRS; i++) {
        char index[8];
        snprintf(index, sizeof index, "%zu", i);
        if ((v->pcr_mask >> i & 1) != 0) {
            json_object_set_new(pcrs, index, json_hex(bytes_of(v->pcrs[i], sizeof v->pcrs[i])));
        }
    }
    DSTACK_AUTO(json)
    json_t *object = json_pack(
        "{s:s, s:I, s:o, s:o, s:b, s:o, s:s, s:b, s:I}", "module_id", v->module_id, "timestamp",
        (json_int_t)v->timestamp_ms, "pcrs", pcrs, "user_data",
        json_hex(bytes_of(v->user_data, v->user_data_len)), "debug", v->debug, "image_hash",
        json_hex(bytes_of(v->image_hash, sizeof v->image_hash)), "anchor", v->anchor.name,
        "external_root", !v->anchor.builtin, "valid_until", (json_int_t)v->valid_until);
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the verdict");
    }
    return json_write(object, false, out, err);
}
