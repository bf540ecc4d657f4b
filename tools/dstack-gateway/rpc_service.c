/* The public service: registration of instances, and what anybody may know. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <dstack/version.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"
#include "crypto/hash.h"
#include "gateway.h"
#include "gateway.pb-c.h"
#include "service/log.h"
#include "x509/pem.h"

DSTACK_AUTO_DEFINE(cert, dstack_cert, dstack_cert_free)

/* A caller is who its evidence says it is, and one whose certificate the KMS issued: the KMS's
 * policy has allowed it. Evidence is verified on every new connection, so what counts is what runs
 * there now, not what a certificate said earlier. */
static int attest_caller(rpc_call *call, dstack_bytes client_cert, void **identity,
                         dstack_error *err) {
    gateway *g = call->app;
    DSTACK_AUTO(cert) dstack_cert *cert = NULL;
    DSTACK_AUTO(buf) dstack_buf intermediates = {0};
    dstack_bytes root = {0};
    int rc = dstack_cert_parse(client_cert, &cert, err);
    rc = rc != 0 ? rc : dstack_kms_root_ca(g->kms, &root, err);
    for (size_t i = 1; rc == 0 && i < HTTP_CLIENT_CERTS_MAX; i++) {
        dstack_bytes der = http_request_client_cert_at(call->http, i);
        rc = der.len == 0 ? 0 : pem_append(&intermediates, "CERTIFICATE", der, err);
    }
    if (rc != 0) {
        return rc;
    }
    const dstack_attestation_options options = {0};
    const dstack_cert_check check = {
        .now = clock_unix(),
        .root = root,
        .intermediates = bytes_of_buf(&intermediates),
        .require_attestation = true,
        .attestation = &options,
    };
    dstack_verified *verified = NULL;
    rc = dstack_cert_verify(g->trust.verifier, cert, &check, &verified, err);
    if (rc == 0) {
        *identity = verified;
    }
    return error_prefix(err, rc, "invalid quote");
}

static void free_identity(void *identity) {
    dstack_verified_free(identity);
}

static const char *hex_value(const dstack_value *value, char out[2 * 64 + 1]) {
    hex_encode(bytes_of(value->data, value->len), out);
    return out;
}

static int take_ports(const Gateway__PortPolicy *policy, port_policy *out, dstack_error *err) {
    if (policy == NULL) {
        return 0;
    }
    out->known = true;
    out->restrict_ports = policy->restrict_mode;
    for (size_t i = 0; i < policy->n_ports; i++) {
        uint32_t port = policy->ports[i]->port;
        if (port > UINT16_MAX) {
            return error_set(err, DSTACK_E_FORMAT, "port %u out of u16 range", port);
        }
        if (port == 0) {
            return error_set(err, DSTACK_E_FORMAT, "port must be between 1 and 65535");
        }
        if (policy->ports[i]->pp) {
            return error_set(
                err, DSTACK_E_UNSUPPORTED,
                "port %u asks for the PROXY protocol, which this gateway does not send", port);
        }
        if (out->count == PORT_RULES_MAX) {
            return error_set(err, DSTACK_E_LIMIT, "more than %d ports in the port policy",
                             PORT_RULES_MAX);
        }
        out->ports[out->count++] = (uint16_t)port;
    }
    return 0;
}

static Gateway__WireGuardConfig *tunnel_answer(gateway *g, uint32_t address) {
    Gateway__WireGuardConfig *wg =
        (Gateway__WireGuardConfig *)rpc_new_message(&gateway__wire_guard_config__descriptor);
    char text[IPV4_TEXT_SIZE];
    ipv4_text(address, text);
    rpc_set_str(&wg->client_ip, text);
    Gateway__WireGuardPeer *peer = (Gateway__WireGuardPeer *)rpc_add_message(
        &wg->n_servers, &wg->servers, &gateway__wire_guard_peer__descriptor);
    rpc_set_str(&peer->pk, wireguard_public_key(g->tunnel));
    rpc_set_str(&peer->ip, config_str(g->config, "wg.ip"));
    rpc_set_str(&peer->endpoint, config_str(g->config, "wg.endpoint"));
    return wg;
}

static void node_answer(gateway *g, Gateway__RegisterCvmResponse *answer) {
    Gateway__GatewayNodeInfo *node = (Gateway__GatewayNodeInfo *)rpc_add_message(
        &answer->n_gateways, &answer->gateways, &gateway__gateway_node_info__descriptor);
    /* One node without a cluster: its WireGuard key names it. */
    uint8_t digest[HASH_SHA256_SIZE];
    hash_sha256(bytes_of_str(wireguard_public_key(g->tunnel)), digest);
    node->id = 0;
    rpc_set_bytes(&node->uuid, bytes_of(digest, 16));
    DSTACK_AUTO(buf) dstack_buf url = {0};
    buf_put_fmt(&url, "https://%s:%u", config_str(g->config, "rpc.domain"),
                http_server_port(g->http, "rpc"));
    rpc_set_str(&node->url, buf_text(&url));
    node->last_seen = (uint64_t)clock_unix();
    rpc_set_str(&node->wg_public_key, wireguard_public_key(g->tunnel));
    rpc_set_str(&node->wg_ip, config_str(g->config, "wg.ip"));
    rpc_set_str(&node->wg_endpoint, config_str(g->config, "wg.endpoint"));
}

