/* dstack tpm verify */
#include <string.h>

#include <dstack/tpm.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "cli_trust.h"
#include "x509/pem.h"

#define BUNDLE_MAX ((size_t)16 << 20)

/* A bundle as read: everything that the quote and the options borrow from. */
typedef struct bundle {
    dstack_buf message, signature, ak, root_crl, extra;
    dstack_buf chain[DSTACK_TPM_MAX_CERTS], crls[DSTACK_TPM_MAX_CERTS];
    dstack_bytes chain_views[DSTACK_TPM_MAX_CERTS], crl_views[DSTACK_TPM_MAX_CERTS], extra_view;
    uint8_t values[DSTACK_TPM_MAX_PCRS][DSTACK_TPM_PCR_SIZE];
    dstack_tpm_pcr pcrs[DSTACK_TPM_MAX_PCRS];
    dstack_tpm_event *events;
    dstack_tpm_quote quote;
    dstack_tpm_options options;
} bundle;

static void bundle_clear(bundle *b) {
    dstack_buf *const single[] = {&b->message, &b->signature, &b->ak, &b->root_crl, &b->extra};
    for (size_t i = 0; i < sizeof single / sizeof *single; i++) {
        dstack_buf_clear(single[i]);
    }
    for (size_t i = 0; i < DSTACK_TPM_MAX_CERTS; i++) {
        dstack_buf_clear(&b->chain[i]);
        dstack_buf_clear(&b->crls[i]);
    }
    free(b->events);
}
DSTACK_AUTO_DEFINE_CLEAR(bundle, bundle, bundle_clear)

static int read_pcrs(const json_t *quote, bundle *b, dstack_error *err) {
    json_t *list = NULL, *item;
    size_t i;
    int rc = json_need_array(quote, "pcr_values", &list, err);
    if (rc == 0 && json_array_size(list) > DSTACK_TPM_MAX_PCRS) {
        rc = error_set(err, DSTACK_E_LIMIT, "more than %d PCRs", DSTACK_TPM_MAX_PCRS);
    }
    json_array_foreach(list, i, item) {
        int64_t index = 0;
        const char *algorithm = NULL;
        rc = rc == 0 ? json_need_int(item, "index", &index, err) : rc;
        rc = rc == 0 ? json_need_str(item, "algorithm", &algorithm, err) : rc;
        rc = rc == 0 ? json_need_hex(item, "value", b->values[i], DSTACK_TPM_PCR_SIZE, err) : rc;
        if (rc == 0 &&
            (strcmp(algorithm, "sha256") != 0 || index < 0 || index >= DSTACK_TPM_MAX_PCRS)) {
            rc = error_set(err, DSTACK_E_UNSUPPORTED, "pcr_values: sha256 and 0 to 23 expected");
        }
        if (rc != 0) {
            return rc;
        }
        b->pcrs[i] = (dstack_tpm_pcr){(uint32_t)index, bytes_of(b->values[i], 32)};
        b->quote.pcr_count++;
    }
    return rc;
}

static int read_events(const json_t *quote, bundle *b, dstack_error *err) {
    const json_t *list = json_object_get(quote, "event_log");
    const size_t count = json_array_size(list);
    int rc = 0;
    b->events = calloc(count + 1, sizeof *b->events);
    if (b->events == NULL || count > DSTACK_TPM_MAX_EVENTS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d events", DSTACK_TPM_MAX_EVENTS);
    }
    for (size_t i = 0; rc == 0 && i < count; i++) {
        const json_t *item = json_array_get(list, i);
        int64_t index = 0;
        rc = json_need_int(item, "pcr_index", &index, err);
        rc = rc == 0 ? json_need_hex(item, "digest", b->events[i].digest, 32, err) : rc;
        if (rc == 0 && (index < 0 || index > UINT32_MAX)) {
            rc = error_set(err, DSTACK_E_FORMAT, "event_log: pcr_index is out of range");
        }
        b->events[i].pcr = (uint32_t)index;
        b->quote.event_count++;
    }
    return rc;
}

