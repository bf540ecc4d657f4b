/* SWIG interface over libdstack's public headers.
 *
 * What crosses the border is bytes, text, numbers and opaque handles: structs that borrow stay on the
 * C side, in the flat_ functions at the end, so that no caller can outlive what it points to. A failed
 * call raises the language's error with the status and the message; see docs/bindings.md. */
%module(package="dstack", threads="1") native

%{
#include <dstack/agent.h>
#include <dstack/dstack.h>
#include <dstack/tee.h>
#include <string.h>
#include <time.h>

#define dstack_tee_free dstack_tee_close /* as HANDLE calls it */
%}

%include <stdint.i>
typedef int dstack_status;
typedef int dstack_attestation_form;
typedef int dstack_key_algorithm;
%include "python/typemaps.i"

/* ---- library ---------------------------------------------------------------------------------- */

const char *dstack_version(void);
const char *dstack_status_name(dstack_status status);

/* ---- report data, event logs ------------------------------------------------------------------ */

int dstack_report_data(const char *tag, const char *algorithm, dstack_bytes content, uint8_t out[64],
                       dstack_error *err);
int dstack_report_data_pad(dstack_bytes data, uint8_t out[64], dstack_error *err);
int dstack_runtime_event_digest(const char *name, dstack_bytes payload, uint32_t version,
                                uint8_t out[48], dstack_error *err);

HANDLE(dstack_event_log)
int dstack_event_log_parse_json(dstack_bytes text, dstack_event_log **out, dstack_error *err);
int dstack_event_log_parse_ccel(dstack_bytes table, dstack_event_log **out, dstack_error *err);
int dstack_event_log_to_json(const dstack_event_log *log, dstack_buf *out, dstack_error *err);
size_t dstack_event_log_count(const dstack_event_log *log);

/* ---- attestations ----------------------------------------------------------------------------- */

HANDLE(dstack_attestation)
enum { DSTACK_ATTESTATION_LEGACY_CHOICE, DSTACK_ATTESTATION_V0, DSTACK_ATTESTATION_V1,
       DSTACK_ATTESTATION_AS_DECODED };
int dstack_attestation_decode(dstack_bytes encoded, dstack_attestation **out, dstack_error *err);
int dstack_attestation_encode(const dstack_attestation *attestation, dstack_attestation_form form,
                              dstack_buf *out, dstack_error *err);
int dstack_attestation_from_quote(dstack_bytes quote, dstack_bytes event_log_json,
                                  dstack_attestation **out, dstack_error *err);
int dstack_attestation_strip(const dstack_attestation *attestation, dstack_attestation **out,
                             dstack_error *err);
int dstack_attestation_to_json(const dstack_attestation *attestation, dstack_buf *out,
                               dstack_error *err);
dstack_bytes dstack_attestation_evidence(const dstack_attestation *attestation);
dstack_bytes dstack_attestation_report_data(const dstack_attestation *attestation);
const char *dstack_attestation_config(const dstack_attestation *attestation);

/* ---- collateral, policy, verifier -------------------------------------------------------------- */

HANDLE(dstack_collateral)
int dstack_collateral_parse(dstack_collateral **out, dstack_bytes json, dstack_error *err);
int dstack_collateral_to_json(const dstack_collateral *collateral, bool pretty, dstack_buf *out,
                              dstack_error *err);
int dstack_collateral_expires(const dstack_collateral *collateral, int64_t *expires,
                              dstack_error *err);

HANDLE(dstack_policy)
int dstack_policy_parse(dstack_policy **out, dstack_bytes json, dstack_error *err);

HANDLE(dstack_verifier)
int dstack_verifier_add_collateral(dstack_verifier *verifier, dstack_collateral *collateral,
                                   dstack_error *err);
bool dstack_verifier_has_collateral(dstack_verifier *verifier, dstack_bytes quote, int64_t now);

HANDLE(dstack_verified)
int dstack_verified_to_json(const dstack_verified *verified, dstack_buf *out, dstack_error *err);
int dstack_verified_boot_info(const dstack_verified *verified, dstack_buf *out, dstack_error *err);

/* ---- certificates ------------------------------------------------------------------------------ */

