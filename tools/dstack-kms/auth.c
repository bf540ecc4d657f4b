#include "auth.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "chain_policy.h"
#include "service/log.h"
#include "webhook.h"

#define POLICY_LIMIT ((size_t)4 << 20)

typedef enum auth_type { AUTH_FILE, AUTH_CHAIN, AUTH_WEBHOOK, AUTH_DEV } auth_type;

struct kms_auth {
    auth_type type;
    const service_config *config; /* outlives us */
    char prefix[40];
    kms_chain *chain;     /* of that type */
    pthread_mutex_t lock; /* what follows */
    kms_policy *policy;   /* NULL while the file can't be used */
    struct stat seen;
    dstack_error trouble; /* why it can't */
};

/* ---- settings ---------------------------------------------------------------------------------
 */

typedef struct setting {
    char key[80];
} setting;

static const char *key_of(setting *s, const kms_auth *auth, const char *name) {
    snprintf(s->key, sizeof s->key, "%s.%s", auth->prefix, name);
    return s->key;
}

static const char *text_of(const kms_auth *auth, const char *name) {
    setting s;
    return config_str(auth->config, key_of(&s, auth, name));
}

static int64_t duration_of(const kms_auth *auth, const char *name) {
    setting s;
    return config_duration_ms(auth->config, key_of(&s, auth, name));
}

static int find_type(kms_auth *auth, dstack_error *err) {
    static const char *const names[] = {[AUTH_FILE] = "file",
                                        [AUTH_CHAIN] = "chain",
                                        [AUTH_WEBHOOK] = "webhook",
                                        [AUTH_DEV] = "dev"};
    const char *type = text_of(auth, "type");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i], type) == 0) {
            auth->type = (auth_type)i;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_FORMAT, "%s.type: %.40s", auth->prefix, type);
}

