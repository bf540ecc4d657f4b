/* Telling the host how the boot goes, over the virtio-serial port that QEMU gives every VM. What is
 * told is for people: the host learns nothing secret and answers nothing that is believed. */
#ifndef AGENT_HOST_HOST_API_H
#define AGENT_HOST_HOST_API_H

#include <dstack/bytes.h>

typedef struct host_api host_api;

/* Opens the port, waiting up to wait_ms while another process of this guest has it. NULL when there
 * is none: notifications are then dropped. */
host_api *host_api_open(const char *port, int wait_ms);
void host_api_free(host_api *api);
/* Sends one event. A failure is logged and forgotten. Accepts NULL. */
void host_api_notify(host_api *api, const char *event, const char *payload);

#endif
