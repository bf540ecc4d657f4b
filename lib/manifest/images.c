/* The container images that a compose text names. */
#include <string.h>

#include "config.h"

#if DSTACK_HAVE_FYAML
#include <libfyaml.h>
#endif

#include "base/error.h"
#include "base/hex.h"
#include "manifest/manifest.h"

#define COMPOSE_MAX ((size_t)4 << 20)

bool manifest_image_is_pinned(const char *image) {
    const char *mark = strstr(image, "@sha256:");
    uint8_t digest[32];
    return mark != NULL && mark != image &&
           hex_decode_fixed(mark + strlen("@sha256:"), digest, sizeof digest, NULL) == 0;
}

#if DSTACK_HAVE_FYAML

/* Diagnostics are for a terminal, which is not the library's to write to. */
static void ignore(struct fy_diag *diag, void *user, const char *text, size_t len) {
    (void)diag;
    (void)user;
    (void)text;
    (void)len;
}

static inline void auto_diag(struct fy_diag **diag) {
    fy_diag_unref(*diag);
}

static inline void auto_yaml(struct fy_document **document) {
    if (*document != NULL) {
        fy_document_destroy(*document);
    }
}

static char *scalar(struct fy_node *node) {
    size_t len = 0;
    const char *text = node == NULL ? NULL : fy_node_get_scalar(node, &len);
    return text == NULL || memchr(text, 0, len) != NULL ? NULL : strndup(text, len);
}

int manifest_each_service(dstack_bytes compose,
                          int (*each)(void *user, const char *service, const char *image,
                                      dstack_error *err),
                          void *user, dstack_error *err) {
    if (compose.len > COMPOSE_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "the compose text is larger than %zu bytes",
                         COMPOSE_MAX);
    }
    struct fy_diag_cfg silent;
    fy_diag_cfg_default(&silent);
    silent.fp = NULL;
    silent.output_fn = ignore;
    DSTACK_AUTO(diag) struct fy_diag *diag = fy_diag_create(&silent);
    const struct fy_parse_cfg config = {.flags = FYPCF_RESOLVE_DOCUMENT, .diag = diag};
    DSTACK_AUTO(yaml)
    struct fy_document *document =
        fy_document_build_from_string(&config, (const char *)compose.data, compose.len);
    struct fy_node *root = document == NULL ? NULL : fy_document_root(document);
    if (root == NULL || !fy_node_is_mapping(root)) {
        return error_set(err, DSTACK_E_FORMAT, "the compose text is no YAML mapping");
    }
    struct fy_node *services = fy_node_mapping_lookup_by_string(root, "services", FY_NT);
    if (services == NULL || !fy_node_is_mapping(services)) {
        return 0;
    }
    void *position = NULL;
    struct fy_node_pair *pair;
    int rc = 0;
    while (rc == 0 && (pair = fy_node_mapping_iterate(services, &position)) != NULL) {
        struct fy_node *service = fy_node_pair_value(pair);
        if (service == NULL || !fy_node_is_mapping(service)) {
            continue;
        }
        DSTACK_AUTO(str) char *name = scalar(fy_node_pair_key(pair));
        DSTACK_AUTO(str)
        char *image = scalar(fy_node_mapping_lookup_by_string(service, "image", FY_NT));
        rc = each(user, name == NULL ? "?" : name, image, err);
    }
    return rc;
}

#else

int manifest_each_service(dstack_bytes compose,
                          int (*each)(void *user, const char *service, const char *image,
                                      dstack_error *err),
                          void *user, dstack_error *err) {
    return error_set(err, DSTACK_E_UNSUPPORTED, "this build has no YAML parser");
}

#endif
