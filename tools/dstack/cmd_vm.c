/* dstack apps, info, logs, start, stop, rm, images: the VMs of a VMM. */
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"
#include "base/json.h"
#include "cli.h"
#include "vmm_client.h"

#define STOP_TIMEOUT_S 60

/* While the guest boots, that is more telling than "running". */
static const char *shown_status(const json_t *vm) {
    const char *status = vmm_text(vm, "status");
    const char *progress = vmm_text(vm, "boot_progress");
    if (strcmp(status, "running") == 0 && progress[0] != 0 && strcmp(progress, "done") != 0 &&
        strcmp(progress, "running") != 0) {
        return "booting";
    }
    return status;
}

/* ---- apps ---- */

static int apps_json(struct cli *cli, const json_t *vms, dstack_error *err) {
    DSTACK_AUTO(json) json_t *list = json_array();
    size_t i;
    json_t *vm;
    json_array_foreach(vms, i, vm) {
        json_array_append_new(
            list,
            json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "id", vmm_text(vm, "id"), "name",
                      vmm_text(vm, "name"), "status", shown_status(vm), "uptime",
                      vmm_text(vm, "uptime"), "appId", vmm_text(vm, "app_id"), "bootProgress",
                      vmm_text(vm, "boot_progress"), "bootError", vmm_text(vm, "boot_error")));
    }
    return cli_print_json(cli, list, err);
}

static int run_apps(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *arguments = json_pack("{s:b}", "brief", 1);
    DSTACK_AUTO(json) json_t *status = NULL;
    int rc = vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_call(&client, "Status", arguments, &status, err);
    const json_t *vms = json_object_get(status, "vms");
    size_t count = json_array_size(vms);
    if (rc != 0 || cli->json) {
        return rc != 0 ? rc : apps_json(cli, vms, err);
    }
    if (count == 0) {
        fprintf(cli->out, "no apps deployed\n");
        return 0;
    }
    const char **cells = calloc((count + 1) * 5, sizeof *cells);
    if (cells == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "no memory");
    }
    static const char *const heading[] = {"ID", "NAME", "STATUS", "UPTIME", "APP ID"};
    memcpy(cells, heading, sizeof heading);
    for (size_t i = 0; i < count; i++) {
        const json_t *vm = json_array_get(vms, i);
        const char **row = &cells[(i + 1) * 5];
        row[0] = vmm_text(vm, "id");
        row[1] = vmm_text(vm, "name");
        row[2] = shown_status(vm);
        row[3] = vmm_text(vm, "uptime");
        row[4] = vmm_text(vm, "app_id");
    }
    cli_print_table(cli, cells, 5, count + 1);
    free(cells);
    return 0;
}

static const struct cli_option vmm_options[] = {VMM_OPTIONS};

const struct cli_command cli_command_apps = {.name = "apps",
                                             .summary = "List the VMs of a VMM",
                                             .usage = "[...]",
                                             .options = vmm_options,
                                             .run = run_apps};

/* ---- info ---- */

static void print_info(struct cli *cli, const json_t *info) {
    const json_t *configuration = json_object_get(info, "configuration");
    static const struct {
        const char *label, *key;
    } rows[] = {{"app id", "app_id"},
                {"instance id", "instance_id"},
                {"url", "app_url"},
                {"uptime", "uptime"},
                {"boot", "boot_progress"},
                {"boot error", "boot_error"},
                {"shutdown", "shutdown_progress"},
                {"image version", "image_version"}};
    cli_heading(cli, "%s  %s", vmm_text(info, "name"), vmm_text(info, "id"));
    cli_field(cli, "status", "%s", shown_status(info));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (vmm_text(info, rows[i].key)[0] != 0) {
            cli_field(cli, rows[i].label, "%s", vmm_text(info, rows[i].key));
        }
    }
    cli_field(cli, "image", "%s", vmm_text(configuration, "image"));
    cli_field(cli, "size", "%lld vCPU, %lld MiB, %lld GiB disk",
              (long long)json_integer_value(json_object_get(configuration, "vcpu")),
              (long long)json_integer_value(json_object_get(configuration, "memory")),
              (long long)json_integer_value(json_object_get(configuration, "disk_size")));
    cli_field(cli, "tee", "%s",
              json_is_true(json_object_get(configuration, "no_tee")) ? "none"
              : vmm_text(configuration, "simulated_tee")[0] != 0     ? "simulated"
                                                                     : "hardware");
    size_t i;
    json_t *port, *event;
    json_array_foreach(json_object_get(configuration, "ports"), i, port) {
        cli_field(cli, "port", "%s %s:%lld -> %lld", vmm_text(port, "protocol"),
                  vmm_text(port, "host_address"),
                  (long long)json_integer_value(json_object_get(port, "host_port")),
                  (long long)json_integer_value(json_object_get(port, "vm_port")));
    }
    json_array_foreach(json_object_get(info, "events"), i, event) {
        cli_field(cli, "event", "%s: %s", vmm_text(event, "event"), vmm_text(event, "body"));
    }
}

