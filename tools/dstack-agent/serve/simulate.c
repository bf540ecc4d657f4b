#include "serve/simulate.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "evidence.h"
#include "memory.h"
#include "serve/caller.h"
#include "serve/guest_api.h"
#include "service/log.h"

/* Where a version 4 quote holds the report data of a TD report (Intel TDX DCAP Quote, A.3.2). */
#define QUOTE_REPORT_DATA 568

int simulate_attest(void *source, const uint8_t report_data[DSTACK_REPORT_DATA_SIZE],
                    dstack_attestation **out, dstack_error *err) {
    const dstack_attestation *recorded = source;
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    buf_put_bytes(&quote, dstack_attestation_evidence(recorded));
    int rc = buf_check(&quote, err);
    if (rc != 0) {
        return rc;
    }
    if (dstack_attestation_variant(recorded) != DSTACK_TEE_TDX ||
        quote.len < QUOTE_REPORT_DATA + DSTACK_REPORT_DATA_SIZE) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "Quote not found");
    }
    memcpy(quote.data + QUOTE_REPORT_DATA, report_data, DSTACK_REPORT_DATA_SIZE);
    return dstack_attestation_new_tdx(bytes_of_buf(&quote), dstack_attestation_event_log(recorded),
                                      dstack_attestation_runtime_events(recorded),
                                      dstack_attestation_config(recorded), out, err);
}

typedef struct options {
    const char *data, *dir, *docker;
} options;

static bool options_read(int argc, char **argv, options *out) {
    for (int i = 1; i < argc; i += 2) {
        const char **at = strcmp(argv[i], "--data") == 0     ? &out->data
                          : strcmp(argv[i], "--dir") == 0    ? &out->dir
                          : strcmp(argv[i], "--docker") == 0 ? &out->docker
                                                             : NULL;
        if (at == NULL || i + 1 == argc) {
            return false;
        }
        *at = argv[i + 1];
    }
    return out->data != NULL && out->dir != NULL;
}

static int recorded_load(const char *dir, dstack_attestation **out, dstack_error *err) {
    char path[512];
    DSTACK_AUTO(buf) dstack_buf text = {0};
    snprintf(path, sizeof path, "%s/attestation.bin", dir);
    int rc = file_read(path, DSTACK_ATTESTATION_MAX_SIZE, &text, err);
    return rc != 0 ? rc : dstack_attestation_decode(bytes_of_buf(&text), out, err);
}

static int agent_load(const options *given, dstack_attestation *recorded, agent **out,
                      dstack_error *err) {
    char keys[512], compose[512], config[512];
    snprintf(keys, sizeof keys, "%s/appkeys.json", given->data);
    snprintf(compose, sizeof compose, "%s/app-compose.json", given->data);
    snprintf(config, sizeof config, "%s/sys-config.json", given->data);
    const agent_files files = {keys, compose, config, given->docker};
    int rc = agent_new(&files, simulate_attest, recorded, false, out, err);
    if (rc == 0) {
        (*out)->full_log = true;
        (*out)->evidence_at_once = true;
        /* On a laptop callers are in no containers of the app. */
        if ((*out)->callers != NULL) {
            LOG_WARN("the simulator does not enforce the manifest's key policy");
            caller_book_free((*out)->callers);
            (*out)->callers = NULL;
        }
    }
    return rc;
}

static int listen_all(http_server *server, const char *dir, agent *a, dstack_error *err) {
    const struct {
        const char *name;
        const http_route *routes;
        size_t count;
        const char *version;
    } sockets[] = {
        {"dstack.sock", agent_internal_routes, agent_internal_route_count, NULL},
        {"tappd.sock", agent_tappd_routes, agent_tappd_route_count, NULL},
        {"external.sock", agent_external_routes, agent_external_route_count, "v" AGENT_VERSION},
        {"guest.sock", agent_guest_api_routes, agent_guest_api_route_count, NULL},
    };
    for (size_t i = 0; i < sizeof sockets / sizeof *sockets; i++) {
        char address[512];
        snprintf(address, sizeof address, "unix:%s/%s", dir, sockets[i].name);
        const http_listener_config config = {.name = sockets[i].name,
                                             .address = address,
                                             .unix_mode = 0600,
                                             .routes = sockets[i].routes,
                                             .route_count = sockets[i].count,
                                             .user = a,
                                             .version_header = sockets[i].version};
        int rc = http_server_listen(server, &config, err);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int simulate(const options *given, const sigset_t *signals, dstack_error *err) {
    DSTACK_AUTO(attestation) dstack_attestation *recorded = NULL;
    agent *a = NULL;
    int rc;
    if ((rc = recorded_load(given->data, &recorded, err)) != 0 ||
        (rc = agent_load(given, recorded, &a, err)) != 0) {
        return rc;
    }
    http_server *server = http_server_new(
        &(http_server_config){.name = "dstack Simulator", .workers = 4, .metrics = a->metrics});
    rc = server == NULL ? error_set(err, DSTACK_E_MEMORY, "out of memory")
                        : listen_all(server, given->dir, a, err);
    /* The certificate is there from the first call on: nothing here has to be waited for. */
    if (rc == 0 && (rc = agent_app_cert_make(a, err)) == 0) {
        int signal_number;
        LOG_INFO("simulator ready", "dir", given->dir);
        memory_forget_start();
        sigwait(signals, &signal_number);
    }
    http_server_free(server);
    agent_free(a);
    return rc;
}

int simulate_main(int argc, char **argv) {
    options given = {0};
    if (!options_read(argc, argv, &given)) {
        fprintf(stderr,
                "usage: dstack-agent simulate --data DIR --dir SOCKETS_DIR [--docker SOCKET]\n");
        return 2;
    }
    log_init("dstack-agent", "info", NULL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    dstack_error err = {0};
    if (simulate(&given, &signals, &err) != 0) {
        fprintf(stderr, "dstack-agent: %s\n", err.message);
        return err.status == DSTACK_E_NOT_FOUND ? 3 : 1;
    }
    return 0;
}
