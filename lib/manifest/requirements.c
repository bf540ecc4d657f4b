/* The manifest's requirements on the system that it is started on. */
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "manifest/canonical.h"
#include "manifest/manifest.h"

#define LAUNCH_TOKEN_MIN 32

int manifest_check_keys(const json_t *object, const char *where, const char *const *known,
                        dstack_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        size_t i = 0;
        while (known[i] != NULL && strcmp(known[i], key) != 0) {
            i++;
        }
        if (known[i] == NULL) {
            return error_set(err, DSTACK_E_FORMAT, "%s has the unknown key \"%.64s\"", where, key);
        }
    }
    return 0;
}

static int read_gpu_policy(const json_t *policy, dstack_manifest_fields *f, dstack_error *err) {
    static const char *const known[] = {
        "attest_gpu", "rego", "allow_devtools", "allow_debug", "allow_insecure_boot", NULL};
    f->gpu_attest = true;
    int rc = 0;
    if (policy != NULL) {
        if (!json_is_object(policy)) {
            return error_set(err, DSTACK_E_FORMAT, "\"gpu_policy\" must be an object");
        }
        const char *rego = NULL;
        bool flag = false;
        rc = manifest_check_keys(policy, "gpu_policy", known, err);
        if (rc == 0) {
            rc = json_bool_or(policy, "attest_gpu", true, &f->gpu_attest, err);
        }
        if (rc == 0) {
            rc = json_str_or(policy, "rego", NULL, &rego, err);
        }
        for (size_t i = 2; rc == 0 && known[i] != NULL; i++) {
            rc = json_bool_or(policy, known[i], false, &flag, err);
        }
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (rc == 0 && policy != NULL) {
        rc = canonical_write(policy, &text, err);
    } else if (rc == 0) {
        buf_put_str(&text, "{}");
    }
    if (rc == 0) {
        hash_sha256(bytes_of_buf(&text), f->gpu_policy_hash);
    }
    return rc;
}

static const json_t *member(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static int read_os_and_platforms(dstack_manifest *m, const json_t *requirements,
                                 dstack_error *err) {
    dstack_manifest_fields *f = &m->fields;
    int rc = json_str_or(requirements, "os_version", NULL, &f->os_version, err);
    if (rc == 0 && f->os_version != NULL) {
        rc = manifest_check_requirement(f->os_version, err);
    }
    f->has_platforms = member(requirements, "platforms") != NULL;
    if (rc == 0) {
        rc = manifest_read_texts(requirements, "platforms", &m->platforms, &f->platform_count, err);
        f->platforms = m->platforms;
    }
    return rc;
}

int manifest_read_requirements(dstack_manifest *m, dstack_error *err) {
    static const char *const known[] = {
        "os_version",         "platforms",  "tdx_measure_acpi_tables",
        "launch_token_hash",  "gpu_policy", "health_check",
        "health_status_file", "key_policy", NULL};
    dstack_manifest_fields *f = &m->fields;
    const json_t *requirements = member(m->json, "requirements");
    if (requirements == NULL) {
        return read_gpu_policy(NULL, f, err);
    }
    if (!json_is_object(requirements)) {
        return error_set(err, DSTACK_E_FORMAT, "\"requirements\" must be an object");
    }
    f->has_requirements = true;
    bool acpi = false;
    int rc = manifest_check_keys(requirements, "requirements", known, err);
    if (rc == 0) {
        rc = read_os_and_platforms(m, requirements, err);
    }
    if (rc == 0) {
        rc = json_bool_or(requirements, "tdx_measure_acpi_tables", false, &acpi, err);
    }
    if (rc == 0 && member(requirements, "tdx_measure_acpi_tables") != NULL) {
        f->tdx_measure_acpi_tables = acpi ? DSTACK_TRUE : DSTACK_FALSE;
    }
    if (rc == 0 && member(requirements, "launch_token_hash") != NULL) {
        f->has_launch_token_hash = true;
        rc = json_need_hex(requirements, "launch_token_hash", f->launch_token_hash,
                           sizeof f->launch_token_hash, err);
    }
    if (rc == 0) {
        rc = json_bool_or(requirements, "health_check", false, &f->health_check, err);
    }
    if (rc == 0) {
        rc = json_str_or(requirements, "health_status_file", NULL, &f->health_status_file, err);
    }
    if (rc == 0) {
        rc = manifest_read_key_policy(m, member(requirements, "key_policy"), err);
    }
    return rc == 0 ? read_gpu_policy(member(requirements, "gpu_policy"), f, err) : rc;
}

static int check_platform(const dstack_manifest_fields *f, const dstack_manifest_host *host,
                          dstack_error *err) {
    const char *have = dstack_tee_variant_name(host->tee);
    bool found = !f->has_platforms;
    for (size_t i = 0; i < f->platform_count; i++) {
        found |= strcmp(f->platforms[i], have) == 0;
    }
    return found ? 0
                 : error_set(err, DSTACK_E_REFUSED,
                             "requirements.platforms does not list this platform, %s", have);
}

static int check_acpi(const dstack_manifest_fields *f, const dstack_manifest_host *host,
                      dstack_error *err) {
    if (f->tdx_measure_acpi_tables == DSTACK_UNSET || host->tee != DSTACK_TEE_TDX) {
        return 0;
    }
    bool wanted = f->tdx_measure_acpi_tables == DSTACK_TRUE;
    if (wanted == host->tdx_lite) {
        return error_set(err, DSTACK_E_REFUSED,
                         "requirements.tdx_measure_acpi_tables is %s, but the machine is %s",
                         wanted ? "true" : "false", host->tdx_lite ? "lite" : "not lite");
    }
    return 0;
}

static int check_launch_token(const dstack_manifest_fields *f, dstack_bytes user_config,
                              dstack_error *err) {
    if (!f->has_launch_token_hash) {
        return 0;
    }
    DSTACK_AUTO(json)
    json_t *config = json_parse(user_config, DSTACK_MANIFEST_MAX_SIZE, "user config", NULL);
    const json_t *dstack = json_object_get(config, "dstack");
    const json_t *token = json_object_get(dstack, "launch_token");
    if (!json_is_string(token) || json_string_length(token) < LAUNCH_TOKEN_MIN) {
        return error_set(err, DSTACK_E_REFUSED,
                         "requirements.launch_token_hash needs a user config with "
                         "dstack.launch_token of at least %d bytes",
                         LAUNCH_TOKEN_MIN);
    }
    uint8_t hash[32];
    hash_parts(HASH_SHA256,
               (const dstack_bytes[]){
                   bytes_of_str("dstack-launch-token/v1:"),
                   bytes_of(json_string_value(token), json_string_length(token)),
               },
               2, hash);
    return memcmp(hash, f->launch_token_hash, sizeof hash) == 0
               ? 0
               : error_set(err, DSTACK_E_REFUSED, "the launch token is not the required one");
}

int dstack_manifest_check_host(const dstack_manifest *m, const dstack_manifest_host *host,
                               dstack_error *err) {
    const dstack_manifest_fields *f = &m->fields;
    int rc = 0;
    if (f->os_version != NULL) {
        rc = error_prefix(err, manifest_check_version(f->os_version, host->os_version, err),
                          "requirements.os_version");
    }
    if (rc == 0) {
        rc = check_platform(f, host, err);
    }
    if (rc == 0) {
        rc = check_acpi(f, host, err);
    }
    if (rc == 0) {
        rc = check_launch_token(f, host->user_config, err);
    }
    return rc;
}
