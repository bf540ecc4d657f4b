/* TLS that ends in the container: its certificate carries the guest's attestation (RA-TLS). */
#ifndef HELLO_TLS_H
#define HELLO_TLS_H

#include <openssl/ssl.h>

/* A connection on an accepted socket with a certificate from the guest agent, or NULL (the reason is
 * on stderr). The certificate is asked for on first use and renewed after twelve hours. */
SSL *tls_accept(int fd);

#endif
