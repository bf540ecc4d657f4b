#include "rpc_info.h"

#include <inttypes.h>
#include <string.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "service/rpc.h"

void rpc_info_duration(int64_t seconds, char *out, size_t size) {
    static const struct {
        int64_t unit;
        char letter;
    } parts[] = {{86400, 'd'}, {3600, 'h'}, {60, 'm'}, {1, 's'}};
    size_t used = 0;
    if (seconds < 0) {
        snprintf(out, size, "never");
        return;
    }
    out[0] = 0;
    for (size_t i = 0; i < 4; i++) {
        int64_t count = seconds / parts[i].unit;
        seconds %= parts[i].unit;
        if ((count > 0 || (i == 3 && used == 0)) && used < size) {
            used += (size_t)snprintf(out + used, size - used, "%s%" PRId64 "%c",
                                     used > 0 ? " " : "", count, parts[i].letter);
        }
    }
}

void rpc_info_app_url(const char *instance_id, const char *gateway_url, const char *base_domain,
                      uint16_t port, uint16_t agent_port, char *out, size_t size) {
    char host[256];
    unsigned number = port;
    snprintf(host, sizeof host, "%s", base_domain);
    if (gateway_url != NULL && strncmp(gateway_url, "https://", 8) == 0) {
        const char *start = gateway_url + 8;
        size_t len = strcspn(start, ":/");
        snprintf(host, sizeof host, "%.*s", (int)len, start);
        number = 443;
        if (start[len] == ':') {
            sscanf(start + len + 1, "%5u", &number);
        }
    }
    if (number == 443) {
        snprintf(out, size, "https://%s-%u.%s", instance_id, agent_port, host);
    } else {
        snprintf(out, size, "https://%s-%u.%s:%u", instance_id, agent_port, host, number);
    }
}

static void fill_url(Vmm__VmInfo *out, const struct vmm_settings *s, const struct vm_view *view) {
    char url[512];
    const char *gateway = json_string_value(json_array_get(view->manifest.gateway_urls, 0));
    if (!view->gateway_enabled || view->instance_id[0] == 0) {
        return;
    }
    rpc_info_app_url(view->instance_id, gateway, s->gateway_base_domain, s->gateway_port,
                     s->gateway_agent_port, url, sizeof url);
    rpc_set_str(&out->app_url, url);
    out->opt_app_url_case = VMM__VM_INFO__OPT_APP_URL_APP_URL;
}

static void fill_events(Vmm__VmInfo *out, const struct vm_runtime *runtime) {
    for (size_t i = 0; i < runtime->event_count; i++) {
        Vmm__GuestEvent *event = (Vmm__GuestEvent *)rpc_add_message(&out->n_events, &out->events,
                                                                    &vmm__guest_event__descriptor);
        if (event != NULL) {
            rpc_set_str(&event->event, runtime->events[i].event);
            rpc_set_str(&event->body, runtime->events[i].body);
            event->timestamp = (uint64_t)runtime->events[i].timestamp_ms;
        }
    }
}

static void fill_interfaces(Vmm__VmInfo *out, const struct vmm_settings *s,
                            const struct vm_manifest *m) {
    size_t count = m->network_count > 0 ? m->network_count : 1;
    for (size_t i = 0; i < count; i++) {
        const char *mode = m->network_count > 0 ? m->networks[i].mode : s->default_network;
        bool bridge = strcmp(mode, "bridge") == 0;
        char mac[18] = "", netdev[32];
        Vmm__NetworkInterfaceStatus *nic = (Vmm__NetworkInterfaceStatus *)rpc_add_message(
            &out->n_interfaces, &out->interfaces, &vmm__network_interface_status__descriptor);
        if (nic == NULL || qemu_mac(m->id, (uint32_t)i, s->mac_prefix, mac, NULL) != 0) {
            return;
        }
        snprintf(netdev, sizeof netdev, "net%zu", i);
        rpc_set_str(&nic->mode, mode);
        rpc_set_str(&nic->backend, bridge ? "tap_bridge" : "slirp");
        rpc_set_str(&nic->mac, mac);
        rpc_set_str(&nic->netdev_id, netdev);
        nic->opt_netdev_id_case = VMM__NETWORK_INTERFACE_STATUS__OPT_NETDEV_ID_NETDEV_ID;
        if (bridge) {
            const char *own = m->network_count > 0 ? m->networks[i].bridge : "";
            rpc_set_str(&nic->bridge_name, own[0] != 0 ? own : s->bridge);
            nic->opt_bridge_name_case = VMM__NETWORK_INTERFACE_STATUS__OPT_BRIDGE_NAME_BRIDGE_NAME;
        }
    }
}

static void add_urls(size_t *count, char ***items, const json_t *list) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        rpc_add_str(count, items, json_string_value(item));
    }
}

