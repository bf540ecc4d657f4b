/* The chain of trust as people and programs read it. */
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "verify_url.h"

#define MAX_NODES 32

/* The tree under construction; texts live in `texts`. */
struct tree {
    struct cli_node nodes[MAX_NODES];
    dstack_buf texts[MAX_NODES];
    size_t count;
    json_t *chain;
};

static void tree_clear(struct tree *tree) {
    for (size_t i = 0; i < tree->count; i++) {
        dstack_buf_clear(&tree->texts[i]);
    }
    json_decref(tree->chain);
}
DSTACK_AUTO_DEFINE_CLEAR(tree, struct tree, tree_clear)

static void hex_of(const dstack_value *value, char out[129]) {
    hex_encode(bytes_of(value->data, value->len), out);
}

/* Adds a link: its title, its evidence (one line each) and what the trust in it rests on. */
static void add(struct tree *tree, int depth, enum cli_mark mark, const char *step, const char *title,
                const char *anchor, json_t *evidence) {
    if (tree->count == MAX_NODES) {
        json_decref(evidence);
        return;
    }
    dstack_buf *text = &tree->texts[tree->count];
    const char *key;
    json_t *value;
    json_object_foreach(evidence, key, value) {
        buf_put_fmt(text, "%s: %s\n", key, json_string_value(value));
    }
    buf_put_fmt(text, "rests on: %s", anchor);
    tree->nodes[tree->count] = (struct cli_node){depth, mark, title, buf_text(text)};
    tree->count++;
    json_array_append_new(tree->chain,
                          json_pack("{s:s, s:s, s:s, s:s, s:o}", "step", step, "title", title,
                                    "status",
                                    mark == CLI_MARK_OK ? "verified" : "verified-with-remark",
                                    "anchor", anchor, "evidence", evidence));
}

static void add_hardware(struct tree *tree, int depth, const dstack_verified *verified) {
    const dstack_quote_report *report = dstack_verified_quote(verified);
    char hash[65], fmspc[13];
    bool pinned = !report->anchor.builtin;
    hex_encode(bytes_of(report->anchor.cert_sha256, 32), hash);
    hex_encode(bytes_of(report->pck.fmspc, 6), fmspc);
    add(tree, depth, pinned ? CLI_MARK_WARN : CLI_MARK_OK, "hardware-root",
        pinned ? "Hardware root: pinned by you, not Intel's (a simulated platform)"
               : "Hardware root: Intel SGX Root CA",
        pinned ? "the root you gave with --root" : "Intel's root, built in",
        json_pack("{s:s, s:s}", "root", report->anchor.name, "sha256", hash));
    DSTACK_AUTO(buf) dstack_buf advisories = {0};
    for (size_t i = 0; i < dstack_verified_advisory_count(verified); i++) {
        buf_put_fmt(&advisories, "%s%s", i > 0 ? ", " : "", dstack_verified_advisory(verified, i));
    }
    const char *status = dstack_verified_tcb_status(verified);
    add(tree, depth + 1, strcmp(status, "UpToDate") == 0 ? CLI_MARK_OK : CLI_MARK_WARN,
        "platform-tcb", "Platform TCB", "quote signature, collateral signed under the root",
        json_pack("{s:s, s:s, s:s}", "status", status, "fmspc", fmspc, "advisories",
                  advisories.len > 0 ? buf_text(&advisories) : "none"));
}

static void add_measured(struct tree *tree, int depth, const dstack_verified *verified) {
    const dstack_td_report *td = dstack_quote_report_td(dstack_verified_quote(verified));
    const dstack_identity *identity = dstack_verified_identity(verified);
    dstack_anchor anchor = dstack_verified_image_anchor(verified);
    char mrtd[97] = "", rtmr[3][97] = {"", "", ""}, image[129];
    if (td != NULL) {
        hex_encode(bytes_of(td->mr_td, 48), mrtd);
        for (int i = 0; i < 3; i++) {
            hex_encode(bytes_of(td->rt_mr[i], 48), rtmr[i]);
        }
    }
    hex_of(&identity->os_image_hash, image);
    add(tree, depth, CLI_MARK_OK, "firmware-kernel", "Firmware and kernel",
        "measured by the hardware",
        json_pack("{s:s, s:s, s:s, s:s}", "mrtd", mrtd, "rtmr0", rtmr[0], "rtmr1", rtmr[1], "rtmr2",
                  rtmr[2]));
    bool reference = anchor == DSTACK_ANCHOR_REFERENCE_IMAGE;
    add(tree, depth + 1, reference ? CLI_MARK_OK : CLI_MARK_WARN, "os-image", "OS image",
        reference ? "computed from the image you gave with --image"
                  : "the prover's word, consistent with the registers; --image proves it",
        json_pack("{s:s, s:s}", "os_image_hash", image, "anchor", dstack_anchor_name(anchor)));
}

