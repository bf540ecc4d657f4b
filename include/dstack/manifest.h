/**
 * @file manifest.h
 * @brief The app manifest (app-compose.json): parsing, validation, hashes.
 */
#ifndef DSTACK_MANIFEST_H
#define DSTACK_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/attestation.h>
#include <dstack/bytes.h>
#include <dstack/error.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Largest manifest that is read. */
#define DSTACK_MANIFEST_MAX_SIZE ((size_t)50 << 20)
/** Newest manifest version that is understood. */
#define DSTACK_MANIFEST_VERSION_MAX 3

/** One port that the gateway may reach. */
typedef struct dstack_port_rule {
    uint16_t port;
    bool proxy_protocol;
} dstack_port_rule;

/** A read-only volume whose content is fixed by its verity root. */
typedef struct dstack_verity_volume {
    const char *source;
    uint8_t root[32];
    const char *target; /**< Absolute path. */
} dstack_verity_volume;

/** Longest name of a compose service that a key policy takes. */
#define DSTACK_SERVICE_NAME_MAX 128

/**
 * What a service may ask the guest agent for. A pattern is the name itself, or a beginning with a
 * `*` behind it.
 */
typedef struct dstack_key_grant {
    const char *service;      /**< NULL for the services that no grant names. */
    const char *const *paths; /**< Patterns of GetKey and the legacy calls that derive keys. */
    size_t path_count;
    const char *const *domains; /**< Patterns of GetKey of API version 1. */
    size_t domain_count;
    bool sign;         /**< Sign. */
    bool certificates; /**< GetTlsKey, IssueCert: certificates in the app's name. */
    bool attest;       /**< Quotes and attestations over data of the caller's choice. */
} dstack_key_grant;

typedef enum dstack_tristate { DSTACK_UNSET, DSTACK_FALSE, DSTACK_TRUE } dstack_tristate;

/**
 * The fields of a manifest. Text that was not given is NULL unless a default is named. Everything
 * belongs to the manifest and lives as long as it.
 */
typedef struct dstack_manifest_fields {
    unsigned manifest_version; /**< 1 to 3. */
    const char *name;
    const char *runner; /**< "docker-compose", "nerdctl-compose", "bash". */
    const char *docker_compose_file;
    const char *snapshotter; /**< "overlayfs", "stargz" or NULL. */
    const char *bash_script;
    const char *pre_launch_script;
    const char *const *init_scripts; /**< At most DSTACK_INIT_SCRIPTS_MAX. */
    size_t init_script_count;
    bool public_logs;                 /**< Default false. */
    bool public_sysinfo;              /**< Default false. */
    bool public_tcbinfo;              /**< Default true. */
    dstack_key_provider key_provider; /**< kms_enabled and the other old keys are folded in. */
    dstack_bytes key_provider_id;     /**< Pinned provider id; empty: not pinned. */
    bool gateway_enabled;             /**< gateway_enabled, tproxy_enabled or feature tproxy-net. */
    const char *const *allowed_envs;
    size_t allowed_env_count;
    bool no_instance_id;
    bool secure_time;              /**< Default true. */
    const char *storage_fs;        /**< "ext4" (default) or "zfs". */
    bool storage_discard;          /**< Default true. */
    const char *storage_integrity; /**< "none" (default) or "aead". */
    uint64_t swap_size;            /**< Bytes. */
    uint32_t event_log_version;    /**< 1 (default) or 2. */
    bool has_port_policy;
    bool port_restrict_mode;
    const dstack_port_rule *ports;
    size_t port_count;
    const dstack_verity_volume *verity_volumes;
    size_t verity_volume_count;
    bool require_pinned_images; /**< Unpinned images are errors instead of warnings. */

    bool has_requirements;
    const char *os_version; /**< Requirement text such as ">=0.6.0, <0.7.0". */
    bool has_platforms;
    const char *const *platforms;
    size_t platform_count;
    dstack_tristate tdx_measure_acpi_tables;
    bool has_launch_token_hash;
    uint8_t launch_token_hash[32];
    bool health_check;
    const char *health_status_file;
    uint8_t gpu_policy_hash[32]; /**< SHA-256 of the RFC 8785 form of gpu_policy, {} if absent. */
    bool gpu_attest;             /**< Default true. */
    bool has_key_policy;         /**< Without one, every caller may ask for everything. */
    const dstack_key_grant *key_grants;
    size_t key_grant_count;
    dstack_key_grant key_others; /**< For services without a grant of their own; default nothing. */

    uint8_t compose_hash[32];   /**< SHA-256 of the file's bytes. */
    uint8_t default_app_id[20]; /**< Its first 20 bytes. */
} dstack_manifest_fields;