static void fill_answer(gateway *g, Gateway__RegisterCvmResponse *answer, uint32_t address) {
    answer->wg = tunnel_answer(g, address);
    answer->agent =
        (Gateway__GuestAgentConfig *)rpc_new_message(&gateway__guest_agent_config__descriptor);
    answer->agent->external_port = (uint32_t)config_int(g->config, "proxy.external_port");
    answer->agent->internal_port = (uint32_t)config_int(g->config, "proxy.agent_port");
    rpc_set_str(&answer->agent->domain, config_str(g->config, "acme.domain"));
    rpc_set_str(&answer->agent->app_address_ns_prefix,
                config_str(g->config, "proxy.app_address_ns_prefix"));
    node_answer(g, answer);
}

static int register_cvm(rpc_call *call, dstack_error *err) {
    gateway *g = call->app;
    const Gateway__RegisterCvmRequest *request = (const Gateway__RegisterCvmRequest *)call->request;
    const dstack_identity *who = dstack_verified_identity(call->identity);
    char instance_id[129], app_id[129], compose_hash[129];
    registration asked = {
        .instance_id = hex_value(&who->instance_id, instance_id),
        .app_id = hex_value(&who->app_id, app_id),
        .compose_hash = hex_value(&who->compose_hash, compose_hash),
        .public_key = request->client_public_key,
    };
    uint32_t address = 0;
    int rc = take_ports(request->port_policy, &asked.ports, err);
    rc = rc != 0 ? rc : registry_register(g->instances, &asked, clock_unix(), &address, err);
    if (rc != 0) {
        LOG_WARN("registration refused", "app_id", app_id, "instance_id", instance_id, "reason",
                 err->message);
        return rc;
    }
    dstack_error problem = {0};
    if (wireguard_sync(g->tunnel, g->instances, &problem) != 0) {
        LOG_ERROR("WireGuard was not updated", "reason", problem.message);
    }
    fill_answer(g, (Gateway__RegisterCvmResponse *)call->response, address);
    LOG_INFO("instance registered", "app_id", app_id, "instance_id", instance_id);
    return 0;
}

static int info(rpc_call *call, dstack_error *err) {
    (void)err;
    gateway *g = call->app;
    Gateway__InfoResponse *answer = (Gateway__InfoResponse *)call->response;
    rpc_set_str(&answer->base_domain, config_str(g->config, "acme.domain"));
    answer->external_port = (uint32_t)config_int(g->config, "proxy.external_port");
    rpc_set_str(&answer->app_address_ns_prefix,
                config_str(g->config, "proxy.app_address_ns_prefix"));
    rpc_set_str(&answer->version, dstack_version());
    return 0;
}

static int acme_info(rpc_call *call, dstack_error *err) {
    gateway *g = call->app;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    gateway_acme_info_json(g, &text);
    ProtobufCMessage *built = NULL;
    int rc = rpc_message_from_json(&gateway__acme_info_response__descriptor, bytes_of_buf(&text),
                                   &built, err);
    if (rc != 0) {
        return rc;
    }
    /* The dispatcher owns call->response; what it held at first was empty. */
    Gateway__AcmeInfoResponse empty = *(Gateway__AcmeInfoResponse *)call->response;
    *(Gateway__AcmeInfoResponse *)call->response = *(Gateway__AcmeInfoResponse *)built;
    *(Gateway__AcmeInfoResponse *)built = empty;
    rpc_free_message(built);
    return 0;
}

static const rpc_method methods[] = {
    {"RegisterCvm", &gateway__register_cvm_request__descriptor,
     &gateway__register_cvm_response__descriptor, RPC_CALLER_ATTESTED, register_cvm, 64 << 10},
    {"AcmeInfo", NULL, &gateway__acme_info_response__descriptor, RPC_CALLER_ANYONE, acme_info, 0},
    {"Info", NULL, &gateway__info_response__descriptor, RPC_CALLER_ANYONE, info, 0},
};

static const char *no_attestation_text(const rpc_method *method) {
    (void)method;
    /* Guests take "no attestation provided" for an old gateway, so the text is another. */
    return "a client certificate with evidence is required";
}

const rpc_service gateway_service = {
    .name = "gateway",
    .prefix = "Tproxy.",
    .methods = methods,
    .method_count = sizeof methods / sizeof *methods,
    .attest = attest_caller,
    .free_identity = free_identity,
    .no_attestation_text = no_attestation_text,
};
