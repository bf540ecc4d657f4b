/* What the files of this folder share: the envelope and the event list as structs. */
#ifndef ATTEST_ATTEST_H
#define ATTEST_ATTEST_H

#include <jansson.h>

#include <dstack/attestation.h>
#include <dstack/quote.h>
#include <dstack/snp.h>

#include "base/auto.h"
#include "base/cursor.h"

/* One owned event. */
typedef struct attest_event {
    uint32_t imr;
    uint32_t type;
    uint32_t version;
    dstack_buf digest;
    char *name; /* never NULL in a list */
    dstack_buf payload;
    char *preimage; /* may be NULL */
} attest_event;

struct dstack_event_log {
    attest_event *events;
    size_t count;
    size_t cap;
};

DSTACK_AUTO_DEFINE(event_log, dstack_event_log, dstack_event_log_free)

/* Version 0 and 1 carry them for platforms whose boot is measured by a TPM. They are kept so that
 * an envelope survives decoding and encoding; their meaning is the TPM verifier's business. */
typedef struct attest_pcr_value {
    uint32_t index;
    char *algorithm;
    dstack_buf value;
} attest_pcr_value;

typedef struct attest_tpm_event {
    uint32_t pcr;
    dstack_buf digest;
} attest_tpm_event;

#define ATTEST_TPM_PLATFORMS 4

typedef struct attest_tpm_quote {
    dstack_buf message;
    dstack_buf signature;
    attest_pcr_value *pcrs;
    size_t pcr_count;
    dstack_buf ak_cert;
    uint8_t platform; /* below ATTEST_TPM_PLATFORMS */
    attest_tpm_event *events;
    size_t event_count;
} attest_tpm_quote;

/* "dstack", "gcp", "nitroenclave", "aws-ec2". */
extern const char *const attest_tpm_platform_names[ATTEST_TPM_PLATFORMS];

/* Most certificates beside an SNP report. */
#define ATTEST_CERTS_MAX 16

struct dstack_attestation {
    dstack_tee_variant variant;
    dstack_attestation_form decoded_form; /* V0 or V1; the legacy choice for built ones */
    dstack_buf evidence;
    dstack_event_log *event_log;        /* TDX and GCP only */
    attest_tpm_quote *tpm;              /* GCP only */
    dstack_buf certs[ATTEST_CERTS_MAX]; /* SNP only */
    size_t cert_count;
    char *mr_config; /* SNP only */
    dstack_event_log *runtime;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    char *config;
    char *payload; /* the pod stack's report_data_payload, or NULL */
};

DSTACK_AUTO_DEFINE(attestation, dstack_attestation, dstack_attestation_free)

/* An empty envelope with an empty runtime list (and event log where the variant has one). */
dstack_attestation *attest_new(dstack_tee_variant variant, dstack_error *err);
bool attest_variant_has_log(dstack_tee_variant variant);
/* True where the variant's evidence begins as a TDX quote. */
static inline bool attest_variant_is_tdx(dstack_tee_variant variant) {
    return variant == DSTACK_TEE_TDX || variant == DSTACK_TEE_GCP_TDX;
}

/* Copies. Text must be UTF-8 without zero bytes: DSTACK_E_FORMAT, `what` names it. */
int attest_text(dstack_bytes text, const char *what, char **out, dstack_error *err);
/* Replaces the content of out; DSTACK_E_MEMORY. */
int attest_copy(dstack_bytes bytes, dstack_buf *out, dstack_error *err);
/* An array of `count` zeroed elements, bounded by DSTACK_EVENTS_MAX; NULL only with err set. */
void *attest_array(size_t count, size_t size, const char *what, dstack_error *err);

bool attest_event_is_runtime(const attest_event *event);
/* True for the three events in which the firmware measures ACPI tables from the VMM. */
bool attest_event_is_acpi(const attest_event *event);
/* The payload of the first runtime event of that name before "system-ready"; empty if none. */
dstack_bytes attest_claim(const dstack_event_log *runtime, const char *name);
/* How many runtime events of that name stand before the first "system-ready". */
size_t attest_claim_count(const dstack_event_log *runtime, const char *name);

