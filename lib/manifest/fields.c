/* Fields of the manifest's top level. Unknown ones are passed over: they are hashed, not read. */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "manifest/manifest.h"

#define LIST_MAX 4096

static int wrong(const char *key, const char *want, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "\"%s\" must be %s", key, want);
}

static const json_t *member(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

int manifest_read_texts(const json_t *object, const char *key, const char ***items, size_t *count,
                        dstack_error *err) {
    const json_t *array = member(object, key);
    *count = 0;
    if (array == NULL) {
        return 0;
    }
    if (!json_is_array(array)) {
        return wrong(key, "a list of texts", err);
    }
    size_t size = json_array_size(array);
    if (size > LIST_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "\"%s\" has more than %d entries", key, LIST_MAX);
    }
    *items = calloc(size + 1, sizeof **items);
    if (*items == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for \"%s\"", key);
    }
    for (size_t i = 0; i < size; i++) {
        const json_t *item = json_array_get(array, i);
        if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item)) {
            return wrong(key, "a list of texts", err);
        }
        (*items)[(*count)++] = json_string_value(item);
    }
    return 0;
}

/* A whole number of 1 to the newest version: as text in its shortest form with blanks around it
 * allowed, or (versions 1 and 2 alone) as a number. */
static int read_version(const json_t *json, unsigned *out, dstack_error *err) {
    const json_t *value = member(json, "manifest_version");
    if (value == NULL) {
        return error_set(err, DSTACK_E_FORMAT, "\"manifest_version\" is missing");
    }
    if (json_is_integer(value)) {
        json_int_t number = json_integer_value(value);
        if (number != 1 && number != 2) {
            return wrong("manifest_version", "1 or 2 as a number, newer ones as text", err);
        }
        *out = (unsigned)number;
        return 0;
    }
    const char *text = json_string_value(value);
    if (text == NULL) {
        return wrong("manifest_version", "a text", err);
    }
    text += strspn(text, " \t\r\n");
    char *end = NULL;
    unsigned long number = *text >= '1' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    if (number == 0 || end[strspn(end, " \t\r\n")] != '\0') {
        return wrong("manifest_version", "a positive whole number", err);
    }
    if (number > DSTACK_MANIFEST_VERSION_MAX) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "manifest_version %lu is newer than %d", number,
                         DSTACK_MANIFEST_VERSION_MAX);
    }
    *out = (unsigned)number;
    return 0;
}

/* One of a list of words, or the fallback where the member is missing. */
static int read_word(const json_t *json, const char *key, const char *const *words,
                     const char *fallback, bool any_case, const char **out, dstack_error *err) {
    const char *text = NULL;
    int rc = json_str_or(json, key, NULL, &text, err);
    if (rc != 0) {
        return rc;
    }
    *out = fallback;
    for (size_t i = 0; text != NULL && words[i] != NULL; i++) {
        if ((any_case ? strcasecmp : strcmp)(text, words[i]) == 0) {
            *out = words[i];
            return 0;
        }
    }
    return text == NULL
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "\"%s\" has the unknown value %.32s", key, text);
}

static int read_flags(const json_t *json, dstack_manifest_fields *f, dstack_error *err) {
    const struct {
        const char *key;
        bool fallback;
        bool *out;
    } flags[] = {
        {"public_logs", false, &f->public_logs},
        {"public_sysinfo", false, &f->public_sysinfo},
        {"public_tcbinfo", true, &f->public_tcbinfo},
        {"no_instance_id", false, &f->no_instance_id},
        {"secure_time", true, &f->secure_time},
        {"storage_discard", true, &f->storage_discard},
        {"require_pinned_images", false, &f->require_pinned_images},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof flags / sizeof *flags; i++) {
        rc = json_bool_or(json, flags[i].key, flags[i].fallback, flags[i].out, err);
    }
    return rc;
}

/* The explicit word wins over the two older flags, of which the KMS comes first. */
static int read_key_provider(dstack_manifest *m, dstack_error *err) {
    static const char *const words[] = {"none", "local", "kms", "tpm", NULL};
    bool kms = false, local = false;
    const char *word = NULL;
    int rc = json_bool_or(m->json, "kms_enabled", false, &kms, err);
    if (rc == 0) {
        rc = json_bool_or(m->json, "local_key_provider_enabled", false, &local, err);
    }
    if (rc == 0) {
        rc = read_word(m->json, "key_provider", words,
                       kms     ? "kms"
                       : local ? "local"
                               : "none",
                       false, &word, err);
    }
    if (rc == 0) {
        rc = json_hex_or_empty(m->json, "key_provider_id", &m->key_provider_id, err);
        m->fields.key_provider_id = bytes_of_buf(&m->key_provider_id);
    }
    for (unsigned i = 0; rc == 0 && words[i] != NULL; i++) {
        if (strcmp(word, words[i]) == 0) {
            m->fields.key_provider = (dstack_key_provider)i;
        }
    }
    return rc;
}

