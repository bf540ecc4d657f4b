/* HTTP over one byte stream that both ends may use at once: the virtio-serial port between a VM and
 * its host (guest: /dev/virtio-ports/org.dstack.host.0; host: QEMU's chardev socket).
 *
 * Frame: "DSF1", stream number u32 BE, length u32 BE (at most 1 MiB), then one complete HTTP/1.1
 * request or response. The requester picks the number: odd from the guest, even from the host. A
 * reader that sees another magic skips to the next one, so a reboot in mid-frame heals itself.
 *
 * An incoming request runs through the routes of a listener (address "none" or any other), on a
 * thread of its own, with an HTTP_PEER_LINK peer named `name`. */
#ifndef SERVICE_LINK_H
#define SERVICE_LINK_H

#include "client/http_client.h"
#include "service/http.h"

typedef struct service_link service_link;

typedef enum service_link_side { SERVICE_LINK_GUEST = 1, SERVICE_LINK_HOST = 2 } service_link_side;

typedef struct service_link_config {
    service_link_side side;
    const char *name;     /* e.g. the VM's id; handlers see it as http_peer.address */
    http_server *server;  /* NULL: incoming requests get 404 */
    const char *listener; /* whose routes serve them */
    void (*closed)(service_link *link, void *user); /* stream ended; may be NULL; own thread */
    void *user;
} service_link_config;

/* Takes fd over (socket or character device, blocking or not) and starts its reader thread. */
service_link *service_link_new(int fd, const service_link_config *config, dstack_error *err);
/* Opens a port by its path and behaves like service_link_new. */
service_link *service_link_open(const char *path, const service_link_config *config,
                                dstack_error *err);
/* Sends one request and waits for its answer. `path` as in http_client_send. Any thread; several
 * requests may be under way. DSTACK_E_TIMEOUT after timeout_ms, DSTACK_E_NETWORK when the link
 * ends. */
int service_link_send(service_link *link, const http_client_request *request, int timeout_ms,
                      http_client_response *response, dstack_error *err);
/* The frame decoder by itself: finds the first complete frame. Returns how many bytes of the input
 * are done with; *stream is 0 when they held no complete frame. payload points into the input. */
size_t service_link_next_frame(dstack_bytes input, uint32_t *stream, dstack_bytes *payload);
bool service_link_alive(const service_link *link);
/* Ends the thread, closes fd, frees. Not to be called from `closed`. Accepts NULL. */
void service_link_free(service_link *link);

#endif
