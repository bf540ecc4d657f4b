/* dstack verify https://...: who answers there, proved from outside. */
#include <string.h>

#include <dstack/manifest.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "verify_url.h"

DSTACK_AUTO_DEFINE(policy, dstack_policy, dstack_policy_free)

static const struct cli_option options[] = {
    {"root", 0, "FILE", "hardware root to trust instead of Intel's (PEM or DER)"},
    {"collateral", 0, "FILE", "collateral bundle of the platform (JSON); may be repeated"},
    {"policy", 0, "FILE", "which TCB levels pass (JSON)"},
    {"image", 0, "DIR", "guest image that the registers must follow from"},
    {"ca", 0, "FILE", "roots for the public certificate (PEM; default: the system's)"},
    {"connect", 0, "ADDR:PORT", "connect here instead of to the URL's host"},
    {"app-id", 0, "HEX", "app id that must be running there"},
    {"compose-hash", 0, "HEX", "manifest hash that must be running there"},
    {"manifest", 0, "FILE", "manifest file that must be running there"},
    {"gateway-app-id", 0, "HEX", "app id that the gateway must have"},
    {"kms-root-key", 0, "HEX", "SHA-256 of the public key of the KMS root that must have issued"},
    {"insecure-dev", 0, NULL, "accept what is marked as made in an insecure development mode"},
    {NULL}};

static int open_verifier(const struct cli *cli, cli_roots *roots, dstack_verifier **out,
                         dstack_error *err) {
    const char *root = cli_value(cli, "root", NULL);
    const char *file;
    int rc = root != NULL ? cli_read_roots(root, roots, err) : 0;
    rc = rc != 0 ? rc
                 : dstack_verifier_new(out,
                                       &(dstack_verifier_options){.roots = roots->roots,
                                                                  .root_count = roots->count,
                                                                  .no_builtin_root = root != NULL},
                                       err);
    for (size_t i = 0; rc == 0 && (file = cli_value_at(cli, "collateral", i)) != NULL; i++) {
        dstack_collateral *collateral = NULL;
        rc = cli_read_collateral(file, &collateral, err);
        rc = rc != 0 ? rc : dstack_verifier_add_collateral(*out, collateral, err);
        dstack_collateral_free(collateral);
    }
    return rc;
}

static int expect_value(const struct cli *cli, const char *option, const dstack_value *found,
                        size_t len, const char *what, dstack_error *err) {
    uint8_t wanted[32];
    char hex[129];
    bool given = false;
    int rc = cli_hex_fixed(cli, option, wanted, len, &given, err);
    if (rc != 0 || !given) {
        return rc;
    }
    if (found->len == len && memcmp(found->data, wanted, len) == 0) {
        return 0;
    }
    hex_encode(bytes_of(found->data, found->len), hex);
    return error_set(err, DSTACK_E_REFUSED, "%s is %s, not what --%s says", what, hex, option);
}

static int expect_manifest(const struct cli *cli, const dstack_value *compose_hash,
                           dstack_error *err) {
    const char *path = cli_value(cli, "manifest", NULL);
    DSTACK_AUTO(buf) dstack_buf file = {0};
    uint8_t hash[32];
    if (path == NULL) {
        return 0;
    }
    int rc = cli_read(path, DSTACK_MANIFEST_MAX_SIZE, &file, err);
    if (rc != 0) {
        return rc;
    }
    dstack_compose_hash(bytes_of_buf(&file), hash);
    return compose_hash->len == 32 && memcmp(hash, compose_hash->data, 32) == 0
               ? 0
               : error_set(err, DSTACK_E_REFUSED, "another manifest than %s is running there", path);
}

int verify_expectations(const struct cli *cli, const struct verify_result *result,
                        dstack_error *err) {
    const dstack_identity *app = dstack_verified_identity(result->app);
    const char *kms = cli_value(cli, "kms-root-key", NULL);
    int rc = expect_value(cli, "app-id", &app->app_id, 20, "the app id", err);
    rc = rc != 0 ? rc
                 : expect_value(cli, "compose-hash", &app->compose_hash, 32, "the compose hash", err);
    rc = rc != 0 ? rc : expect_manifest(cli, &app->compose_hash, err);
    if (rc == 0 && cli_has(cli, "gateway-app-id")) {
        rc = result->gateway == NULL
                 ? error_set(err, DSTACK_E_REFUSED, "no gateway stands between here and the app")
                 : expect_value(cli, "gateway-app-id",
                                &dstack_verified_identity(result->gateway)->app_id, 20,
                                "the gateway's app id", err);
    }
    if (rc == 0 && kms != NULL &&
        (!result->kms_checked || strcmp(kms, result->app_cert_root) != 0)) {
        rc = error_set(err, DSTACK_E_REFUSED, "the app's keys come from another KMS root (%s)",
                       result->kms_checked ? result->app_cert_root : "none shown");
    }
    return rc;
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(cli_roots) cli_roots roots = {0};
    DSTACK_AUTO(verifier) dstack_verifier *verifier = NULL;
    DSTACK_AUTO(policy) dstack_policy *policy = NULL;
    DSTACK_AUTO(verify_result) struct verify_result result = {0};
    struct target target;
    struct verify_setup setup = {.image_dir = cli_value(cli, "image", NULL),
                                 .connect = cli_value(cli, "connect", NULL), .now = cli->now,
                                 .insecure_dev = cli_has(cli, "insecure-dev")};
    const char *ca = cli_value(cli, "ca", NULL);
    const char *policy_file = cli_value(cli, "policy", NULL);
    int rc = target_parse(argv[0], &target, err);
    rc = rc != 0 ? rc : open_verifier(cli, &roots, &verifier, err);
    rc = rc != 0 || policy_file == NULL ? rc : cli_read_policy(policy_file, &policy, err);
    rc = rc != 0 || ca == NULL ? rc : cli_read(ca, (size_t)1 << 20, &setup.ca, err);
    setup.verifier = verifier;
    setup.policy = policy;
    rc = rc != 0 ? rc : verify_url(&setup, &target, &result, err);
    rc = rc != 0 ? rc : verify_expectations(cli, &result, err);
    rc = rc != 0 ? rc : verify_print(cli, argv[0], &setup, &result, err);
    dstack_buf_clear(&setup.ca);
    return rc;
}

const struct cli_command cli_command_verify = {
    .name = "verify",
    .summary = "Prove from outside what answers at an HTTPS address",
    .usage = "https://HOST[:PORT] [...]",
    .help = "Connects, takes the evidence behind the endpoint and checks every link from the\n"
            "hardware's root to this very connection. Exit 0 only if all of them hold.",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