/** A parsed manifest; immutable, may be shared among threads. */
typedef struct dstack_manifest dstack_manifest;

/** Parses and validates. DSTACK_E_FORMAT or DSTACK_E_LIMIT with the key that is wrong. */
DSTACK_API int dstack_manifest_parse(dstack_bytes file, dstack_manifest **out, dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_manifest_free(dstack_manifest *manifest);
DSTACK_API const dstack_manifest_fields *dstack_manifest_get(const dstack_manifest *manifest);
/** Things worth telling the deployer, one sentence each: shared disk keys with no_instance_id,
 * images not pinned by digest, ... */
DSTACK_API size_t dstack_manifest_warning_count(const dstack_manifest *manifest);
DSTACK_API const char *dstack_manifest_warning(const dstack_manifest *manifest, size_t index);

/** What a service may ask for: its own grant, or that of all others. `service` NULL: of a caller that
 * is no service. NULL when the manifest has no key policy. */
DSTACK_API const dstack_key_grant *dstack_manifest_key_grant(const dstack_manifest *manifest,
                                                             const char *service);
/** Whether one of the patterns is for this path or domain, byte by byte. */
DSTACK_API bool dstack_key_name_matches(const char *const *patterns, size_t count,
                                        dstack_bytes name);

/** What the running system is, for requirements. */
typedef struct dstack_manifest_host {
    const char *os_version; /**< VERSION_ID of the image, for example "0.6.0". */
    dstack_tee_variant tee;
    bool tdx_lite;            /**< vm_config says tdx_attestation_variant "lite". */
    dstack_bytes user_config; /**< Raw text; empty: none. */
} dstack_manifest_host;

/** Checks the manifest's requirements against the system it was started on. DSTACK_E_REFUSED with
 * the requirement that is not met. */
DSTACK_API int dstack_manifest_check_host(const dstack_manifest *manifest,
                                          const dstack_manifest_host *host, dstack_error *err);

/** SHA-256 of the file's bytes: the hash that is measured. */
DSTACK_API void dstack_compose_hash(dstack_bytes file, uint8_t out[32]);
/** SHA-256 of the canonical JSON text as JavaScript's SDK computes it (keys sorted by UTF-16 units,
 * shortest numbers). It predicts the measured hash only of a file written in that form. With
 * `normalize`, the fields that the runner does not use are left out. */
DSTACK_API int dstack_compose_hash_canonical(dstack_bytes json, bool normalize, uint8_t out[32],
                                             dstack_error *err);
/** Appends that canonical text. */
DSTACK_API int dstack_compose_canonical(dstack_bytes json, bool normalize, dstack_buf *out,
                                        dstack_error *err);

/** What a new manifest is made of. Zeroed fields take the defaults. */
typedef struct dstack_manifest_new {
    const char *name;
    dstack_bytes docker_compose_file;
    dstack_key_provider key_provider;
    bool gateway_enabled;
    bool public_logs;
    bool public_sysinfo;
    bool no_tcbinfo; /**< Writes public_tcbinfo false. */
    bool no_instance_id;
    bool no_secure_time; /**< Writes secure_time false. */
    const char *const *allowed_envs;
    size_t allowed_env_count;
    const char *pre_launch_script; /**< NULL: none. */
    const char *storage_fs;        /**< NULL: not written. */
} dstack_manifest_new;

/** Appends the text of a new manifest (version 2, runner docker-compose, canonical form). */
DSTACK_API int dstack_manifest_build(const dstack_manifest_new *fields, dstack_buf *out,
                                     dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
