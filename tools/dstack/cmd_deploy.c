/* dstack deploy: from a compose file or a manifest to a VM. */
#include <string.h>

#include <dstack/envelope.h>
#include <dstack/kms.h>
#include <dstack/manifest.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"
#include "port_spec.h"
#include "vmm_client.h"

#define MAX_ENVS 1024
#define ENV_FILE_LIMIT ((size_t)2 << 20)
#define USER_CONFIG_LIMIT ((size_t)50 << 20)

DSTACK_AUTO_DEFINE(manifest, dstack_manifest, dstack_manifest_free)
DSTACK_AUTO_DEFINE(env, dstack_env, dstack_env_free)
DSTACK_AUTO_DEFINE(kms, dstack_kms, dstack_kms_free)

static const struct cli_option options[] = {
    {"name", 'n', "NAME", "name of the VM (default: the manifest's)"},
    {"image", 'i', "IMAGE", "guest image (default: the only one of the VMM)"},
    {"vcpu", 0, "N", "virtual CPUs (default 2)"},
    {"memory", 0, "SIZE", "memory, in MiB or with a suffix (default 2G)"},
    {"disk", 0, "SIZE", "data disk, in GiB or with a suffix (default 20G)"},
    {"port", 'p', "SPEC", "VM, HOST:VM, PROTO:HOST:VM or PROTO:ADDR:HOST:VM; may be repeated"},
    {"app-id", 0, "HEX", "app id (default: from the compose hash)"},
    {"kms", 0, NULL, "compose file: keys come from a KMS (default when the VMM names one)"},
    {"no-kms", 0, NULL, "compose file: no KMS, no lasting keys"},
    {"kms-url", 0, "URL", "KMS for the guest; may be repeated"},
    {"gateway", 0, NULL,
     "compose file: reached through the gateway (default when the VMM has one)"},
    {"no-gateway", 0, NULL, "compose file: not reached through a gateway"},
    {"gateway-url", 0, "URL", "gateway for the guest; may be repeated"},
    {"secure-time", 0, NULL, "compose file: the guest demands authenticated time"},
    {"no-secure-time", 0, NULL, "compose file: it does not (default for simulated TEEs)"},
    {"public-logs", 0, NULL, "compose file: let anyone read the containers' logs"},
    {"public-sysinfo", 0, NULL, "compose file: let anyone read system information"},
    {"env-file", 'e', "FILE", "KEY=VALUE lines, encrypted to the app's key; needs --kms-ca"},
    {"kms-ca", 0, "FILE", "root certificate of the KMS that the environment's key comes from"},
    {"kms-connect", 0, "ADDR:PORT", "reach that KMS here instead of at its URL's host"},
    {"kms-signer", 0, "HEX", "33 bytes: the key that must have signed the environment's key"},
    {"user-config", 0, "FILE", "configuration handed to the app unmeasured"},
    {"no-tee", 0, NULL, "a VM without any TEE"},
    {"stopped", 0, NULL, "create the VM, do not start it"},
    {"wait", 'w', NULL, "wait until it has booted"},
    {"timeout", 0, "SECONDS", "longest wait (default 600)"},
    {"dry-run", 0, NULL, "print the manifest and its hash, create nothing"},
    VMM_OPTIONS};

/* What the VMM says about itself. */
struct surroundings {
    json_t *meta;
    bool has_kms, has_gateway;
    const char *simulated_tee; /* "" when none */
};

static void surroundings_clear(struct surroundings *s) {
    json_decref(s->meta);
}
DSTACK_AUTO_DEFINE_CLEAR(surroundings, struct surroundings, surroundings_clear)

static int look_around(struct vmm_client *client, struct surroundings *out, dstack_error *err) {
    int rc = vmm_client_call(client, "GetMeta", NULL, &out->meta, err);
    out->has_kms = json_array_size(json_object_get(json_object_get(out->meta, "kms"), "urls")) > 0;
    out->has_gateway =
        json_array_size(json_object_get(json_object_get(out->meta, "gateway"), "urls")) > 0;
    out->simulated_tee = vmm_text(out->meta, "simulated_tee");
    return rc;
}

static int exclusive(const struct cli *cli, const char *yes, const char *no, bool fallback,
                     bool *out, dstack_error *err) {
    if (cli_has(cli, yes) && cli_has(cli, no)) {
        return cli_usage(err, "--%s and --%s exclude each other", yes, no);
    }
    *out = cli_has(cli, yes) || (fallback && !cli_has(cli, no));
    return 0;
}

