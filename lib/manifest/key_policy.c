/* "requirements.key_policy": which service of the compose file may ask the guest agent for what.
 *
 * It stands among the requirements because a guest that does not know one refuses to start: a policy
 * that an older guest passed over would protect nothing. */
#include <string.h>

#include "base/error.h"
#include "base/json.h"
#include "manifest/manifest.h"

#define SERVICES_MAX 256

/* A '*' stands for any ending, and is refused elsewhere: "a*b" would not mean what it seems to. */
static int check_patterns(const char *const *patterns, size_t count, dstack_error *err) {
    for (size_t i = 0; i < count; i++) {
        const char *star = strchr(patterns[i], '*');
        if (star != NULL && star[1] != '\0') {
            return error_set(err, DSTACK_E_FORMAT, "\"%.64s\": a * may only stand at the end",
                             patterns[i]);
        }
    }
    return 0;
}

static int read_patterns(const json_t *object, const char *key, const char ***owned,
                         const char *const **out, size_t *count, dstack_error *err) {
    int rc = manifest_read_texts(object, key, owned, count, err);
    *out = *owned;
    return rc != 0 ? rc : check_patterns(*out, *count, err);
}

static int read_grant(const json_t *object, manifest_grant_texts *texts, dstack_key_grant *out,
                      dstack_error *err) {
    static const char *const known[] = {"paths", "domains", "sign", "certificates", "attest", NULL};
    if (!json_is_object(object)) {
        return error_set(err, DSTACK_E_FORMAT, "want an object of grants");
    }
    int rc = manifest_check_keys(object, "a grant", known, err);
    if (rc == 0) {
        rc = read_patterns(object, "paths", &texts->paths, &out->paths, &out->path_count, err);
    }
    if (rc == 0) {
        rc = read_patterns(object, "domains", &texts->domains, &out->domains, &out->domain_count,
                           err);
    }
    if (rc == 0) {
        rc = json_bool_or(object, "sign", false, &out->sign, err);
    }
    if (rc == 0) {
        rc = json_bool_or(object, "certificates", false, &out->certificates, err);
    }
    return rc == 0 ? json_bool_or(object, "attest", false, &out->attest, err) : rc;
}

/* The names that the Compose specification allows. */
static bool service_name_valid(const char *name) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);
    return len > 0 && len <= DSTACK_SERVICE_NAME_MAX && strspn(name, allowed) == len;
}

static int read_services(dstack_manifest *m, const json_t *services, dstack_error *err) {
    size_t size = json_object_size(services);
    if (size > SERVICES_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "key_policy has more than %d services", SERVICES_MAX);
    }
    m->key_grants = calloc(size + 1, sizeof *m->key_grants);
    m->key_texts = calloc(size + 1, sizeof *m->key_texts); /* the last is that of the others */
    if (m->key_grants == NULL || m->key_texts == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the key policy");
    }
    m->fields.key_grants = m->key_grants;
    m->key_text_count = size + 1;
    const char *name;
    json_t *grant;
    json_object_foreach((json_t *)services, name, grant) {
        size_t i = m->fields.key_grant_count++;
        m->key_grants[i].service = name;
        if (!service_name_valid(name)) {
            return error_set(err, DSTACK_E_FORMAT, "key_policy: \"%.64s\" is no name of a service",
                             name);
        }
        int rc = read_grant(grant, &m->key_texts[i], &m->key_grants[i], err);
        if (rc != 0) {
            return error_prefix(err, rc, "key_policy: service %.64s", name);
        }
    }
    return 0;
}

int manifest_read_key_policy(dstack_manifest *m, const json_t *policy, dstack_error *err) {
    static const char *const known[] = {"services", "other_services", NULL};
    if (policy == NULL) {
        return 0;
    }
    if (!json_is_object(policy)) {
        return error_set(err, DSTACK_E_FORMAT, "\"key_policy\" must be an object");
    }
    json_t *services = NULL;
    m->fields.has_key_policy = true;
    int rc = manifest_check_keys(policy, "key_policy", known, err);
    if (rc == 0) {
        rc = json_need_object(policy, "services", &services, err);
        rc = rc != 0 ? error_prefix(err, rc, "key_policy") : 0;
    }
    if (rc == 0) {
        rc = read_services(m, services, err);
    }
    const json_t *others = json_object_get(policy, "other_services");
    if (rc != 0 || others == NULL || json_is_null(others)) {
        return rc;
    }
    rc = read_grant(others, &m->key_texts[m->key_text_count - 1], &m->fields.key_others, err);
    return rc != 0 ? error_prefix(err, rc, "key_policy: other_services") : 0;
}