int kms_auth_open(kms_auth **out, const service_config *config, const char *prefix,
                  const char *state, dstack_error *err) {
    kms_auth *auth = calloc(1, sizeof *auth);
    if (auth == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    auth->config = config;
    snprintf(auth->prefix, sizeof auth->prefix, "%s", prefix);
    pthread_mutex_init(&auth->lock, NULL);
    int rc = find_type(auth, err);
    if (rc == 0 && auth->type == AUTH_CHAIN) {
        rc = kms_chain_open(&auth->chain, config, prefix, state, err);
    }
    if (rc != 0) {
        kms_auth_free(auth);
        return rc;
    }
    *out = auth;
    return 0;
}

int kms_auth_check(const service_config *config, const char *prefix, bool insecure_dev,
                   dstack_error *err) {
    setting s;
    snprintf(s.key, sizeof s.key, "%s.type", prefix);
    return strcmp(config_str(config, s.key), "chain") == 0
               ? kms_chain_check(config, prefix, insecure_dev, err)
               : 0;
}

void kms_auth_free(kms_auth *auth) {
    if (auth != NULL) {
        kms_chain_free(auth->chain);
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
    const char *path = text_of(auth, "file.path");
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

/* With the lock held: whether the file decides now. */
static int usable_file(kms_auth *auth, dstack_error *err) {
    int64_t most = duration_of(auth, "file.max_age");
    refresh(auth);
    if (auth->policy == NULL) {
        return error_set(err, DSTACK_E_STATE, "allow-list: %s", auth->trouble.message);
    }
    int64_t age = clock_unix() - (int64_t)auth->seen.st_mtim.tv_sec;
    if (most >= 0 && age > most / 1000) {
        return error_set(err, DSTACK_E_STATE,
                         "the policy is stale: allow-list written %lld s ago, more than %lld s",
                         (long long)age, (long long)most / 1000);
    }
    return 0;
}

static int decide_by_file(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                          kms_decision *decision, dstack_error *err) {
    DSTACK_AUTO(json) json_t *info = json_parse(boot_info, POLICY_LIMIT, "boot info", err);
    if (info == NULL) {
        return DSTACK_E_INTERNAL;
    }
    pthread_mutex_lock(&auth->lock);
    int rc = usable_file(auth, err);
    if (rc == 0) {
        kms_policy_decide(auth->policy, kind, info, decision);
        decision->policy_time = clock_unix();
    }
    pthread_mutex_unlock(&auth->lock);
    return rc;
}

static int info_by_file(kms_auth *auth, kms_auth_info *info, dstack_error *err) {
    pthread_mutex_lock(&auth->lock);
    int rc = usable_file(auth, err);
    if (rc == 0) {
        info->policy_time = clock_unix();
        snprintf(info->gateway_app_id, sizeof info->gateway_app_id, "%s",
                 kms_policy_gateway_app_id(auth->policy));
    }
    pthread_mutex_unlock(&auth->lock);
    return rc;
}

/* ---- all types --------------------------------------------------------------------------------
 */

static int decide_by_webhook(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                             kms_decision *decision, dstack_error *err) {
    int64_t ms = duration_of(auth, "webhook.timeout"), most = duration_of(auth, "webhook.max_age");
    int rc =
        kms_webhook_decide(text_of(auth, "webhook.url"), ms > 0 && ms < 600000 ? (int)ms : 5000,
                           kind, boot_info, decision, err);
    int64_t age = clock_unix() - decision->policy_time;
    if (rc == 0 && most >= 0 && (decision->policy_time <= 0 || age > most / 1000)) {
        rc = decision->policy_time <= 0
                 ? error_set(err, DSTACK_E_STATE,
                             "the webhook does not say of when its policy is (policyTime)")
                 : error_set(err, DSTACK_E_STATE,
                             "the policy is stale: the webhook's is %lld s old, more than %lld s",
                             (long long)age, (long long)most / 1000);
        *decision = (kms_decision){0};
    }
    return rc;
}

int kms_auth_decide(kms_auth *auth, kms_boot_kind kind, dstack_bytes boot_info,
                    kms_decision *decision, dstack_error *err) {
    *decision = (kms_decision){0};
    switch (auth->type) {
    case AUTH_FILE:
        return decide_by_file(auth, kind, boot_info, decision, err);
    case AUTH_CHAIN:
        return kms_chain_decide(auth->chain, kind, boot_info, decision, err);
    case AUTH_WEBHOOK:
        return decide_by_webhook(auth, kind, boot_info, decision, err);
    case AUTH_DEV:
        decision->allowed = true;
        snprintf(decision->gateway_app_id, sizeof decision->gateway_app_id, "%s",
                 text_of(auth, "dev.gateway_app_id"));
        return 0;
    }
    return DSTACK_E_INTERNAL;
}

int kms_auth_info_get(kms_auth *auth, kms_auth_info *info, dstack_error *err) {
    *info = (kms_auth_info){0};
    int64_t ms = 0;
    switch (auth->type) {
    case AUTH_FILE:
        return info_by_file(auth, info, err);
    case AUTH_CHAIN:
        return kms_chain_info(auth->chain, info, err);
    case AUTH_WEBHOOK:
        ms = duration_of(auth, "webhook.timeout");
        return kms_webhook_info(text_of(auth, "webhook.url"),
                                ms > 0 && ms < 600000 ? (int)ms : 5000, info, err);
    case AUTH_DEV:
        snprintf(info->gateway_app_id, sizeof info->gateway_app_id, "%s",
                 text_of(auth, "dev.gateway_app_id"));
        return 0;
    }
    return DSTACK_E_INTERNAL;
}

json_t *kms_auth_describe(kms_auth *auth) {
    return auth->type == AUTH_CHAIN ? kms_chain_describe(auth->chain) : NULL;
}

void kms_auth_measure(kms_auth *auth, metrics *registry, const char *program) {
    if (auth->type == AUTH_CHAIN) {
        kms_chain_measure(auth->chain, registry, program);
    }
}
