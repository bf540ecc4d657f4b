/**
 * @file refresh.h
 * @brief Renewing a verifier's collateral before it ends, while the verifier is in use.
 *
 * Collateral that a verifier keeps is replaced as a whole, and only by collateral that it has
 * verified and that lasts longer: whoever checks a quote meanwhile sees either the old or the new.
 * When none can be had, the old one serves to its last second and nothing afterwards.
 */
#ifndef DSTACK_REFRESH_H
#define DSTACK_REFRESH_H

#include <stddef.h>
#include <stdint.h>

#include <dstack/collateral.h>
#include <dstack/error.h>
#include <dstack/verifier.h>
#include <dstack/visibility.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Gets collateral for the same platforms as @p old: same TEE, FMSPC and PCK CA. May block;
 * dstack_collateral_refetch does it.
 *
 * @param fresh  set on success alone; the caller takes the reference.
 * @return 0 or a negative dstack_status.
 */
typedef int (*dstack_refetch)(void *user, const dstack_collateral *old, dstack_collateral **fresh,
                              dstack_error *err);

/**
 * Renews what ends before @p now + @p ahead, once. Collateral without a successor keeps its place.
 *
 * @param ahead    seconds.
 * @param renewed  how many bundles were replaced; may be NULL.
 * @return 0; otherwise the first failure: that of @p refetch, DSTACK_E_DCAP_COLLATERAL_FETCH for
 *         collateral that is for other platforms or ends no later, or the check that refused it.
 *         The other bundles were tried nevertheless.
 */
DSTACK_API int dstack_verifier_refresh(dstack_verifier *verifier, int64_t now, int64_t ahead,
                                       dstack_refetch refetch, void *user, size_t *renewed,
                                       dstack_error *err);

/** Start with all members zero but refetch. Everything is copied. */
typedef struct dstack_refresher_options {
    dstack_refetch refetch; /**< Called from the refresher's thread. */
    /** Told of each round that failed, from that thread; may be NULL. */
    void (*failed)(void *user, const dstack_error *err);
    /** Told after each round, failed or not, how many bundles it replaced; may be NULL. */
    void (*looked)(void *user, size_t renewed);
    /** The time, UNIX seconds; NULL: the system's clock. */
    int64_t (*now)(void *user);
    void *user;
    int64_t ahead_seconds;    /**< Renewed when it ends within this time; 0: one day. */
    int64_t interval_seconds; /**< Between two looks; 0: one hour. A random tenth is taken off. */
    int64_t retry_seconds;    /**< The same after a round that failed; 0: five minutes, or the
                                   interval if that is shorter. */
} dstack_refresher_options;

/** A thread that renews a verifier's collateral. */
typedef struct dstack_refresher dstack_refresher;

/**
 * Starts a refresher, which looks at once and then at every interval.
 *
 * @param verifier  outlives the refresher.
 * @return 0, DSTACK_E_ARGUMENT (no refetch, a negative time) or DSTACK_E_MEMORY.
 */
DSTACK_API int dstack_refresher_start(dstack_refresher **out, dstack_verifier *verifier,
                                      const dstack_refresher_options *options, dstack_error *err);
/** Ends the thread; a call of refetch under way is waited for. Accepts NULL. */
DSTACK_API void dstack_refresher_stop(dstack_refresher *refresher);

#ifdef __cplusplus
}
#endif
#endif
