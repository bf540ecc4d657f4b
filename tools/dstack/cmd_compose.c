/* dstack compose hash|new */
#include <string.h>

#include <dstack/manifest.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli.h"

DSTACK_AUTO_DEFINE(manifest, dstack_manifest, dstack_manifest_free)

static json_t *warnings_json(const dstack_manifest *manifest) {
    json_t *list = json_array();
    for (size_t i = 0; i < dstack_manifest_warning_count(manifest); i++) {
        json_array_append_new(list, json_string(dstack_manifest_warning(manifest, i)));
    }
    return list;
}

static void note_warnings(struct cli *cli, const dstack_manifest *manifest) {
    for (size_t i = 0; i < dstack_manifest_warning_count(manifest); i++) {
        cli_note(cli, "warning: %s", dstack_manifest_warning(manifest, i));
    }
}

static int print_hash(struct cli *cli, const dstack_manifest *manifest, const uint8_t canonical[32],
                      dstack_error *err) {
    const dstack_manifest_fields *fields = dstack_manifest_get(manifest);
    dstack_bytes hash = bytes_of(fields->compose_hash, 32);
    dstack_bytes app = bytes_of(fields->default_app_id, 20);
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *object =
            json_pack("{s:o, s:o, s:o, s:o}", "compose_hash", json_hex(hash), "app_id",
                      json_hex(app), "canonical_hash", json_hex(bytes_of(canonical, 32)),
                      "warnings", warnings_json(manifest));
        return cli_print_json(cli, object, err);
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_hex(&text, hash);
    cli_field(cli, "compose hash", "%s", buf_text(&text));
    buf_reset(&text);
    buf_put_hex(&text, app);
    cli_field(cli, "app id", "%s", buf_text(&text));
    note_warnings(cli, manifest);
    return 0;
}

static int run_hash(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf file = {0};
    DSTACK_AUTO(manifest) dstack_manifest *manifest = NULL;
    uint8_t canonical[32];
    int rc = cli_read(argv[0], DSTACK_MANIFEST_MAX_SIZE, &file, err);
    if (rc == 0) {
        rc = dstack_manifest_parse(bytes_of_buf(&file), &manifest, err);
    }
    if (rc == 0) {
        rc = dstack_compose_hash_canonical(bytes_of_buf(&file), cli_has(cli, "normalize"),
                                           canonical, err);
    }
    return rc == 0 ? print_hash(cli, manifest, canonical, err) : rc;
}

static int key_provider(const char *word, dstack_key_provider *out, dstack_error *err) {
    static const char *const words[] = {"none", "local", "kms", "tpm"};
    for (unsigned i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcmp(word, words[i]) == 0) {
            *out = (dstack_key_provider)i;
            return 0;
        }
    }
    return cli_usage(err, "--key-provider is none, local, kms or tpm");
}

#define ENVS_MAX 1024

static int build(struct cli *cli, const char *path, dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf compose = {0};
    DSTACK_AUTO(buf) dstack_buf script = {0};
    static const char *envs[ENVS_MAX];
    dstack_manifest_new fields = {
        .name = cli_value(cli, "name", NULL),
        .gateway_enabled = cli_has(cli, "gateway"),
        .public_logs = cli_has(cli, "public-logs"),
        .public_sysinfo = cli_has(cli, "public-sysinfo"),
        .no_tcbinfo = cli_has(cli, "no-tcbinfo"),
        .no_instance_id = cli_has(cli, "no-instance-id"),
        .no_secure_time = cli_has(cli, "no-secure-time"),
        .allowed_envs = envs,
        .storage_fs = cli_value(cli, "storage-fs", NULL),
    };
    while (fields.allowed_env_count < ENVS_MAX &&
           (envs[fields.allowed_env_count] = cli_value_at(cli, "env", fields.allowed_env_count)) !=
               NULL) {
        fields.allowed_env_count++;
    }
    if (fields.name == NULL) {
        return cli_usage(err, "--name NAME is needed");
    }
    int rc = key_provider(cli_value(cli, "key-provider", "kms"), &fields.key_provider, err);
    if (rc == 0) {
        rc = cli_read(path, DSTACK_MANIFEST_MAX_SIZE / 2, &compose, err);
    }
    if (rc == 0 && cli_has(cli, "pre-launch-script")) {
        rc = cli_read(cli_value(cli, "pre-launch-script", NULL), DSTACK_MANIFEST_MAX_SIZE / 4,
                      &script, err);
        fields.pre_launch_script = rc == 0 ? buf_text(&script) : NULL;
    }
    fields.docker_compose_file = bytes_of_buf(&compose);
    return rc == 0 ? dstack_manifest_build(&fields, out, err) : rc;
}

static int run_new(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(manifest) dstack_manifest *manifest = NULL;
    const char *output = cli_value(cli, "output", NULL);
    int rc = build(cli, argv[0], &text, err);
    if (rc == 0) {
        rc = dstack_manifest_parse(bytes_of_buf(&text), &manifest, err);
    }
    if (rc == 0 && output != NULL) {
        rc = file_write_atomic(output, bytes_of_buf(&text), 0644, err);
    }
    if (rc != 0) {
        return rc;
    }
    if (output != NULL) {
        return print_hash(cli, manifest, dstack_manifest_get(manifest)->compose_hash, err);
    }
    /* the document itself: its bytes are what is hashed, so nothing is added to them */
    fwrite(text.data, 1, text.len, cli->out);
    cli->printed = true;
    note_warnings(cli, manifest);
    return 0;
}

static const struct cli_option hash_options[] = {
    {"normalize", 0, NULL, "leave out fields that the runner does not use (canonical hash only)"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command compose_hash = {
    .name = "hash",
    .summary = "Show the compose hash and the app id of a manifest",
    .usage = "FILE",
    .help =
        "The compose hash is SHA-256 over the file's bytes, as the guest measures it. With --json\n"
        "the hash that SDKs predict from the canonical form is shown too.",
    .options = hash_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_hash,
};

static const struct cli_option new_options[] = {
    {"name", 'n', "NAME", "name of the app (needed)"},
    {"output", 'o', "FILE", "write the manifest there and show its hash"},
    {"key-provider", 0, "WHO", "none, local, kms (default) or tpm"},
    {"gateway", 0, NULL, "reach the app through the gateway"},
    {"env", 'e', "KEY", "environment variable that may be given encrypted; may be repeated"},
    {"public-logs", 0, NULL, "let anyone read the containers' logs"},
    {"public-sysinfo", 0, NULL, "let anyone read system information"},
    {"no-tcbinfo", 0, NULL, "do not publish measurements"},
    {"no-instance-id", 0, NULL, "all instances share one identity and one disk key"},
    {"no-secure-time", 0, NULL, "start without waiting for synchronised time"},
    {"pre-launch-script", 0, "FILE", "run this before the containers"},
    {"storage-fs", 0, "NAME", "file system of the data disk"},
    {NULL, 0, NULL, NULL},
};

static const struct cli_command compose_new = {
    .name = "new",
    .summary = "Make a manifest from a docker-compose file",
    .usage = "COMPOSE.yaml --name NAME [-o FILE] [...]",
    .options = new_options,
    .min_args = 1,
    .max_args = 1,
    .run = run_new,
};

static const struct cli_command *const compose_children[] = {&compose_hash, &compose_new, NULL};

const struct cli_command cli_command_compose = {
    .name = "compose",
    .summary = "App manifests (app-compose.json)",
    .children = compose_children,
};
