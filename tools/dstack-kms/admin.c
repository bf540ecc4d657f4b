/* The admin listener: a token for everything, and evidence as well for root keys. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "crypto/hash.h"
#include "kms.h"
#include "service/kms.pb-c.h"
#include "service/log.h"

#define TOKEN_LIMIT 4096
#define TREE_DEPTH 8

/* ---- ClearImageCache --------------------------------------------------------------------------
 */

/* Removes a file, or a folder with all in it; symbolic links are removed, not followed. */
static int remove_tree(int dir_fd, const char *name, int depth, dstack_error *err) {
    if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT) {
        return 0;
    }
    if (errno != EISDIR && errno != EPERM) {
        return error_set_errno(err, DSTACK_E_IO, "cannot remove %s", name);
    }
    int fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 && depth < TREE_DEPTH ? fdopendir(fd) : NULL;
    if (dir == NULL) {
        if (fd >= 0) {
            close(fd);
        }
        return error_set_errno(err, DSTACK_E_IO, "cannot open %s", name);
    }
    int rc = 0;
    for (struct dirent *entry; rc == 0 && (entry = readdir(dir)) != NULL;) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            rc = remove_tree(dirfd(dir), entry->d_name, depth + 1, err);
        }
    }
    closedir(dir);
    if (rc == 0 && unlinkat(dir_fd, name, AT_REMOVEDIR) != 0) {
        rc = error_set_errno(err, DSTACK_E_IO, "cannot remove %s", name);
    }
    return rc;
}

/* `what` is one entry of a kind, in hex, "all" of them, or nothing. */
static int clear_cache(const kms *k, const char *kind, const char *what, const char *suffix,
                       dstack_error *err) {
    static const char hex[] = "0123456789abcdefABCDEF";
    DSTACK_AUTO(str) char *path = NULL;
    bool all = strcmp(what, "all") == 0;
    if (what[0] == 0) {
        return 0;
    }
    if (!all && (strspn(what, hex) != strlen(what) || strlen(what) > 128)) {
        return error_set(err, DSTACK_E_FORMAT, "invalid cache key");
    }
    if (asprintf(&path, "%s/%s%s%s%s", config_str(k->config, "core.image.cache_dir"), kind,
                 all ? "" : "/", all ? "" : what, all ? "" : suffix) < 0) {
        path = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    return remove_tree(AT_FDCWD, path, 0, err);
}

static int clear_image_cache(rpc_call *call, dstack_error *err) {
    kms *k = call->app;
    const Kms__ClearImageCacheRequest *in = (Kms__ClearImageCacheRequest *)call->request;
    int rc = clear_cache(k, "images", in->image_hash, "", err);
    if (rc != 0) {
        return error_prefix(err, rc, "failed to clear image cache");
    }
    rc = clear_cache(k, "measurements", in->config_hash, ".json", err);
    rc = rc != 0 ? error_prefix(err, rc, "failed to clear measurement cache") : 0;
    kms_record_of record = {.kind = KMS_RECORD_ADMIN,
                            .peer = http_request_peer(call->http)->address,
                            .request = http_request_id(call->http),
                            .what = "image cache cleared"};
    return kms_record(k, &record, rc, err);
}

static const rpc_method methods[] = {
    {"ClearImageCache", &kms__clear_image_cache_request__descriptor, NULL, RPC_CALLER_TOKEN,
     clear_image_cache, 4096},
    {"GetKmsKey", &kms__get_kms_key_request__descriptor, &kms__kms_key_response__descriptor,
     RPC_CALLER_TOKEN_ATTESTED, kms_get_kms_key, (size_t)1 << 20},
};

const rpc_service kms_admin_service = {
    .name = "admin",
    .prefix = "Admin.",
    .methods = methods,
    .method_count = sizeof methods / sizeof methods[0],
    .attest = kms_attest_caller,
    .free_identity = kms_free_caller,
    .no_attestation_text = kms_no_attestation_text,
};

/* ---- the listener -----------------------------------------------------------------------------
 */

/* Whatever the path is, who has no token learns nothing about it. */
static bool has_token(http_request *request, http_response *response, const rpc_binding *binding) {
    if (rpc_token_is_right(request, binding->token_hash)) {
        return true;
    }
    rpc_refuse_token(response, binding);
    return false;
}

static void call_method(http_request *request, http_response *response, void *user) {
    if (has_token(request, response, user)) {
        rpc_handle(request, response, user);
    }
}

static void page(http_request *request, http_response *response, void *user) {
    const char *name = http_request_capture(request, 0);
    if (has_token(request, response, user)) {
        kms_page_file(response, name != NULL ? name : "index.html");
    }
}

static void state(http_request *request, http_response *response, void *user) {
    const rpc_binding *binding = user;
    if (has_token(request, response, binding)) {
        DSTACK_AUTO(json) json_t *all = kms_page_state(binding->app);
        http_response_json(response, 200, all);
    }
}

static void other_paths(http_request *request, http_response *response, void *user) {
    if (has_token(request, response, user)) {
        http_response_text(response, 404, "Not Found\n");
    }
}

static int read_token(kms *k, dstack_error *err) {
    const char *path = config_str(k->config, "core.admin.auth_token_file");
    dstack_buf text = {0};
    struct stat info;
    buf_reserve(&text, TOKEN_LIMIT);
    int rc = file_read(path, TOKEN_LIMIT, &text, err);
    if (rc == 0 && stat(path, &info) == 0 && (info.st_mode & 077) != 0) {
        rc = error_set(err, DSTACK_E_STATE, "%s is open to others (mode %03o, must be 0600)", path,
                       info.st_mode & 0777);
    }
    size_t begin = 0, end = text.len;
    while (begin < end && isspace(text.data[begin])) {
        begin++;
    }
    while (end > begin && isspace(text.data[end - 1])) {
        end--;
    }
    if (rc == 0 && end == begin) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s holds no token", path);
    }
    if (rc == 0) {
        hash_sha256(bytes_of(text.data + begin, end - begin), k->admin_token_hash);
    }
    buf_wipe(&text);
    return rc != 0 ? error_prefix(err, rc, "core.admin.auth_token_file") : 0;
}

