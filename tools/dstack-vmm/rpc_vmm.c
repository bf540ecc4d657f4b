#include "rpc_vmm.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "config.h"
#include "crypto/hash.h"
#include "image.h"
#include "rpc_info.h"
#include "vmm.pb-c.h"

static struct vmm_app *app_of(rpc_call *call) {
    return call->app;
}

/* ---- CreateVm ---- */

static bool in_ranges(const struct vmm_settings *s, const struct vm_port *port) {
    for (size_t i = 0; i < s->range_count; i++) {
        if (s->ranges[i].udp == port->udp && port->host_port >= s->ranges[i].from &&
            port->host_port <= s->ranges[i].to) {
            return true;
        }
    }
    return false;
}

static int take_ports(const struct vmm_settings *s, const Vmm__VmConfiguration *in,
                      struct vm_request *out, dstack_error *err) {
    if (in->n_ports > 0 && !s->ports_enabled) {
        return error_set(err, DSTACK_E_REFUSED, "Port mapping is disabled");
    }
    if (in->n_ports > VM_MAX_PORTS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d port mappings", VM_MAX_PORTS);
    }
    for (size_t i = 0; i < in->n_ports; i++) {
        const Vmm__PortMapping *p = in->ports[i];
        int rc = vm_port_make(p->protocol, p->host_address, s->port_address, p->host_port,
                              p->vm_port, &out->ports[i], err);
        if (rc != 0) {
            return rc;
        }
        if (!in_ranges(s, &out->ports[i])) {
            return error_set(err, DSTACK_E_REFUSED, "Port mapping is not allowed for %s:%u",
                             p->protocol, p->host_port);
        }
    }
    out->port_count = in->n_ports;
    return 0;
}

static int take_network(const Vmm__NetworkingConfig *in, struct vm_network *out,
                        dstack_error *err) {
    if (strcmp(in->mode, "user") != 0 && strcmp(in->mode, "bridge") != 0) {
        return strcmp(in->mode, "custom") == 0
                   ? error_set(err, DSTACK_E_REFUSED, "custom networking mode is manifest-only")
                   : error_set(err, DSTACK_E_ARGUMENT, "unsupported networking mode '%s'",
                               in->mode);
    }
    bool bridge = in->mode[0] == 'b';
    if (!bridge && in->bridge_name[0] != 0) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "bridge_name is only valid for bridge networking mode");
    }
    /* It becomes part of a QEMU option and of a path in /sys. */
    if (strlen(in->bridge_name) >= sizeof out->bridge ||
        in->bridge_name[strspn(in->bridge_name,
                               "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789_.-")] != 0) {
        return error_set(err, DSTACK_E_ARGUMENT, "bridge interface '%s' does not exist",
                         in->bridge_name);
    }
    snprintf(out->mode, sizeof out->mode, "%s", in->mode);
    snprintf(out->bridge, sizeof out->bridge, "%s", in->bridge_name);
    return 0;
}

static int take_networks(const Vmm__VmConfiguration *in, struct vm_request *out,
                         dstack_error *err) {
    size_t count = in->n_networks;
    if (count > VM_MAX_NETWORKS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d networks", VM_MAX_NETWORKS);
    }
    if (count == 0 && in->networking != NULL && in->networking->mode[0] != 0) {
        out->network_count = 1;
        return take_network(in->networking, &out->networks[0], err);
    }
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = take_network(in->networks[i], &out->networks[i], err);
    }
    out->network_count = count;
    return rc;
}

static json_t *strings(size_t count, char *const *items) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_string(items[i]));
    }
    return list;
}

static int refuse_unsupported(const Vmm__VmConfiguration *in, dstack_error *err) {
    bool all = in->gpus != NULL && strcmp(in->gpus->attach_mode, "all") == 0;
    if (all || (in->gpus != NULL && in->gpus->n_gpus > 0)) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "GPU is not enabled");
    }
    if (in->hugepages || in->pin_numa) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "hugepages and pin_numa are not supported yet");
    }
    if (in->n_kms_urls > VM_MAX_URLS || in->n_gateway_urls > VM_MAX_URLS) {
        return error_set(err, DSTACK_E_LIMIT, "more than %d URLs", VM_MAX_URLS);
    }
    return 0;
}