/* ---- manifest ---- */

static bool is_manifest(dstack_bytes file) {
    size_t i = 0;
    while (i < file.len && (file.data[i] == ' ' || file.data[i] == '\n' || file.data[i] == '\r' ||
                            file.data[i] == '\t')) {
        i++;
    }
    if (i == file.len || file.data[i] != '{') {
        return false;
    }
    DSTACK_AUTO(json)
    json_t *json = json_loadb((const char *)file.data, file.len, 0, NULL);
    return json == NULL || json_object_get(json, "manifest_version") != NULL ||
           json_object_get(json, "runner") != NULL;
}

static const char *name_from_path(const char *path, char *out, size_t size) {
    const char *base = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
    snprintf(out, size, "%s", strcmp(path, "-") == 0 ? "app" : base);
    out[strcspn(out, ".")] = 0;
    return strcmp(out, "docker-compose") == 0 || strcmp(out, "compose") == 0 || out[0] == 0 ? "app"
                                                                                            : out;
}

/* A docker-compose file becomes a manifest with the choices of the command line. */
static int build_manifest(const struct cli *cli, const struct surroundings *around,
                          const char *path, dstack_bytes file, const dstack_env *env,
                          dstack_buf *out, dstack_error *err) {
    const char *keys[MAX_ENVS];
    char name[128];
    bool kms = false, gateway = false, secure_time = false;
    size_t env_count = env != NULL ? dstack_env_count(env) : 0;
    bool kms_default = around->has_kms || cli_has(cli, "kms-url");
    bool gateway_default = around->has_gateway || cli_has(cli, "gateway-url");
    bool simulated = around->simulated_tee[0] != 0 || cli_has(cli, "no-tee");
    int rc = exclusive(cli, "kms", "no-kms", kms_default, &kms, err);
    rc = rc != 0 ? rc : exclusive(cli, "gateway", "no-gateway", gateway_default, &gateway, err);
    rc = rc != 0 ? rc
                 : exclusive(cli, "secure-time", "no-secure-time", !simulated, &secure_time, err);
    if (rc == 0 && env_count > 0 && !kms) {
        rc = cli_usage(err, "--env-file needs a KMS: the environment is encrypted to its key");
    }
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < env_count && i < MAX_ENVS; i++) {
        keys[i] = dstack_env_key(env, i);
    }
    return dstack_manifest_build(
        &(dstack_manifest_new){
            .name = cli_value(cli, "name", name_from_path(path, name, sizeof name)),
            .docker_compose_file = file,
            .public_logs = cli_has(cli, "public-logs"),
            .public_sysinfo = cli_has(cli, "public-sysinfo"),
            .key_provider = kms ? DSTACK_KEY_PROVIDER_KMS : DSTACK_KEY_PROVIDER_NONE,
            .gateway_enabled = gateway,
            .no_secure_time = !secure_time,
            .allowed_envs = keys,
            .allowed_env_count = env_count < MAX_ENVS ? env_count : MAX_ENVS},
        out, err);
}

static int load_manifest(struct cli *cli, const struct surroundings *around, const char *path,
                         const dstack_env *env, dstack_buf *text, dstack_manifest **out,
                         dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    int rc = cli_read(path, DSTACK_MANIFEST_MAX_SIZE, &file, err);
    if (rc != 0) {
        return rc;
    }
    if (is_manifest(bytes_of_buf(&file))) {
        buf_put_bytes(text, bytes_of_buf(&file));
    } else {
        rc = build_manifest(cli, around, path, bytes_of_buf(&file), env, text, err);
    }
    rc = rc != 0 ? rc : dstack_manifest_parse(bytes_of_buf(text), out, err);
    if (rc != 0) {
        return error_prefix(err, rc, "%s", path);
    }
    for (size_t i = 0; i < dstack_manifest_warning_count(*out); i++) {
        cli_note(cli, "warning: %s", dstack_manifest_warning(*out, i));
    }
    return 0;
}

static int check_env_allowed(const dstack_manifest *manifest, const dstack_env *env,
                             dstack_error *err) {
    const dstack_manifest_fields *fields = dstack_manifest_get(manifest);
    for (size_t i = 0; env != NULL && i < dstack_env_count(env); i++) {
        const char *key = dstack_env_key(env, i);
        bool found = false;
        for (size_t k = 0; k < fields->allowed_env_count && !found; k++) {
            found = strcmp(fields->allowed_envs[k], key) == 0;
        }
        if (!found) {
            return error_set(
                err, DSTACK_E_REFUSED,
                "the manifest's allowed_envs does not name %s: the guest would drop it", key);
        }
    }
    return 0;
}