static int run_info(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *vm = NULL;
    DSTACK_AUTO(json) json_t *answer = NULL;
    int rc = vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_find(&client, argv[0], &vm, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json) json_t *arguments = json_pack("{s:s}", "id", vmm_text(vm, "id"));
    rc = vmm_client_call(&client, "GetInfo", arguments, &answer, err);
    const json_t *info = json_object_get(answer, "info");
    if (rc == 0 && !json_is_object(info)) {
        rc = error_set(err, DSTACK_E_REFUSED, "there is no VM %s", argv[0]);
    }
    if (rc != 0 || cli->json) {
        return rc != 0 ? rc : cli_print_json(cli, info, err);
    }
    print_info(cli, info);
    return 0;
}

const struct cli_command cli_command_info = {.name = "info",
                                             .summary = "Show one VM",
                                             .usage = "VM [...]",
                                             .help =
                                                 "VM is an id, the beginning of an id, or a name.",
                                             .options = vmm_options,
                                             .min_args = 1,
                                             .max_args = 1,
                                             .run = run_info};

/* ---- logs ---- */

static const struct cli_option logs_options[] = {
    {"follow", 'f', NULL, "go on as new lines come"},
    {"lines", 0, "N", "last lines to begin with (default 200)"},
    {"channel", 0, "NAME", "serial (default), stdout, stderr or supervisor"},
    {"ansi", 0, NULL, "leave terminal escapes in"},
    VMM_OPTIONS};

static int run_logs(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *vm = NULL;
    int64_t lines = 200;
    const char *channel = cli_value(cli, "channel", "serial");
    if (strcmp(channel, "serial") != 0 && strcmp(channel, "stdout") != 0 &&
        strcmp(channel, "stderr") != 0 && strcmp(channel, "supervisor") != 0) {
        return cli_usage(err, "--channel %s: expected serial, stdout, stderr or supervisor",
                         channel);
    }
    if (cli->json) {
        return cli_usage(err, "logs are text: --json does not apply");
    }
    int rc = cli_int(cli, "lines", 200, 0, 1000000, &lines, err);
    rc = rc != 0 ? rc : vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_find(&client, argv[0], &vm, err);
    return rc != 0 ? rc
                   : vmm_client_logs(&client, vmm_text(vm, "id"), channel, lines,
                                     cli_has(cli, "follow"), cli_has(cli, "ansi"), cli->out, err);
}

const struct cli_command cli_command_logs = {.name = "logs",
                                             .summary = "Show what a VM prints",
                                             .usage = "VM [-f] [...]",
                                             .options = logs_options,
                                             .min_args = 1,
                                             .max_args = 1,
                                             .run = run_logs};

/* ---- start, stop, rm ---- */

static int call_with_id(struct vmm_client *client, const char *method, const json_t *vm,
                        dstack_error *err) {
    DSTACK_AUTO(json) json_t *arguments = json_pack("{s:s}", "id", vmm_text(vm, "id"));
    return vmm_client_call(client, method, arguments, NULL, err);
}

static int finish(struct cli *cli, const json_t *vm, const char *what, dstack_error *err) {
    if (cli->json) {
        DSTACK_AUTO(json)
        json_t *answer = json_pack("{s:s, s:s}", "id", vmm_text(vm, "id"), "done", what);
        return cli_print_json(cli, answer, err);
    }
    fprintf(cli->out, "%s %s\n", what, vmm_text(vm, "id"));
    return 0;
}

static const struct cli_option start_options[] = {
    {"wait", 'w', NULL, "wait until it has booted"},
    {"timeout", 0, "SECONDS", "longest wait (default 600)"},
    VMM_OPTIONS};

