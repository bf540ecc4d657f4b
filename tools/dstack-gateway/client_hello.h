/* Finds the server name in the first bytes of a TLS connection, without answering them. */
#ifndef GATEWAY_CLIENT_HELLO_H
#define GATEWAY_CLIENT_HELLO_H

#include <dstack/bytes.h>

/* A DNS name as SNI carries it: at most 255 bytes, with a final zero here. */
#define SNI_SIZE 256

typedef enum sni_result {
    SNI_FOUND,
    SNI_MORE,    /* the bytes so far are the start of a ClientHello: read on */
    SNI_ABSENT,  /* a complete ClientHello without a server name */
    SNI_INVALID, /* not a ClientHello, or one that breaks RFC 8446 section 4.1.2 */
} sni_result;

/* Reads the records of RFC 8446 section 5.1 (a ClientHello may span several) and the server_name
 * extension of RFC 6066 section 3. On SNI_FOUND, `sni` holds the name in lower case: letters,
 * digits, dots, dashes and underscores only. */
sni_result client_hello_sni(dstack_bytes bytes, char sni[SNI_SIZE]);

#endif