/* ---- environment ---- */

static int load_env(const struct cli *cli, dstack_env **out, dstack_error *err) {
    const char *path = cli_value(cli, "env-file", NULL);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL) {
        return 0;
    }
    buf_reserve(&text, ENV_FILE_LIMIT);
    int rc = cli_read(path, ENV_FILE_LIMIT, &text, err);
    rc = rc != 0 ? rc : dstack_env_parse_file(bytes_of_buf(&text), out, err);
    buf_wipe(&text);
    return rc;
}

/* The app's environment key, from a KMS whose root is pinned; the answer came over that connection,
 * and the signature shows who vouches for the key. */
static int fetch_env_key(struct cli *cli, dstack_bytes app_id, dstack_kms_env_answer *out,
                         dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf ca = {0};
    DSTACK_AUTO(kms) dstack_kms *kms = NULL;
    const char *url = cli_value(cli, "kms-url", NULL);
    const char *ca_path = cli_value(cli, "kms-ca", NULL);
    uint8_t signer[33], wanted[33];
    bool pinned = false;
    if (url == NULL || ca_path == NULL) {
        return cli_usage(err,
                         "--env-file needs --kms-url and --kms-ca: the environment is encrypted "
                         "to a key that must come from the right KMS");
    }
    int rc = cli_hex_fixed(cli, "kms-signer", wanted, sizeof wanted, &pinned, err);
    rc = rc != 0 ? rc : cli_read(ca_path, (size_t)1 << 20, &ca, err);
    rc = rc != 0 ? rc
                 : dstack_kms_new(&(dstack_kms_options){.url = url,
                                                        .root_ca = bytes_of_buf(&ca),
                                                        .connect_address =
                                                            cli_value(cli, "kms-connect", NULL)},
                                  &kms, err);
    rc = rc != 0 ? rc : dstack_kms_env_key(kms, app_id, out, err);
    rc = rc != 0 ? rc
                 : dstack_env_key_signer(bytes_of(out->public_key, sizeof out->public_key),
                                         bytes_of_buf(&out->signature_v1), app_id, out->timestamp,
                                         cli->now, signer, err);
    if (rc == 0 && pinned && memcmp(signer, wanted, sizeof signer) != 0) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "the environment's key is signed by another key than --kms-signer names");
    }
    if (rc == 0 && !pinned) {
        char hex[67];
        hex_encode(bytes_of(signer, sizeof signer), hex);
        cli_note(cli, "environment key signed by %s (pin it with --kms-signer)", hex);
    }
    return rc;
}

static int add_env(struct cli *cli, json_t *request, const dstack_env *env, dstack_bytes app_id,
                   dstack_error *err) {
    dstack_kms_env_answer key = {0};
    DSTACK_AUTO(buf) dstack_buf blob = {0};
    int rc = fetch_env_key(cli, app_id, &key, err);
    rc = rc != 0
             ? rc
             : dstack_env_encrypt(env, bytes_of(key.public_key, sizeof key.public_key), &blob, err);
    if (rc == 0) {
        json_object_set_new(request, "encrypted_env", json_hex(bytes_of_buf(&blob)));
    }
    dstack_kms_env_answer_clear(&key);
    return rc;
}

/* ---- request ---- */

static int choose_image(struct cli *cli, struct vmm_client *client, json_t *request,
                        dstack_error *err) {
    const char *given = cli_value(cli, "image", NULL);
    DSTACK_AUTO(json) json_t *answer = NULL;
    if (given != NULL) {
        json_object_set_new(request, "image", json_string(given));
        return 0;
    }
    int rc = vmm_client_call(client, "ListImages", NULL, &answer, err);
    const json_t *images = json_object_get(answer, "images");
    if (rc == 0 && json_array_size(images) != 1) {
        rc = cli_usage(err, "the VMM has %zu images: name one with --image (see `dstack images`)",
                       json_array_size(images));
    }
    if (rc == 0) {
        json_object_set_new(request, "image",
                            json_string(vmm_text(json_array_get(images, 0), "name")));
    }
    return rc;
}

