#include "vm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"

#define FILE_LIMIT (1U << 20)

char *vm_path(const char *dir, const char *name) {
    char *path = NULL;
    return asprintf(&path, "%s/%s", dir, name) < 0 ? NULL : path;
}

static int read_json(const char *dir, const char *name, json_t **out, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, name);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = file_read(path, FILE_LIMIT, &text, err);
    if (rc == 0) {
        dstack_error local = {0};
        *out = json_parse(bytes_of_buf(&text), FILE_LIMIT, path, &local);
        rc = *out != NULL ? 0 : error_set(err, local.status, "%s", local.message);
    }
    return rc;
}

static int write_json(const char *dir, const char *name, const json_t *value, dstack_error *err) {
    DSTACK_AUTO(str) char *path = vm_path(dir, name);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (path == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    int rc = json_write(value, true, &text, err);
    return rc != 0 ? rc : file_write_atomic(path, bytes_of_buf(&text), 0600, err);
}

void vm_manifest_clear(struct vm_manifest *manifest) {
    json_decref(manifest->kms_urls);
    json_decref(manifest->gateway_urls);
    memset(manifest, 0, sizeof *manifest);
}

json_t *vm_manifest_to_json(const struct vm_manifest *m) {
    json_t *ports = json_array();
    for (size_t i = 0; i < m->port_count; i++) {
        const struct vm_port *p = &m->ports[i];
        json_array_append_new(ports, json_pack("{s:s, s:s, s:i, s:i}", "address", p->address,
                                               "protocol", vm_port_protocol(p), "from",
                                               (int)p->host_port, "to", (int)p->vm_port));
    }
    json_t *out =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:o, s:I, s:b, s:b, s:O, s:O, s:b}", "id",
                  m->id, "name", m->name, "app_id", m->app_id, "vcpu", (json_int_t)m->vcpu,
                  "memory", (json_int_t)m->memory_mib, "disk_size", (json_int_t)m->disk_gib,
                  "image", m->image, "port_map", ports, "created_at_ms",
                  (json_int_t)m->created_at_ms, "hugepages", 0, "pin_numa", 0, "kms_urls",
                  m->kms_urls, "gateway_urls", m->gateway_urls, "no_tee", m->no_tee);
    if (m->simulated_tee[0] != 0) {
        json_object_set_new(out, "simulated_tee", json_string(m->simulated_tee));
    }
    json_object_set_new(out, "swtpm", json_false());
    json_t *networks = json_array();
    for (size_t i = 0; i < m->network_count; i++) {
        json_array_append_new(networks, json_pack("{s:s, s:s}", "mode", m->networks[i].mode,
                                                  "bridge", m->networks[i].bridge));
    }
    if (m->network_count > 0) {
        json_object_set_new(out, "networks", networks);
    } else {
        json_decref(networks);
    }
    json_object_set_new(out, "volumes", json_array());
    return out;
}

static int copy_text(const json_t *json, const char *key, bool required, char *out, size_t size,
                     dstack_error *err) {
    const char *text = "";
    int rc =
        required ? json_need_str(json, key, &text, err) : json_str_or(json, key, "", &text, err);
    if (rc == 0 && strlen(text) >= size) {
        rc = error_set(err, DSTACK_E_LIMIT, "%s: more than %zu characters", key, size - 1);
    }
    if (rc == 0) {
        memcpy(out, text, strlen(text) + 1);
    }
    return rc;
}

static int copy_u32(const json_t *json, const char *key, uint32_t *out, dstack_error *err) {
    int64_t value = 0;
    int rc = json_need_int(json, key, &value, err);
    if (rc == 0 && (value < 0 || value > UINT32_MAX)) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s: out of range", key);
    }
    *out = (uint32_t)value;
    return rc;
}

static int copy_urls(const json_t *json, const char *key, json_t **out, dstack_error *err) {
    json_t *list = json_object_get(json, key);
    *out = json_is_array(list) ? json_incref(list) : json_array();
    size_t i;
    json_t *item;
    if (json_array_size(*out) > VM_MAX_URLS) {
        return error_set(err, DSTACK_E_LIMIT, "%s: more than %d", key, VM_MAX_URLS);
    }
    json_array_foreach(*out, i, item) {
        if (!json_is_string(item)) {
            return error_set(err, DSTACK_E_FORMAT, "%s: expected strings", key);
        }
    }
    return 0;
}