static int run_start(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *vm = NULL;
    int64_t timeout = 600;
    int rc = cli_int(cli, "timeout", 600, 1, 86400, &timeout, err);
    rc = rc != 0 ? rc : vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_find(&client, argv[0], &vm, err);
    rc = rc != 0 ? rc : call_with_id(&client, "StartVm", vm, err);
    if (rc == 0 && cli_has(cli, "wait")) {
        rc = vmm_client_wait_boot(cli, &client, vmm_text(vm, "id"), timeout, err);
    }
    return rc != 0 ? rc : finish(cli, vm, "started", err);
}

const struct cli_command cli_command_start = {.name = "start",
                                              .summary = "Start a VM",
                                              .usage = "VM [--wait] [...]",
                                              .options = start_options,
                                              .min_args = 1,
                                              .max_args = 1,
                                              .run = run_start};

static const struct cli_option stop_options[] = {
    {"force", 'f', NULL, "kill it at once instead of asking its guest to power off"},
    {"timeout", 0, "SECONDS", "how long the guest may take before it is killed (default 60)"},
    VMM_OPTIONS};

static int stop_vm(struct cli *cli, struct vmm_client *client, const json_t *vm,
                   dstack_error *err) {
    int64_t timeout = STOP_TIMEOUT_S;
    dstack_error local = {0};
    const char *status = vmm_text(vm, "status");
    bool running = strcmp(status, "running") == 0 || strcmp(status, "stopping") == 0;
    int rc = cli_int(cli, "timeout", STOP_TIMEOUT_S, 0, 86400, &timeout, err);
    if (rc != 0) {
        return rc;
    }
    if (running && !cli_has(cli, "force") && call_with_id(client, "ShutdownVm", vm, &local) == 0) {
        rc = vmm_client_wait_stopped(client, vmm_text(vm, "id"), timeout, &local);
        if (rc == 0) {
            return 0;
        }
        cli_note(cli, "the guest did not power off within %lld s: killing it", (long long)timeout);
    }
    return call_with_id(client, "StopVm", vm, err);
}

static int run_stop(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *vm = NULL;
    int rc = vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_find(&client, argv[0], &vm, err);
    rc = rc != 0 ? rc : stop_vm(cli, &client, vm, err);
    return rc != 0 ? rc : finish(cli, vm, "stopped", err);
}

const struct cli_command cli_command_stop = {.name = "stop",
                                             .summary = "Power a VM off",
                                             .usage = "VM [--force] [...]",
                                             .options = stop_options,
                                             .min_args = 1,
                                             .max_args = 1,
                                             .run = run_stop};

static const struct cli_option rm_options[] = {{"force", 'f', NULL, "even if it runs"},
                                               VMM_OPTIONS};

static int run_rm(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *vm = NULL;
    int rc = vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_find(&client, argv[0], &vm, err);
    const char *status = vmm_text(vm, "status");
    if (rc == 0 && !cli_has(cli, "force") &&
        (strcmp(status, "running") == 0 || strcmp(status, "stopping") == 0)) {
        rc = error_set(err, DSTACK_E_STATE, "the VM is %s; stop it first, or use --force", status);
    }
    rc = rc != 0 ? rc : call_with_id(&client, "RemoveVm", vm, err);
    return rc != 0 ? rc : finish(cli, vm, "removed", err);
}

const struct cli_command cli_command_rm = {.name = "rm",
                                           .summary = "Remove a VM and its disk",
                                           .usage = "VM [--force] [...]",
                                           .options = rm_options,
                                           .min_args = 1,
                                           .max_args = 1,
                                           .run = run_rm};

/* ---- images ---- */

static int run_images(struct cli *cli, int argc, char **argv, dstack_error *err) {
    DSTACK_AUTO(vmm_client) struct vmm_client client = {0};
    DSTACK_AUTO(json) json_t *answer = NULL;
    int rc = vmm_client_open(cli, &client, err);
    rc = rc != 0 ? rc : vmm_client_call(&client, "ListImages", NULL, &answer, err);
    const json_t *images = json_object_get(answer, "images");
    if (rc != 0 || cli->json) {
        return rc != 0 ? rc : cli_print_json(cli, images, err);
    }
    size_t i;
    json_t *image;
    json_array_foreach(images, i, image) {
        cli_field(cli, vmm_text(image, "name"), "version %s%s", vmm_text(image, "version"),
                  json_is_true(json_object_get(image, "is_dev")) ? "  (development)" : "");
    }
    return 0;
}

const struct cli_command cli_command_images = {.name = "images",
                                               .summary = "List the guest images of a VMM",
                                               .usage = "[...]",
                                               .options = vmm_options,
                                               .run = run_images};
