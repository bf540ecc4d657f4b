#include "auth.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "service/log.h"
#include "webhook.h"

#define POLICY_LIMIT ((size_t)4 << 20)

typedef enum auth_type { AUTH_FILE, AUTH_WEBHOOK, AUTH_DEV } auth_type;

struct kms_auth {
    auth_type type;
    const service_config *config; /* outlives us */
    pthread_mutex_t lock;         /* what follows */
    kms_policy *policy;           /* NULL while the file can't be used */
    struct stat seen;
    dstack_error trouble; /* why it can't */
};

int kms_auth_open(kms_auth **out, const service_config *config, dstack_error *err) {
    kms_auth *auth = calloc(1, sizeof *auth);
    if (auth == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    const char *type = config_str(config, "core.auth_api.type");
    auth->type = strcmp(type, "file") == 0      ? AUTH_FILE
                 : strcmp(type, "webhook") == 0 ? AUTH_WEBHOOK
                                                : AUTH_DEV;
    auth->config = config;
    pthread_mutex_init(&auth->lock, NULL);
    *out = auth;
    return 0;
}

void kms_auth_free(kms_auth *auth) {
    if (auth != NULL) {
        kms_policy_free(auth->policy);
        pthread_mutex_destroy(&auth->lock);
        free(auth);
    }
}

bool kms_auth_is_dev(const kms_auth *auth) {
    return auth->type == AUTH_DEV;
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* With the lock held. A file that can't be used allows nothing: the policy before it is dropped,
 * because it may be the one that was withdrawn. */
static void refresh(kms_auth *auth) {
    const char *path = config_str(auth->config, "core.auth_api.file.path");
    struct stat now = {0};
    if (stat(path, &now) == 0 && same_file(&now, &auth->seen) &&
        (auth->policy != NULL || auth->trouble.status != 0)) {
        return;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    kms_policy_free(auth->policy);
    auth->policy = NULL;
    auth->trouble = (dstack_error){0};
    auth->seen = now;
    int rc = file_read(path, POLICY_LIMIT, &text, &auth->trouble);
    rc = rc != 0 ? rc : kms_policy_parse(bytes_of_buf(&text), &auth->policy, &auth->trouble);
    if (rc != 0) {
        LOG_ERROR("allow-list cannot be used; nothing is allowed", "file", path, "reason",
                  auth->trouble.message);
    } else {
        LOG_INFO("allow-list read", "file", path);
    }
}

static int decide_by_file(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                          kms_decision *decision, dstack_error *err) {
    DSTACK_AUTO(json) json_t *info = json_parse(boot_info, POLICY_LIMIT, "boot info", err);
    if (info == NULL) {
        return DSTACK_E_INTERNAL;
    }
    pthread_mutex_lock(&auth->lock);
    refresh(auth);
    bool usable = auth->policy != NULL;
    dstack_error trouble = auth->trouble;
    if (usable) {
        kms_policy_decide(auth->policy, kind, info, decision);
    }
    pthread_mutex_unlock(&auth->lock);
    return usable ? 0 : error_set(err, DSTACK_E_STATE, "allow-list: %s", trouble.message);
}

static int info_by_file(kms_auth *auth, kms_auth_info *info, dstack_error *err) {
    pthread_mutex_lock(&auth->lock);
    refresh(auth);
    bool usable = auth->policy != NULL;
    dstack_error trouble = auth->trouble;
    if (usable) {
        snprintf(info->gateway_app_id, sizeof info->gateway_app_id, "%s",
                 kms_policy_gateway_app_id(auth->policy));
    }
    pthread_mutex_unlock(&auth->lock);
    return usable ? 0 : error_set(err, DSTACK_E_STATE, "allow-list: %s", trouble.message);
}

/* ---- all types --------------------------------------------------------------------------------
 */

static int webhook_timeout(const kms_auth *auth) {
    int64_t ms = config_duration_ms(auth->config, "core.auth_api.webhook.timeout");
    return ms > 0 && ms < 600000 ? (int)ms : 5000;
}

int kms_auth_decide(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                    kms_decision *decision, dstack_error *err) {
    *decision = (kms_decision){0};
    switch (auth->type) {
    case AUTH_FILE:
        return decide_by_file(auth, kind, boot_info, decision, err);
    case AUTH_WEBHOOK:
        return kms_webhook_decide(config_str(auth->config, "core.auth_api.webhook.url"),
                                  webhook_timeout(auth), kind, boot_info, decision, err);
    case AUTH_DEV:
        decision->allowed = true;
        snprintf(decision->gateway_app_id, sizeof decision->gateway_app_id, "%s",
                 config_str(auth->config, "core.auth_api.dev.gateway_app_id"));
        return 0;
    }
    return DSTACK_E_INTERNAL;
}

int kms_auth_info_get(kms_auth *auth, kms_auth_info *info, dstack_error *err) {
    *info = (kms_auth_info){0};
    switch (auth->type) {
    case AUTH_FILE:
        return info_by_file(auth, info, err);
    case AUTH_WEBHOOK:
        return kms_webhook_info(config_str(auth->config, "core.auth_api.webhook.url"),
                                webhook_timeout(auth), info, err);
    case AUTH_DEV:
        snprintf(info->gateway_app_id, sizeof info->gateway_app_id, "%s",
                 config_str(auth->config, "core.auth_api.dev.gateway_app_id"));
        return 0;
    }
    return DSTACK_E_INTERNAL;
}
