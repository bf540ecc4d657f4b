#include "boot/boot.h"

#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "base/error.h"
#include "boot/runner.h"
#include "console_log.h"
#include "paths.h"
#include "service/log.h"

/* Every machine has this port. Its driver and name come up beside this program, late on a host that is
 * busy; without it the host would not learn the instance id, nor anyone why a boot failed. */
#define HOST_WAIT_MS 60000

static void gateway_failed(void *context, const dstack_error *err) {
    boot *b = context;
    char text[700];
    snprintf(text, sizeof text,
             "dstack-gateway registration failed, the app has no ingress route: %s", err->message);
    LOG_ERROR(text);
    host_api_notify(b->host, "boot.error", text);
}

/* The order matters: nothing is measured before the manifest may run here, no key is asked for
 * before the boot's measurements are done, nothing is stored before the host's binding agreed. */
static const boot_stage STAGES[] = {
    {"host share", "reading host share", 60000, stage_share, NULL},
    {"manifest", NULL, 20000, stage_manifest, NULL},
    {"TEE", NULL, 60000, stage_tee, NULL},
    {"secure time", NULL, 170000, stage_time, NULL},
    {"identity", NULL, 20000, stage_identity, NULL},
    {"measurement", "measuring app", 60000, stage_measure, NULL},
    {"keys", "requesting app keys", 180000, stage_keys, NULL},
    {"launch binding", NULL, 30000, stage_binding, NULL},
    {"data disk", NULL, 180000, stage_disk, NULL},
    {"system ready", NULL, 30000, stage_ready, NULL},
    {"environment", NULL, 20000, stage_environment, NULL},
    {"app files", NULL, 20000, stage_app_files, NULL},
    {"gateway", NULL, 90000, stage_gateway, gateway_failed},
    {"docker", "setting up docker", 20000, stage_docker, NULL},
};

static void stage_begins(void *context, const boot_stage *stage) {
    boot *b = context;
    LOG_INFO("boot stage", "stage", stage->name);
    if (stage->progress != NULL) {
        host_api_notify(b->host, "boot.progress", stage->progress);
    }
}

static void stage_ended(void *context, const boot_stage *stage, int64_t took_ms) {
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)took_ms);
    LOG_INFO("boot stage done", "stage", stage->name, "ms", text);
}

static void boot_clear(boot *b) {
    share_clear(&b->share);
    sys_config_clear(&b->config);
    dstack_manifest_free(b->manifest);
    dstack_buf_clear(&b->sim_root);
    dstack_tee_close(b->tee);
    app_keys_clear(&b->keys);
    dstack_env_free(b->env);
    host_api_free(b->host);
}

/* A refusal is final and a guest that is half set up is of no use: the machine ends. */
static void machine_end(void) {
    fflush(NULL);
    sync();
    reboot(RB_POWER_OFF);
}

int boot_main(int argc, char **argv) {
    bool keep = argc == 2 && strcmp(argv[1], "--no-power-off") == 0;
    if (argc > 1 && !keep) {
        fprintf(stderr, "usage: dstack-agent boot [--no-power-off]\n");
        return 2;
    }
    log_to_console("dstack-boot");
    static boot b; /* outlives a stage that overran */
    b.host = host_api_open(AGENT_HOST_PORT, HOST_WAIT_MS);
    static const boot_observer observer = {stage_begins, stage_ended};
    dstack_error err = {0};
    int rc = boot_run_stages(STAGES, sizeof STAGES / sizeof *STAGES, &observer, &b, &err);
    if (rc == 0) {
        boot_clear(&b);
        return 0;
    }
    LOG_ERROR("boot failed", "error", err.message);
    host_api_notify(b.host, "boot.error", err.message);
    if (!keep) {
        machine_end();
    }
    return 1;
}
