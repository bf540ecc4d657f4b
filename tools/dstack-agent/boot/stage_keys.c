/* Where the app's keys come from. */
#include "boot/boot.h"

#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "crypto/random.h"
#include "evidence.h"
#include "keys/kms_keys.h"
#include "keys/local_keys.h"
#include "paths.h"
#include "verify/dcap/fetch.h"

#define KMS_RETRY_MS 120000
#define PCCS_TIMEOUT_MS 20000

DSTACK_AUTO_DEFINE(verifier, dstack_verifier, dstack_verifier_free)
DSTACK_AUTO_DEFINE(collateral, dstack_collateral, dstack_collateral_free)

static int attest(void *user, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                  dstack_attestation **out, dstack_error *err) {
    boot *b = user;
    return evidence_take(b->tee, AGENT_EVENT_DIR, b->config.vm_config, report_data, out, err);
}

/* Random keys of this boot alone: what they encrypt is lost with it. */
static int keys_none(boot *b, dstack_error *err) {
    DSTACK_AUTO(secret) dstack_secret *seed = dstack_secret_new(32);
    if (seed == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    random_fill(dstack_secret_data(seed), 32);
    return local_keys_make(seed, clock_unix(), dstack_tee_is_simulated(b->tee), attest, b, &b->keys,
                           err);
}

/* For the KMS's evidence: the simulated platform's bundle from the host share, or Intel's from a
 * server. Either is worth what its signatures are. */
static int collateral_source(void *user, dstack_verifier *verifier, dstack_bytes quote,
                             dstack_error *err) {
    boot *b = user;
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    int rc;
    if (b->sim_root.len > 0) {
        rc = dstack_collateral_parse(&collateral,
                                     bytes_of_buf(&b->share.files[SHARE_SIM_COLLATERAL]), err);
    } else {
        const dstack_collateral_servers servers = {
            .urls = &b->config.pccs_url,
            .url_count = b->config.pccs_url != NULL ? 1 : 0,
            .timeout_ms = PCCS_TIMEOUT_MS,
        };
        /* Not libcurl: the agent lives as long as the VM, and pays for each library it maps. */
        rc = fetch_collateral(&collateral, quote, &servers, &fetch_transport_http, err);
    }
    return rc != 0 ? rc : dstack_verifier_add_collateral(verifier, collateral, err);
}

static int keys_kms(boot *b, dstack_error *err) {
    DSTACK_AUTO(verifier) dstack_verifier *verifier = NULL;
    DSTACK_AUTO(buf) dstack_buf image_hash = {0};
    const dstack_trust_root root = {.name = "simulation root", .cert = bytes_of_buf(&b->sim_root)};
    bool simulated = b->sim_root.len > 0;
    const dstack_verifier_options options = {
        .roots = &root,
        .root_count = simulated ? 1 : 0,
        .no_builtin_root = simulated,
    };
    int rc = dstack_verifier_new(&verifier, &options, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_attestation_options judge = {
        .collateral = collateral_source,
        .collateral_user = b,
    };
    const kms_keys_request request = {
        .urls = b->config.kms_urls,
        .url_count = b->config.kms_url_count,
        .vm_config = b->config.vm_config,
        .options = {.verifier = verifier,
                    .attestation = &judge,
                    .require_attestation = true,
                    .attest = attest,
                    .user = b},
        .retry_ms = KMS_RETRY_MS,
    };
    rc = kms_keys_fetch(&request, &b->keys, &image_hash, err);
    return rc != 0 ? rc : boot_emit(b, "os-image-hash", bytes_of_buf(&image_hash), err);
}

int stage_keys(void *context, dstack_error *err) {
    boot *b = context;
    return b->app->key_provider == DSTACK_KEY_PROVIDER_KMS ? keys_kms(b, err) : keys_none(b, err);
}