static int read_ports(const json_t *json, struct vm_manifest *out, dstack_error *err) {
    const json_t *list = json_object_get(json, "port_map");
    size_t i;
    json_t *item;
    if (json_array_size(list) > VM_MAX_PORTS) {
        return error_set(err, DSTACK_E_LIMIT, "port_map: more than %d", VM_MAX_PORTS);
    }
    json_array_foreach(list, i, item) {
        const char *protocol, *address;
        uint32_t from, to;
        int rc = json_need_str(item, "protocol", &protocol, err);
        rc = rc != 0 ? rc : json_need_str(item, "address", &address, err);
        rc = rc != 0 ? rc : copy_u32(item, "from", &from, err);
        rc = rc != 0 ? rc : copy_u32(item, "to", &to, err);
        rc = rc != 0 ? rc
                     : vm_port_make(protocol, address, "127.0.0.1", from, to, &out->ports[i], err);
        if (rc != 0) {
            return rc;
        }
        out->port_count++;
    }
    return 0;
}

static int read_networks(const json_t *json, struct vm_manifest *out, dstack_error *err) {
    const json_t *list = json_object_get(json, "networks");
    size_t i;
    json_t *item;
    if (json_array_size(list) > VM_MAX_NETWORKS) {
        return error_set(err, DSTACK_E_LIMIT, "networks: more than %d", VM_MAX_NETWORKS);
    }
    json_array_foreach(list, i, item) {
        struct vm_network *n = &out->networks[i];
        int rc = copy_text(item, "mode", true, n->mode, sizeof n->mode, err);
        rc = rc != 0 ? rc : copy_text(item, "bridge", false, n->bridge, sizeof n->bridge, err);
        if (rc != 0) {
            return rc;
        }
        out->network_count++;
    }
    return 0;
}

int vm_manifest_from_json(const json_t *json, struct vm_manifest *out, dstack_error *err) {
    memset(out, 0, sizeof *out);
    int rc = copy_text(json, "id", true, out->id, sizeof out->id, err);
    rc = rc != 0 ? rc : vm_id_check(out->id, err);
    rc = rc != 0 ? rc : copy_text(json, "name", true, out->name, sizeof out->name, err);
    rc = rc != 0 ? rc : vm_name_check(out->name, err);
    rc = rc != 0 ? rc : copy_text(json, "app_id", true, out->app_id, sizeof out->app_id, err);
    rc = rc != 0 ? rc : copy_u32(json, "vcpu", &out->vcpu, err);
    rc = rc != 0 ? rc : copy_u32(json, "memory", &out->memory_mib, err);
    rc = rc != 0 ? rc : copy_u32(json, "disk_size", &out->disk_gib, err);
    rc = rc != 0 ? rc : copy_text(json, "image", true, out->image, sizeof out->image, err);
    rc = rc != 0 ? rc : image_name_check(out->image, err);
    rc = rc != 0 ? rc : json_int_or(json, "created_at_ms", 0, &out->created_at_ms, err);
    rc = rc != 0 ? rc : json_bool_or(json, "no_tee", false, &out->no_tee, err);
    rc = rc != 0 ? rc
                 : copy_text(json, "simulated_tee", false, out->simulated_tee,
                             sizeof out->simulated_tee, err);
    rc = rc != 0 ? rc : read_ports(json, out, err);
    rc = rc != 0 ? rc : read_networks(json, out, err);
    rc = rc != 0 ? rc : copy_urls(json, "kms_urls", &out->kms_urls, err);
    rc = rc != 0 ? rc : copy_urls(json, "gateway_urls", &out->gateway_urls, err);
    if (rc != 0) {
        vm_manifest_clear(out);
    }
    return rc;
}

int vm_manifest_read(const char *dir, struct vm_manifest *out, dstack_error *err) {
    DSTACK_AUTO(json) json_t *json = NULL;
    int rc = read_json(dir, VM_MANIFEST_FILE, &json, err);
    rc = rc != 0 ? rc : vm_manifest_from_json(json, out, err);
    return rc != 0 ? error_prefix(err, rc, "Failed to read manifest") : 0;
}

int vm_manifest_write(const char *dir, const struct vm_manifest *manifest, dstack_error *err) {
    DSTACK_AUTO(json) json_t *json = vm_manifest_to_json(manifest);
    return write_json(dir, VM_MANIFEST_FILE, json, err);
}

int vm_started_read(const char *dir, bool *started, dstack_error *err) {
    DSTACK_AUTO(json) json_t *json = NULL;
    *started = false;
    int rc = read_json(dir, VM_STATE_FILE, &json, err);
    if (rc == DSTACK_E_NOT_FOUND) {
        return 0;
    }
    return rc != 0 ? rc : json_bool_or(json, "started", false, started, err);
}

int vm_started_write(const char *dir, bool started, dstack_error *err) {
    DSTACK_AUTO(json) json_t *json = json_pack("{s:b}", "started", started);
    return write_json(dir, VM_STATE_FILE, json, err);
}

const char *vm_status_text(bool started, bool running) {
    return running ? (started ? "running" : "stopping") : (started ? "exited" : "stopped");
}
