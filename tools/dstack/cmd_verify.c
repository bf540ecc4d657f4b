/* dstack verify https://HOST[:PORT]: the evidence behind an address, end to end. */
#include <string.h>

#include <dstack/tpm.h>
#include <dstack/manifest.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "cli.h"
#include "cli_trust.h"
#include "verify/dcap/collateral.h"
#include "verify/dcap/policy.h"
#include "verify/verify.h"

#define MAX_CERT_FILE ((size_t)4 << 20)
#define MAX_IMAGES 16
#define DEFAULT_TIMEOUT_S 20

/* UpToDate and nothing else; how a platform is made up does not matter. */
static const char default_policy[] =
    "{\"allow_dynamic_platform\":true,\"allow_cached_keys\":true,\"allow_smt\":true}";

/* Everything that the options name, loaded. */
typedef struct inputs {
    verify_demands demands;
    dstack_policy *policy;
    cli_kds kds;
    dstack_tpm_fetcher *tpm_fetcher;
    cli_roots roots;
    dstack_platform_roots platform_roots;
    const char *images[MAX_IMAGES];
    dstack_buf kms_root, ca;
    uint8_t app_id[20], gateway_app_id[20], compose_hash[32];
} inputs;

static void inputs_clear(inputs *in) {
    dstack_verifier_free(in->demands.verifier);
    dstack_policy_free(in->policy);
    cli_kds_clear(&in->kds);
    dstack_tpm_fetcher_free(in->tpm_fetcher);
    cli_roots_clear(&in->roots);
    dstack_buf_clear(&in->kms_root);
    dstack_buf_clear(&in->ca);
}
DSTACK_AUTO_DEFINE_CLEAR(inputs, inputs, inputs_clear)

static int add_collateral(struct cli *cli, dstack_verifier *verifier, dstack_error *err) {
    int rc = 0;
    const char *path;
    for (size_t i = 0; rc == 0 && (path = cli_value_at(cli, "collateral", i)) != NULL; i++) {
        DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
        rc = cli_read_collateral(path, &collateral, err);
        rc = rc != 0 ? rc : dstack_verifier_add_collateral(verifier, collateral, err);
    }
    return rc;
}

/* A dstack_collateral_source: `user` is the command line. */
static int fetch_collateral(void *user, struct dstack_verifier *verifier, dstack_bytes quote,
                            dstack_error *err) {
    struct cli *cli = user;
    DSTACK_AUTO(cli_servers) cli_servers from = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    int rc = cli_servers_read(cli, &from, err);
    from.servers.verifier = verifier; /* what it refuses is not kept */
    rc = rc != 0 ? rc : dstack_collateral_fetch(&collateral, quote, &from.servers, err);
    return rc != 0 ? rc : dstack_verifier_add_collateral(verifier, collateral, err);
}

static int fetch_snp(void *user, dstack_bytes report, const dstack_snp_options *how,
                     dstack_snp_certs *certs, dstack_error *err) {
    return dstack_snp_certs_fetch(report, how, user, certs, err);
}

/* Another root than the vendor's makes proofs that anybody who has its key can forge: it is asked
 * for by name. It takes the place of every vendor's. One that cannot be Intel's (its key is not
 * P-256) leaves no verifier, and Intel quotes are refused. */
static int open_verifier(struct cli *cli, inputs *in, dstack_error *err) {
    cli_roots *roots = &in->roots;
    const char *path = cli_value(cli, "root", NULL);
    if (path != NULL && !cli_has(cli, "insecure-dev")) {
        return cli_usage(err, "--root trusts hardware that is not the vendor's, and needs "
                              "--insecure-dev");
    }
    int rc = path == NULL ? 0 : cli_read_roots(path, roots, err);
    const dstack_verifier_options options = {
        .roots = roots->roots, .root_count = roots->count, .no_builtin_root = path != NULL};
    if (rc == 0 && path != NULL) {
        const dstack_bytes root = roots->roots[0].cert;
        in->platform_roots = (dstack_platform_roots){root, root, root, root, root, root};
        in->demands.roots = &in->platform_roots;
    }
    rc = rc != 0 ? rc : dstack_verifier_new(&in->demands.verifier, &options, err);
    if (rc == DSTACK_E_DCAP_ROOT_CA_FORMAT && roots->count == 1) {
        return 0;
    }
    if (rc == 0 && path != NULL && !cli_has(cli, "collateral")) {
        return cli_usage(err, "--root needs --collateral FILE: no server has that of other roots");
    }
    return rc != 0 ? rc : add_collateral(cli, in->demands.verifier, err);
}

