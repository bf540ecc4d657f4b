/* Which addresses the service may be sent to by whoever uses its page. */
#ifndef VERIFIER_ADDRESS_H
#define VERIFIER_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include <dstack/error.h>

/* Whether an address is one of the public internet: nothing of this machine, its neighbours, or
 * reserved (IANA special-purpose registries, RFC 6890). */
bool address_is_public(const struct sockaddr *address);

/* Resolves a host and writes the first address that may be asked as "address:port"; every further
 * connection goes there, so that the name cannot come to mean another one. `any`: private ones too.
 * DSTACK_E_NETWORK when it does not resolve, DSTACK_E_REFUSED when no address may be asked. */
int address_resolve(const char *host, const char *port, bool any, char *out, size_t size,
                    dstack_error *err);

#endif