static int add_resources(const struct cli *cli, json_t *request, dstack_error *err) {
    int64_t vcpu = 0;
    uint64_t memory = 0, disk = 0;
    int rc = cli_int(cli, "vcpu", 2, 1, 4096, &vcpu, err);
    rc = rc != 0 ? rc : cli_size(cli, "memory", (uint64_t)2 << 30, (uint64_t)1 << 20, &memory, err);
    rc = rc != 0 ? rc : cli_size(cli, "disk", (uint64_t)20 << 30, (uint64_t)1 << 30, &disk, err);
    if (rc == 0 && (memory >> 20 == 0 || memory >> 20 > UINT32_MAX || disk >> 30 == 0)) {
        rc = cli_usage(err, "--memory needs at least 1M, --disk at least 1G");
    }
    if (rc == 0) {
        json_object_set_new(request, "vcpu", json_integer(vcpu));
        json_object_set_new(request, "memory", json_integer((json_int_t)(memory >> 20)));
        json_object_set_new(request, "disk_size", json_integer((json_int_t)(disk >> 30)));
    }
    return rc;
}

static int add_ports(const struct cli *cli, json_t *request, dstack_error *err) {
    json_t *ports = json_array();
    json_object_set_new(request, "ports", ports);
    const char *text;
    for (size_t i = 0; (text = cli_value_at(cli, "port", i)) != NULL; i++) {
        struct port_spec spec;
        int rc = port_spec_parse(text, &spec, err);
        rc = rc != 0 ? rc : port_spec_choose(&spec, err);
        if (rc != 0) {
            return rc;
        }
        json_array_append_new(ports, json_pack("{s:s, s:s, s:i, s:i}", "protocol", spec.protocol,
                                               "host_address", spec.address, "host_port",
                                               (int)spec.host, "vm_port", (int)spec.vm));
    }
    return 0;
}

static void add_urls(const struct cli *cli, const char *option, const char *member,
                     json_t *request) {
    json_t *list = json_array();
    const char *url;
    for (size_t i = 0; (url = cli_value_at(cli, option, i)) != NULL; i++) {
        json_array_append_new(list, json_string(url));
    }
    json_object_set_new(request, member, list);
}

static int add_user_config(const struct cli *cli, json_t *request, dstack_error *err) {
    const char *path = cli_value(cli, "user-config", NULL);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL) {
        return 0;
    }
    int rc = cli_read(path, USER_CONFIG_LIMIT, &text, err);
    json_t *value = rc == 0 ? json_stringn((const char *)text.data, text.len) : NULL;
    if (rc == 0 && value == NULL) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: not UTF-8 text", path);
    }
    if (rc == 0) {
        json_object_set_new(request, "user_config", value);
    }
    return rc;
}

/* The app id: given, or the first 20 bytes of the compose hash. */
static int find_app_id(const struct cli *cli, const dstack_manifest *manifest, uint8_t out[20],
                       dstack_error *err) {
    bool given = false;
    int rc = cli_hex_fixed(cli, "app-id", out, 20, &given, err);
    if (rc == 0 && !given) {
        memcpy(out, dstack_manifest_get(manifest)->default_app_id, 20);
    }
    return rc;
}

static int make_request(struct cli *cli, struct vmm_client *client,
                        const struct surroundings *around, const dstack_manifest *manifest,
                        dstack_buf *text, const uint8_t app_id[20], json_t *request,
                        dstack_error *err) {
    const char *name = cli_value(cli, "name", dstack_manifest_get(manifest)->name);
    json_t *compose = json_stringn((const char *)text->data, text->len);
    if (compose == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "the manifest is not UTF-8 text");
    }
    json_object_set_new(request, "name", json_string(name));
    json_object_set_new(request, "compose_file", compose);
    json_object_set_new(request, "app_id", json_hex(bytes_of(app_id, 20)));
    json_object_set_new(request, "stopped", json_boolean(cli_has(cli, "stopped")));
    json_object_set_new(request, "no_tee", json_boolean(cli_has(cli, "no-tee")));
    if (around->simulated_tee[0] != 0 && !cli_has(cli, "no-tee")) {
        json_object_set_new(request, "simulated_tee", json_string(around->simulated_tee));
    }
    add_urls(cli, "kms-url", "kms_urls", request);
    add_urls(cli, "gateway-url", "gateway_urls", request);
    int rc = choose_image(cli, client, request, err);
    rc = rc != 0 ? rc : add_resources(cli, request, err);
    rc = rc != 0 ? rc : add_ports(cli, request, err);
    return rc != 0 ? rc : add_user_config(cli, request, err);
}

/* ---- outcome ---- */

