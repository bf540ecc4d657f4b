/**
 * @file agent.h
 * @brief Client of the guest agent: keys, certificates and evidence for the app that runs in this
 *        guest.
 *
 * The agent listens on a socket that is mounted into containers. Who can open it gets the app's
 * keys, so there is no further login. Calls are those of API version 0 except where one is named
 * for version 1.
 *
 * One client serves one thread at a time. Every call blocks, at most for the time-out given.
 */
#ifndef DSTACK_AGENT_H
#define DSTACK_AGENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/keys.h>

#ifdef __cplusplus
extern "C" {
#endif

/** A client of one agent. */
typedef struct dstack_agent dstack_agent;

/**
 * Makes a client; no connection is made yet.
 * @param endpoint    path of the socket, "unix:PATH", or "http://host:port"; NULL: the first that
 *                    exists of /var/run/dstack.sock, /run/dstack.sock, /var/run/dstack/dstack.sock,
 *                    /run/dstack/dstack.sock
 * @param timeout_ms  of one call; 0: 30000
 * @return DSTACK_E_ARGUMENT for a malformed endpoint, DSTACK_E_NOT_FOUND when no socket exists.
 */
DSTACK_API int dstack_agent_new(const char *endpoint, int timeout_ms, dstack_agent **out,
                                dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_agent_free(dstack_agent *agent);

/** A key and the chain that vouches for it. */
typedef struct dstack_agent_key {
    dstack_secret *key; /**< 32 bytes: secp256k1 scalar or Ed25519 seed. */
    uint8_t public_key[33];
    size_t public_key_len; /**< 0 from version 0, which does not tell it. */
    dstack_buf link;       /**< 65 bytes: signature of the app's key. */
    dstack_buf issued;     /**< 65 bytes: signature of the KMS over the app's key; empty without. */
} dstack_agent_key;

/** Wipes and frees. Accepts NULL. */
DSTACK_API void dstack_agent_key_clear(dstack_agent_key *key);

/** Key of version 0. `purpose` may be ""; `algorithm` is "secp256k1" or "ed25519". Both give the
 * same bytes at one path: prefer dstack_agent_get_key_v1() where that matters. */
DSTACK_API int dstack_agent_get_key(dstack_agent *agent, const char *path, const char *purpose,
                                    const char *algorithm, dstack_agent_key *out,
                                    dstack_error *err);
/** Key of version 1: domain and algorithm are bound into it. */
DSTACK_API int dstack_agent_get_key_v1(dstack_agent *agent, const char *domain,
                                       const char *algorithm, dstack_agent_key *out,
                                       dstack_error *err);

/** What a certificate is asked for. Zeroed fields are left out. */
typedef struct dstack_agent_tls_request {
    const char *subject;
    const char *const *alt_names;
    size_t alt_name_count;
    bool ra_tls; /**< The certificate carries evidence bound to its key. */
    bool server_auth;
    bool client_auth;
    bool with_app_info;
    uint64_t not_before; /**< UNIX seconds; 0: the agent's default. */
    uint64_t not_after;
} dstack_agent_tls_request;

/** A fresh private key (PKCS#8 PEM) and its certificate chain (PEM, leaf first, appended). */
DSTACK_API int dstack_agent_get_tls_key(dstack_agent *agent,
                                        const dstack_agent_tls_request *request,
                                        dstack_secret **key, dstack_buf *chain, dstack_error *err);

/** A TDX quote over at most 64 bytes (zeros follow), and the event log's JSON text. Both appended. */
DSTACK_API int dstack_agent_get_quote(dstack_agent *agent, dstack_bytes report_data,
                                      dstack_buf *quote, dstack_buf *event_log, dstack_error *err);
/** An attestation over at most 64 bytes, appended, as dstack_attestation_decode() reads it. */
DSTACK_API int dstack_agent_attest(dstack_agent *agent, dstack_bytes report_data,
                                   dstack_buf *attestation, dstack_error *err);

/** Who the agent says this guest is; nothing here is evidence. */
typedef struct dstack_agent_info {
    uint8_t app_id[20];
    bool has_instance_id;
    uint8_t instance_id[20];
    uint8_t compose_hash[32];
    char app_name[256];
} dstack_agent_info;

DSTACK_API int dstack_agent_get_info(dstack_agent *agent, dstack_agent_info *out,
                                     dstack_error *err);
/** The agent's version text ("0.6.0"), appended. */
DSTACK_API int dstack_agent_get_version(dstack_agent *agent, dstack_buf *version,
                                        dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