static int read_quote(const json_t *quote, bundle *b, dstack_error *err) {
    int rc = json_hex_or_empty(quote, "message", &b->message, err);
    rc = rc == 0 ? json_hex_or_empty(quote, "signature", &b->signature, err) : rc;
    rc = rc == 0 ? json_hex_or_empty(quote, "ak_cert", &b->ak, err) : rc;
    rc = rc == 0 ? read_pcrs(quote, b, err) : rc;
    rc = rc == 0 ? read_events(quote, b, err) : rc;
    b->quote.message = bytes_of_buf(&b->message);
    b->quote.signature = bytes_of_buf(&b->signature);
    b->quote.ak_cert = bytes_of_buf(&b->ak);
    b->quote.pcrs = b->pcrs;
    b->quote.events = b->events;
    return error_prefix(err, rc, "quote");
}

static int read_chain(const char *pem, bundle *b, dstack_error *err) {
    DSTACK_AUTO(pem_block) pem_block block = {0};
    pem_reader reader;
    bool found = true;
    int rc = 0;
    pem_reader_init(&reader, bytes_of_str(pem));
    while (rc == 0 && (rc = pem_next(&reader, &block, &found, err)) == 0 && found) {
        const size_t at = b->options.chain_count;
        if (at == DSTACK_TPM_MAX_CERTS) {
            return error_set(err, DSTACK_E_LIMIT, "more than %d certificates", (int)at);
        }
        buf_put_bytes(&b->chain[at], bytes_of_buf(&block.der));
        b->chain_views[at] = bytes_of_buf(&b->chain[at]);
        b->options.chain_count++;
        rc = buf_check(&b->chain[at], err);
    }
    return rc;
}

static int read_collateral(const json_t *collateral, bundle *b, dstack_error *err) {
    const json_t *crls = json_object_get(collateral, "crls");
    const char *pem = NULL;
    int rc = json_str_or(collateral, "cert_chain_pem", "", &pem, err);
    rc = rc == 0 ? read_chain(pem, b, err) : rc;
    rc = rc == 0 ? json_hex_or_empty(collateral, "root_ca_crl", &b->root_crl, err) : rc;
    for (size_t i = 0; rc == 0 && i < json_array_size(crls); i++) {
        const char *hex = json_string_value(json_array_get(crls, i));
        if (hex == NULL || i == DSTACK_TPM_MAX_CERTS) {
            return error_set(err, DSTACK_E_FORMAT, "crls: at most %d hex texts",
                             DSTACK_TPM_MAX_CERTS);
        }
        rc = hex_decode(bytes_of_str(hex), &b->crls[i], err);
        b->crl_views[i] = bytes_of_buf(&b->crls[i]);
        b->options.crl_count++;
    }
    b->options.chain = b->chain_views;
    b->options.crls = b->crl_views;
    b->options.root_crl = bytes_of_buf(&b->root_crl);
    return error_prefix(err, rc, "collateral");
}

static int read_bundle(const char *path, bundle *b, dstack_error *err) {
    json_t *quote = NULL, *collateral = NULL;
    DSTACK_AUTO(json) json_t *object = cli_read_json(path, BUNDLE_MAX, err);
    if (object == NULL) {
        return err->status;
    }
    int rc = json_need_object(object, "quote", &quote, err);
    rc = rc == 0 ? json_need_object(object, "collateral", &collateral, err) : rc;
    rc = rc == 0 ? read_quote(quote, b, err) : rc;
    return rc == 0 ? read_collateral(collateral, b, err) : rc;
}

/* {"0": hex, ...}: each PCR named must have been quoted with that value. */
static int check_pcrs(struct cli *cli, const dstack_tpm_verdict *v, dstack_error *err) {
    const char *given = cli_value(cli, "pcrs", NULL), *key;
    json_t *value;
    if (given == NULL) {
        return 0;
    }
    DSTACK_AUTO(json) json_t *wanted = cli_json_or_file(given, (size_t)64 << 10, err);
    if (!json_is_object(wanted)) {
        return cli_usage(err, "--pcrs: a JSON object from PCR number to hex is needed");
    }
    json_object_foreach(wanted, key, value) {
        char *end = NULL;
        const unsigned long index = strtoul(key, &end, 10);
        uint8_t raw[DSTACK_TPM_PCR_SIZE];
        if (*key == '\0' || *end != '\0' || index >= DSTACK_TPM_MAX_PCRS ||
            json_string_value(value) == NULL ||
            hex_decode_fixed(json_string_value(value), raw, sizeof raw, NULL) != 0) {
            return cli_usage(err, "--pcrs: a JSON object from PCR number to hex is needed");
        }
        if ((v->pcr_mask >> index & 1) == 0 || memcmp(raw, v->pcrs[index], sizeof raw) != 0) {
            return error_set(err, DSTACK_E_REFUSED, "PCR%lu is not the expected one", index);
        }
    }
    return 0;
}