static int read_file(struct cli *cli, const char *option, size_t limit, dstack_buf *content,
                     dstack_bytes *out, dstack_error *err) {
    const char *path = cli_value(cli, option, NULL);
    int rc = path == NULL ? 0 : cli_read(path, limit, content, err);
    *out = bytes_of_buf(content);
    return rc != 0 || path == NULL || content->len > 0
               ? rc
               : error_set(err, DSTACK_E_FORMAT, "%s is empty", path);
}

/* A manifest counts by its hash, which can be given in its place. */
static int read_manifest(struct cli *cli, inputs *in, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf content = {0};
    const char *path = cli_value(cli, "manifest", NULL);
    bool given = false;
    int rc =
        cli_hex_fixed(cli, "compose-hash", in->compose_hash, sizeof in->compose_hash, &given, err);
    if (rc == 0 && given && path != NULL) {
        rc = cli_usage(err, "--manifest and --compose-hash exclude each other");
    }
    if (rc == 0 && path != NULL) {
        rc = cli_read(path, DSTACK_MANIFEST_MAX_SIZE, &content, err);
        dstack_compose_hash(bytes_of_buf(&content), in->compose_hash);
    }
    in->demands.compose_hash = given || path != NULL ? in->compose_hash : NULL;
    return rc;
}

static int read_id(struct cli *cli, const char *option, uint8_t id[20], const uint8_t **out,
                   dstack_error *err) {
    bool given = false;
    int rc = cli_hex_fixed(cli, option, id, 20, &given, err);
    *out = given ? id : NULL;
    return rc;
}

static int load_images(struct cli *cli, inputs *in, dstack_error *err) {
    const char *dir;
    for (size_t i = 0; (dir = cli_value_at(cli, "image", i)) != NULL; i++) {
        if (i == MAX_IMAGES) {
            return cli_usage(err, "more than %d images", MAX_IMAGES);
        }
        if (access(dir, R_OK | X_OK) != 0) {
            return error_set_errno(err, DSTACK_E_NOT_FOUND, "--image %s", dir);
        }
        in->images[in->demands.image_count++] = dir;
    }
    in->demands.images = in->images;
    return 0;
}

static int load_policy(struct cli *cli, inputs *in, dstack_error *err) {
    const char *path = cli_value(cli, "policy", NULL);
    int rc = path != NULL ? cli_read_policy(path, &in->policy, err)
                          : dstack_policy_parse(&in->policy, bytes_of_str(default_policy), err);
    in->demands.policy = in->policy;
    in->demands.policy_is_default = path == NULL;
    return rc;
}

static int load_inputs(struct cli *cli, inputs *in, dstack_error *err) {
    verify_demands *d = &in->demands;
    d->now = cli->now;
    d->insecure_dev = cli_has(cli, "insecure-dev");
    if (cli_has(cli, "pccs") || !cli_has(cli, "collateral")) {
        d->collateral = fetch_collateral;
        d->collateral_user = cli;
    }
    d->snp_certs = fetch_snp;
    d->snp_certs_user = &in->kds.servers;
    d->tpm_collateral = dstack_tpm_collateral_fetch;
    int rc = dstack_tpm_fetcher_new(&in->tpm_fetcher, NULL, err);
    d->tpm_collateral_user = in->tpm_fetcher;
    if (rc != 0 || (rc = cli_kds_read(cli, &in->kds, err)) != 0 ||
        (rc = read_id(cli, "app-id", in->app_id, &d->app_id, err)) != 0 ||
        (rc = read_id(cli, "gateway-app-id", in->gateway_app_id, &d->gateway_app_id, err)) != 0 ||
        (rc = open_verifier(cli, in, err)) != 0 || (rc = load_policy(cli, in, err)) != 0 ||
        (rc = load_images(cli, in, err)) != 0 || (rc = read_manifest(cli, in, err)) != 0 ||
        (rc = read_file(cli, "kms-root", MAX_CERT_FILE, &in->kms_root, &d->kms_root, err)) != 0) {
        return rc;
    }
    return read_file(cli, "ca", MAX_CERT_FILE, &in->ca, &d->ca, err);
}