static int create_vm(rpc_call *call, dstack_error *err) {
    struct vmm_app *app = app_of(call);
    const Vmm__VmConfiguration *in = (const Vmm__VmConfiguration *)call->request;
    Vmm__Id *out = (Vmm__Id *)call->response;
    DSTACK_AUTO(json) json_t *kms = strings(in->n_kms_urls, in->kms_urls);
    DSTACK_AUTO(json) json_t *gateways = strings(in->n_gateway_urls, in->gateway_urls);
    char id[37];
    struct vm_request request = {
        .name = in->name,
        .image = in->image,
        .compose = in->compose_file,
        .app_id =
            in->opt_app_id_case == VMM__VM_CONFIGURATION__OPT_APP_ID_APP_ID ? in->app_id : NULL,
        .user_config = in->user_config,
        .encrypted_env = {in->encrypted_env.data, in->encrypted_env.len},
        .vcpu = in->vcpu,
        .memory_mib = in->memory,
        .disk_gib = in->disk_size,
        .kms_urls = kms,
        .gateway_urls = gateways,
        .stopped = in->stopped,
        .no_tee = in->no_tee,
        .simulated_tee =
            in->opt_simulated_tee_case == VMM__VM_CONFIGURATION__OPT_SIMULATED_TEE_SIMULATED_TEE
                ? in->simulated_tee
                : NULL};
    int rc = refuse_unsupported(in, err);
    rc = rc != 0 ? rc : take_ports(&app->settings, in, &request, err);
    rc = rc != 0 ? rc : take_networks(in, &request, err);
    rc = rc != 0 ? rc : registry_create(&app->registry, &request, id, err);
    if (rc == 0) {
        rpc_set_str(&out->id, id);
    }
    return rc;
}

/* ---- operations on one VM ---- */

static const char *id_of(rpc_call *call) {
    return ((const Vmm__Id *)call->request)->id;
}

static int start_vm(rpc_call *call, dstack_error *err) {
    return registry_start(&app_of(call)->registry, id_of(call), err);
}

static int stop_vm(rpc_call *call, dstack_error *err) {
    return registry_stop(&app_of(call)->registry, id_of(call), err);
}

static int shutdown_vm(rpc_call *call, dstack_error *err) {
    return registry_shutdown(&app_of(call)->registry, id_of(call), err);
}

static int remove_vm(rpc_call *call, dstack_error *err) {
    return registry_remove(&app_of(call)->registry, id_of(call), err);
}

/* ---- looking ---- */

static bool in_list(const char *id, size_t count, char *const *ids) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(ids[i], id) == 0) {
            return true;
        }
    }
    return count == 0;
}

static bool matches(const struct vm_view *view, const Vmm__StatusRequest *request) {
    const struct vm_manifest *m = &view->manifest;
    return in_list(m->id, request->n_ids, request->ids) &&
           (request->keyword[0] == 0 || strstr(m->name, request->keyword) != NULL ||
            strstr(m->id, request->keyword) != NULL ||
            strstr(m->app_id, request->keyword) != NULL ||
            strstr(m->image, request->keyword) != NULL);
}

static int status(rpc_call *call, dstack_error *err) {
    struct vmm_app *app = app_of(call);
    const Vmm__StatusRequest *request = (const Vmm__StatusRequest *)call->request;
    Vmm__StatusResponse *out = (Vmm__StatusResponse *)call->response;
    DSTACK_AUTO(json) json_t *ids = NULL;
    size_t i;
    json_t *id;
    uint64_t size = request->page > 0 ? request->page_size : 0;
    uint64_t first = size > 0 ? (request->page - 1) * size : 0;
    int rc = registry_ids(&app->registry, &ids, err);
    json_array_foreach(ids, i, id) {
        DSTACK_AUTO(vm_view) struct vm_view view = {0};
        if (registry_view(&app->registry, json_string_value(id), !request->brief, &view, NULL) !=
                0 ||
            !matches(&view, request)) {
            continue;
        }
        uint64_t position = out->total++;
        if (position >= first && (size == 0 || position < first + size)) {
            rpc_info_fill(
                (Vmm__VmInfo *)rpc_add_message(&out->n_vms, &out->vms, &vmm__vm_info__descriptor),
                &app->settings, &view, request->brief);
        }
    }
    out->port_mapping_enabled = app->settings.ports_enabled;
    out->insecure_dev = app->settings.insecure_dev;
    return rc;
}

static int get_info(rpc_call *call, dstack_error *err) {
    struct vmm_app *app = app_of(call);
    Vmm__GetInfoResponse *out = (Vmm__GetInfoResponse *)call->response;
    DSTACK_AUTO(vm_view) struct vm_view view = {0};
    int rc = registry_view(&app->registry, id_of(call), true, &view, err);
    if (rc == DSTACK_E_NOT_FOUND) {
        return 0;
    }
    if (rc == 0) {
        out->found = true;
        out->info = (Vmm__VmInfo *)rpc_new_message(&vmm__vm_info__descriptor);
        if (out->info != NULL) {
            rpc_info_fill(out->info, &app->settings, &view, false);
        }
    }
    return rc;
}

