/* What the files of this folder share about manifests. */
#ifndef MANIFEST_MANIFEST_H
#define MANIFEST_MANIFEST_H

#include <jansson.h>

#include <dstack/manifest.h>

#include "base/auto.h"
#include "base/cursor.h"

#define MANIFEST_WARNINGS_MAX 64

/* The lists that a grant's patterns are in. */
typedef struct manifest_grant_texts {
    const char **paths;
    const char **domains;
} manifest_grant_texts;

struct dstack_manifest {
    json_t *json; /* texts of the fields live here */
    dstack_manifest_fields fields;
    /* Arrays that the fields point to. */
    const char **init_scripts;
    const char **allowed_envs;
    const char **platforms;
    dstack_port_rule *ports;
    dstack_verity_volume *verity_volumes;
    dstack_key_grant *key_grants;
    manifest_grant_texts *key_texts;
    size_t key_text_count;
    dstack_buf key_provider_id;
    char *warnings[MANIFEST_WARNINGS_MAX];
    size_t warning_count;
};

DSTACK_AUTO_DEFINE(manifest, dstack_manifest, dstack_manifest_free)

/* Notes a sentence for the deployer; those beyond the limit are dropped. */
int manifest_warn(dstack_manifest *manifest, dstack_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Fields of the top level, and of "requirements". */
int manifest_read_fields(dstack_manifest *manifest, dstack_error *err);
int manifest_read_requirements(dstack_manifest *manifest, dstack_error *err);
/* Refuses an object that has other keys than the known ones (NULL-ended). */
int manifest_check_keys(const json_t *object, const char *where, const char *const *known,
                        dstack_error *err);
/* "requirements.key_policy" (NULL: there is none), and what it must agree with. */
int manifest_read_key_policy(dstack_manifest *manifest, const json_t *policy, dstack_error *err);
int manifest_judge_key_policy(dstack_manifest *manifest, dstack_error *err);
void manifest_key_policy_clear(dstack_manifest *manifest);
/* A list of texts: *items is allocated, its texts borrow the JSON. Missing gives an empty list. */
int manifest_read_texts(const json_t *object, const char *key, const char ***items, size_t *count,
                        dstack_error *err);

/* Calls `each` for every service of a compose text, with its image or NULL. DSTACK_E_UNSUPPORTED in
 * builds without a YAML parser. */
int manifest_each_service(dstack_bytes compose,
                          int (*each)(void *user, const char *service, const char *image,
                                      dstack_error *err),
                          void *user, dstack_error *err);
/* True for NAME@sha256:<64 hex digits>. */
bool manifest_image_is_pinned(const char *image);

/* Whether a version satisfies requirement text such as ">=0.6.0, <0.7.0" (the semantics of Cargo).
 * DSTACK_E_FORMAT for text that is none, DSTACK_E_REFUSED when it does not satisfy. */
int manifest_check_version(const char *requirement, const char *version, dstack_error *err);
/* Checks the form of requirement text alone. */
int manifest_check_requirement(const char *requirement, dstack_error *err);

#endif
