/* DNS provider "hook": a program that places and removes TXT records,
 * called as `PROGRAM present|cleanup NAME VALUE`. */
#ifndef GATEWAY_DNS_HOOK_H
#define GATEWAY_DNS_HOOK_H

#include <dstack/acme.h>

/* The program's path must be absolute; kept by pointer. */
int dns_hook_init(dstack_acme_dns01 *out, const char *program, dstack_error *err);

#endif