void manifest_key_policy_clear(dstack_manifest *m) {
    for (size_t i = 0; i < m->key_text_count; i++) {
        free(m->key_texts[i].paths);
        free(m->key_texts[i].domains);
    }
    free(m->key_texts);
    free(m->key_grants);
}

/* ---- rules over several fields ---------------------------------------------------------------- */

typedef struct service_search {
    const dstack_manifest_fields *fields;
    bool found[SERVICES_MAX];
} service_search;

static int note_service(void *user, const char *service, const char *image, dstack_error *err) {
    (void)image, (void)err;
    service_search *search = user;
    for (size_t i = 0; i < search->fields->key_grant_count; i++) {
        search->found[i] |= strcmp(search->fields->key_grants[i].service, service) == 0;
    }
    return 0;
}

/* A name with a slip of the pen would leave its service without the keys it needs. */
static int judge_names(dstack_manifest *m, dstack_error *err) {
    const dstack_manifest_fields *f = &m->fields;
    const char *compose = f->docker_compose_file;
    service_search search = {.fields = f};
    dstack_error why = {0};
    int rc = compose == NULL
                 ? error_set(&why, DSTACK_E_FORMAT, "\"docker_compose_file\" is missing")
                 : manifest_each_service(bytes_of_str(compose), note_service, &search, &why);
    if (rc == DSTACK_E_MEMORY) {
        return error_set(err, rc, "%s", why.message);
    }
    if (rc != 0) {
        return manifest_warn(m, err, "services of key_policy could not be looked for: %s",
                             why.message);
    }
    for (size_t i = 0; i < f->key_grant_count; i++) {
        if (!search.found[i]) {
            return error_set(err, DSTACK_E_FORMAT,
                             "key_policy names the service %.64s, which docker_compose_file does "
                             "not have",
                             f->key_grants[i].service);
        }
    }
    return 0;
}

/* Evidence and certificates of the app are what its KMS gives keys for: who has them can ask it. */
static int warn_of_way_around(dstack_manifest *m, const dstack_key_grant *grant, const char *who,
                              dstack_error *err) {
    if (m->fields.key_provider != DSTACK_KEY_PROVIDER_KMS ||
        (!grant->attest && !grant->certificates)) {
        return 0;
    }
    return manifest_warn(m, err,
                         "key_policy: %.64s may make evidence or certificates of the app; where it "
                         "reaches the KMS it can ask that for all keys of the app",
                         who);
}

int manifest_judge_key_policy(dstack_manifest *m, dstack_error *err) {
    const dstack_manifest_fields *f = &m->fields;
    if (!f->has_key_policy) {
        return 0;
    }
    if (strcmp(f->runner, "docker-compose") != 0) {
        return error_set(err, DSTACK_E_FORMAT,
                         "key_policy needs runner docker-compose: it tells callers apart by the "
                         "service of their container");
    }
    int rc = judge_names(m, err);
    for (size_t i = 0; rc == 0 && i < f->key_grant_count; i++) {
        rc = warn_of_way_around(m, &f->key_grants[i], f->key_grants[i].service, err);
    }
    return rc == 0 ? warn_of_way_around(m, &f->key_others, "each other service", err) : rc;
}

/* ---- questions ------------------------------------------------------------------------------- */

const dstack_key_grant *dstack_manifest_key_grant(const dstack_manifest *m, const char *service) {
    const dstack_manifest_fields *f = &m->fields;
    if (!f->has_key_policy) {
        return NULL;
    }
    for (size_t i = 0; service != NULL && i < f->key_grant_count; i++) {
        if (strcmp(f->key_grants[i].service, service) == 0) {
            return &f->key_grants[i];
        }
    }
    return &f->key_others;
}

bool dstack_key_name_matches(const char *const *patterns, size_t count, dstack_bytes name) {
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(patterns[i]);
        bool prefix = len > 0 && patterns[i][len - 1] == '*';
        len -= prefix ? 1 : 0;
        if ((prefix ? name.len >= len : name.len == len) &&
            (len == 0 || memcmp(name.data, patterns[i], len) == 0)) {
            return true;
        }
    }
    return false;
}
