#include "serve/serve.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <dstack/tee.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "boot/share.h"
#include "evidence.h"
#include "console_log.h"
#include "memory.h"
#include "paths.h"
#include "host/host_api.h"
#include "proc.h"
#include "serve/agent.h"
#include "serve/guest_api.h"
#include "serve/ingress.h"
#include "service/link.h"
#include "service/log.h"
#include "service/systemd.h"

#define WORKERS 4
#define LOG_STREAMS 32
#define DRAIN_MS 3000
#define CERT_RETRY_S 10
#define HOST_PORT_CHECK_S 5
#define HOST_LISTENER "host"
#define POWER_OFF_TIMEOUT_MS 30000

/* The device behind the agent. */
typedef struct device {
    dstack_tee *tee;
    char *vm_config;
} device;

static int device_attest(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                         dstack_attestation **out, dstack_error *err) {
    device *d = source;
    return evidence_take(d->tee, AGENT_EVENT_DIR, d->vm_config, report_data, out, err);
}

static int device_open(device *d, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf cmdline = {0};
    DSTACK_AUTO(buf) dstack_buf certificate = {0};
    DSTACK_AUTO(buf) dstack_buf root = {0};
    char path[256];
    snprintf(path, sizeof path, AGENT_SHARE_DIR "/%s", share_file_name(SHARE_SIM_ROOT));
    int rc = file_read("/proc/cmdline", 65536, &cmdline, err);
    if (rc != 0 ||
        ((rc = file_read(path, 65536, &certificate, err)) != 0 && rc != DSTACK_E_NOT_FOUND)) {
        return rc;
    }
    rc = dstack_tee_sim_accept_root(buf_text(&cmdline), bytes_of_buf(&certificate), &root, err);
    if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
        return rc;
    }
    const dstack_tee_options options = {.sim_root = bytes_of_buf(&root)};
    return dstack_tee_open(root.len > 0 ? "sim:port:" DSTACK_TEE_SIM_PORT : "tdx", &options,
                           &d->tee, err);
}

/* Sockets that the service manager holds outlive a restart of this program, so that containers keep
 * the one they mounted; without them the agent makes its own. */
static int listen_all(http_server *server, agent *a, dstack_error *err) {
    char first[24], second[24];
    int given = systemd_listen_fds();
    snprintf(first, sizeof first, "fd:%d", SYSTEMD_LISTEN_FDS_START);
    snprintf(second, sizeof second, "fd:%d", SYSTEMD_LISTEN_FDS_START + 1);
    const http_listener_config listeners[] = {
        {.name = "internal",
         .address = given >= 1 ? first : "unix:" AGENT_SOCKET,
         .unix_mode = 0777,
         .routes = agent_internal_routes,
         .route_count = agent_internal_route_count,
         .user = a},
        {.name = "internal-v0",
         .address = given >= 2 ? second : "unix:" AGENT_TAPPD_SOCKET,
         .unix_mode = 0777,
         .routes = agent_tappd_routes,
         .route_count = agent_tappd_route_count,
         .user = a},
        {.name = "external",
         .address = "*:8090",
         .routes = agent_external_routes,
         .route_count = agent_external_route_count,
         .user = a,
         .limits = {.body = 65536, .connections = 256, .per_address = 64, .streams = LOG_STREAMS},
         .version_header = "v" AGENT_VERSION},
        {.name = HOST_LISTENER,
         .address = "none",
         .routes = agent_guest_api_routes,
         .route_count = agent_guest_api_route_count,
         .user = a},
    };
    for (size_t i = 0; i < sizeof listeners / sizeof *listeners; i++) {
        int rc = http_server_listen(server, &listeners[i], err);
        if (rc != 0) {
            return error_prefix(err, rc, "%s", listeners[i].name);
        }
    }
    return 0;
}

/* The demo certificate may need a KMS that is not there yet. */
static void *certificate_thread(void *user) {
    agent *a = user;
    for (;;) {
        dstack_error err = {0};
        const agent_info *info;
        if (agent_info_get(a, &info, &err) == 0 && agent_app_cert_make(a, &err) == 0) {
            return NULL;
        }
        LOG_WARN("the agent's certificate is missing still", "error", err.message);
        sleep(CERT_RETRY_S);
    }
}