static json_t *outcome(const json_t *request, const char *vm_id, const char *compose_hash) {
    json_t *ports = json_array();
    size_t i;
    json_t *port;
    json_array_foreach(json_object_get(request, "ports"), i, port) {
        json_array_append_new(ports, json_pack("{s:O, s:O, s:O}", "vmPort",
                                               json_object_get(port, "vm_port"), "hostPort",
                                               json_object_get(port, "host_port"), "hostAddress",
                                               json_object_get(port, "host_address")));
    }
    return json_pack("{s:s, s:s, s:s, s:o}", "vmId", vm_id, "appId", vmm_text(request, "app_id"),
                     "composeHash", compose_hash, "ports", ports);
}

static void tell(struct cli *cli, const json_t *request, const char *vm_id) {
    size_t i;
    json_t *port;
    cli_field(cli, "deployed", "vm %s", vm_id);
    json_array_foreach(json_object_get(request, "ports"), i, port) {
        cli_field(cli, "", "app :%lld -> %s:%lld",
                  (long long)json_integer_value(json_object_get(port, "vm_port")),
                  vmm_text(port, "host_address"),
                  (long long)json_integer_value(json_object_get(port, "host_port")));
    }
}

static int dry_run(struct cli *cli, dstack_buf *text, const char *hash, const char *app_id,
                   dstack_error *err) {
    if (!cli->json) {
        fwrite(text->data, 1, text->len, cli->out);
        cli_note(cli, "\ncompose hash: %s\napp id:       %s", hash, app_id);
        return 0;
    }
    DSTACK_AUTO(json)
    json_t *answer = json_pack("{s:s, s:s, s:s, s:b}", "composeHash", hash, "appId", app_id,
                               "appCompose", buf_text(text), "dryRun", 1);
    return cli_print_json(cli, answer, err);
}

static int create(struct cli *cli, struct vmm_client *client, const json_t *request,
                  const char *hash, dstack_error *err) {
    DSTACK_AUTO(json) json_t *answer = NULL;
    int64_t timeout = 600;
    int rc = cli_int(cli, "timeout", 600, 1, 86400, &timeout, err);
    rc = rc != 0 ? rc : vmm_client_call(client, "CreateVm", request, &answer, err);
    const char *id = vmm_text(answer, "id");
    if (rc != 0) {
        return rc;
    }
    if (!cli->json) {
        tell(cli, request, id);
        fflush(cli->out);
    }
    if (cli_has(cli, "wait") && !cli_has(cli, "stopped")) {
        rc = vmm_client_wait_boot(cli, client, id, timeout, err);
    }
    DSTACK_AUTO(json) json_t *document = outcome(request, id, hash);
    if (rc != 0) {
        cli_detail(cli, "vm", json_incref(document));
        return rc;
    }
    return cli->json ? cli_print_json(cli, document, err) : 0;
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(surroundings) struct surroundings around = {.simulated_tee = ""};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(manifest) dstack_manifest *manifest = NULL;
    DSTACK_AUTO(env) dstack_env *env = NULL;
    DSTACK_AUTO(json) json_t *request = json_object();
    uint8_t app_id[20];
    char hash[65], app_id_hex[41];
    int rc = load_env(cli, &env, err);
    rc = rc != 0 ? rc : vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : look_around(&client, &around, err);
    rc = rc != 0 ? rc : load_manifest(cli, &around, argv[0], env, &text, &manifest, err);
    rc = rc != 0 ? rc : check_env_allowed(manifest, env, err);
    rc = rc != 0 ? rc : find_app_id(cli, manifest, app_id, err);
    if (rc != 0) {
        return rc;
    }
    hex_encode(bytes_of(dstack_manifest_get(manifest)->compose_hash, 32), hash);
    hex_encode(bytes_of(app_id, sizeof app_id), app_id_hex);
    if (cli_has(cli, "dry-run")) {
        return dry_run(cli, &text, hash, app_id_hex, err);
    }
    rc = make_request(cli, &client, &around, manifest, &text, app_id, request, err);
    if (rc == 0 && env != NULL && dstack_env_count(env) > 0) {
        rc = add_env(cli, request, env, bytes_of(app_id, sizeof app_id), err);
    }
    if (rc == 0 && !cli->json) {
        cli_field(cli, "compose hash", "%s", hash);
        cli_field(cli, "app id", "%s", app_id_hex);
    }
    return rc != 0 ? rc : create(cli, &client, request, hash, err);
}

const struct cli_command cli_command_deploy = {
    .name = "deploy",
    .summary = "Run an app in a new VM",
    .usage = "FILE [--wait] [...]",
    .help = "FILE is a docker-compose file, from which a manifest is made, or an app manifest\n"
            "(app-compose.json), which is used as it stands: its hash is what gets measured.",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
