#include "vmm_config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "child.h"
#include "kvm_probe.h"

#define QEMU_PROGRAM "qemu-system-x86_64"
#define TCG "tcg,thread=multi"

const config_key vmm_config_keys[] = {
    {"address", CONFIG_STR, "unix:./vmm.sock", "listener: unix:PATH or IP:PORT"},
    {"log_level", CONFIG_STR, "info", "error, warn, info or debug"},
    {"kms_url", CONFIG_STR, "", "KMS that clients of this VMM ask for environment keys"},
    {"node_name", CONFIG_STR, "", "name of this machine in answers"},
    {"run_path", CONFIG_PATH, "~/.dstack-vmm/vm", "folder of the VMs"},
    {"image.path", CONFIG_PATH, "~/.dstack-vmm/image", "folder of the guest images"},
    {"cvm.qemu_path", CONFIG_STR, "", "QEMU program; empty: " QEMU_PROGRAM " of the system"},
    {"cvm.kms_urls", CONFIG_LIST, "", "KMS addresses given to guests that bring none"},
    {"cvm.gateway_urls", CONFIG_LIST, "", "gateway addresses given to guests that bring none"},
    {"cvm.pccs_url", CONFIG_STR, "", "collateral server given to guests"},
    {"cvm.docker_registry", CONFIG_STR, "", "registry mirror given to guests"},
    {"cvm.max_allocable_vcpu", CONFIG_INT, "64", "most vCPUs of one VM"},
    {"cvm.max_allocable_memory_in_mb", CONFIG_INT, "262144", "most memory of one VM, MiB"},
    {"cvm.max_disk_size", CONFIG_INT, "16384", "largest data disk of one VM, GiB"},
    {"cvm.use_mrconfigid", CONFIG_BOOL, "true", "bind the compose hash into MR_CONFIG_ID"},
    {"cvm.tdx_attestation_variant", CONFIG_STR, "auto", "legacy, lite or auto"},
    {"cvm.qgs_port", CONFIG_INT, "4050", "vsock port of the host's quote service; 0: none"},
    {"cvm.vsock_cid", CONFIG_INT, "1000", "vsock context id of a VM on TDX hardware; 0: no device"},
    {"cvm.tee_simulator.keys", CONFIG_PATH, "",
     "folder of simulation keys; empty: no simulated TEE. Needs --insecure-dev"},
    {"cvm.host_share_mode", CONFIG_STR, "vhd", "how a guest sees its files: vhd, vvfat or 9p"},
    {"cvm.product.sys_vendor", CONFIG_STR, "dstack", "SMBIOS manufacturer"},
    {"cvm.product.product_name", CONFIG_STR, "dstack", "SMBIOS product"},
    {"cvm.networking.mode", CONFIG_STR, "user", "user or bridge"},
    {"cvm.networking.net", CONFIG_STR, "10.0.2.0/24", "network of user mode"},
    {"cvm.networking.dhcp_start", CONFIG_STR, "10.0.2.10", "first address of user mode"},
    {"cvm.networking.restrict", CONFIG_BOOL, "false", "no outgoing connections in user mode"},
    {"cvm.networking.bridge", CONFIG_STR, "", "bridge of bridge mode"},
    {"cvm.networking.mac_prefix", CONFIG_STR, "", "first 0 to 3 bytes of MAC addresses"},
    {"cvm.port_mapping.enabled", CONFIG_BOOL, "true", "whether VMs may have host ports"},
    {"cvm.port_mapping.address", CONFIG_STR, "127.0.0.1", "host address where a VM names none"},
    {"cvm.port_mapping.range", CONFIG_TREE,
     "[{\"protocol\":\"tcp\",\"from\":1024,\"to\":65535},"
     "{\"protocol\":\"udp\",\"from\":1024,\"to\":65535}]",
     "allowed host ports: list of {protocol, from, to}"},
    {"cvm.auto_restart.enabled", CONFIG_BOOL, "true", "start VMs again that ended by themselves"},
    {"cvm.auto_restart.interval", CONFIG_INT, "20", "seconds between looks"},
    {"cvm.auto_restart.max_retries", CONFIG_INT, "5", "attempts before giving up"},
    {"cvm.auto_restart.initial_backoff", CONFIG_INT, "5", "seconds before the first attempt"},
    {"cvm.auto_restart.max_backoff", CONFIG_INT, "300", "most seconds between attempts"},
    {"cvm.auto_restart.reset_window", CONFIG_INT, "300",
     "seconds after which a VM counts as healthy"},
    {"cvm.log.max_bytes", CONFIG_SIZE, "4M", "size at which a serial log is rotated; 0: never"},
    {"cvm.log.max_backups", CONFIG_INT, "3", "rotated logs kept"},
    {"cvm.start_timeout", CONFIG_DURATION, "120s", "longest wait for QEMU to come up"},
    {"qemu.accel", CONFIG_STR, "auto", "auto, kvm or tcg"},
    {"gateway.base_domain", CONFIG_STR, "localhost", "domain of app addresses"},
    {"gateway.port", CONFIG_INT, "8082", "port of app addresses"},
    {"gateway.agent_port", CONFIG_INT, "8090", "port of the guest agent in app addresses"},
    {"auth.enabled", CONFIG_BOOL, "false", "demand a token from every caller"},
    {"auth.tokens", CONFIG_LIST, "", "accepted tokens"},
    CONFIG_HTTP_LIMITS("limits"),
};
const size_t vmm_config_key_count = sizeof vmm_config_keys / sizeof vmm_config_keys[0];

