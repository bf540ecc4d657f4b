/* dstack doctor: what this machine can do, and what to do about the rest. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "cli.h"
#include "service/run.h"

enum verdict { VERDICT_OK, VERDICT_LIMITED, VERDICT_MISSING };

struct finding {
    const char *name;
    enum verdict verdict;
    char found[160];
    const char *advice; /* NULL: none */
};

static void find_program(struct finding *f, const char *program, const char *argument,
                         const char *package) {
    const char *argv[] = {program, argument, NULL};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    int rc = run_program(argv, true, &out, 10000, NULL);
    const char *text = buf_text(&out);
    f->verdict = rc == DSTACK_E_NOT_FOUND ? VERDICT_MISSING : VERDICT_OK;
    snprintf(f->found, sizeof f->found, "%.*s", (int)(text != NULL ? strcspn(text, "\n") : 0),
             text != NULL ? text : "");
    if (f->verdict == VERDICT_MISSING) {
        snprintf(f->found, sizeof f->found, "%s is not installed", program);
        f->advice = package;
    }
}

static void look_at_qemu(struct finding *f) {
    unsigned major = 0;
    f->name = "QEMU";
    find_program(f, "qemu-system-x86_64", "--version",
                 "install qemu-system-x86 (10 or newer; bookworm-backports on Debian 12)");
    const char *version = strstr(f->found, "version ");
    if (f->verdict == VERDICT_OK &&
        (version == NULL || sscanf(version + 8, "%u", &major) != 1 || major < 8)) {
        f->verdict = VERDICT_LIMITED;
        f->advice = "QEMU 8 or newer can be measured; without KVM, 10 is needed";
    }
}

static void look_at_kvm(struct finding *f) {
    bool usable = access("/dev/kvm", R_OK | W_OK) == 0;
    f->name = "KVM";
    f->verdict = usable ? VERDICT_OK : VERDICT_LIMITED;
    snprintf(f->found, sizeof f->found, "%s",
             usable                          ? "/dev/kvm can be opened"
             : access("/dev/kvm", F_OK) == 0 ? "/dev/kvm exists, but not for this user"
                                             : "no /dev/kvm");
    f->advice = usable ? NULL : "VMs run under software emulation: slow, but the same";
}

static bool cpu_flag(const char *flag) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (file_read("/proc/cpuinfo", (size_t)8 << 20, &text, NULL) != 0 || buf_text(&text) == NULL) {
        return false;
    }
    const char *line = strstr((const char *)text.data, "\nflags");
    size_t len = line != NULL ? strcspn(line + 1, "\n") + 1 : 0;
    const char *hit = len > 0 ? memmem(line, len, flag, strlen(flag)) : NULL;
    return hit != NULL;
}

static void look_at_tee(struct finding *f) {
    bool host_tdx = cpu_flag(" tdx_host_platform"), host_snp = cpu_flag(" sev_snp");
    bool guest = access("/dev/tdx_guest", F_OK) == 0 || access("/dev/sev-guest", F_OK) == 0;
    f->name = "TEE";
    f->verdict = host_tdx || host_snp || guest ? VERDICT_OK : VERDICT_LIMITED;
    snprintf(f->found, sizeof f->found, "%s",
             guest      ? "this is a confidential VM"
             : host_tdx ? "TDX host"
             : host_snp ? "SEV-SNP host"
                        : "no TDX, no SEV-SNP");
    f->advice =
        f->verdict == VERDICT_OK ? NULL : "only simulated TEEs (--insecure-dev) can run here";
}

static void look_at_device(struct finding *f, const char *name, const char *path,
                           const char *advice) {
    f->name = name;
    f->verdict = access(path, F_OK) == 0 ? VERDICT_OK : VERDICT_LIMITED;
    snprintf(f->found, sizeof f->found, "%s%s", f->verdict == VERDICT_OK ? "" : "no ", path);
    f->advice = f->verdict == VERDICT_OK ? NULL : advice;
}

static void look_at_memory(struct finding *f) {
    uint64_t pages = (uint64_t)sysconf(_SC_AVPHYS_PAGES), size = (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t mib = (pages * size) >> 20;
    f->name = "free memory";
    f->verdict = mib >= 2048 ? VERDICT_OK : VERDICT_LIMITED;
    snprintf(f->found, sizeof f->found, "%llu MiB, %ld CPUs", (unsigned long long)mib,
             sysconf(_SC_NPROCESSORS_ONLN));
    f->advice = mib >= 2048 ? NULL : "a guest with Docker wants 2 GiB";
}

static void look_at_kernel(struct finding *f) {
    struct utsname name;
    f->name = "kernel";
    f->verdict = uname(&name) == 0 ? VERDICT_OK : VERDICT_LIMITED;
    snprintf(f->found, sizeof f->found, "%.40s %.100s", name.sysname, name.release);
}

#define FINDINGS 10

static size_t examine(struct finding *all) {
    size_t n = 0;
    look_at_kernel(&all[n++]);
    look_at_memory(&all[n++]);
    look_at_tee(&all[n++]);
    look_at_kvm(&all[n++]);
    look_at_qemu(&all[n++]);
    all[n].name = "mtools";
    find_program(&all[n++], "mcopy", "--version", "install mtools");
    all[n].name = "dosfstools";
    find_program(&all[n++], "mkfs.vfat", "--help", "install dosfstools");
    look_at_device(&all[n++], "TUN", "/dev/net/tun", "a gateway on this host needs /dev/net/tun");
    look_at_device(&all[n++], "vsock", "/dev/vhost-vsock",
                   "TDX guests reach their host by vsock; simulated ones do not need it");
    look_at_device(&all[n++], "firmware", "/usr/share/ovmf/OVMF.fd",
                   "install ovmf to build guest images");
    return n;
}

static int run_doctor(struct cli *cli, int argc, char **argv, dstack_error *err) {
    static const char *const names[] = {"ok", "limited", "missing"};
    static const enum cli_mark marks[] = {CLI_MARK_OK, CLI_MARK_WARN, CLI_MARK_BAD};
    struct finding all[FINDINGS] = {0};
    size_t count = examine(all);
    bool missing = false;
    DSTACK_AUTO(json) json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const struct finding *f = &all[i];
        missing = missing || f->verdict == VERDICT_MISSING;
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:s, s:s?}", "name", f->name, "status",
                                        names[f->verdict], "found", f->found, "advice", f->advice));
        if (!cli->json) {
            char title[256];
            snprintf(title, sizeof title, "%-12s %s", f->name, f->found);
            const struct cli_node node = {0, marks[f->verdict], title, f->advice};
            cli_print_tree(cli, &node, 1);
        }
    }
    if (!missing) {
        return cli->json ? cli_print_json(cli, list, err) : 0;
    }
    cli_detail(cli, "findings", json_incref(list));
    return error_set(err, DSTACK_E_NOT_FOUND, "something that dstack needs is missing");
}

const struct cli_command cli_command_doctor = {.name = "doctor",
                                               .summary =
                                                   "Tell what this machine can do, and what to fix",
                                               .usage = "[...]",
                                               .run = run_doctor};