static int list_images(rpc_call *call, dstack_error *err) {
    Vmm__ImageListResponse *out = (Vmm__ImageListResponse *)call->response;
    DSTACK_AUTO(json) json_t *list = NULL;
    size_t i;
    json_t *item;
    int rc = vm_image_list(app_of(call)->settings.image_path, &list, err);
    json_array_foreach(list, i, item) {
        Vmm__ImageInfo *info = (Vmm__ImageInfo *)rpc_add_message(&out->n_images, &out->images,
                                                                 &vmm__image_info__descriptor);
        if (info != NULL) {
            rpc_set_str(&info->name, json_string_value(json_object_get(item, "name")));
            rpc_set_str(&info->description,
                        json_string_value(json_object_get(item, "description")));
            rpc_set_str(&info->version, json_string_value(json_object_get(item, "version")));
            info->is_dev = json_is_true(json_object_get(item, "is_dev"));
        }
    }
    return rc;
}

static int get_compose_hash(rpc_call *call, dstack_error *err) {
    const Vmm__VmConfiguration *in = (const Vmm__VmConfiguration *)call->request;
    Vmm__ComposeHash *out = (Vmm__ComposeHash *)call->response;
    dstack_error local = {0};
    uint8_t digest[32];
    char hex[65];
    int rc = vm_name_check(in->name, err);
    DSTACK_AUTO(json)
    json_t *compose =
        json_parse(bytes_of_str(in->compose_file), (size_t)50 << 20, "compose", &local);
    if (rc == 0 && !json_is_object(compose)) {
        rc = error_set(err, DSTACK_E_FORMAT, "Invalid compose file: %s",
                       compose == NULL ? local.message : "not an object");
    }
    if (rc == 0) {
        hash_sha256(bytes_of_str(in->compose_file), digest);
        hex_encode(bytes_of(digest, sizeof digest), hex);
        rpc_set_str(&out->hash, hex);
    }
    return rc;
}

static int get_meta(rpc_call *call, dstack_error *err) {
    rpc_info_meta((Vmm__GetMetaResponse *)call->response, &app_of(call)->settings);
    return 0;
}

static int version(rpc_call *call, dstack_error *err) {
    Vmm__VersionResponse *out = (Vmm__VersionResponse *)call->response;
    rpc_set_str(&out->version, DSTACK_PROJECT_VERSION);
    rpc_set_str(&out->rev, DSTACK_REVISION);
    return 0;
}

static int check_caller(rpc_call *call, dstack_error *err) {
    if (vmm_auth_accepts(app_of(call), call->http)) {
        return 0;
    }
    call->http_status = 401;
    return error_set(err, DSTACK_E_REFUSED, "a token is needed");
}

static const rpc_method methods[] = {
    {"CreateVm", &vmm__vm_configuration__descriptor, &vmm__id__descriptor, RPC_CALLER_CUSTOM,
     create_vm, (size_t)120 << 20},
    {"StartVm", &vmm__id__descriptor, NULL, RPC_CALLER_CUSTOM, start_vm, 0},
    {"StopVm", &vmm__id__descriptor, NULL, RPC_CALLER_CUSTOM, stop_vm, 0},
    {"ShutdownVm", &vmm__id__descriptor, NULL, RPC_CALLER_CUSTOM, shutdown_vm, 0},
    {"RemoveVm", &vmm__id__descriptor, NULL, RPC_CALLER_CUSTOM, remove_vm, 0},
    {"Status", &vmm__status_request__descriptor, &vmm__status_response__descriptor,
     RPC_CALLER_CUSTOM, status, 0},
    {"GetInfo", &vmm__id__descriptor, &vmm__get_info_response__descriptor, RPC_CALLER_CUSTOM,
     get_info, 0},
    {"ListImages", NULL, &vmm__image_list_response__descriptor, RPC_CALLER_CUSTOM, list_images, 0},
    {"GetComposeHash", &vmm__vm_configuration__descriptor, &vmm__compose_hash__descriptor,
     RPC_CALLER_CUSTOM, get_compose_hash, (size_t)120 << 20},
    {"GetMeta", NULL, &vmm__get_meta_response__descriptor, RPC_CALLER_CUSTOM, get_meta, 0},
    {"Version", NULL, &vmm__version_response__descriptor, RPC_CALLER_CUSTOM, version, 0},
};

const rpc_service vmm_service = {.name = "vmm",
                                 .prefix = "Teepod.",
                                 .methods = methods,
                                 .method_count = sizeof methods / sizeof methods[0],
                                 .custom = check_caller};
