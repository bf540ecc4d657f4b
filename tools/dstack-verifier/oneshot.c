#include "oneshot.h"

#include <getopt.h>
#include <string.h>

#include <config.h>
#include "answer.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cert_profile.h"
#include "engine.h"
#include "settings.h"

#define LIST_MAX 16
#define CERT_FILE_MAX ((size_t)1 << 20)

typedef struct list {
    const char *items[LIST_MAX];
    size_t count;
} list;

typedef struct command_line {
    const char *verify;
    const char *verify_cert;
    const char *config; /* keys of the service's file that concern trust */
    const char *root;
    const char *policy;
    list collateral, pccs, kds, images;
    const char *now;
    bool insecure;
} command_line;

bool oneshot_wanted(int argc, char **argv) {
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--verify", 8) == 0) {
            return true;
        }
    }
    return false;
}

static int usage(void) {
    fprintf(
        stderr,
        "usage: dstack-verifier --verify FILE | --verify-cert FILE [--config FILE] [--root FILE]\n"
        "         [--collateral FILE]... [--pccs URL]... [--kds URL]... [--image DIR]... [--policy "
        "FILE]\n        "
        " [--now UNIX]\n");
    return 2;
}

static int add(list *to, const char *item) {
    if (to->count == LIST_MAX) {
        fprintf(stderr, "dstack-verifier: an option is given more than %d times\n", LIST_MAX);
        return -1;
    }
    to->items[to->count++] = item;
    return 0;
}

static int read_options(int argc, char **argv, command_line *out) {
    enum {
        VERIFY = 1,
        VERIFY_CERT,
        CONFIG,
        ROOT,
        COLLATERAL,
        PCCS,
        KDS,
        IMAGE,
        POLICY,
        NOW,
        INSECURE
    };
    static const struct option long_options[] = {
        {"verify", required_argument, NULL, VERIFY},
        {"verify-cert", required_argument, NULL, VERIFY_CERT},
        {"config", required_argument, NULL, CONFIG},
        {"root", required_argument, NULL, ROOT},
        {"collateral", required_argument, NULL, COLLATERAL},
        {"pccs", required_argument, NULL, PCCS},
        {"kds", required_argument, NULL, KDS},
        {"image", required_argument, NULL, IMAGE},
        {"policy", required_argument, NULL, POLICY},
        {"now", required_argument, NULL, NOW},
        {"insecure-dev", no_argument, NULL, INSECURE},
        {NULL, 0, NULL, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "c:", long_options, NULL)) != -1;) {
        int rc = 0;
        switch (option) {
        case VERIFY:
            out->verify = optarg;
            break;
        case VERIFY_CERT:
            out->verify_cert = optarg;
            break;
        case CONFIG:
        case 'c':
            out->config = optarg;
            break;
        case ROOT:
            out->root = optarg;
            break;
        case COLLATERAL:
            rc = add(&out->collateral, optarg);
            break;
        case PCCS:
            rc = add(&out->pccs, optarg);
            break;
        case KDS:
            rc = add(&out->kds, optarg);
            break;
        case IMAGE:
            rc = add(&out->images, optarg);
            break;
        case POLICY:
            out->policy = optarg;
            break;
        case NOW:
            out->now = optarg;
            break;
        case INSECURE:
            out->insecure = true;
            break;
        default:
            return usage();
        }
        if (rc != 0) {
            return 2;
        }
    }
    return optind == argc && (out->verify != NULL) != (out->verify_cert != NULL) ? 0 : usage();
}

static int read_now(const char *text, int64_t *now) {
    char *end = NULL;
    *now = text == NULL ? clock_unix() : strtoll(text, &end, 10);
    if (text != NULL && (*text == '\0' || *end != '\0' || *now < 0)) {
        fprintf(stderr, "dstack-verifier: --now takes UNIX seconds\n");
        return 2;
    }
    return 0;
}

static int open_engine(const command_line *line, const service_config *config, engine *out,
                       dstack_error *err) {
    engine_options options;
    verifier_settings_engine(config, &options);
    if (line->root != NULL) {
        options.tdx_root = line->root;
    }
    if (line->policy != NULL) {
        options.policy = line->policy;
    }
    if (line->collateral.count > 0) {
        options.collateral = line->collateral.items;
        options.collateral_count = line->collateral.count;
        options.pccs_count = options.kds_count =
            0; /* a bundle on the command line is all there is */
    }
    if (line->pccs.count > 0) {
        options.pccs = line->pccs.items;
        options.pccs_count = line->pccs.count;
    }
    if (line->kds.count > 0) {
        options.kds = line->kds.items;
        options.kds_count = line->kds.count;
    }
    if (line->images.count > 0) {
        options.image_dirs = line->images.items;
        options.image_dir_count = line->images.count;
        options.download = false; /* as with collateral */
    }
    return engine_open(out, &options, err);
}

static int write_beside(const char *path, const char *suffix, const json_t *value,
                        dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf name = {0}, text = {0};
    if (strcmp(path, "-") == 0) {
        return 0;
    }
    buf_put_fmt(&name, "%s%s", path, suffix);
    int rc = json_write(value, true, &text, err);
    rc = rc != 0 ? rc : buf_check(&name, err);
    return rc != 0 ? rc : file_write_atomic(buf_text(&name), bytes_of_buf(&text), 0644, err);
}

