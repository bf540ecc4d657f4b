/* The manifest as a whole: parsing, rules over several fields, warnings. */
#include "manifest/manifest.h"

#include <stdarg.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "crypto/hash.h"

void dstack_compose_hash(dstack_bytes file, uint8_t out[32]) {
    hash_sha256(file, out);
}

void dstack_manifest_free(dstack_manifest *m) {
    if (m == NULL) {
        return;
    }
    json_decref(m->json);
    free(m->init_scripts);
    free(m->allowed_envs);
    free(m->platforms);
    free(m->ports);
    free(m->verity_volumes);
    manifest_key_policy_clear(m);
    dstack_buf_clear(&m->key_provider_id);
    for (size_t i = 0; i < m->warning_count; i++) {
        free(m->warnings[i]);
    }
    free(m);
}

const dstack_manifest_fields *dstack_manifest_get(const dstack_manifest *m) {
    return &m->fields;
}

size_t dstack_manifest_warning_count(const dstack_manifest *m) {
    return m->warning_count;
}

const char *dstack_manifest_warning(const dstack_manifest *m, size_t index) {
    return index < m->warning_count ? m->warnings[index] : NULL;
}

int manifest_warn(dstack_manifest *m, dstack_error *err, const char *fmt, ...) {
    if (m->warning_count == MANIFEST_WARNINGS_MAX) {
        return 0;
    }
    va_list args;
    va_start(args, fmt);
    char *text = NULL;
    int len = vasprintf(&text, fmt, args);
    va_end(args);
    if (len < 0) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a warning");
    }
    m->warnings[m->warning_count++] = text;
    return 0;
}

static int judge_image(void *user, const char *service, const char *image, dstack_error *err) {
    dstack_manifest *m = user;
    if (image == NULL || manifest_image_is_pinned(image)) {
        return 0;
    }
    if (m->fields.require_pinned_images) {
        return error_set(err, DSTACK_E_REFUSED,
                         "service %.64s: image %.128s is not pinned by its digest", service, image);
    }
    return manifest_warn(m, err,
                         "service %.64s: image %.128s is not pinned by its digest, so a registry "
                         "can exchange it; write NAME@sha256:DIGEST",
                         service, image);
}

static int judge_images(dstack_manifest *m, dstack_error *err) {
    const char *compose = m->fields.docker_compose_file;
    if (compose == NULL || strcmp(m->fields.runner, "bash") == 0) {
        return 0;
    }
    dstack_error why = {0};
    int rc = manifest_each_service(bytes_of_str(compose), judge_image, m, &why);
    if (rc == DSTACK_E_REFUSED || rc == DSTACK_E_MEMORY ||
        (rc != 0 && m->fields.require_pinned_images)) {
        return error_set(err, rc, "%s", why.message);
    }
    /* the guest's compose program is the judge of its own language */
    return rc == 0 ? 0 : manifest_warn(m, err, "images could not be looked at: %s", why.message);
}

static int check_rules(const dstack_manifest_fields *f, dstack_error *err) {
    bool nerdctl = strcmp(f->runner, "nerdctl-compose") == 0;
    if (f->manifest_version < 3) {
        const char *what = f->has_requirements        ? "requirements"
                           : nerdctl                  ? "runner nerdctl-compose"
                           : f->init_script_count > 1 ? "more than one init_script"
                                                      : NULL;
        if (what != NULL) {
            return error_set(err, DSTACK_E_FORMAT, "%s needs manifest_version \"3\"", what);
        }
    }
    if (f->snapshotter != NULL && !nerdctl) {
        return error_set(err, DSTACK_E_FORMAT, "snapshotter needs runner nerdctl-compose");
    }
    return 0;
}

static int judge(dstack_manifest *m, dstack_error *err) {
    int rc = check_rules(&m->fields, err);
    if (rc == 0 && m->fields.no_instance_id && m->fields.key_provider != DSTACK_KEY_PROVIDER_NONE) {
        rc = manifest_warn(m, err, "no_instance_id: all instances of this app share one disk key");
    }
    if (rc == 0) {
        rc = manifest_judge_key_policy(m, err);
    }
    return rc == 0 ? judge_images(m, err) : rc;
}

int dstack_manifest_parse(dstack_bytes file, dstack_manifest **out, dstack_error *err) {
    *out = NULL;
    if (file.len > DSTACK_MANIFEST_MAX_SIZE) {
        return error_set(err, DSTACK_E_LIMIT, "the manifest is larger than %zu bytes",
                         DSTACK_MANIFEST_MAX_SIZE);
    }
    DSTACK_AUTO(manifest) dstack_manifest *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory for a manifest");
    }
    m->json = json_parse(file, DSTACK_MANIFEST_MAX_SIZE, "the manifest", err);
    if (m->json == NULL) {
        return DSTACK_E_FORMAT;
    }
    if (!json_is_object(m->json)) {
        return error_set(err, DSTACK_E_FORMAT, "the manifest must be a JSON object");
    }
    dstack_compose_hash(file, m->fields.compose_hash);
    memcpy(m->fields.default_app_id, m->fields.compose_hash, sizeof m->fields.default_app_id);
    int rc = manifest_read_fields(m, err);
    if (rc == 0) {
        rc = manifest_read_requirements(m, err);
    }
    if (rc == 0) {
        rc = judge(m, err);
    }
    if (rc == 0) {
        *out = m;
        m = NULL;
    }
    return error_prefix(err, rc, "manifest");
}
