#include "app/docker_config.h"

#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"

#define CONFIG_MAX ((size_t)64 << 10)
#define HOST_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]"

/* Splits a registry URL; `*host` points into it. */
static int registry_parse(const char *url, bool *insecure, const char **host, size_t *host_len,
                          dstack_error *err) {
    *insecure = strncmp(url, "https://", 8) != 0;
    *host = !*insecure ? url + 8 : strncmp(url, "http://", 7) == 0 ? url + 7 : url;
    *host_len = strlen(*host);
    if (*host_len > 0 && (*host)[*host_len - 1] == '/') {
        (*host_len)--;
    }
    if (*host_len == 0 || *host_len > 255 || strspn(*host, HOST_CHARACTERS) < *host_len) {
        return error_set(err, DSTACK_E_FORMAT, "docker_registry must be a URL of host and port");
    }
    return 0;
}

static int append(json_t *root, const char *key, json_t *value, dstack_error *err) {
    json_t *list = json_object_get(root, key);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(root, key, list);
    }
    return json_array_append_new(list, value) == 0
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "\"%s\" in the docker settings is no list", key);
}

int docker_config_build(dstack_bytes base, const char *registry, dstack_buf *out,
                        dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *root =
        base.len > 0 ? json_parse(base, CONFIG_MAX, "the docker settings", err) : json_object();
    if (!json_is_object(root)) {
        return error_set(err, DSTACK_E_FORMAT, "the docker settings are not an object");
    }
    if (registry != NULL && registry[0] != '\0') {
        bool insecure;
        const char *host;
        size_t len;
        int rc = registry_parse(registry, &insecure, &host, &len, err);
        if (rc != 0) {
            return rc;
        }
        json_t *mirror = json_sprintf("%s://%.*s", insecure ? "http" : "https", (int)len, host);
        if ((rc = append(root, "registry-mirrors", mirror, err)) != 0) {
            return rc;
        }
        if (insecure &&
            (rc = append(root, "insecure-registries", json_stringn(host, len), err)) != 0) {
            return rc;
        }
    }
    return json_write(root, true, out, err);
}