static void print(const json_t *value, bool pretty) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (json_write(value, pretty, &text, NULL) == 0) {
        printf("%s\n", buf_text(&text));
    }
}

/* ---- --verify ------------------------------------------------------------------------------------ */

/* What could not be judged at all is answered as the service would. */
static int no_verdict(const command_line *line, const dstack_error *why) {
    verdict v = {0};
    snprintf(v.reason, sizeof v.reason, "Internal error: %s", why->message);
    DSTACK_AUTO(json) json_t *answer = answer_json(&v, line->insecure);
    print(answer, false);
    return 1;
}

static int verify_request_file(const command_line *line, engine *e, int64_t now) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(request) verify_request request = {0};
    int rc = file_read(line->verify, REQUEST_MAX, &text, &err);
    error_prefix(&err, rc, "Failed to read file %s", line->verify);
    if (rc == 0) {
        rc = request_parse(bytes_of_buf(&text), &request, &err);
        error_prefix(&err, rc, "Failed to parse JSON");
    }
    if (rc != 0) {
        return no_verdict(line, &err);
    }
    DSTACK_AUTO(verdict) verdict v = {0};
    engine_judge(e, &request, now, &v);
    v.now_given = line->now != NULL;
    DSTACK_AUTO(json) json_t *answer = answer_json(&v, line->insecure);
    print(answer, false);
    if (v.stage != STAGE_DECODE &&
        write_beside(line->verify, ".verification.json", answer, &err) != 0) {
        fprintf(stderr, "dstack-verifier: %s\n", err.message);
        return 1;
    }
    return v.valid ? 0 : 1;
}

/* ---- --verify-cert ------------------------------------------------------------------------------- */

static json_t *cert_answer(const verdict *v) {
    json_t *info = json_null();
    if (v->verified != NULL && !v->config_unreadable) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        (void)dstack_identity_to_json(dstack_verified_identity(v->verified), &text, NULL);
        info = json_parse(bytes_of_buf(&text), SIZE_MAX, "identity", NULL);
        json_object_del(info, "init_script_hashes");
        json_object_set_new(info, "os_image_hash_verified", json_boolean(v->valid));
    }
    return json_pack("{s:b, s:{s:s, s:o, s:o, s:o}, s:o}", "is_valid", 1, "details", "tee_variant",
                     dstack_tee_variant_name(dstack_attestation_variant(v->attestation)),
                     "report_data", json_hex(dstack_attestation_report_data(v->attestation)),
                     "public_key_der", json_hex(dstack_cert_spki(v->cert)), "app_info", info,
                     "trust", trust_json(v));
}

static int refuse_cert(const char *why) {
    fprintf(stderr, "dstack-verifier: certificate verification failed: %s\n", why);
    return 1;
}

static int verify_cert_file(const command_line *line, engine *e, int64_t now) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(verdict) verdict v = {0};
    if (file_read(line->verify_cert, CERT_FILE_MAX, &text, &err) != 0) {
        return refuse_cert(err.message);
    }
    engine_judge_cert(e, bytes_of_buf(&text), now, &v);
    v.now_given = line->now != NULL;
    if (v.cert != NULL && cert_profile_check(dstack_cert_der(v.cert), now, &err) != 0) {
        return refuse_cert(err.message);
    }
    /* The certificate answers for its key and evidence; which image runs is told beside it. */
    if (v.stage == STAGE_DECODE) {
        return refuse_cert(v.reason);
    }
    if (v.stage == STAGE_POLICY) {
        return refuse_cert(v.error.message);
    }
    if (v.stage == STAGE_QUOTE) {
        error_set(&err, DSTACK_E_REFUSED,
                  "failed to verify RA-TLS certificate: RA-TLS attestation verification failed: %s",
                  v.error.message);
        return refuse_cert(err.message);
    }
    DSTACK_AUTO(json) json_t *answer = cert_answer(&v);
    print(answer, true);
    if (write_beside(line->verify_cert, ".ratls-verification.json", answer, &err) != 0) {
        fprintf(stderr, "dstack-verifier: %s\n", err.message);
        return 1;
    }
    return 0;
}

int oneshot_main(int argc, char **argv) {
    command_line line = {0};
    int64_t now = 0;
    int rc = read_options(argc, argv, &line);
    rc = rc != 0 ? rc : read_now(line.now, &now);
    if (rc != 0) {
        return rc;
    }
    dstack_error err = {0};
    DSTACK_AUTO(config) service_config *config = NULL;
    DSTACK_AUTO(engine) engine e = {0};
    config =
        config_load(line.config, verifier_description.keys, verifier_description.key_count, &err);
    rc = config == NULL ? err.status : verifier_settings_check(config, line.insecure, &err);
    rc = rc != 0 ? rc : open_engine(&line, config, &e, &err);
    if (rc != 0) {
        fprintf(stderr, "dstack-verifier: %s\n", err.message);
        return line.verify != NULL ? no_verdict(&line, &err) : 1;
    }
    return line.verify != NULL ? verify_request_file(&line, &e, now)
                               : verify_cert_file(&line, &e, now);
}
