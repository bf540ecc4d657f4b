/**
 * @file ear.h
 * @brief Attestation results that others can read: EAR tokens.
 *
 * An EAR (EAT Attestation Result, draft-ietf-rats-ear; EAT is RFC 9711) states what a verifier found
 * in one signed JSON Web Token (ES256). Relying parties that know the tokens of other verifiers read
 * it without knowing dstack: `submods.cpu0` holds `ear.status`, `ear.trustworthiness-vector` (AR4SI
 * claims, draft-ietf-rats-ar4si) and `ear.appraisal-policy-id`. The member `ear.dstack.claims` adds
 * every claim with the anchor it rests on.
 *
 * The vector says no more than was established:
 *
 *     hardware           2 genuine, TCB up to date; 32 genuine, TCB behind; -33 a root that the
 *                        policy pins; 97 a pinned root that no policy names; 99 evidence refused
 *     executables        2 image and app both vouched for; 3 the image; 33 nobody vouches for the
 *                        image; 96 the registers are not the image's; 99 evidence refused
 *     file-system        2 with an image that is vouched for: its root file system is measured
 *     configuration      2 a policy accepts; 96 a policy refuses
 *     instance-identity  2 the policy lists the device or instance
 *     runtime-opaque     2 memory encrypted by genuine hardware
 *
 * "Vouched for" is an image with the anchor reference-image or policy, an app that a policy lists.
 * A value that would say nothing is left out. `ear.status` is the worst tier of the vector.
 */
#ifndef DSTACK_EAR_H
#define DSTACK_EAR_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/attestation_policy.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Values of `eat_profile`: that of the tokens of CoCo Trustee and Veraison, and that of
 * draft-ietf-rats-ear-04. */
#define DSTACK_EAR_PROFILE "tag:github.com,2023:veraison/ear"
#define DSTACK_EAR_PROFILE_IETF "tag:ietf.org,2026:rats/ear#04"
/** Media type of a token (RFC 9782). */
#define DSTACK_EAR_MEDIA_TYPE "application/eat+jwt"
/** Longest token that is read. */
#define DSTACK_EAR_MAX_SIZE ((size_t)256 << 10)

/** How a verification failed. */
typedef enum dstack_ear_failure {
    DSTACK_EAR_NOT_FAILED,
    DSTACK_EAR_EVIDENCE_REFUSED, /**< Signature, TCB, event log, report data. */
    DSTACK_EAR_IMAGE_REFUSED,    /**< The registers are not those of the image named. */
    DSTACK_EAR_NO_VERDICT,       /**< The verifier could not judge (no collateral, no memory). */
} dstack_ear_failure;

/** How its claims are named. The draft renamed them on the way: what is `ear.status` in tokens of
 * the field is `ear_status` in revision 4, and the policy's id became a list,
 * `ear_appraisal_policy_ids`. The claims are the same. */
typedef enum dstack_ear_form {
    DSTACK_EAR_FORM_TRUSTEE, /**< Names with dots, DSTACK_EAR_PROFILE. */
    DSTACK_EAR_FORM_IETF,    /**< Names with underscores, DSTACK_EAR_PROFILE_IETF. */
} dstack_ear_form;

/** What a token says. Start with all members zero; texts are borrowed. */
typedef struct dstack_ear_result {
    const dstack_verified *verified;             /**< NULL when the evidence was refused. */
    const dstack_attestation_decision *decision; /**< NULL without a policy. */
    dstack_ear_failure failure;
    const char *reason;    /**< Why it failed, for people; or NULL. */
    const char *policy_id; /**< NULL: that of the decision, or "dstack:verification". */
    const char *developer; /**< `ear.verifier-id`; NULL: "dstack". */
    const char *build;     /**< NULL: "libdstack " and its version. */
    const char *issuer;    /**< `iss`; NULL: left out. */
    int64_t now;           /**< `iat`, UNIX seconds. */
    int64_t lifetime;      /**< Seconds until `exp`; 0: left out. */
    dstack_bytes nonce;    /**< `eat_nonce`: 8 to 64 bytes that the evidence binds, or empty. */
    bool insecure_dev;     /**< Marks the result of a verifier in an insecure mode. */
    dstack_ear_form form;
} dstack_ear_result;

/** Appends the claims as JSON text, unsigned. DSTACK_E_ARGUMENT for a nonce of another length. */
DSTACK_API int dstack_ear_claims(const dstack_ear_result *result, dstack_buf *json,
                                 dstack_error *err);

/** A signing key (P-256); immutable, may be shared among threads. */
typedef struct dstack_ear_signer dstack_ear_signer;

/** From a private key in PEM (as dstack_cert_key_new() makes), or NULL for a fresh one that lives as
 * long as the signer. */
DSTACK_API int dstack_ear_signer_new(dstack_ear_signer **out, const dstack_secret *pem,
                                     dstack_error *err);
/** Accepts NULL. */
DSTACK_API void dstack_ear_signer_free(dstack_ear_signer *signer);
/** Appends the public key as a JWK set: {"keys": [{"kty","crv","x","y","alg","use","kid"}]}. */
DSTACK_API int dstack_ear_signer_jwks(const dstack_ear_signer *signer, dstack_buf *json,
                                      dstack_error *err);
/** Appends the token in compact form. */
DSTACK_API int dstack_ear_sign(const dstack_ear_signer *signer, const dstack_ear_result *result,
                               dstack_buf *token, dstack_error *err);

/**
 * Verifies a token against the keys of a JWK set that the caller trusts, and appends its claims.
 * Checks the signature (ES256 and nothing else, whatever the token says), the profile (either), and that
 * `now` is not before `iat` (one minute of difference is granted) nor past `exp`. What the claims
 * say is the caller's to judge, `eat_nonce` among them.
 *
 * @return 0; DSTACK_E_FORMAT; DSTACK_E_NOT_FOUND when the set has no such key; DSTACK_E_CRYPTO;
 *         DSTACK_E_REFUSED for another profile or a time out of bounds; DSTACK_E_LIMIT.
 */
DSTACK_API int dstack_ear_verify(dstack_bytes token, dstack_bytes jwks, int64_t now,
                                 dstack_buf *claims, dstack_error *err);

#ifdef __cplusplus
}
#endif
#endif
