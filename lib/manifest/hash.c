/* The hash that an SDK predicts for a manifest written in canonical form. */
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "manifest/canonical.h"
#include "manifest/manifest.h"

static bool is_empty(const json_t *value) {
    return value == NULL || json_is_null(value) || json_is_false(value) ||
           (json_is_string(value) && json_string_length(value) == 0) ||
           (json_is_number(value) && json_number_value(value) == 0);
}

static void leave_out_unused(json_t *object) {
    const char *runner = json_string_value(json_object_get(object, "runner"));
    if (runner != NULL && strcmp(runner, "bash") == 0) {
        json_object_del(object, "docker_compose_file");
    } else if (runner != NULL &&
               (strcmp(runner, "docker-compose") == 0 || strcmp(runner, "nerdctl-compose") == 0)) {
        json_object_del(object, "bash_script");
    }
    if (is_empty(json_object_get(object, "pre_launch_script"))) {
        json_object_del(object, "pre_launch_script");
    }
}

int dstack_compose_canonical(dstack_bytes json, bool normalize, dstack_buf *out,
                             dstack_error *err) {
    DSTACK_AUTO(json)
    json_t *object = canonical_parse(json, DSTACK_MANIFEST_MAX_SIZE, "the manifest", err);
    if (object == NULL) {
        return json.len > DSTACK_MANIFEST_MAX_SIZE ? DSTACK_E_LIMIT : DSTACK_E_FORMAT;
    }
    if (!json_is_object(object)) {
        return error_set(err, DSTACK_E_FORMAT, "the manifest must be a JSON object");
    }
    if (normalize) {
        leave_out_unused(object);
    }
    return canonical_write(object, out, err);
}

int dstack_compose_hash_canonical(dstack_bytes json, bool normalize, uint8_t out[32],
                                  dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = dstack_compose_canonical(json, normalize, &text, err);
    if (rc == 0) {
        hash_sha256(bytes_of_buf(&text), out);
    }
    return rc;
}
