#include "serve/agent.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/cert.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "evidence.h"
#include "serve/caller.h"
#include "serve/engine.h"
#include "serve/key_cache.h"
#include "serve/live.h"
#include "serve/shared_evidence.h"
#include "service/metrics.h"

static int text_load(const char *path, size_t limit, char **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = file_read(path, limit, &text, err);
    if (rc != 0) {
        return rc;
    }
    *out = buf_detach_text(&text);
    return *out == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory") : 0;
}

/* What the machine says about itself; "" when it does not. */
static void dmi_read(const char *path, char *out, size_t size) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    out[0] = '\0';
    const char *s = file_read(path, 4096, &text, NULL) == 0 ? buf_text(&text) : NULL;
    if (s == NULL) {
        return;
    }
    while (isspace((unsigned char)*s)) {
        s++;
    }
    size_t len = strlen(s);
    while (len > 0 && isspace((unsigned char)s[len - 1])) {
        len--;
    }
    len = len < size - 1 ? len : size - 1;
    memcpy(out, s, len);
    out[len] = '\0';
}

static int files_load(agent *a, const agent_files *files, dstack_error *err) {
    DSTACK_AUTO(str) char *sys_text = NULL;
    int rc;
    if ((rc = text_load(files->compose, DSTACK_MANIFEST_MAX_SIZE, &a->compose_text, err)) != 0) {
        return error_prefix(err, rc, "Failed to read compose file");
    }
    if ((rc = dstack_manifest_parse(bytes_of_str(a->compose_text), &a->manifest, err)) != 0) {
        return error_prefix(err, rc, "Failed to parse compose file");
    }
    if ((rc = app_keys_load(files->keys, &a->keys, err)) != 0) {
        return error_prefix(err, rc, "Failed to parse app keys");
    }
    if ((rc = text_load(files->sys_config, SYS_CONFIG_MAX, &sys_text, err)) != 0 ||
        (rc = sys_config_parse(bytes_of_str(sys_text), &a->config, err)) != 0) {
        return error_prefix(err, rc, "Failed to parse VM config");
    }
    if (a->keys.provider != DSTACK_KEY_PROVIDER_KMS &&
        (rc = dstack_ca_new(bytes_of_str(a->keys.ca_cert), a->keys.provider_key, &a->ca, err)) !=
            0) {
        return error_prefix(err, rc, "Failed to create cert signer");
    }
    a->app = dstack_manifest_get(a->manifest);
    a->vm_config = strdup(a->config.vm_config);
    if (a->app->has_key_policy) {
        a->callers = caller_book_new("/proc", ENGINE_SOCKET_PATH);
    }
    a->kept_keys = key_cache_new();
    return a->vm_config == NULL || a->kept_keys == NULL ||
                   (a->app->has_key_policy && a->callers == NULL)
               ? error_set(err, DSTACK_E_MEMORY, "out of memory")
               : 0;
}

int agent_new(const agent_files *files, agent_attest_fn *attest, void *source, bool insecure_dev,
              agent **out, dstack_error *err) {
    agent *a = calloc(1, sizeof *a);
    if (a == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    pthread_mutex_init(&a->evidence_lock, NULL);
    pthread_mutex_init(&a->info_lock, NULL);
    pthread_mutex_init(&a->sign_lock, NULL);
    pthread_mutex_init(&a->public_lock, NULL);
    a->attest = attest;
    a->source = source;
    a->insecure_dev = insecure_dev;
    a->engine = files->engine != NULL ? files->engine : ENGINE_SOCKET_PATH;
    a->live = live_new(a->engine);
    a->metrics = metrics_new();
    int rc = a->live == NULL || a->metrics == NULL
                 ? error_set(err, DSTACK_E_MEMORY, "out of memory")
                 : files_load(a, files, err);
    if (rc != 0) {
        agent_free(a);
        return rc;
    }
    a->certs = (cert_client){
        .keys = &a->keys, .vm_config = a->vm_config, .insecure_dev = insecure_dev, .ca = a->ca};
    dmi_read("/sys/class/dmi/id/sys_vendor", a->cloud_vendor, sizeof a->cloud_vendor);
    dmi_read("/sys/class/dmi/id/product_name", a->cloud_product, sizeof a->cloud_product);
    *out = a;
    return 0;
}

void agent_free(agent *a) {
    if (a == NULL) {
        return;
    }
    if (a->info != NULL) {
        free(a->info->tcb_info);
        free(a->info);
    }
    shared_evidence_release(a->last_evidence);
    live_free(a->live);
    metrics_free(a->metrics);
    cert_chain_clear(&a->app_cert);
    dstack_buf_clear(&a->app_cert_spki);
    agent_info_forget_answers(a);
    dstack_buf_clear(&a->public_evidence.body);
    dstack_app_key_clear(&a->sign_keys[0]);
    dstack_app_key_clear(&a->sign_keys[1]);
    caller_book_free(a->callers);
    key_cache_free(a->kept_keys);
    dstack_ca_free(a->ca);
    app_keys_clear(&a->keys);
    sys_config_clear(&a->config);
    dstack_manifest_free(a->manifest);
    free(a->compose_text);
    free(a->vm_config);
    pthread_mutex_destroy(&a->evidence_lock);
    pthread_mutex_destroy(&a->info_lock);
    pthread_mutex_destroy(&a->sign_lock);
    pthread_mutex_destroy(&a->public_lock);
    free(a);
}

int agent_attest_locked(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                        dstack_attestation **out, dstack_error *err) {
    int rc = a->attest(a->source, report_data, out, err);
    metrics_add(metrics_get(a->metrics, METRICS_COUNTER, "dstack_guest_quotes_total",
                            rc == 0 ? "result=\"ok\"" : "result=\"error\"",
                            "Quotes asked of the hardware."),
                1);
    return rc;
}

int agent_attest(agent *a, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                 dstack_attestation **out, dstack_error *err) {
    pthread_mutex_lock(&a->evidence_lock);
    int rc = agent_attest_locked(a, report_data, out, err);
    pthread_mutex_unlock(&a->evidence_lock);
    return rc;
}