/* What could not be had is another answer than what was refused. */
static int outcome(const verify_report *report, const verify_answers *answers, dstack_error *err) {
    verify_step_id step;
    if (!verify_refusal(report, &step)) {
        return 0;
    }
    const dstack_error *lost = &answers->acme_error;
    lost = lost->status != 0 ? lost : &answers->evidence_error;
    bool unreachable = lost->status == DSTACK_E_NETWORK || lost->status == DSTACK_E_TIMEOUT;
    const char *detail = report->steps[step].detail;
    return error_set(err, unreachable ? lost->status : DSTACK_E_REFUSED, "refused at %s: %.400s",
                     verify_step_name(step), *detail != '\0' ? detail : "not reached");
}

static int run(struct cli *cli, int argc, char **argv, dstack_error *err) {
    (void)argc;
    DSTACK_AUTO(inputs) inputs in = {0};
    DSTACK_AUTO(verify_answers) verify_answers answers = {0};
    DSTACK_AUTO(verify_report) verify_report report = {0};
    int64_t seconds;
    int rc = load_inputs(cli, &in, err);
    rc = rc != 0 ? rc : cli_int(cli, "timeout", DEFAULT_TIMEOUT_S, 1, 3600, &seconds, err);
    if (rc != 0) {
        return rc;
    }
    if (cli_has(cli, "insecure-dev")) {
        cli_note(cli, "warning: --insecure-dev: simulated hardware and insecure issuers may pass");
    }
    const verify_target target = {.url = argv[0],
                                  .connect = cli_value(cli, "connect", NULL),
                                  .timeout_ms = (int)seconds * 1000};
    rc = verify_connect(&target, &answers, err);
    if (rc != 0) {
        return rc;
    }
    verify_judge(&in.demands, &answers, &report);
    if (cli->json) {
        DSTACK_AUTO(json) json_t *document = verify_report_json(&report, argv[0]);
        rc = cli_print_json(cli, document, err);
    } else {
        verify_report_print(cli, &report, argv[0]);
    }
    return rc != 0 ? rc : outcome(&report, &answers, err);
}

static const struct cli_option options[] = {
    {"collateral", 0, "FILE", "collateral bundle, JSON (may be repeated)"},
    CLI_SERVER_OPTIONS,
    CLI_KDS_OPTIONS,
    {"image", 0, "DIR", "reference image that app and gateway must run (may be repeated)"},
    {"manifest", 0, "FILE", "app-compose.json that the app must run, byte for byte"},
    {"compose-hash", 0, "HEX", "hash of that manifest, in place of the file"},
    {"app-id", 0, "HEX", "app that it must be"},
    {"kms-root", 0, "FILE", "root certificate of the KMS that must have given the keys"},
    {"gateway-app-id", 0, "HEX", "gateway that it must be"},
    {"policy", 0, "FILE", "which TCB levels pass, YAML or JSON (default: UpToDate)"},
    {"ca", 0, "FILE", "roots for the public name, PEM (default: the machine's trust store)"},
    {"connect", 0, "ADDR:PORT", "connect there instead of resolving the name"},
    {"timeout", 0, "SECONDS", "longest wait for each answer (default 20)"},
    {"root", 0, "FILE", "trust these roots in place of the vendors'; needs --insecure-dev"},
    {"insecure-dev", 0, NULL, "let simulated hardware and issuers in insecure modes pass"},
    {NULL},
};

const struct cli_command cli_command_verify = {
    .name = "verify",
    .summary = "Verify the evidence behind an https address, end to end",
    .usage = "https://HOST[:PORT] [--image DIR] [--manifest FILE] [...]",
    .help =
        "Connects, takes the evidence behind the address, and prints what the trust in this very\n"
        "connection rests on, from the hardware's root to the connection's key. Every line names\n"
        "its trust anchor: measured, reference-image, policy (something you gave), or\n"
        "self-asserted. Exits 0 only when every step holds, 1 when one is refused, 3 when the\n"
        "address or its evidence cannot be reached.",
    .options = options,
    .min_args = 1,
    .max_args = 1,
    .run = run,
};
