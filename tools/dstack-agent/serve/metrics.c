/* GET /metrics in the Prometheus text format 0.0.4: the names that older collectors know, and beside
 * them ours, which follow its naming rules. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <dstack/version.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "serve/pages.h"
#include "service/metrics.h"

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

static void head(dstack_buf *out, const char *name, const char *type, const char *help) {
    buf_put_fmt(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* The shortest decimal that reads back as the same number, always with a point. */
static void number_float(dstack_buf *out, double value) {
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    buf_put_str(out, text);
    buf_put_str(out, strpbrk(text, ".e") != NULL ? "\n" : ".0\n");
}

static void fact(dstack_buf *out, const char *name, const char *help, const char *key,
                 const char *value) {
    head(out, name, "gauge", help);
    buf_put_fmt(out, "%s{", name);
    label(out, key, value);
    buf_put_str(out, "} 1\n\n");
}

static void number(dstack_buf *out, const char *name, const char *help, uint64_t value) {
    head(out, name, "gauge", help);
    buf_put_fmt(out, "%s %llu\n\n", name, (unsigned long long)value);
}

/* ---- disks ------------------------------------------------------------------------------------- */

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

static double disk_used_share(const system_disk *d) {
    return d->total == 0 ? 0 : (double)disk_used(d) / (double)d->total;
}

static void disk_labels(dstack_buf *out, const char *name, const char *device_key,
                        const system_disk *disk) {
    buf_put_fmt(out, "%s{", name);
    label(out, device_key, disk->name);
    buf_put_str(out, ", ");
    label(out, "mount_point", disk->mount_point);
    buf_put_str(out, "} ");
}

static void disks(dstack_buf *out, const char *name, const char *device_key, const char *help,
                  const system_info *info, disk_value *value) {
    head(out, name, "gauge", help);
    for (size_t i = 0; i < info->disk_count; i++) {
        disk_labels(out, name, device_key, &info->disks[i]);
        buf_put_fmt(out, "%llu\n", (unsigned long long)value(&info->disks[i]));
    }
    buf_put_u8(out, '\n');
}

static void disk_shares(dstack_buf *out, const char *name, const char *device_key, const char *help,
                        const system_info *info, double scale) {
    head(out, name, "gauge", help);
    for (size_t i = 0; i < info->disk_count; i++) {
        disk_labels(out, name, device_key, &info->disks[i]);
        number_float(out, scale * disk_used_share(&info->disks[i]));
    }
    buf_put_u8(out, '\n');
}

/* ---- the two families --------------------------------------------------------------------------- */

static void old_names(dstack_buf *out, const system_info *info) {
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
    disks(out, "disk_total_size", "name", "Disk total size in bytes", info, disk_total);
    disks(out, "disk_free_size", "name", "Disk free size in bytes", info, disk_free);
    disks(out, "disk_used_size", "name", "Disk used size in bytes", info, disk_used);
    disk_shares(out, "disk_usage_percentage", "name", "Disk usage percentage", info, 100);
}

static void info_series(dstack_buf *out, const system_info *info) {
    const struct {
        const char *key, *value;
    } labels[] = {{"version", DSTACK_VERSION},
                  {"os_name", info->os_name},
                  {"os_version", info->os_version},
                  {"kernel_version", info->kernel},
                  {"cpu_model", info->cpu_model}};
    head(out, "dstack_guest_info", "gauge", "What this guest is; always 1");
    buf_put_str(out, "dstack_guest_info{");
    for (size_t i = 0; i < sizeof labels / sizeof *labels; i++) {
        buf_put_str(out, i > 0 ? "," : "");
        label(out, labels[i].key, labels[i].value);
    }
    buf_put_str(out, "} 1\n\n");
}

