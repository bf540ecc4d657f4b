/**
 * @file collateral.h
 * @brief What Intel publishes about platforms, and a quote is judged by: revocation lists, TCB
 * info, QE identity, each with the chain of its signer.
 *
 * The bundle's JSON form is the one that dcap-qvl and Intel-compatible caches' clients exchange.
 * The texts of TCB info and QE identity are kept as they were signed, byte for byte. A collateral
 * is immutable once parsed and may be shared among threads.
 */
#ifndef DSTACK_COLLATERAL_H
#define DSTACK_COLLATERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Largest bundle taken, in bytes of JSON. */
#define DSTACK_COLLATERAL_MAX_SIZE (16u << 20)

/** A parsed bundle, with a reference count. */
typedef struct dstack_collateral dstack_collateral;

/**
 * Parses the JSON bundle. Whether what it holds is true and current is for a verifier to say.
 *
 * @return 0, DSTACK_E_DCAP_COLLATERAL_FORMAT or DSTACK_E_MEMORY; *out is set on success alone.
 */
DSTACK_API int dstack_collateral_parse(dstack_collateral **out, dstack_bytes json,
                                       dstack_error *err);
/** Another reference to the same bundle. Thread safe. */
DSTACK_API dstack_collateral *dstack_collateral_ref(dstack_collateral *collateral);
/** Drops a reference. Accepts NULL. Thread safe. */
DSTACK_API void dstack_collateral_free(dstack_collateral *collateral);

/** Appends the JSON bundle. @return 0 or DSTACK_E_MEMORY. */
DSTACK_API int dstack_collateral_to_json(const dstack_collateral *collateral, bool pretty,
                                         dstack_buf *out, dstack_error *err);

/** The parts, as views that live as long as the collateral. */
typedef struct dstack_collateral_parts {
    dstack_bytes pck_crl_issuer_chain;     /**< PEM */
    dstack_bytes root_ca_crl;              /**< DER */
    dstack_bytes pck_crl;                  /**< DER */
    dstack_bytes tcb_info_issuer_chain;    /**< PEM: signer, root */
    dstack_bytes tcb_info;                 /**< JSON text as signed */
    dstack_bytes tcb_info_signature;       /**< r, s */
    dstack_bytes qe_identity_issuer_chain; /**< PEM */
    dstack_bytes qe_identity;              /**< JSON text as signed */
    dstack_bytes qe_identity_signature;    /**< r, s */
    bool has_pck_certificate_chain;
    dstack_bytes pck_certificate_chain; /**< PEM: PCK leaf, PCK CA, root */
} dstack_collateral_parts;

DSTACK_API void dstack_collateral_get(const dstack_collateral *collateral,
                                      dstack_collateral_parts *parts);
/** A bundle of these parts, copied. */
DSTACK_API int dstack_collateral_new(dstack_collateral **out, const dstack_collateral_parts *parts,
                                     dstack_error *err);

/**
 * When the bundle stops being usable: the earliest of the two nextUpdate of its texts and the two
 * nextUpdate of its revocation lists. Nothing is verified.
 *
 * @param expires  UNIX seconds; the bundle serves before it.
 * @return 0, or the status of the part that cannot be read.
 */
DSTACK_API int dstack_collateral_expires(const dstack_collateral *collateral, int64_t *expires,
                                         dstack_error *err);

/** Where collateral is fetched from. Start with all members zero. */
typedef struct dstack_collateral_servers {
    /** Base URLs of Intel's service or of caches of it, tried in order until one gives everything;
     * none: DSTACK_COLLATERAL_DEFAULT_SERVER. "file:PATH" is a bundle, for when no server can be
     * reached. */
    const char *const *urls;
    size_t url_count;
    int64_t timeout_ms; /**< For one request; 0: 30 seconds. */
    unsigned retries;   /**< Further rounds over all servers while none can be reached, after a
                             pause of 0.2 to 0.4 seconds that doubles each round. */
    const char *proxy;  /**< URL of a proxy; NULL: none. The environment is not read. */
    bool early;         /**< The early update of TCB info and QE identity, not the standard one. */
    uint32_t eval_number; /**< The update of this TCB evaluation data number; 0: as early says. */
    /** Folder in which bundles are kept for the next call, also of other programs; made when it is
     * missing; NULL: none. Files there are worth what their signatures are, and a failure to write
     * them is none of the call. */
    const char *cache;
    /** Seconds for which a kept bundle serves without asking the servers; 0: a day; below 0: they
     * are always asked. While none of them gives a bundle, a kept one serves until its dates end.
     */
    int64_t cache_age;
    int64_t now; /**< UNIX seconds, against which dates are held; 0: the system's clock. */
    /** A bundle that this verifier refuses is not taken, nor kept: the next server is asked. NULL:
     * bundles are taken unverified, and a later verification tells. */
    struct dstack_verifier *verifier;
} dstack_collateral_servers;

#define DSTACK_COLLATERAL_DEFAULT_SERVER "https://pccs.phala.network"

/**
 * Fetches what verifies this quote: Intel's Provisioning Certification Service, API version 4. For
 * a quote that names its platform by PPID the PCK certificate is fetched too. Blocks. Nothing is
 * verified but with servers->verifier; bundles past their dates or for another kind of platform are
 * passed over in any case.
 *
 * @param quote    binary.
 * @param servers  may be NULL.
 * @return 0; the quote parser's statuses; DSTACK_E_NETWORK or DSTACK_E_TIMEOUT when no server could
 * be reached; DSTACK_E_DCAP_COLLATERAL_FETCH when the last one's answers could not be used;
 *         DSTACK_E_UNSUPPORTED in a build without network.
 */
DSTACK_API int dstack_collateral_fetch(dstack_collateral **out, dstack_bytes quote,
                                       const dstack_collateral_servers *servers, dstack_error *err);

/**
 * Fetches anew what @p old holds, for the same TEE, FMSPC and PCK CA; a PCK chain in it is kept. What
 * is fetched may well be the same. For dstack_verifier_refresh, with servers as its user.
 *
 * @param servers  const dstack_collateral_servers *; may be NULL.
 * @return as dstack_collateral_fetch, or the status of the part of @p old that cannot be read.
 */
DSTACK_API int dstack_collateral_refetch(void *servers, const dstack_collateral *old,
                                         dstack_collateral **out, dstack_error *err);

/** SHA-256 over all parts: two bundles with the same id are the same. 32 bytes, borrowed. */
DSTACK_API dstack_bytes dstack_collateral_id(const dstack_collateral *collateral);

#ifdef __cplusplus
}
#endif
#endif
