#include "serve/system_info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/file.h"

uint64_t system_meminfo_value(const char *text, const char *key) {
    size_t len = strlen(key);
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && line[len] == ':') {
            return strtoull(line + len + 1, NULL, 10) * 1024;
        }
    }
    return 0;
}

void system_cpu_model(const char *text, char *out, size_t size) {
    const char *line = strstr(text, "model name");
    const char *value = line != NULL ? line + 10 + strspn(line + 10, " \t") : "";
    value = *value == ':' ? value + 1 + strspn(value + 1, " \t") : "";
    snprintf(out, size, "%.*s", (int)strcspn(value, "\n"), value);
}

void system_cpu_ticks(const char *text, uint64_t out[SYSTEM_CPU_MODES]) {
    memset(out, 0, SYSTEM_CPU_MODES * sizeof *out);
    if (strncmp(text, "cpu ", 4) != 0) {
        return;
    }
    const char *at = text + 4;
    for (size_t i = 0; i < SYSTEM_CPU_MODES; i++) {
        at += strspn(at, " ");
        size_t digits = strspn(at, "0123456789");
        if (digits == 0) {
            return;
        }
        out[i] = strtoull(at, NULL, 10);
        at += digits;
    }
}

bool system_os_release_value(const char *text, const char *key, char *out, size_t size) {
    size_t key_len = strlen(key);
    for (const char *line = text; *line != '\0';) {
        size_t len = strcspn(line, "\n");
        if (len > key_len && strncmp(line, key, key_len) == 0 && line[key_len] == '=') {
            const char *value = line + key_len + 1;
            size_t value_len = len - key_len - 1;
            if (value_len >= 2 && (*value == '"' || *value == '\'') &&
                value[value_len - 1] == *value) {
                value++;
                value_len -= 2;
            }
            snprintf(out, size, "%.*s", (int)value_len, value);
            return true;
        }
        line += len + (line[len] == '\n');
    }
    return false;
}

bool system_mount_device(const char *mounts, const char *mount_point, char *out, size_t size) {
    char device[256], point[256];
    bool found = false;
    /* The last mount at a place is the one that is seen. */
    for (const char *line = mounts; *line != '\0';) {
        if (sscanf(line, "%255s %255s", device, point) == 2 && strcmp(point, mount_point) == 0) {
            snprintf(out, size, "%s", device);
            found = true;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
    return found;
}

/* "" when it cannot be read. */
static const char *text_read(const char *path, dstack_buf *buf) {
    return file_read(path, (size_t)1 << 20, buf, NULL) == 0 ? buf_text(buf) : "";
}

static void disks_read(system_info *out, const char *const *mount_points, size_t count) {
    DSTACK_AUTO(buf) dstack_buf buf = {0};
    const char *mounts = text_read("/proc/self/mounts", &buf);
    for (size_t i = 0; i < count && out->disk_count < SYSTEM_DISKS_MAX; i++) {
        system_disk *disk = &out->disks[out->disk_count];
        struct statvfs fs;
        if (system_mount_device(mounts, mount_points[i], disk->name, sizeof disk->name) &&
            statvfs(mount_points[i], &fs) == 0) {
            snprintf(disk->mount_point, sizeof disk->mount_point, "%s", mount_points[i]);
            disk->total = (uint64_t)fs.f_blocks * fs.f_frsize;
            disk->free = (uint64_t)fs.f_bavail * fs.f_frsize;
            disk->read_only = (fs.f_flag & ST_RDONLY) != 0;
            out->disk_count++;
        }
    }
}

void system_info_read(system_info *out, const char *const *mount_points, size_t count) {
    memset(out, 0, sizeof *out);
    DSTACK_AUTO(buf) dstack_buf release = {0};
    DSTACK_AUTO(buf) dstack_buf memory = {0};
    DSTACK_AUTO(buf) dstack_buf load = {0};
    DSTACK_AUTO(buf) dstack_buf up = {0};
    const char *text = text_read("/etc/os-release", &release);
    system_os_release_value(text, "NAME", out->os_name, sizeof out->os_name);
    if (!system_os_release_value(text, "IMAGE_VERSION", out->os_version, sizeof out->os_version)) {
        system_os_release_value(text, "VERSION_ID", out->os_version, sizeof out->os_version);
    }
    struct utsname kernel;
    if (uname(&kernel) == 0) {
        snprintf(out->kernel, sizeof out->kernel, "%.63s", kernel.release);
    }
    DSTACK_AUTO(buf) dstack_buf cpu = {0};
    system_cpu_model(text_read("/proc/cpuinfo", &cpu), out->cpu_model, sizeof out->cpu_model);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    out->cpus = cpus > 0 ? (uint32_t)cpus : 0;
    text = text_read("/proc/meminfo", &memory);
    out->memory_total = system_meminfo_value(text, "MemTotal");
    out->memory_available = system_meminfo_value(text, "MemAvailable");
    out->memory_free = system_meminfo_value(text, "MemFree");
    out->swap_total = system_meminfo_value(text, "SwapTotal");
    out->swap_free = system_meminfo_value(text, "SwapFree");
    double seconds = 0, loads[3] = {0};
    if (sscanf(text_read("/proc/uptime", &up), "%lf", &seconds) == 1) {
        out->uptime_s = (uint64_t)seconds;
    }
    sscanf(text_read("/proc/loadavg", &load), "%lf %lf %lf", &loads[0], &loads[1], &loads[2]);
    for (int i = 0; i < 3; i++) {
        out->load[i] = (uint32_t)(loads[i] * 100);
    }
    DSTACK_AUTO(buf) dstack_buf stat = {0};
    system_cpu_ticks(text_read("/proc/stat", &stat), out->cpu_ticks);
    long ticks = sysconf(_SC_CLK_TCK);
    out->ticks_per_s = ticks > 0 ? (uint32_t)ticks : 100;
    disks_read(out, mount_points, count);
}