static void cpu_series(dstack_buf *out, const system_info *info) {
    static const char *const modes[SYSTEM_CPU_MODES] = {"user",   "nice", "system",  "idle",
                                                        "iowait", "irq",  "softirq", "steal"};
    head(out, "dstack_guest_cpu_seconds_total", "counter", "Time of all CPUs together, by use");
    for (size_t i = 0; i < SYSTEM_CPU_MODES; i++) {
        buf_put_fmt(out, "dstack_guest_cpu_seconds_total{mode=\"%s\"} ", modes[i]);
        uint32_t per_s = info->ticks_per_s > 0 ? info->ticks_per_s : 1;
        number_float(out, (double)info->cpu_ticks[i] / per_s);
    }
    buf_put_u8(out, '\n');
}

static void load_series(dstack_buf *out, const system_info *info) {
    static const char *const names[] = {"dstack_guest_load1", "dstack_guest_load5",
                                        "dstack_guest_load15"};
    for (size_t i = 0; i < 3; i++) {
        head(out, names[i], "gauge", "Load average");
        buf_put_fmt(out, "%s ", names[i]);
        number_float(out, info->load[i] / 100.0);
        buf_put_u8(out, '\n');
    }
}

/* The states that the engine knows; what it may know besides counts as "other". */
static void container_series(dstack_buf *out, const live_state *state) {
    static const char *const states[] = {"created", "running",  "paused", "restarting",
                                         "exited",  "removing", "dead",   "other"};
    const size_t known = sizeof states / sizeof *states - 1;
    uint64_t counts[sizeof states / sizeof *states] = {0};
    for (size_t i = 0; i < state->container_count; i++) {
        size_t s = 0;
        while (s < known && strcmp(states[s], state->containers[i].state) != 0) {
            s++;
        }
        counts[s]++;
    }
    number(out, "dstack_guest_engine_up", "1 when the container engine answers",
           state->engine_error[0] == '\0');
    head(out, "dstack_guest_containers", "gauge", "Containers by state");
    for (size_t s = 0; s <= known; s++) {
        buf_put_fmt(out, "dstack_guest_containers{state=\"%s\"} %llu\n", states[s],
                    (unsigned long long)counts[s]);
    }
    buf_put_u8(out, '\n');
}

static void new_names(dstack_buf *out, const live_state *state) {
    const system_info *info = &state->system;
    info_series(out, info);
    number(out, "dstack_guest_cpus", "Logical CPUs", info->cpus);
    cpu_series(out, info);
    load_series(out, info);
    number(out, "dstack_guest_uptime_seconds", "Time since the kernel started", info->uptime_s);
    number(out, "dstack_guest_memory_size_bytes", "Memory", info->memory_total);
    number(out, "dstack_guest_memory_available_bytes", "Memory that programs can still get",
           info->memory_available);
    number(out, "dstack_guest_memory_free_bytes", "Memory that nothing uses", info->memory_free);
    number(out, "dstack_guest_swap_size_bytes", "Swap space", info->swap_total);
    number(out, "dstack_guest_swap_free_bytes", "Swap space that nothing uses", info->swap_free);
    disks(out, "dstack_guest_disk_size_bytes", "device", "Size of the file system", info,
          disk_total);
    disks(out, "dstack_guest_disk_free_bytes", "device", "Space that programs can still get", info,
          disk_free);
    disks(out, "dstack_guest_disk_used_bytes", "device", "Space in use", info, disk_used);
    disk_shares(out, "dstack_guest_disk_used_ratio", "device", "Share in use, 0 to 1", info, 1);
    container_series(out, state);
}

void metrics_text(const live_state *state, dstack_buf *out) {
    old_names(out, &state->system);
    new_names(out, state);
}

void page_metrics(http_request *request, http_response *response, void *user) {
    const agent *a = user;
    if (!a->app->public_sysinfo) {
        return;
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    metrics_text(live_take(a->live), &text);
    live_give(a->live);
    metrics_print(a->metrics, &text);
    http_response_bytes(response, 200, "text/plain; charset=utf-8", bytes_of_buf(&text));
}