static json_t *list_of(const service_config *config, const char *key) {
    const char *const *items = NULL;
    size_t count = config_list(config, key, &items);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(list, json_string(items[i]));
    }
    return list;
}

static int check_urls(const service_config *config, const char *key, dstack_error *err) {
    const char *const *items = NULL;
    size_t count = config_list(config, key, &items);
    for (size_t i = 0; i < count; i++) {
        if (strncmp(items[i], "https://", 8) != 0 && strncmp(items[i], "http://", 7) != 0) {
            return error_set(err, DSTACK_E_ARGUMENT, "%s: \"%s\" is no http or https URL", key,
                             items[i]);
        }
    }
    return 0;
}

static int fill_ranges(const service_config *config, struct vmm_settings *out, dstack_error *err) {
    const json_t *list = config_tree(config, "cvm.port_mapping.range");
    size_t i;
    json_t *item;
    if (json_array_size(list) > VMM_MAX_RANGES) {
        return error_set(err, DSTACK_E_LIMIT, "cvm.port_mapping.range: more than %d",
                         VMM_MAX_RANGES);
    }
    json_array_foreach(list, i, item) {
        const char *protocol;
        int64_t from, to;
        int rc = json_need_str(item, "protocol", &protocol, err);
        rc = rc != 0 ? rc : json_need_int(item, "from", &from, err);
        rc = rc != 0 ? rc : json_need_int(item, "to", &to, err);
        if (rc != 0) {
            return error_prefix(err, rc, "cvm.port_mapping.range");
        }
        if (from < 1 || to > UINT16_MAX || from > to ||
            (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0)) {
            return error_set(err, DSTACK_E_ARGUMENT,
                             "cvm.port_mapping.range: protocol tcp or udp and 1 <= from <= to <= "
                             "65535 are needed");
        }
        out->ranges[out->range_count++] =
            (struct vmm_port_range){protocol[0] == 'u', (uint16_t)from, (uint16_t)to};
    }
    return 0;
}

struct bound {
    const char *key;
    int64_t min, max;
    uint32_t *out;
};

