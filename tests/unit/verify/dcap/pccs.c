#include "pccs.h"

#include "check.h"

#include "base/auto.h"
#include "base/cursor.h"

#define OVERSIZE ((size_t)9 << 20)

static void chain_header(const pccs *p, http_response *response, const char *name,
                         dstack_bytes chain) {
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (atomic_load(&p->fault) == PCCS_NO_CHAIN) {
        return;
    }
    for (size_t i = 0; i < chain.len; i++) {
        uint8_t c = chain.data[i];
        bool plain = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                     c == '+' || c == '-';
        if (plain) {
            buf_put_u8(&value, c);
        } else {
            buf_put_fmt(&value, "%%%02X", c);
        }
    }
    http_response_header(response, name, buf_text(&value));
}

static void answer(const pccs *p, http_response *response, dstack_bytes body) {
    if (atomic_load(&p->fault) == PCCS_TRUNCATED) {
        body.len /= 2;
    }
    http_response_bytes(response, 200, "application/octet-stream", body);
}

static void answer_signed(const pccs *p, http_response *response, const char *member,
                          dstack_bytes text, dstack_bytes signature) {
    DSTACK_AUTO(buf) dstack_buf body = {0};
    buf_put_fmt(&body, "{\"%s\":", member);
    buf_put_bytes(&body, text);
    buf_put_str(&body, ",\"signature\":\"");
    buf_put_hex(&body, signature);
    buf_put_str(&body, "\"}");
    if (atomic_load(&p->fault) == PCCS_OVERSIZE) {
        size_t missing = OVERSIZE - body.len;
        for (size_t i = 0; i < missing; i++) {
            buf_put_u8(&body, ' ');
        }
    }
    answer(p, response, bytes_of_buf(&body));
}

/* False when the fault has answered already. */
static bool begin(pccs *p, http_response *response, dstack_collateral_parts *parts) {
    pccs_fault fault = atomic_load(&p->fault);
    atomic_fetch_add(&p->requests, 1);
    dstack_collateral_get(p->collateral, parts);
    if (fault == PCCS_SLOW) {
        usleep((useconds_t)p->delay_ms * 1000);
    }
    int status = fault == PCCS_MISSING   ? 404
                 : fault == PCCS_BUSY    ? 503
                 : fault == PCCS_LIMITED ? 429
                                         : 0;
    if (status != 0) {
        http_response_text(response, status, "No cache data for this platform.");
    }
    return status == 0;
}

static void serve_pck_crl(http_request *request, http_response *response, void *user) {
    dstack_collateral_parts parts;
    if (begin(user, response, &parts)) {
        answer(user, response, parts.pck_crl);
        chain_header(user, response, "SGX-PCK-CRL-Issuer-Chain", parts.pck_crl_issuer_chain);
    }
}

static void serve_tcb_info(http_request *request, http_response *response, void *user) {
    const pccs *p = user;
    dstack_collateral_parts parts;
    if (begin(user, response, &parts)) {
        bool wrong = atomic_load(&p->fault) == PCCS_WRONG_CHAIN;
        answer_signed(p, response, "tcbInfo", parts.tcb_info, parts.tcb_info_signature);
        chain_header(p, response, "TCB-Info-Issuer-Chain",
                     wrong ? parts.pck_crl_issuer_chain : parts.tcb_info_issuer_chain);
    }
}

static void serve_qe_identity(http_request *request, http_response *response, void *user) {
    dstack_collateral_parts parts;
    if (begin(user, response, &parts)) {
        answer_signed(user, response, "enclaveIdentity", parts.qe_identity,
                      parts.qe_identity_signature);
        chain_header(user, response, "SGX-Enclave-Identity-Issuer-Chain",
                     parts.qe_identity_issuer_chain);
    }
}

static void serve_root_crl(http_request *request, http_response *response, void *user) {
    DSTACK_AUTO(buf) dstack_buf hex = {0};
    dstack_collateral_parts parts;
    if (begin(user, response, &parts)) {
        buf_put_hex(&hex, parts.root_ca_crl);
        answer(user, response, bytes_of_buf(&hex));
    }
}

/* The platform's own certificate: the first block of the bundle's chain, the rest in the header. */
static void serve_pck_cert(http_request *request, http_response *response, void *user) {
    dstack_collateral_parts parts;
    static const char end[] = "-----END CERTIFICATE-----\n";
    if (!begin(user, response, &parts)) {
        return;
    }
    const uint8_t *at =
        memmem(parts.pck_certificate_chain.data, parts.pck_certificate_chain.len, end, strlen(end));
    assert_non_null(at);
    size_t leaf = (size_t)(at - parts.pck_certificate_chain.data) + strlen(end);
    answer(user, response, bytes_of(parts.pck_certificate_chain.data, leaf));
    chain_header(
        user, response, "SGX-PCK-Certificate-Issuer-Chain",
        bytes_of(parts.pck_certificate_chain.data + leaf, parts.pck_certificate_chain.len - leaf));
}

static const http_route routes[] = {
    {"GET", "/sgx/certification/v4/pckcert", serve_pck_cert, NULL, 0, 0},
    {"GET", "/sgx/certification/v4/pckcrl", serve_pck_crl, NULL, 0, 0},
    {"GET", "/*/certification/v4/tcb", serve_tcb_info, NULL, 0, 0},
    {"GET", "/*/certification/v4/qe/identity", serve_qe_identity, NULL, 0, 0},
    {"GET", "/sgx/certification/v4/rootcacrl", serve_root_crl, NULL, 0, 0},
};

void pccs_start(pccs *p, dstack_collateral *collateral) {
    dstack_error err = {0};
    p->collateral = dstack_collateral_ref(collateral);
    p->server = http_server_new(&(http_server_config){.name = "pccs", .workers = 2});
    assert_non_null(p->server);
    const http_listener_config listener = {.name = "pccs",
                                           .address = "127.0.0.1:0",
                                           .routes = routes,
                                           .route_count = sizeof routes / sizeof *routes,
                                           .user = p};
    assert_ok(http_server_listen(p->server, &listener, &err), err);
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%u", http_server_port(p->server, "pccs"));
}

void pccs_stop(pccs *p) {
    http_server_free(p->server);
    dstack_collateral_free(p->collateral);
    p->server = NULL;
    p->collateral = NULL;
}