/* The host's port. It may come late, and its end is the host's business: it is opened again as
 * often as it closes. */
static void host_port_keep(service_link **link, http_server *server) {
    if (*link != NULL && service_link_alive(*link)) {
        return;
    }
    service_link_free(*link);
    const service_link_config config = {
        .side = SERVICE_LINK_GUEST, .name = "host", .server = server, .listener = HOST_LISTENER};
    *link = service_link_open(AGENT_GUEST_PORT, &config, NULL);
}

static void *power_off_thread(void *user) {
    host_api *host = host_api_open(AGENT_HOST_PORT, 1000);
    host_api_notify(host, "shutdown.progress", "powering off");
    host_api_free(host);
    const char *argv[] = {"/usr/bin/systemctl", "--no-block", "poweroff", NULL};
    dstack_error err = {0};
    if (proc_run(&(proc_spec){.argv = argv, .timeout_ms = POWER_OFF_TIMEOUT_MS}, &err) != 0) {
        LOG_ERROR("cannot power off", "error", err.message);
    }
    return NULL;
}

static void power_off(void) {
    pthread_t thread;
    if (pthread_create(&thread, NULL, power_off_thread, NULL) == 0) {
        pthread_detach(thread);
    }
}

static void watch(const sigset_t *signals, http_server *server) {
    service_link *link = NULL;
    uint64_t watchdog_us = systemd_watchdog_us();
    bool watched = watchdog_us > 0;
    int64_t wait_s = watched ? (int64_t)(watchdog_us / 2000000) : HOST_PORT_CHECK_S;
    wait_s = wait_s < 1 ? 1 : wait_s > HOST_PORT_CHECK_S ? HOST_PORT_CHECK_S : wait_s;
    for (;;) {
        host_port_keep(&link, server);
        const struct timespec wait = {.tv_sec = wait_s};
        if (sigtimedwait(signals, NULL, &wait) > 0) {
            service_link_free(link);
            return;
        }
        if (watched) {
            systemd_notify("WATCHDOG=1");
        }
    }
}

static int serve(agent *a, const sigset_t *signals, dstack_error *err) {
    http_server *server = http_server_new(&(http_server_config){
        .name = "dstack guest agent", .workers = WORKERS, .metrics = a->metrics});
    if (server == NULL) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    int rc = listen_all(server, a, err);
    if (rc == 0) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, certificate_thread, a) == 0) {
            pthread_detach(thread);
        }
        ingress_start(a);
        systemd_notify("READY=1");
        LOG_INFO("ready");
        memory_forget_start();
        watch(signals, server);
        systemd_notify("STOPPING=1");
        http_server_drain(server, DRAIN_MS);
    }
    http_server_free(server);
    return rc;
}

int serve_main(int argc, char **argv) {
    if (argc != 1) {
        fprintf(stderr, "usage: dstack-agent serve\n");
        return 2;
    }
    log_to_console("dstack-agent");
    umask(077);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    /* The process ends with the agent: its device and files live as long as it. */
    static device d;
    agent *a = NULL;
    dstack_error err = {0};
    const agent_files files = {
        .keys = AGENT_APP_KEYS, .compose = AGENT_COMPOSE, .sys_config = AGENT_SYS_CONFIG};
    int rc = device_open(&d, &err);
    if (rc == 0) {
        rc = agent_new(&files, device_attest, &d, dstack_tee_is_simulated(d.tee), &a, &err);
    }
    if (rc == 0) {
        d.vm_config = a->vm_config;
        a->shutdown = power_off;
        rc = serve(a, &signals, &err);
    }
    if (rc != 0) {
        LOG_ERROR("the agent ends", "error", err.message);
        return 1;
    }
    /* A certificate that is being asked for may still use the agent: the process just ends. */
    fflush(NULL);
    _exit(0);
}