HANDLE(dstack_cert)
int dstack_cert_parse(dstack_bytes encoded, dstack_cert **out, dstack_error *err);
int dstack_cert_to_json(const dstack_cert *cert, dstack_buf *out, dstack_error *err);
dstack_bytes dstack_cert_der(const dstack_cert *cert);
dstack_bytes dstack_cert_spki(const dstack_cert *cert);
dstack_bytes dstack_cert_app_id(const dstack_cert *cert);
const char *dstack_cert_usage(const dstack_cert *cert);
bool dstack_cert_matches_host(const dstack_cert *cert, const char *host);
int dstack_cert_key_new(dstack_secret **pem, dstack_error *err);

/* ---- keys -------------------------------------------------------------------------------------- */

int dstack_key_k256_public(const dstack_secret *secret, uint8_t public_key[33], dstack_error *err);
int dstack_key_ed25519_public(const dstack_secret *secret, uint8_t public_key[32],
                              dstack_error *err);
int dstack_key_x25519_public(const dstack_secret *secret, uint8_t public_key[32], dstack_error *err);
enum { DSTACK_KEY_SECP256K1, DSTACK_KEY_ED25519 };
int dstack_key_chain_verify(dstack_bytes public_key, dstack_bytes purpose, dstack_bytes link,
                            dstack_bytes issued, dstack_bytes app_id, dstack_bytes kms_root,
                            uint8_t app_public[33], dstack_error *err);
int dstack_key_chain_verify_v1(dstack_bytes public_key, dstack_bytes domain,
                               dstack_key_algorithm algorithm, dstack_bytes link,
                               dstack_bytes issued, dstack_bytes app_id, dstack_bytes kms_root,
                               uint8_t app_public[33], dstack_error *err);
int dstack_key_env_signer(dstack_bytes app_id, uint64_t timestamp, dstack_bytes public_key,
                          dstack_bytes signature, uint8_t signer[33], dstack_error *err);
int dstack_key_env_signer_legacy(dstack_bytes app_id, dstack_bytes public_key,
                                 dstack_bytes signature, uint8_t signer[33], dstack_error *err);

int dstack_env_key_signer(dstack_bytes public_key, dstack_bytes signature, dstack_bytes app_id,
                          uint64_t timestamp, int64_t now, uint8_t signer[33], dstack_error *err);

/* ---- the agent, and the TEE itself -------------------------------------------------------------- */

HANDLE(dstack_agent)
int dstack_agent_new(const char *endpoint, int timeout_ms, dstack_agent **out, dstack_error *err);
int dstack_agent_get_quote(dstack_agent *agent, dstack_bytes report_data, dstack_buf *quote,
                           dstack_buf *event_log, dstack_error *err);
int dstack_agent_attest(dstack_agent *agent, dstack_bytes report_data, dstack_buf *attestation,
                        dstack_error *err);
int dstack_agent_get_version(dstack_agent *agent, dstack_buf *version, dstack_error *err);

HANDLE(dstack_tee)
const char *dstack_tee_provider(const dstack_tee *tee);
bool dstack_tee_is_simulated(const dstack_tee *tee);
int dstack_tee_boot_log(dstack_tee *tee, dstack_buf *log, dstack_error *err);

/* ---- environment ------------------------------------------------------------------------------- */

HANDLE(dstack_env)
dstack_env *dstack_env_new(void);
int dstack_env_set(dstack_env *env, const char *key, const char *value, dstack_error *err);
size_t dstack_env_count(const dstack_env *env);
const char *dstack_env_key(const dstack_env *env, size_t index);
const char *dstack_env_value(const dstack_env *env, size_t index);
int dstack_env_encrypt(const dstack_env *env, dstack_bytes recipient, dstack_buf *blob,
                       dstack_error *err);
int dstack_env_encrypt_raw(dstack_bytes plaintext, dstack_bytes recipient, dstack_buf *blob,
                           dstack_error *err);

/* ---- manifest, measurement ---------------------------------------------------------------------- */

void dstack_compose_hash(dstack_bytes file, uint8_t out[32]);
int dstack_compose_hash_canonical(dstack_bytes json, bool normalize, uint8_t out[32],
                                  dstack_error *err);
int dstack_compose_canonical(dstack_bytes json, bool normalize, dstack_buf *out, dstack_error *err);
int dstack_measure_digest(const char *dir, char out[65], dstack_error *err);

%include "flat.i"
