/* Listening sockets from their text form. */
#ifndef SERVICE_HTTP_LISTEN_H
#define SERVICE_HTTP_LISTEN_H

#include <stdint.h>
#include <sys/types.h>

#include "base/auto.h"

typedef struct http_listen_socket {
    int fd;          /* -1 for "none" */
    uint16_t port;   /* TCP */
    char *unix_path; /* to remove at the end; NULL otherwise */
} http_listen_socket;

/* Forms as in http_listener_config.address. */
int http_listen_open(const char *address, mode_t unix_mode, http_listen_socket *out,
                     dstack_error *err);

#endif