static int fill_numbers(const service_config *config, struct vmm_settings *s, dstack_error *err) {
    uint32_t gateway_port = 0, agent_port = 0;
    const struct bound rows[] = {
        {"cvm.max_allocable_vcpu", 1, 1024, &s->max_vcpu},
        {"cvm.max_allocable_memory_in_mb", 128, 16 << 20, &s->max_memory_mib},
        {"cvm.max_disk_size", 1, 1 << 20, &s->max_disk_gib},
        {"cvm.qgs_port", 0, UINT32_MAX, &s->quote_port},
        {"cvm.vsock_cid", 0, UINT32_MAX - 1, &s->vsock_cid},
        {"cvm.auto_restart.interval", 1, 86400, &s->restart_interval_s},
        {"cvm.auto_restart.max_retries", 0, 1000000, &s->restart_max_retries},
        {"cvm.auto_restart.initial_backoff", 1, 86400, &s->restart_initial_s},
        {"cvm.auto_restart.max_backoff", 1, 86400, &s->restart_max_s},
        {"cvm.auto_restart.reset_window", 0, 86400, &s->restart_reset_s},
        {"cvm.log.max_backups", 0, 100, &s->log_max_backups},
        {"gateway.port", 1, UINT16_MAX, &gateway_port},
        {"gateway.agent_port", 1, UINT16_MAX, &agent_port},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int64_t value = config_int(config, rows[i].key);
        if (value < rows[i].min || value > rows[i].max) {
            return error_set(err, DSTACK_E_ARGUMENT, "%s: %lld is not between %lld and %lld",
                             rows[i].key, (long long)value, (long long)rows[i].min,
                             (long long)rows[i].max);
        }
        *rows[i].out = (uint32_t)value;
    }
    s->gateway_port = (uint16_t)gateway_port;
    s->gateway_agent_port = (uint16_t)agent_port;
    if (s->restart_initial_s > s->restart_max_s) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "cvm.auto_restart.initial_backoff is above max_backoff");
    }
    return 0;
}

static int choose(const char *key, const char *value, const char *const *names, int *out,
                  dstack_error *err) {
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], value) == 0) {
            *out = i;
            return 0;
        }
    }
    return error_set(err, DSTACK_E_ARGUMENT, "%s: unknown value \"%s\"", key, value);
}

static int fill_choices(const service_config *config, struct vmm_settings *s, dstack_error *err) {
    static const char *const modes[] = {"9p", "vvfat", "vhd", NULL};
    static const enum qemu_share shares[] = {QEMU_SHARE_9P, QEMU_SHARE_VVFAT, QEMU_SHARE_DISK};
    static const char *const networks[] = {"user", "bridge", NULL};
    static const char *const variants[] = {"auto", "legacy", "lite", NULL};
    static const char *const accels[] = {"auto", "kvm", "tcg", NULL};
    int mode = 0, network = 0, variant = 0, accel = 0;
    char mac[18];
    int rc =
        choose("cvm.host_share_mode", config_str(config, "cvm.host_share_mode"), modes, &mode, err);
    rc = rc != 0 ? rc : choose("cvm.networking.mode", s->default_network, networks, &network, err);
    rc = rc != 0 ? rc
                 : choose("cvm.tdx_attestation_variant", s->tdx_variant, variants, &variant, err);
    rc = rc != 0 ? rc : choose("qemu.accel", config_str(config, "qemu.accel"), accels, &accel, err);
    rc = rc != 0 ? rc : qemu_mac("x", 0, s->mac_prefix, mac, err);
    if (rc == 0 && network == 1 && s->bridge[0] == 0) {
        rc = error_set(err, DSTACK_E_ARGUMENT, "cvm.networking.bridge is needed in bridge mode");
    }
    s->share = shares[mode];
    s->accel = accel == 0 ? NULL : (accel == 1 ? "kvm" : TCG);
    return rc;
}

