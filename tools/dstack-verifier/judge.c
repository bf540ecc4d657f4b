/* One attestation judged: which check failed first, and what held until then. */
#include <string.h>

#include <dstack/measure.h>

#include "base/cursor.h"
#include "base/error.h"
#include "debug.h"
#include "engine.h"

DSTACK_AUTO_DEFINE_CLEAR(vm_config, dstack_vm_config, dstack_vm_config_clear)

const char *image_source_name(image_source source) {
    static const char *const names[] = {"none", "document", "image", "download"};
    return names[source];
}

void verdict_clear(verdict *v) {
    dstack_attestation_free(v->owned);
    dstack_cert_free(v->cert);
    dstack_verified_free(v->verified);
    dstack_attestation_decision_free(v->decision);
    json_decref(v->acpi_tables);
    json_decref(v->register_debug);
    *v = (verdict){0};
}

/* ---- image -------------------------------------------------------------------------------------- */

typedef struct image_run {
    engine *e;
    verdict *v;
    bool reached; /* everything before the image held */
} image_run;

static const engine_folder *find_folder(const engine *e, const char *hash) {
    for (size_t i = 0; i < e->folder_count; i++) {
        if (strcmp(e->folders[i].hash, hash) == 0) {
            return &e->folders[i];
        }
    }
    return NULL;
}

static void note_image(verdict *v, int rc, image_source source, bool is_dev, const char *version) {
    if (rc == 0) {
        v->source = source;
    }
    v->acpi_recomputed = true; /* part of the registers that an image gives */
    v->image_known = true;
    v->is_dev = is_dev;
    snprintf(v->version, sizeof v->version, "%s", version);
}

/* The legacy scheme measures a whole image: only there is something to compare. */
static void note_debug(verdict *v, const char *dir, const dstack_vm_config *config,
                       const dstack_image_question *question) {
    if (v->debug && !config->lite) {
        v->acpi_tables = debug_acpi(&config->shape);
        v->register_debug = debug_registers(dir, &config->shape, question);
    }
}

/* What a server gives for a hash proves that an image of that hash exists, not that anybody vouches
 * for it: the anchor stays the prover's word. */
static int check_download(image_run *run, const dstack_vm_config *config,
                          const dstack_image_question *question, dstack_anchor *anchor,
                          uint8_t hash[32], dstack_error *err) {
    DSTACK_AUTO(image_lease) image_lease lease = {.lock = -1};
    int rc = image_store_take(run->e->store, config->os_image_hash, &lease, err);
    if (rc != 0) {
        return rc;
    }
    rc = dstack_measure_image_check(lease.path, question, anchor, hash, err);
    if (*anchor == DSTACK_ANCHOR_REFERENCE_IMAGE) {
        *anchor = DSTACK_ANCHOR_SELF_ASSERTED;
    }
    note_image(run->v, rc, IMAGE_DOWNLOAD, lease.is_dev, lease.version);
    note_debug(run->v, lease.path, config, question);
    return rc;
}

static int check_image(void *user, const dstack_image_question *question, dstack_anchor *anchor,
                       uint8_t hash[32], dstack_error *err) {
    image_run *run = user;
    DSTACK_AUTO(vm_config) dstack_vm_config config = {0};
    run->reached = true;
    int rc =
        error_prefix(err, dstack_vm_config_parse(bytes_of_str(question->vm_config), &config, err),
                     "Failed to decode VM config");
    if (rc == 0 && config.lite && !config.has_measurement) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "tdx lite attestation requires vm_config.tdx_measurement");
    }
    if (rc != 0) {
        return rc;
    }
    const engine_folder *folder = find_folder(run->e, config.os_image_hash);
    if (folder != NULL) {
        rc = dstack_measure_image_check(folder->path, question, anchor, hash, err);
        note_image(run->v, rc,
                   *anchor == DSTACK_ANCHOR_REFERENCE_IMAGE ? IMAGE_FOLDER : IMAGE_DOCUMENT,
                   folder->is_dev, folder->version);
        note_debug(run->v, folder->path, &config, question);
        return rc;
    }
    if (question->variant == DSTACK_TEE_TDX && !config.lite && run->e->store != NULL) {
        return check_download(run, &config, question, anchor, hash, err);
    }
    rc = dstack_measure_image_check(NULL, question, anchor, hash, err);
    if (rc == 0) {
        run->v->source = IMAGE_DOCUMENT;
    }
    return rc;
}

/* ---- the whole ---------------------------------------------------------------------------------- */

static void refuse(verdict *v, verdict_stage stage, const char *what, const char *message) {
    v->stage = stage;
    snprintf(v->reason, sizeof v->reason, "%s: %s", what, message);
    /* Messages quote what came in, and may be cut within a character. */
    for (char *at = v->reason; *at != '\0'; at++) {
        if ((unsigned char)*at < 0x20 || (unsigned char)*at >= 0x7f) {
            *at = '?';
        }
    }
}

/* Text that dstack_attestation_verify() puts before what its image check said. */
static const char *without_prefix(const char *message, const char *prefix) {
    size_t len = strlen(prefix);
    return strncmp(message, prefix, len) == 0 ? message + len : message;
}

static bool begins_as_quote(dstack_tee_variant variant) {
    return variant == DSTACK_TEE_TDX || variant == DSTACK_TEE_GCP_TDX;
}