static int print_verdict(struct cli *cli, const dstack_tpm_verdict *v, dstack_error *err) {
    json_t *pcrs = json_object(), *replayed = json_array();
    for (unsigned i = 0; i < DSTACK_TPM_MAX_PCRS; i++) {
        char index[8];
        snprintf(index, sizeof index, "%u", i);
        if ((v->pcr_mask >> i & 1) != 0) {
            json_object_set_new(pcrs, index, json_hex(bytes_of(v->pcrs[i], sizeof v->pcrs[i])));
        }
        if ((v->replayed_mask >> i & 1) != 0) {
            json_array_append_new(replayed, json_integer(i));
        }
    }
    DSTACK_AUTO(json)
    json_t *object = json_pack(
        "{s:o, s:o, s:I, s:I, s:b, s:o, s:s, s:b, s:I}", "pcrs", pcrs, "replayed", replayed,
        "reset_count", (json_int_t)v->reset_count, "restart_count", (json_int_t)v->restart_count,
        "clock_safe", v->safe, "ak_spki_sha256",
        json_hex(bytes_of(v->ak_spki_sha256, sizeof v->ak_spki_sha256)), "anchor", v->anchor.name,
        "external_root", !v->anchor.builtin, "valid_until", (json_int_t)v->valid_until);
    if (object == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the verdict");
    }
    if (cli->json) {
        return cli_print_json(cli, object, err);
    }
    cli_heading(cli, "TPM quote verified");
    cli_print_object(cli, object);
    return 0;
}

static int run_verify(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(bundle) bundle b = {.options = {.now = cli->now}};
    DSTACK_AUTO(cli_roots) cli_roots roots = {0};
    dstack_tpm_verdict verdict;
    const char *root = cli_value(cli, "root", NULL);
    int rc = read_bundle(argv[0], &b, err);
    rc = rc == 0 && root != NULL ? cli_read_roots(root, &roots, err) : rc;
    if (rc == 0 && root != NULL && roots.count != 1) {
        rc = cli_usage(err, "--root must hold one certificate");
    }
    if (rc == 0 && root != NULL) {
        b.options.root = roots.roots[0].cert;
    }
    const char *expected = cli_has(cli, "nonce") ? "nonce" : "report-data";
    if (rc == 0 && cli_has(cli, expected)) {
        rc = cli_hex(cli, expected, &b.extra, err);
        b.extra_view = bytes_of_buf(&b.extra);
        b.options.extra_data = &b.extra_view;
    }
    rc = rc == 0 ? dstack_tpm_verify(&b.quote, &b.options, &verdict, err) : rc;
    rc = rc == 0 ? check_pcrs(cli, &verdict, err) : rc;
    return rc == 0 ? print_verdict(cli, &verdict, err) : rc;
}

static const struct cli_option verify_options[] = {
    {"root", 0, "FILE", "trust this root (PEM or DER) in place of Google Cloud's"},
    {"pcrs", 0, "JSON", "refuse unless these PCRs have these values: {\"0\": HEX, ...}"},
    {"nonce", 0, "HEX", "refuse unless the quote was made over this"},
    {"report-data", 0, "HEX", "the same"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command tpm_verify = {
    .name = "verify",
    .summary = "Verify a TPM 2.0 quote with its certificates and boot events",
    .usage = "BUNDLE [--root FILE] [--pcrs JSON] [--nonce HEX] [--now UNIX]",
    .help =
        "BUNDLE is one JSON object: quote (message, signature, pcr_values, ak_cert, event_log)\n"
        "and collateral (cert_chain_pem, crls, root_ca_crl).",
    .options = verify_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_verify,
};

static const struct cli_command *const tpm_children[] = {&tpm_verify, NULL};

const struct cli_command cli_command_tpm = {
    .name = "tpm",
    .summary = "TPM 2.0 quotes",
    .children = tpm_children,
};