static int fill(const service_config *config, bool insecure_dev, struct vmm_settings *s,
                dstack_error *err) {
    const char *keys = config_str(config, "cvm.tee_simulator.keys");
    s->run_path = config_str(config, "run_path");
    s->image_path = config_str(config, "image.path");
    s->node_name = config_str(config, "node_name");
    s->kms_url = config_str(config, "kms_url");
    s->kms_urls = list_of(config, "cvm.kms_urls");
    s->gateway_urls = list_of(config, "cvm.gateway_urls");
    s->pccs_url = config_str(config, "cvm.pccs_url");
    s->docker_registry = config_str(config, "cvm.docker_registry");
    s->sys_vendor = config_str(config, "cvm.product.sys_vendor");
    s->product_name = config_str(config, "cvm.product.product_name");
    s->net = config_str(config, "cvm.networking.net");
    s->dhcp_start = config_str(config, "cvm.networking.dhcp_start");
    s->bridge = config_str(config, "cvm.networking.bridge");
    s->mac_prefix = config_str(config, "cvm.networking.mac_prefix");
    s->net_restrict = config_bool(config, "cvm.networking.restrict");
    s->default_network = config_str(config, "cvm.networking.mode");
    s->ports_enabled = config_bool(config, "cvm.port_mapping.enabled");
    s->port_address = config_str(config, "cvm.port_mapping.address");
    s->use_mrconfigid = config_bool(config, "cvm.use_mrconfigid");
    s->tdx_variant = config_str(config, "cvm.tdx_attestation_variant");
    s->log_max_bytes = config_size(config, "cvm.log.max_bytes");
    s->restart_enabled = config_bool(config, "cvm.auto_restart.enabled");
    s->gateway_base_domain = config_str(config, "gateway.base_domain");
    s->start_timeout_s = (uint32_t)(config_duration_ms(config, "cvm.start_timeout") / 1000);
    s->insecure_dev = insecure_dev;
    if (keys[0] != 0 && !insecure_dev) {
        return error_set(err, DSTACK_E_INSECURE,
                         "cvm.tee_simulator.keys: a simulated TEE protects nothing; it needs "
                         "--insecure-dev");
    }
    s->simulator_keys = keys[0] != 0 ? keys : NULL;
    int rc = fill_numbers(config, s, err);
    rc = rc != 0 ? rc : fill_choices(config, s, err);
    rc = rc != 0 ? rc : fill_ranges(config, s, err);
    rc = rc != 0 ? rc : check_urls(config, "cvm.kms_urls", err);
    return rc != 0 ? rc : check_urls(config, "cvm.gateway_urls", err);
}

static bool is_loopback(const char *address) {
    return strncmp(address, "unix:", 5) == 0 || strncmp(address, "127.", 4) == 0 ||
           strncmp(address, "[::1]", 5) == 0;
}

int vmm_config_check(const service_config *config, bool insecure_dev, dstack_error *err) {
    struct vmm_settings settings = {0};
    int rc = fill(config, insecure_dev, &settings, err);
    vmm_settings_clear(&settings);
    if (rc == 0 && !config_bool(config, "auth.enabled") &&
        !is_loopback(config_str(config, "address"))) {
        rc = error_set(err, DSTACK_E_INSECURE,
                       "address: without auth.enabled only a unix socket or loopback is allowed");
    }
    return rc;
}

/* Length of a text that begins like "8.1", up to its end as a word; 0 when it does not. */
static size_t version_length(const char *text) {
    size_t digits = strspn(text, "0123456789");
    return digits > 0 && text[digits] == '.' ? strcspn(text, " +\r\n(") : 0;
}

void qemu_version_parse(const char *line, char out[32]) {
    const char *word = strstr(line, "version ");
    out[0] = 0;
    word = word != NULL && version_length(word + 8) > 0 ? word + 8 : line;
    while (word[0] != 0 && word[0] != '\n' && version_length(word) == 0) {
        word += strcspn(word, " \n");
        word += word[0] == ' ';
    }
    size_t len = version_length(word);
    if (len > 0 && len < 32) {
        memcpy(out, word, len);
        out[len] = 0;
    }
}

int vmm_settings_fill(const service_config *config, bool insecure_dev, const char *self,
                      struct vmm_settings *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    const char *program = config_str(config, "cvm.qemu_path");
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = fill(config, insecure_dev, out, err);
    out->self = self;
    if (rc == 0 &&
        child_find(program[0] != 0 ? program : QEMU_PROGRAM, out->qemu, sizeof out->qemu) != 0) {
        rc = error_set(err, DSTACK_E_NOT_FOUND, "Failed to find qemu executable");
    }
    if (rc == 0) {
        const char *argv[] = {out->qemu, "--version", NULL};
        rc = child_run(argv, 10000, &text, err);
    }
    if (rc == 0) {
        qemu_version_parse(buf_text(&text), out->qemu_version);
        if (out->accel == NULL) {
            out->accel = kvm_works(out->qemu) ? "kvm" : TCG;
        }
    }
    return rc;
}

void vmm_settings_clear(struct vmm_settings *settings) {
    json_decref(settings->kms_urls);
    json_decref(settings->gateway_urls);
    settings->kms_urls = settings->gateway_urls = NULL;
}
