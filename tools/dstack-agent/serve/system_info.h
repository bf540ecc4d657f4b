/* The machine's vital signs, for the host and the public metrics. Parsers are pure. */
#ifndef AGENT_SERVE_SYSTEM_INFO_H
#define AGENT_SERVE_SYSTEM_INFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SYSTEM_DISKS_MAX 8

/* What a CPU's time goes to, in the order of /proc/stat. */
enum {
    SYSTEM_CPU_USER,
    SYSTEM_CPU_NICE,
    SYSTEM_CPU_SYSTEM,
    SYSTEM_CPU_IDLE,
    SYSTEM_CPU_IOWAIT,
    SYSTEM_CPU_IRQ,
    SYSTEM_CPU_SOFTIRQ,
    SYSTEM_CPU_STEAL,
    SYSTEM_CPU_MODES
};

typedef struct system_disk {
    char name[128];
    char mount_point[128];
    uint64_t total, free;
    bool read_only;
} system_disk;

typedef struct system_info {
    char os_name[64], os_version[64], kernel[64], cpu_model[96];
    uint32_t cpus;
    uint64_t memory_total, memory_available, memory_free; /* bytes */
    uint64_t swap_total, swap_free;
    uint64_t uptime_s;
    uint32_t load[3];                     /* load average times 100 */
    uint64_t cpu_ticks[SYSTEM_CPU_MODES]; /* of all CPUs together, since the start */
    uint32_t ticks_per_s;
    system_disk disks[SYSTEM_DISKS_MAX];
    size_t disk_count;
} system_info;

/* Reads all of it; what cannot be read stays zero. `mount_points` are those shown as disks. */
void system_info_read(system_info *out, const char *const *mount_points, size_t count);

/* A line "Key:   N kB" of /proc/meminfo in bytes; 0 when absent. */
uint64_t system_meminfo_value(const char *text, const char *key);
/* The first "model name : <text>" of /proc/cpuinfo; "" when absent. */
void system_cpu_model(const char *text, char *out, size_t size);
/* The line "cpu" of /proc/stat; what it does not have stays zero. */
void system_cpu_ticks(const char *text, uint64_t out[SYSTEM_CPU_MODES]);
/* KEY=value of os-release, quotes removed. */
bool system_os_release_value(const char *text, const char *key, char *out, size_t size);
/* The device mounted at a mount point by /proc/mounts. */
bool system_mount_device(const char *mounts, const char *mount_point, char *out, size_t size);

#endif
