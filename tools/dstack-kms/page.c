/* The page of the admin listener, and the state that it shows. */
#include <string.h>

#include <dstack/keys.h>
#include <dstack/version.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/file.h"
#include "base/json.h"
#include "kms.h"
#include "page_files.h"

#define POLICY_LIMIT ((size_t)4 << 20)

/* Nothing from elsewhere, nothing inline, nowhere to send anything but here. */
static const char content_policy[] =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

static const char *type_of(const char *name) {
    static const char *const types[][2] = {{".html", "text/html; charset=utf-8"},
                                           {".css", "text/css; charset=utf-8"},
                                           {".js", "text/javascript; charset=utf-8"},
                                           {".svg", "image/svg+xml"}};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof types / sizeof *types; i++) {
        if (strcmp(types[i][0], dot) == 0) {
            return types[i][1];
        }
    }
    return "application/octet-stream";
}

void kms_page_file(http_response *response, const char *name) {
    for (size_t i = 0; i < page_file_count; i++) {
        const page_file *file = &page_files[i];
        if (strcmp(file->name, name) == 0) {
            http_response_bytes(response, 200, type_of(name), bytes_of(file->data, file->len));
            http_response_header(response, "Content-Security-Policy", content_policy);
            http_response_header(response, "Referrer-Policy", "no-referrer");
            http_response_header(response, "Cache-Control", "no-cache");
            return;
        }
    }
    http_response_text(response, 404, "Not Found\n");
}

/* ---- state ------------------------------------------------------------------------------------
 */

/* The policy that decides now, or why there is none. The allow-list holds no secrets. */
static json_t *describe_policy(kms *k) {
    kms_auth_info info;
    dstack_error err = {0};
    const char *type = config_str(k->config, "core.auth_api.type");
    json_t *policy = json_pack("{s:s}", "type", type);
    int rc = kms_auth_info_get(k->auth, &info, &err);
    json_t *chain = kms_auth_describe(k->auth);
    if (chain != NULL) {
        json_object_set_new(policy, "on_chain", chain);
    }
    if (rc != 0) {
        json_object_set_new(policy, "trouble", json_string(err.message));
        return policy;
    }
    json_object_set_new(policy, "gateway_app_id", json_string(info.gateway_app_id));
    if (info.has_contract) {
        json_object_set_new(policy, "contract", json_string(info.contract_address));
        json_object_set_new(policy, "chain_id", json_integer((json_int_t)info.chain_id));
    }
    if (strcmp(type, "webhook") == 0) {
        json_object_set_new(policy, "source",
                            json_string(config_str(k->config, "core.auth_api.webhook.url")));
    }
    if (strcmp(type, "file") == 0) {
        const char *path = config_str(k->config, "core.auth_api.file.path");
        DSTACK_AUTO(buf) dstack_buf text = {0};
        json_object_set_new(policy, "source", json_string(path));
        json_t *rules = file_read(path, POLICY_LIMIT, &text, NULL) == 0
                            ? yaml_to_json(bytes_of_buf(&text), POLICY_LIMIT, "allow-list", NULL)
                            : NULL;
        json_object_set_new(policy, "rules", rules != NULL ? rules : json_null());
    }
    return policy;
}

static json_t *describe_log(kms *k) {
    DSTACK_AUTO(buf) dstack_buf vkey = {0};
    (void)dstack_tlog_key_text(tlog_store_key(k->log), &vkey, NULL);
    return json_pack("{s:s,s:I,s:s}", "name", tlog_store_key(k->log)->name, "size",
                     (json_int_t)tlog_store_size(k->log), "vkey", buf_text(&vkey));
}

json_t *kms_page_state(kms *k) {
    kms_decision self = {0};
    dstack_error err = {0};
    const char *own = k->own_boot_info.len > 0 ? buf_text(&k->own_boot_info) : "null";
    json_t *boot = json_loads(own, JSON_DECODE_ANY, NULL);
    bool decided = kms_decide_self(k, &self, &err) == 0;
    const char *trouble = !decided ? err.message : self.allowed ? "" : self.reason;
    return json_pack(
        "{s:s,s:s,s:b,s:I,s:I,s:o,s:b,s:s,s:o,s:o,s:o,s:o}", "version", DSTACK_VERSION, "domain",
        k->store.domain, "insecure_dev", k->insecure, "now", (json_int_t)clock_unix(),
        "certificate_issued", (json_int_t)k->rpc_issued, "k256_pubkey",
        json_hex(bytes_of(kms_signer_k256(k->signer), DSTACK_K256_PUBLIC_SIZE)), "allowed",
        decided && self.allowed, "trouble", trouble, "identity", boot != NULL ? boot : json_null(),
        "policy", describe_policy(k), "log", describe_log(k), "records", kms_audit_recent(k));
}