static void add_app(struct tree *tree, int depth, const struct verify_result *result) {
    const dstack_identity *identity = dstack_verified_identity(result->app);
    char app_id[129], compose[129], instance[129], key[65];
    hex_of(&identity->app_id, app_id);
    hex_of(&identity->compose_hash, compose);
    hex_of(&identity->instance_id, instance);
    bool kms = strcmp(result->kms_name, "kms") == 0;
    add(tree, depth, result->kms_pinned ? CLI_MARK_OK : CLI_MARK_WARN, "kms",
        kms ? "KMS: released the app's keys" : "No KMS: the app's keys are its own",
        result->kms_pinned ? "the KMS root you gave, measured by the guest with its keys"
        : kms ? "measured by the guest with its keys; whose KMS that is, --kms-ca says"
              : "measured by the guest",
        json_pack("{s:s, s:s}", "key_provider",
                  result->kms_name[0] != 0 ? result->kms_name : "none", "root_key_sha256",
                  result->kms_checked ? result->app_cert_root : "not shown by this certificate"));
    add(tree, depth + 1, CLI_MARK_OK, "app-manifest", "App manifest",
        "measured by the guest, replayed against RTMR3",
        json_pack("{s:s, s:s, s:s}", "app_id", app_id, "compose_hash", compose, "instance_id",
                  instance));
    verify_key_hash(result->app_cert, key);
    add(tree, depth + 2, CLI_MARK_OK, "certificate", "App certificate",
        result->kms_checked    ? "its key is in the app's evidence; signed under the KMS's root"
        : result->passthrough ? "evidence in the certificate, bound to its key"
                              : "its key is in the app's evidence",
        json_pack("{s:s}", "key_sha256", key));
}

static void add_gateway(struct tree *tree, int depth, const struct verify_result *result) {
    const dstack_identity *identity = dstack_verified_identity(result->gateway);
    const dstack_quote_report *report = dstack_verified_quote(result->gateway);
    dstack_anchor anchor = dstack_verified_image_anchor(result->gateway);
    char app_id[129], compose[129], image[129];
    hex_of(&identity->app_id, app_id);
    hex_of(&identity->compose_hash, compose);
    hex_of(&identity->os_image_hash, image);
    add(tree, depth, result->gateway_pinned ? CLI_MARK_OK : CLI_MARK_WARN, "gateway",
        "Gateway: an attested gateway routes this name to this app",
        result->gateway_pinned
            ? "the app id you gave with --gateway-app-id; routing by its measured code"
            : "its measured code; that this is a gateway you trust, --gateway-app-id says",
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "app_id", app_id, "compose_hash", compose,
                  "os_image_hash", image, "image_anchor", dstack_anchor_name(anchor), "tcb_status", dstack_verified_tcb_status(result->gateway),
                  "root", report->anchor.name));
}

static json_t *document(const char *url, const struct verify_setup *setup,
                        const struct verify_result *result, const struct tree *tree,
                        dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf app = {0};
    DSTACK_AUTO(buf) dstack_buf gateway = {0};
    json_t *out = json_pack("{s:s, s:b, s:s, s:b, s:O}", "url", url, "verified", 1, "mode",
                            result->passthrough ? "passthrough" : "terminated", "insecure_dev",
                            setup->insecure_dev, "chain", tree->chain);
    if (dstack_verified_to_json(result->app, &app, err) == 0) {
        json_object_set_new(out, "app", json_loadb((const char *)app.data, app.len, 0, NULL));
    }
    if (result->gateway != NULL && dstack_verified_to_json(result->gateway, &gateway, err) == 0) {
        json_object_set_new(out, "gateway",
                            json_loadb((const char *)gateway.data, gateway.len, 0, NULL));
    }
    return out;
}

int verify_print(struct cli *cli, const char *url, const struct verify_setup *setup,
                 const struct verify_result *result, dstack_error *err) {
    DSTACK_AUTO(tree) struct tree tree = {.chain = json_array()};
    add_hardware(&tree, 0, result->app);
    add_measured(&tree, 2, result->app);
    add_app(&tree, 4, result);
    int depth = 7;
    if (result->gateway != NULL) {
        add_gateway(&tree, depth++, result);
    }
    add(&tree, depth, CLI_MARK_OK, "connection", "This connection",
        result->gateway != NULL ? "its key is in the gateway's evidence"
                                : "its key is the app certificate's",
        json_pack("{s:s, s:s}", "url", url, "key_sha256", result->connection_key));
    if (cli->json) {
        DSTACK_AUTO(json) json_t *answer = document(url, setup, result, &tree, err);
        return cli_print_json(cli, answer, err);
    }
    cli_heading(cli, "%s: verified", url);
    cli_print_tree(cli, tree.nodes, tree.count);
    if (setup->insecure_dev) {
        cli_note(cli, "insecure-dev: simulated platforms protect nothing");
    }
    return 0;
}
