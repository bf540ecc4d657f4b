/* What the host may ask over its port. The host is not trusted: it learns what the public port tells
 * and the machine's vital signs, and it may ask for what it could do anyhow, a shutdown. */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "guest_api.pb-c.h"
#include "paths.h"
#include "serve/agent.h"
#include "serve/engine.h"
#include "serve/guest_api.h"
#include "serve/system_info.h"

const char *const agent_mount_points[] = {"/", AGENT_DATA_DIR};
const size_t agent_mount_point_count = sizeof agent_mount_points / sizeof *agent_mount_points;

static int api_info(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    GuestApi__GuestInfo *out = (void *)call->response;
    const agent_info *info;
    int rc = agent_info_get(a, &info, err);
    if (rc != 0) {
        return rc;
    }
    const dstack_identity *id = &info->identity;
    DSTACK_AUTO(str) char *cert = agent_app_cert_text(a);
    rpc_set_str(&out->version, AGENT_VERSION);
    rpc_set_bytes(&out->app_id, bytes_of(id->app_id.data, id->app_id.len));
    rpc_set_bytes(&out->instance_id, bytes_of(id->instance_id.data, id->instance_id.len));
    rpc_set_str(&out->app_cert, cert);
    rpc_set_str(&out->tcb_info, a->app->public_tcbinfo ? info->tcb_info : "");
    rpc_set_bytes(&out->device_id, bytes_of(id->device_id.data, id->device_id.len));
    return 0;
}

static int api_sys_info(rpc_call *call, dstack_error *err) {
    GuestApi__SystemInfo *out = (void *)call->response;
    system_info info;
    system_info_read(&info, agent_mount_points, agent_mount_point_count);
    rpc_set_str(&out->os_name, info.os_name);
    rpc_set_str(&out->os_version, info.os_version);
    rpc_set_str(&out->kernel_version, info.kernel);
    rpc_set_str(&out->cpu_model, info.cpu_model);
    out->num_cpus = info.cpus;
    out->total_memory = info.memory_total;
    out->available_memory = info.memory_available;
    out->used_memory = info.memory_total - info.memory_available;
    out->free_memory = info.memory_free;
    out->total_swap = info.swap_total;
    out->used_swap = info.swap_total - info.swap_free;
    out->free_swap = info.swap_free;
    out->uptime = info.uptime_s;
    out->loadavg_one = info.load[0];
    out->loadavg_five = info.load[1];
    out->loadavg_fifteen = info.load[2];
    for (size_t i = 0; i < info.disk_count; i++) {
        GuestApi__DiskInfo *disk =
            (void *)rpc_add_message(&out->n_disks, &out->disks, &guest_api__disk_info__descriptor);
        if (disk != NULL) {
            rpc_set_str(&disk->name, info.disks[i].name);
            rpc_set_str(&disk->mount_point, info.disks[i].mount_point);
            disk->total_size = info.disks[i].total;
            disk->free_size = info.disks[i].free;
        }
    }
    return 0;
}

/* Interfaces that lead out of the guest; those of containers are none of the host's business. */
static bool interface_shown(const char *name) {
    return strcmp(name, "dstack-wg0") == 0 || strncmp(name, "enp", 3) == 0 ||
           strncmp(name, "eth", 3) == 0;
}

static uint64_t counter_read(const char *interface, const char *counter) {
    char path[160];
    snprintf(path, sizeof path, "/sys/class/net/%.32s/statistics/%s", interface, counter);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    return file_read(path, 64, &text, NULL) == 0 ? strtoull(buf_text(&text), NULL, 10) : 0;
}

static GuestApi__Interface *interface_of(GuestApi__NetworkInformation *out, const char *name) {
    for (size_t i = 0; i < out->n_interfaces; i++) {
        if (strcmp(out->interfaces[i]->name, name) == 0) {
            return out->interfaces[i];
        }
    }
    GuestApi__Interface *added = (void *)rpc_add_message(&out->n_interfaces, &out->interfaces,
                                                         &guest_api__interface__descriptor);
    if (added != NULL) {
        rpc_set_str(&added->name, name);
        added->rx_bytes = counter_read(name, "rx_bytes");
        added->tx_bytes = counter_read(name, "tx_bytes");
        added->rx_errors = counter_read(name, "rx_errors");
        added->tx_errors = counter_read(name, "tx_errors");
    }
    return added;
}

static uint32_t prefix_of(const uint8_t *mask, size_t len) {
    uint32_t bits = 0;
    for (size_t i = 0; i < len; i++) {
        bits += (uint32_t)__builtin_popcount(mask[i]);
    }
    return bits;
}

static void address_add(GuestApi__NetworkInformation *out, const struct ifaddrs *entry) {
    const void *address, *mask;
    size_t len;
    if (entry->ifa_addr->sa_family == AF_INET) {
        address = &((const struct sockaddr_in *)(const void *)entry->ifa_addr)->sin_addr;
        mask = &((const struct sockaddr_in *)(const void *)entry->ifa_netmask)->sin_addr;
        len = 4;
    } else {
        address = &((const struct sockaddr_in6 *)(const void *)entry->ifa_addr)->sin6_addr;
        mask = &((const struct sockaddr_in6 *)(const void *)entry->ifa_netmask)->sin6_addr;
        len = 16;
    }
    char text[INET6_ADDRSTRLEN];
    GuestApi__Interface *interface = interface_of(out, entry->ifa_name);
    GuestApi__IpAddress *ip =
        interface == NULL ? NULL
                          : (void *)rpc_add_message(&interface->n_addresses, &interface->addresses,
                                                    &guest_api__ip_address__descriptor);
    if (ip != NULL && inet_ntop(entry->ifa_addr->sa_family, address, text, sizeof text) != NULL) {
        rpc_set_str(&ip->address, text);
        ip->prefix = prefix_of(mask, len);
    }
}

