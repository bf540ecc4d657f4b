/* The VMM's configuration as one plain struct. */
#ifndef VMM_SETTINGS_H
#define VMM_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include <dstack/error.h>

#include "ports.h"
#include "qemu_argv.h"

#define VMM_MAX_RANGES 32

struct vmm_port_range {
    bool udp;
    uint16_t from, to;
};

struct vmm_settings {
    const char *run_path, *image_path; /* absolute */
    const char *node_name, *kms_url;
    json_t *kms_urls, *gateway_urls; /* given to guests that bring none of their own */
    const char *pccs_url, *docker_registry;
    char qemu[256];        /* program */
    char qemu_version[32]; /* "10.0.2"; "" when unknown */
    const char *accel;     /* "kvm" or "tcg,thread=multi" */
    enum qemu_share share;
    const char *sys_vendor, *product_name;
    const char *net, *dhcp_start, *bridge, *mac_prefix;
    bool net_restrict;
    const char *default_network; /* "user" or "bridge" */
    bool ports_enabled;
    const char *port_address;
    struct vmm_port_range ranges[VMM_MAX_RANGES];
    size_t range_count;
    uint32_t max_vcpu, max_memory_mib, max_disk_gib;
    bool use_mrconfigid;
    const char *tdx_variant; /* "auto", "legacy", "lite" */
    uint32_t quote_port;
    uint32_t vsock_cid;         /* for real TDX launches; 0: no device */
    const char *simulator_keys; /* NULL: no simulated TEE */
    bool insecure_dev;
    uint64_t log_max_bytes;
    uint32_t log_max_backups;
    bool restart_enabled;
    uint32_t restart_interval_s, restart_max_retries, restart_initial_s, restart_max_s,
        restart_reset_s;
    const char *gateway_base_domain;
    uint16_t gateway_port, gateway_agent_port;
    uint32_t start_timeout_s;
    const char *self; /* this program, for the supervisor */
};

#endif
