#include "serve/pages.h"

#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "serve/engine.h"
#include "serve/guest_api.h"

/* ---- metrics ------------------------------------------------------------------------------------ */

static void label(dstack_buf *out, const char *name, const char *value) {
    buf_put_fmt(out, "%s=\"", name);
    for (; *value != '\0'; value++) {
        if (*value == '\\' || *value == '"') {
            buf_put_u8(out, '\\');
        }
        if (*value == '\n') {
            buf_put_str(out, "\\n");
        } else {
            buf_put_u8(out, (uint8_t)*value);
        }
    }
    buf_put_u8(out, '"');
}

static void head(dstack_buf *out, const char *name, const char *help) {
    buf_put_fmt(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

static void fact(dstack_buf *out, const char *name, const char *help, const char *key,
                 const char *value) {
    head(out, name, help);
    buf_put_fmt(out, "%s{", name);
    label(out, key, value);
    buf_put_str(out, "} 1\n\n");
}

static void number(dstack_buf *out, const char *name, const char *help, uint64_t value) {
    head(out, name, help);
    buf_put_fmt(out, "%s %llu\n\n", name, (unsigned long long)value);
}

typedef uint64_t disk_value(const system_disk *disk);

static uint64_t disk_total(const system_disk *d) {
    return d->total;
}
static uint64_t disk_free(const system_disk *d) {
    return d->free;
}
static uint64_t disk_used(const system_disk *d) {
    return d->total - d->free;
}

static void disk_labels(dstack_buf *out, const char *name, const system_disk *disk) {
    buf_put_fmt(out, "%s{", name);
    label(out, "name", disk->name);
    buf_put_str(out, ", ");
    label(out, "mount_point", disk->mount_point);
    buf_put_str(out, "} ");
}

static void disks(dstack_buf *out, const char *name, const char *help, const system_info *info,
                  disk_value *value) {
    head(out, name, help);
    for (size_t i = 0; i < info->disk_count; i++) {
        disk_labels(out, name, &info->disks[i]);
        buf_put_fmt(out, "%llu\n", (unsigned long long)value(&info->disks[i]));
    }
    buf_put_u8(out, '\n');
}

void metrics_text(const system_info *info, dstack_buf *out) {
    fact(out, "system_os_name", "Operating system name", "os_name", info->os_name);
    fact(out, "system_os_version", "Operating system version", "os_version", info->os_version);
    fact(out, "system_kernel_version", "Kernel version", "kernel_version", info->kernel);
    fact(out, "system_cpu_model", "CPU model information", "cpu_model", info->cpu_model);
    number(out, "system_num_cpus", "Number of logical CPUs", info->cpus);
    number(out, "system_memory_total", "Total memory in bytes", info->memory_total);
    number(out, "system_memory_available", "Available memory in bytes", info->memory_available);
    number(out, "system_memory_used", "Used memory in bytes",
           info->memory_total - info->memory_available);
    number(out, "system_memory_free", "Free memory in bytes", info->memory_free);
    number(out, "system_swap_total", "Total swap memory in bytes", info->swap_total);
    number(out, "system_swap_used", "Used swap memory in bytes",
           info->swap_total - info->swap_free);
    number(out, "system_swap_free", "Free swap memory in bytes", info->swap_free);
    number(out, "system_uptime", "System uptime in seconds", info->uptime_s);
    number(out, "system_load_average_1m", "System load average (1 minute) times 100",
           info->load[0]);
    number(out, "system_load_average_5m", "System load average (5 minutes) times 100",
           info->load[1]);
    number(out, "system_load_average_15m", "System load average (15 minutes) times 100",
           info->load[2]);
    disks(out, "disk_total_size", "Disk total size in bytes", info, disk_total);
    disks(out, "disk_free_size", "Disk free size in bytes", info, disk_free);
    disks(out, "disk_used_size", "Disk used size in bytes", info, disk_used);
    head(out, "disk_usage_percentage", "Disk usage percentage");
    for (size_t i = 0; i < info->disk_count; i++) {
        const system_disk *d = &info->disks[i];
        disk_labels(out, "disk_usage_percentage", d);
        buf_put_fmt(out, "%.2f\n",
                    d->total == 0 ? 0.0 : 100.0 * (double)disk_used(d) / (double)d->total);
    }
}

void page_metrics(http_request *request, http_response *response, void *user) {
    const agent *a = user;
    if (!a->app->public_sysinfo) {
        return;
    }
    system_info info;
    system_info_read(&info, agent_mount_points, agent_mount_point_count);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    metrics_text(&info, &text);
    http_response_bytes(response, 200, "text/plain; charset=utf-8", bytes_of_buf(&text));
}

/* ---- dashboard ---------------------------------------------------------------------------------- */

void html_text(dstack_buf *out, const char *text) {
    for (; *text != '\0'; text++) {
        if (strchr("&<>\"'", *text) != NULL) {
            buf_put_fmt(out, "&#%d;", *text);
        } else {
            buf_put_u8(out, (uint8_t)*text);
        }
    }
}

static void row(dstack_buf *out, const char *name, const char *value) {
    buf_put_fmt(out, "<tr><th>%s</th><td>", name);
    html_text(out, value);
    buf_put_str(out, "</td></tr>\n");
}

static void row_hex(dstack_buf *out, const char *name, const dstack_value *value) {
    buf_put_fmt(out, "<tr><th>%s</th><td><code>", name);
    buf_put_hex(out, bytes_of(value->data, value->len));
    buf_put_str(out, "</code></td></tr>\n");
}

static void containers(const agent *a, dstack_buf *out) {
    DSTACK_AUTO(json) json_t *list = NULL;
    buf_put_str(out, "<h2>Containers</h2><table>\n");
    if (engine_containers(ENGINE_SOCKET_PATH, &list, NULL) == 0) {
        size_t i;
        json_t *c;
        json_array_foreach(list, i, c) {
            const char *name = json_string_value(json_array_get(json_object_get(c, "Names"), 0));
            const char *status = json_string_value(json_object_get(c, "Status"));
            name = name == NULL ? "" : *name == '/' ? name + 1 : name;
            buf_put_str(out, "<tr><td>");
            html_text(out, name);
            buf_put_str(out, "</td><td>");
            html_text(out, status != NULL ? status : "");
            buf_put_str(out, "</td><td>");
            if (a->app->public_logs) {
                buf_put_str(out, "<a href=\"/logs/");
                html_text(out, name);
                buf_put_str(out, "?text&amp;bare&amp;timestamps&amp;tail=200\">log</a>");
            }
            buf_put_str(out, "</td></tr>\n");
        }
    }
    buf_put_str(out, "</table>\n");
}

static const char PAGE_HEAD[] =
    "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\">"
    "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>dstack "
    "guest</title>"
    "<style>body{font:16px system-ui;margin:2em auto;max-width:60em;padding:0 1em}"
    "th{text-align:left;padding-right:1em;vertical-align:top}code{word-break:break-all}"
    "th{white-space:nowrap}td{overflow-wrap:anywhere}"
    "textarea{width:100%;height:20em;box-sizing:border-box}</style></head><body>\n";

void page_dashboard(http_request *request, http_response *response, void *user) {
    agent *a = user;
    const agent_info *info;
    dstack_error err = {0};
    if (agent_info_get(a, &info, &err) != 0) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        buf_put_fmt(&text, "Failed to get worker info: %s", err.message);
        http_response_text(response, 200, buf_text(&text));
        return;
    }
    DSTACK_AUTO(buf) dstack_buf page = {0};
    buf_put_str(&page, PAGE_HEAD);
    buf_put_str(&page, "<h1>");
    html_text(&page, a->app->name);
    buf_put_str(&page, "</h1>\n<p>What this page says is the guest's own word. Evidence is at "
                       "<code>/.well-known/dstack/evidence</code>.</p><table>\n");
    row_hex(&page, "App ID", &info->identity.app_id);
    row_hex(&page, "Instance ID", &info->identity.instance_id);
    row_hex(&page, "Compose hash", &info->identity.compose_hash);
    row_hex(&page, "Device ID", &info->identity.device_id);
    row(&page, "Key provider", info->identity.key_provider_info);
    if (a->cloud_vendor[0] != '\0' || a->cloud_product[0] != '\0') {
        row(&page, "Machine vendor", a->cloud_vendor);
        row(&page, "Machine product", a->cloud_product);
    }
    buf_put_str(&page, "</table>\n");
    containers(a, &page);
    buf_put_str(&page, "<h2>TCB info</h2>\n");
    if (a->app->public_tcbinfo) {
        buf_put_str(&page, "<textarea readonly>");
        html_text(&page, info->tcb_info);
        buf_put_str(&page, "</textarea>");
    } else {
        buf_put_str(&page, "<p>The manifest keeps it private.</p>");
    }
    buf_put_str(&page, "</body></html>\n");
    http_response_bytes(response, 200, "text/html; charset=utf-8", bytes_of_buf(&page));
}