static int read_gateway(const json_t *json, dstack_manifest_fields *f, dstack_error *err) {
    bool gateway = false, tproxy = false;
    const char **features = NULL;
    size_t count = 0;
    int rc = json_bool_or(json, "gateway_enabled", false, &gateway, err);
    if (rc == 0) {
        rc = json_bool_or(json, "tproxy_enabled", false, &tproxy, err);
    }
    if (rc == 0) {
        rc = manifest_read_texts(json, "features", &features, &count, err);
    }
    f->gateway_enabled = gateway || tproxy;
    for (size_t i = 0; rc == 0 && i < count; i++) {
        f->gateway_enabled |= strcmp(features[i], "tproxy-net") == 0;
    }
    free(features);
    return rc;
}

static int read_init_scripts(dstack_manifest *m, dstack_error *err) {
    dstack_manifest_fields *f = &m->fields;
    const json_t *value = member(m->json, "init_script");
    int rc = 0;
    if (json_is_string(value)) {
        m->init_scripts = calloc(1, sizeof *m->init_scripts);
        if (m->init_scripts == NULL) {
            return error_set(err, DSTACK_E_MEMORY, "no memory for \"init_script\"");
        }
        rc = json_need_str(m->json, "init_script", &m->init_scripts[0], err);
        f->init_script_count = 1;
    } else {
        rc = manifest_read_texts(m->json, "init_script", &m->init_scripts, &f->init_script_count,
                                 err);
    }
    if (rc == 0 && f->init_script_count > DSTACK_INIT_SCRIPTS_MAX) {
        rc = error_set(err, DSTACK_E_LIMIT, "\"init_script\" has more than %d entries",
                       DSTACK_INIT_SCRIPTS_MAX);
    }
    f->init_scripts = m->init_scripts;
    return rc;
}

/* Bytes: a number, or text of digits with K, M, G, T (powers of 1024), or 0x and hex digits. */
static int read_swap_size(const json_t *json, uint64_t *out, dstack_error *err) {
    static const char want[] = "a size such as 1073741824, \"1G\" or \"0x40000000\"";
    const json_t *value = member(json, "swap_size");
    *out = 0;
    if (value == NULL) {
        return 0;
    }
    if (json_is_integer(value) && json_integer_value(value) >= 0) {
        *out = (uint64_t)json_integer_value(value);
        return 0;
    }
    const char *text = json_string_value(value);
    if (text == NULL || !isdigit((unsigned char)*text)) {
        return wrong("swap_size", want, err);
    }
    bool hex = strncasecmp(text, "0x", 2) == 0 && isxdigit((unsigned char)text[2]);
    char *end = NULL;
    unsigned long long number = strtoull(text + (hex ? 2 : 0), &end, hex ? 16 : 10);
    static const char suffixes[] = "KMGT";
    const char *suffix = *end == '\0' || hex ? NULL : strchr(suffixes, toupper(*end));
    unsigned shift = suffix == NULL ? 0 : 10 * (unsigned)(suffix - suffixes + 1);
    if (end[suffix == NULL ? 0 : 1] != '\0' || number > (uint64_t)1 << 50 ||
        number << shift >> shift != number) {
        return wrong("swap_size", want, err);
    }
    *out = (uint64_t)number << shift;
    return 0;
}

static int read_port(const json_t *item, dstack_port_rule *out, dstack_error *err) {
    int64_t port = 0;
    if (!json_is_object(item)) {
        return wrong("port_policy.ports", "a list of objects", err);
    }
    int rc = json_need_int(item, "port", &port, err);
    if (rc == 0 && (port < 0 || port > UINT16_MAX)) {
        rc = wrong("port", "0 to 65535", err);
    }
    if (rc == 0) {
        out->port = (uint16_t)port;
        rc = json_bool_or(item, "pp", false, &out->proxy_protocol, err);
    }
    return rc;
}

static int read_port_policy(dstack_manifest *m, dstack_error *err) {
    dstack_manifest_fields *f = &m->fields;
    const json_t *policy = member(m->json, "port_policy");
    if (policy == NULL) {
        return 0;
    }
    if (!json_is_object(policy)) {
        return wrong("port_policy", "an object", err);
    }
    f->has_port_policy = true;
    int rc = json_bool_or(policy, "restrict_mode", false, &f->port_restrict_mode, err);
    const json_t *ports = member(policy, "ports");
    if (rc != 0 || ports == NULL) {
        return rc;
    }
    if (!json_is_array(ports) || json_array_size(ports) > LIST_MAX) {
        return wrong("port_policy.ports", "a list", err);
    }
    m->ports = calloc(json_array_size(ports) + 1, sizeof *m->ports);
    if (m->ports == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the port policy");
    }
    for (size_t i = 0; rc == 0 && i < json_array_size(ports); i++) {
        rc = read_port(json_array_get(ports, i), &m->ports[f->port_count++], err);
    }
    f->ports = m->ports;
    return rc;
}