/* After a refusal: what held all the same, for the answer to show. */
static void keep_quote(engine *e, verdict *v) {
    if (begins_as_quote(dstack_attestation_variant(v->attestation))) {
        v->has_quote =
            dstack_verifier_check(e->verifier, dstack_attestation_evidence(v->attestation), NULL,
                                  v->now, &v->quote, NULL) == 0;
    }
}

static void apply_policy(engine *e, verdict *v) {
    int rc = 0;
    pthread_rwlock_rdlock(&e->policy_lock);
    if (e->policy != NULL) {
        rc = dstack_attestation_policy_decide(e->policy, v->verified, &v->decision, &v->error);
    }
    pthread_rwlock_unlock(&e->policy_lock);
    v->valid = rc == 0;
    v->stage = STAGE_DONE;
    if (rc != 0) {
        refuse(v, STAGE_POLICY, "Refused", v->error.message);
    }
}

static void judge(engine *e, const char *vm_config, const uint8_t *report_data, verdict *v) {
    image_run run = {.e = e, .v = v};
    dstack_attestation_options options = {
        .now = v->now,
        .report_data = report_data,
        .vm_config = vm_config,
        .collateral = collateral_fetch_for,
        .collateral_user = e->fetcher,
        .tpm_collateral = e->tpm_fetcher != NULL ? dstack_tpm_collateral_fetch : NULL,
        .tpm_collateral_user = e->tpm_fetcher,
        .snp_certs = snp_fetch_for,
        .snp_certs_user = e->snp_fetcher,
        .snp_require_crl = e->snp_require_crl,
        .image = check_image,
        .image_user = &run,
        .roots = &e->platform,
    };
    const char *message = v->error.message;
    int rc =
        dstack_attestation_verify(e->verifier, v->attestation, &options, &v->verified, &v->error);
    if (rc == 0) {
        apply_policy(e, v);
    } else if (run.reached) {
        refuse(v, STAGE_IMAGE, "OS image hash verification failed",
               without_prefix(message, "OS image: "));
        options.image = NULL;
        (void)dstack_attestation_verify(e->verifier, v->attestation, &options, &v->verified, NULL);
    } else if (strncmp(message, "vm_config", 9) == 0 ||
               strncmp(message, "os_image_hash must", 18) == 0) {
        char text[DSTACK_ERROR_MESSAGE_SIZE + 40];
        snprintf(text, sizeof text, "Failed to decode VM config: %s", message);
        refuse(v, STAGE_IMAGE, "OS image hash verification failed", text);
        v->config_unreadable = true;
        options.image = NULL;
        options.vm_config = "{}";
        (void)dstack_attestation_verify(e->verifier, v->attestation, &options, &v->verified, NULL);
    } else if (strncmp(message, "decode app info", 15) == 0) {
        refuse(v, STAGE_IDENTITY, "Event log verification failed", message);
    } else {
        refuse(v, STAGE_QUOTE, "Quote verification failed", message);
    }
    if (v->verified != NULL && dstack_verified_quote(v->verified) != NULL) {
        v->has_quote = true;
        v->quote = *dstack_verified_quote(v->verified);
    } else if (v->verified == NULL) {
        keep_quote(e, v);
    }
}

void engine_judge(engine *e, const verify_request *request, int64_t now, verdict *out) {
    *out = (verdict){.now = now, .debug = request->debug};
    if (request_attestation(request, &out->owned, &out->error) != 0) {
        refuse(out, STAGE_DECODE, "Internal error", out->error.message);
        return;
    }
    out->attestation = out->owned;
    /* Beside an attestation nothing counts: what it was measured with stands inside. */
    const char *vm_config = request->has_attestation ? NULL : request->vm_config;
    judge(e, vm_config, request->bound ? request->report_data : NULL, out);
}

void engine_judge_cert(engine *e, dstack_bytes encoded, int64_t now, verdict *out) {
    *out = (verdict){.now = now};
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    int rc = dstack_cert_parse(encoded, &out->cert, &out->error);
    if (rc == 0 && dstack_cert_attestation(out->cert) == NULL) {
        rc = error_set(&out->error, DSTACK_E_REFUSED, "RA-TLS attestation extension missing");
    }
    rc = rc != 0 ? rc
                 : dstack_cert_report_data(dstack_cert_spki(out->cert), report_data, &out->error);
    if (rc != 0) {
        refuse(out, STAGE_DECODE, "failed to verify RA-TLS certificate", out->error.message);
        return;
    }
    out->attestation = dstack_cert_attestation(out->cert);
    judge(e, NULL, report_data, out);
}

static int check_bare(engine *e, dstack_bytes quote, verdict *v) {
    int rc = 0;
    if (!dstack_verifier_has_collateral(e->verifier, quote, v->now)) {
        rc = collateral_fetch_for(e->fetcher, e->verifier, quote, &v->error);
        error_prefix(&v->error, rc, "collateral");
    }
    rc = rc != 0 ? rc
                 : dstack_verifier_check(e->verifier, quote, NULL, v->now, &v->quote, &v->error);
    return rc != 0 ? rc : dstack_quote_report_check_workload(&v->quote, &v->error);
}

void engine_judge_quote(engine *e, dstack_bytes quote, int64_t now, verdict *out) {
    *out = (verdict){.now = now, .bare = true};
    out->valid = out->has_quote = check_bare(e, quote, out) == 0;
    if (!out->valid) {
        refuse(out, STAGE_QUOTE, "Quote verification failed", out->error.message);
    }
}