/* resolv.conf(5) "nameserver" lines. */
static void dns_add(GuestApi__NetworkInformation *out) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (file_read("/etc/resolv.conf", 65536, &text, NULL) != 0) {
        return;
    }
    char server[64];
    for (const char *line = buf_text(&text); *line != '\0';) {
        if (sscanf(line, "nameserver %63s", server) == 1) {
            rpc_add_str(&out->n_dns_servers, &out->dns_servers, server);
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
}

/* /proc/net/route: the gateway of each default route, in the machine's byte order. */
static void gateways_add(GuestApi__NetworkInformation *out) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (file_read("/proc/net/route", 65536, &text, NULL) != 0) {
        return;
    }
    for (const char *line = buf_text(&text); *line != '\0';) {
        unsigned destination, gateway;
        if (sscanf(line, "%*s %x %x", &destination, &gateway) == 2 && destination == 0 &&
            gateway != 0) {
            char ip[INET_ADDRSTRLEN];
            GuestApi__Gateway *added = (void *)rpc_add_message(&out->n_gateways, &out->gateways,
                                                               &guest_api__gateway__descriptor);
            if (added != NULL && inet_ntop(AF_INET, &gateway, ip, sizeof ip) != NULL) {
                rpc_set_str(&added->address, ip);
            }
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
}

static int api_network_info(rpc_call *call, dstack_error *err) {
    GuestApi__NetworkInformation *out = (void *)call->response;
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) != 0) {
        return error_set_errno(err, DSTACK_E_IO, "cannot list interfaces");
    }
    for (const struct ifaddrs *entry = all; entry != NULL; entry = entry->ifa_next) {
        if (entry->ifa_addr != NULL && entry->ifa_netmask != NULL &&
            (entry->ifa_addr->sa_family == AF_INET || entry->ifa_addr->sa_family == AF_INET6) &&
            interface_shown(entry->ifa_name)) {
            address_add(out, entry);
        }
    }
    freeifaddrs(all);
    dns_add(out);
    gateways_add(out);
    return 0;
}

static void container_add(GuestApi__ListContainersResponse *out, const json_t *from) {
    GuestApi__Container *c = (void *)rpc_add_message(&out->n_containers, &out->containers,
                                                     &guest_api__container__descriptor);
    if (c == NULL) {
        return;
    }
    const struct {
        char **field;
        const char *key;
    } texts[] = {{&c->id, "Id"},
                 {&c->image, "Image"},
                 {&c->image_id, "ImageID"},
                 {&c->state, "State"},
                 {&c->status, "Status"}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        const char *text = json_string_value(json_object_get(from, texts[i].key));
        rpc_set_str(texts[i].field, text != NULL ? text : "");
    }
    c->created = json_integer_value(json_object_get(from, "Created"));
    const json_t *names = json_object_get(from, "Names");
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = json_string_value(json_array_get(names, i));
        rpc_add_str(&c->n_names, &c->names, name != NULL ? name : "");
    }
}

static int api_list_containers(rpc_call *call, dstack_error *err) {
    const agent *a = call->app;
    GuestApi__ListContainersResponse *out = (void *)call->response;
    DSTACK_AUTO(json) json_t *list = NULL;
    int rc = engine_containers(a->engine, &list, err);
    for (size_t i = 0; rc == 0 && i < json_array_size(list); i++) {
        container_add(out, json_array_get(list, i));
    }
    return rc;
}

static int api_shutdown(rpc_call *call, dstack_error *err) {
    agent *a = call->app;
    if (a->shutdown == NULL) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "there is no machine here to shut down");
    }
    a->shutdown();
    return 0;
}

/* The port of the host, or, in the simulator, the socket that stands for it. */
static int from_host(rpc_call *call, dstack_error *err) {
    const http_peer *peer = http_request_peer(call->http);
    return peer->kind == HTTP_PEER_LINK || peer->kind == HTTP_PEER_UNIX
               ? 0
               : error_set(err, DSTACK_E_REFUSED, "only the host may ask this");
}

#define MESSAGE(name) &guest_api__##name##__descriptor

static const rpc_method guest_api_methods[] = {
    {"Info", NULL, MESSAGE(guest_info), RPC_CALLER_CUSTOM, api_info, 0},
    {"SysInfo", NULL, MESSAGE(system_info), RPC_CALLER_CUSTOM, api_sys_info, 0},
    {"NetworkInfo", NULL, MESSAGE(network_information), RPC_CALLER_CUSTOM, api_network_info, 0},
    {"ListContainers", NULL, MESSAGE(list_containers_response), RPC_CALLER_CUSTOM,
     api_list_containers, 0},
    {"Shutdown", NULL, NULL, RPC_CALLER_CUSTOM, api_shutdown, 0},
};

static const rpc_service guest_api_service = {
    .name = "GuestApi",
    .methods = guest_api_methods,
    .method_count = sizeof guest_api_methods / sizeof *guest_api_methods,
    .custom = from_host,
};

static void mount_guest_api(http_request *request, http_response *response, void *user) {
    const rpc_binding binding = {.service = &guest_api_service, .app = user};
    rpc_handle(request, response, (void *)(uintptr_t)&binding);
}

const http_route agent_guest_api_routes[] = {
    {"*", "/api/*", mount_guest_api, NULL, 0, 0},
};
const size_t agent_guest_api_route_count =
    sizeof agent_guest_api_routes / sizeof *agent_guest_api_routes;