/* How version 1 names a variant and its evidence, by variant. */
#define ATTEST_VARIANTS 5
typedef struct attest_v1_name {
    const char *kind;
    const char *evidence;
} attest_v1_name;
extern const attest_v1_name attest_v1_names[ATTEST_VARIANTS];

/* Wire forms. */
int attest_v0_decode(dstack_bytes encoded, dstack_attestation **out, dstack_error *err);
int attest_v0_encode(const dstack_attestation *attestation, dstack_buf *out, dstack_error *err);
int attest_v1_decode(dstack_bytes encoded, dstack_attestation **out, dstack_error *err);
int attest_v1_encode(const dstack_attestation *attestation, dstack_buf *out, dstack_error *err);

/* The TD report of a TDX quote, borrowed from it. Form only: nothing is verified. DSTACK_E_FORMAT
 * when it is not a TDX quote. */
int attest_td_report_parse(dstack_bytes quote, const dstack_td_report **out, dstack_error *err);

/* The JSON text that vm_config means: `external` when it isn't empty, else `config`, else {}; a
 * whole sys-config (an object whose member vm_config is a text) is unwrapped when asked. *out is a
 * new reference. */
int attest_vm_config(const char *external, const char *config, bool unwrap, json_t **out,
                     dstack_error *err);
/* Its os_image_hash: 32 bytes, or empty. */
int attest_vm_config_image_hash(const json_t *vm_config, dstack_value *out, dstack_error *err);

/* Fills a value; DSTACK_E_FORMAT when longer than it can hold. */
int attest_value_set(dstack_value *value, dstack_bytes bytes, const char *what, dstack_error *err);
static inline dstack_bytes attest_value(const dstack_value *value) {
    return (dstack_bytes){value->data, value->len};
}

/* What an identity is computed from. */
typedef struct attest_identity_input {
    const dstack_td_report *td;
    const dstack_event_log *runtime;
    const json_t *vm_config;
    bool boot_time;
    dstack_bytes device; /* the platform's identifier; empty when nothing was verified */
} attest_identity_input;

/* Identity of TDX evidence. Lengths of claims are not judged here. */
int attest_identity_tdx(const attest_identity_input *input, dstack_identity *out,
                        dstack_error *err);
/* What a version 3 configuration document says: app, compose file, instance, key provider, scripts.
 * The caller has checked that its hash is signed, or knows that it is not. DSTACK_E_FORMAT. */
int attest_identity_document(dstack_bytes document, dstack_identity *out, dstack_error *err);
/* The part of an identity that runtime events tell: app, compose file, instance, key provider
 * (unless boot_time), scripts. */
int attest_identity_events(const dstack_event_log *runtime, bool boot_time, dstack_identity *out,
                           dstack_error *err);
/* Identity of SEV-SNP evidence: measurements of the report, the rest from the document. */
int attest_identity_snp(const dstack_snp_report *report, dstack_bytes document,
                        const json_t *vm_config, dstack_identity *out, dstack_error *err);
/* Identity of GCP evidence: registers are PCRs of the vTPM, the image is told by its hash. */
typedef struct attest_gcp_input {
    dstack_bytes pcr0, pcr2; /* 32 bytes each */
    const dstack_event_log *runtime;
    const json_t *vm_config;
    bool boot_time;
    dstack_bytes device;
} attest_gcp_input;
int attest_identity_gcp(const attest_gcp_input *input, dstack_identity *out, dstack_error *err);
/* Replays runtime events as PCR14 of a SHA-256 bank, up to and with the first named `stop`. */
int attest_replay_pcr14(const dstack_event_log *runtime, const char *stop, uint8_t out[32],
                        dstack_error *err);
/* The stated value of a PCR (32 bytes), or empty. */
dstack_bytes attest_tpm_pcr(const attest_tpm_quote *tpm, uint32_t index);
/* JSON forms, new references. */
json_t *attest_identity_json(const dstack_identity *identity);
json_t *attest_value_json(const dstack_value *value);

#endif
