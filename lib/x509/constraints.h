/* Name constraints (RFC 5280, sections 4.2.1.10 and 6.1): which names may stand in the certificates
 * below a CA. Forms: DNS names, IP addresses, directory names. Any other form in a constraint, and
 * whatever of the extension cannot be read, refuses: nobody else looks at it. */
#ifndef DSTACK_X509_CONSTRAINTS_H
#define DSTACK_X509_CONSTRAINTS_H

#include "x509/cert.h"

/* below: the certificates under the CA, leaf first. Self-issued ones among them but the leaf are not
 * held against it. A CA without the extension constrains nothing. DSTACK_E_X509_PATH. */
int x509_constraints_check(const x509_cert *ca, const x509_cert *const *below, size_t count,
                           dstack_error *err);

#endif