static void fill_configuration(Vmm__VmConfiguration *out, const struct vm_view *view) {
    const struct vm_manifest *m = &view->manifest;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_bytes(&text, bytes_of_buf(&view->compose));
    rpc_set_str(&out->name, m->name);
    rpc_set_str(&out->image, m->image);
    rpc_set_str(&out->compose_file, buf_text(&text));
    out->vcpu = m->vcpu;
    out->memory = m->memory_mib;
    out->disk_size = m->disk_gib;
    for (size_t i = 0; i < m->port_count; i++) {
        Vmm__PortMapping *port = (Vmm__PortMapping *)rpc_add_message(
            &out->n_ports, &out->ports, &vmm__port_mapping__descriptor);
        if (port != NULL) {
            rpc_set_str(&port->protocol, vm_port_protocol(&m->ports[i]));
            rpc_set_str(&port->host_address, m->ports[i].address);
            port->host_port = m->ports[i].host_port;
            port->vm_port = m->ports[i].vm_port;
        }
    }
    rpc_set_bytes(&out->encrypted_env, bytes_of_buf(&view->encrypted_env));
    rpc_set_str(&out->app_id, m->app_id);
    out->opt_app_id_case = VMM__VM_CONFIGURATION__OPT_APP_ID_APP_ID;
    buf_reset(&text);
    buf_put_bytes(&text, bytes_of_buf(&view->user_config));
    rpc_set_str(&out->user_config, buf_text(&text));
    out->gpus = (Vmm__GpuConfig *)rpc_new_message(&vmm__gpu_config__descriptor);
    if (out->gpus != NULL) {
        rpc_set_str(&out->gpus->attach_mode, "listed");
    }
    add_urls(&out->n_kms_urls, &out->kms_urls, m->kms_urls);
    add_urls(&out->n_gateway_urls, &out->gateway_urls, m->gateway_urls);
    out->stopped = !view->started;
    out->no_tee = m->no_tee;
    for (size_t i = 0; i < m->network_count; i++) {
        Vmm__NetworkingConfig *network = (Vmm__NetworkingConfig *)rpc_add_message(
            &out->n_networks, &out->networks, &vmm__networking_config__descriptor);
        if (network != NULL) {
            rpc_set_str(&network->mode, m->networks[i].mode);
            rpc_set_str(&network->bridge_name, m->networks[i].bridge);
        }
    }
    if (m->simulated_tee[0] != 0) {
        rpc_set_str(&out->simulated_tee, m->simulated_tee);
        out->opt_simulated_tee_case = VMM__VM_CONFIGURATION__OPT_SIMULATED_TEE_SIMULATED_TEE;
    }
}

void rpc_info_fill(Vmm__VmInfo *out, const struct vmm_settings *settings,
                   const struct vm_view *view, bool brief) {
    const struct vm_manifest *m = &view->manifest;
    const struct vm_runtime *r = &view->runtime;
    char text[64];
    int64_t now = clock_unix();
    if (out == NULL) {
        return;
    }
    rpc_set_str(&out->id, m->id);
    rpc_set_str(&out->name, m->name);
    rpc_set_str(&out->status, view->status);
    rpc_info_duration(view->running && r->started_at > 0 ? now - r->started_at : -1, text,
                      sizeof text);
    rpc_set_str(&out->uptime, text);
    fill_url(out, settings, view);
    rpc_set_str(&out->app_id, m->app_id);
    if (view->instance_id[0] != 0) {
        rpc_set_str(&out->instance_id, view->instance_id);
        out->opt_instance_id_case = VMM__VM_INFO__OPT_INSTANCE_ID_INSTANCE_ID;
    }
    rpc_info_duration(!view->running && r->exited_at > 0 ? now - r->exited_at : -1, text,
                      sizeof text);
    rpc_set_str(&out->exited_at, text);
    out->opt_exited_at_case = VMM__VM_INFO__OPT_EXITED_AT_EXITED_AT;
    rpc_set_str(&out->boot_progress, r->boot_progress);
    rpc_set_str(&out->boot_error, r->boot_error);
    rpc_set_str(&out->shutdown_progress, r->shutdown_progress);
    rpc_set_str(&out->image_version, view->image_version);
    fill_events(out, r);
    fill_interfaces(out, settings, m);
    if (!brief) {
        out->configuration =
            (Vmm__VmConfiguration *)rpc_new_message(&vmm__vm_configuration__descriptor);
        if (out->configuration != NULL) {
            fill_configuration(out->configuration, view);
        }
    }
}

void rpc_info_meta(Vmm__GetMetaResponse *out, const struct vmm_settings *s) {
    out->kms = (Vmm__KmsSettings *)rpc_new_message(&vmm__kms_settings__descriptor);
    out->gateway = (Vmm__GatewaySettings *)rpc_new_message(&vmm__gateway_settings__descriptor);
    out->resources =
        (Vmm__ResourcesSettings *)rpc_new_message(&vmm__resources_settings__descriptor);
    out->networking =
        (Vmm__NetworkingCapabilities *)rpc_new_message(&vmm__networking_capabilities__descriptor);
    if (out->kms == NULL || out->gateway == NULL || out->resources == NULL ||
        out->networking == NULL) {
        return;
    }
    const char *kms = json_string_value(json_array_get(s->kms_urls, 0));
    const char *gateway = json_string_value(json_array_get(s->gateway_urls, 0));
    rpc_set_str(&out->kms->url, kms != NULL ? kms : "");
    add_urls(&out->kms->n_urls, &out->kms->urls, s->kms_urls);
    rpc_set_str(&out->gateway->url, gateway != NULL ? gateway : "");
    rpc_set_str(&out->gateway->base_domain, s->gateway_base_domain);
    out->gateway->port = s->gateway_port;
    out->gateway->agent_port = s->gateway_agent_port;
    add_urls(&out->gateway->n_urls, &out->gateway->urls, s->gateway_urls);
    out->resources->max_cvm_number = REGISTRY_MAX_VMS;
    out->resources->max_allocable_vcpu = s->max_vcpu;
    out->resources->max_allocable_memory_in_mb = s->max_memory_mib;
    rpc_add_str(&out->networking->n_supported_modes, &out->networking->supported_modes, "user");
    if (s->bridge[0] != 0) {
        rpc_add_str(&out->networking->n_supported_modes, &out->networking->supported_modes,
                    "bridge");
    }
    rpc_set_str(&out->networking->default_mode, s->default_network);
    rpc_set_str(&out->networking->default_bridge, s->bridge);
    out->insecure_dev = s->insecure_dev;
    rpc_set_str(&out->simulated_tee, s->simulator_keys != NULL ? "dstack-tdx" : "");
}