static int read_volume(const json_t *item, dstack_verity_volume *out, dstack_error *err) {
    if (!json_is_object(item)) {
        return wrong("verity_volumes", "a list of objects", err);
    }
    int rc = json_need_str(item, "source", &out->source, err);
    if (rc == 0) {
        rc = json_need_hex(item, "verity_root", out->root, sizeof out->root, err);
    }
    if (rc == 0) {
        rc = json_need_str(item, "target", &out->target, err);
    }
    if (rc == 0 && (*out->target != '/' || strstr(out->target, "/../") != NULL)) {
        rc = wrong("target", "an absolute path", err);
    }
    return rc;
}

static int read_verity_volumes(dstack_manifest *m, dstack_error *err) {
    dstack_manifest_fields *f = &m->fields;
    const json_t *volumes = member(m->json, "verity_volumes");
    if (volumes == NULL) {
        return 0;
    }
    if (!json_is_array(volumes) || json_array_size(volumes) > LIST_MAX) {
        return wrong("verity_volumes", "a list", err);
    }
    m->verity_volumes = calloc(json_array_size(volumes) + 1, sizeof *m->verity_volumes);
    if (m->verity_volumes == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for the verity volumes");
    }
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(volumes); i++) {
        rc = read_volume(json_array_get(volumes, i), &m->verity_volumes[f->verity_volume_count++],
                         err);
    }
    f->verity_volumes = m->verity_volumes;
    return rc;
}

static int read_runner(const json_t *json, dstack_manifest_fields *f, dstack_error *err) {
    static const char *const runners[] = {"docker-compose", "nerdctl-compose", "bash", NULL};
    static const char *const snapshotters[] = {"overlayfs", "stargz", NULL};
    int rc = json_need_str(json, "runner", &f->runner, err);
    if (rc == 0) {
        rc = read_word(json, "runner", runners, NULL, false, &f->runner, err);
    }
    if (rc == 0) {
        rc = read_word(json, "snapshotter", snapshotters, NULL, false, &f->snapshotter, err);
    }
    if (rc == 0) {
        rc = json_str_or(json, "docker_compose_file", NULL, &f->docker_compose_file, err);
    }
    if (rc == 0) {
        rc = json_str_or(json, "bash_script", NULL, &f->bash_script, err);
    }
    return rc == 0 ? json_str_or(json, "pre_launch_script", NULL, &f->pre_launch_script, err) : rc;
}

static int read_storage(const json_t *json, dstack_manifest_fields *f, dstack_error *err) {
    static const char *const systems[] = {"ext4", "zfs", NULL};
    static const char *const integrity[] = {"none", "aead", NULL};
    int64_t version = 1;
    int rc = read_word(json, "storage_fs", systems, "ext4", true, &f->storage_fs, err);
    if (rc == 0) {
        rc = read_word(json, "storage_integrity", integrity, "none", false, &f->storage_integrity,
                       err);
    }
    if (rc == 0) {
        rc = read_swap_size(json, &f->swap_size, err);
    }
    if (rc == 0) {
        rc = json_int_or(json, "event_log_version", 1, &version, err);
    }
    if (rc == 0 && (version < 1 || version > 2)) {
        rc = error_set(err, DSTACK_E_FORMAT, "unknown event log version");
    }
    f->event_log_version = (uint32_t)version;
    return rc;
}

int manifest_read_fields(dstack_manifest *m, dstack_error *err) {
    dstack_manifest_fields *f = &m->fields;
    int rc = read_version(m->json, &f->manifest_version, err);
    if (rc == 0) {
        rc = json_need_str(m->json, "name", &f->name, err);
    }
    if (rc == 0) {
        rc = read_runner(m->json, f, err);
    }
    if (rc == 0) {
        rc = read_flags(m->json, f, err);
    }
    if (rc == 0) {
        rc = read_key_provider(m, err);
    }
    if (rc == 0) {
        rc = read_gateway(m->json, f, err);
    }
    if (rc == 0) {
        rc = read_init_scripts(m, err);
    }
    if (rc == 0) {
        rc = manifest_read_texts(m->json, "allowed_envs", &m->allowed_envs, &f->allowed_env_count,
                                 err);
        f->allowed_envs = m->allowed_envs;
    }
    if (rc == 0) {
        rc = read_storage(m->json, f, err);
    }
    if (rc == 0) {
        rc = read_port_policy(m, err);
    }
    return rc == 0 ? read_verity_volumes(m, err) : rc;
}