/* The certificate of the main listener serves here too: its key is attested as the KMS's. */
static int open_tls(kms *k, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf pem = {0};
    int rc = kms_store_read(&k->store, "rpc.crt", &pem, err);
    if (rc != 0) {
        return rc;
    }
    http_tls_config config = {.certificate_pem = bytes_of_buf(&pem),
                              .key_pem = bytes_of(dstack_secret_peek(k->store.rpc_pem),
                                                  dstack_secret_len(k->store.rpc_pem)),
                              .request_client_cert = true,
                              .check = kms_check_client_cert};
    k->admin_tls = http_tls_new(&config, err);
    return k->admin_tls != NULL ? 0 : (int)err->status;
}

int kms_admin_open(kms *k, dstack_error *err) {
    if (!config_bool(k->config, "core.admin.enabled")) {
        return 0;
    }
    char address[80];
    int rc = read_token(k, err);
    rc = rc == 0 && config_bool(k->config, "core.admin.tls") ? open_tls(k, err) : rc;
    if (rc != 0) {
        return rc;
    }
    k->admin_binding = (rpc_binding){.service = &kms_admin_service,
                                     .app = k,
                                     .token_hash = k->admin_token_hash,
                                     .realm = "dstack-kms admin"};
    k->admin_routes[0] = (http_route){
        "*", "/prpc/*", call_method, &k->admin_binding, (size_t)1 << 20, HTTP_ROUTE_TAKES_OVERSIZE};
    k->admin_routes[1] = (http_route){"GET", "/", page, &k->admin_binding, 4096, 0};
    k->admin_routes[2] = (http_route){"GET", "/page/*", page, &k->admin_binding, 4096, 0};
    k->admin_routes[3] = (http_route){"GET", "/status", state, &k->admin_binding, 4096, 0};
    k->admin_routes[4] = (http_route){"*", "/**", other_paths, &k->admin_binding, 4096, 0};
    snprintf(address, sizeof address, "%s:%lld", config_str(k->config, "core.admin.address"),
             (long long)config_int(k->config, "core.admin.port"));
    http_listener_config listener = {.name = "admin",
                                     .address = address,
                                     .tls = k->admin_tls,
                                     .routes = k->admin_routes,
                                     .route_count = 5,
                                     .user = k,
                                     .limits = {.connections = 64}};
    rc = http_server_listen(k->server, &listener, err);
    if (rc == 0) {
        char port[8];
        snprintf(port, sizeof port, "%u", http_server_port(k->server, "admin"));
        LOG_INFO("admin listener", "address", config_str(k->config, "core.admin.address"), "port",
                 port, "tls", k->admin_tls != NULL ? "yes" : "no");
    }
    return rc;
}
