#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "base/error.h"
#include "client_hello.h"
#include "gateway.h"
#include "label.h"

/* gateway.<base>: this process itself answers, on a socket that only it can reach. */
static void plan_inner(const gateway *g, proxy_plan *plan) {
    struct sockaddr_un *address = (struct sockaddr_un *)&plan->targets[0].address;
    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    strncpy(address->sun_path, g->inner_socket, sizeof address->sun_path - 1);
    plan->targets[0].len = sizeof *address;
    plan->target_count = 1;
}

static int plan_instances(gateway *g, const host_label *label, proxy_plan *plan,
                          dstack_error *err) {
    registry_target found[PROXY_TARGETS_MAX];
    size_t max = (size_t)config_int(g->config, "proxy.connect_top_n");
    size_t count = 0;
    max = max == 0 || max > PROXY_TARGETS_MAX ? PROXY_TARGETS_MAX : max;
    int rc = registry_find(g->instances, label->id, label->port, found, max, &count, err);
    if (rc != 0) {
        return rc;
    }
    for (size_t i = 0; i < count; i++) {
        struct sockaddr_in *address = (struct sockaddr_in *)&plan->targets[i].address;
        *address = (struct sockaddr_in){.sin_family = AF_INET,
                                        .sin_port = htons(label->port),
                                        .sin_addr.s_addr = htonl(found[i].address)};
        plan->targets[i].len = sizeof *address;
        plan->targets[i].connections = found[i].connections;
    }
    plan->target_count = count;
    return 0;
}

int gateway_route(void *user, const char *sni, proxy_plan *plan, dstack_error *err) {
    gateway *g = user;
    *plan = (proxy_plan){0};
    char name[SNI_SIZE];
    strncpy(name, sni, sizeof name - 1);
    name[sizeof name - 1] = '\0';
    size_t len = strlen(name);
    if (len > 0 && name[len - 1] == '.') {
        name[len - 1] = '\0'; /* the root's dot names the same host */
    }
    char *dot = strchr(name, '.');
    if (dot == NULL) {
        return error_set(err, DSTACK_E_REFUSED, "the server name has no domain");
    }
    *dot = '\0';
    host_label label;
    int rc = host_label_parse(name, &label, err);
    if (rc != 0) {
        return rc;
    }
    cert_entry *certificate = cert_store_find(g->certificates, dot + 1);
    if (certificate == NULL) {
        return error_set(err, DSTACK_E_NOT_FOUND, "no certificate for *.%s", dot + 1);
    }
    plan->terminate = !label.passthrough;
    plan->h2 = label.h2;
    if (plan->terminate && strcmp(label.id, "gateway") == 0) {
        plan_inner(g, plan);
        rc = label.port == 80 ? 0
                              : error_set(err, DSTACK_E_REFUSED,
                                          "the gateway's own pages are on its default port");
    } else {
        rc = plan_instances(g, &label, plan, err);
    }
    if (rc == 0 && plan->terminate) {
        plan->certificate = certificate;
        return 0;
    }
    cert_entry_unref(certificate);
    return rc;
}
