/* The host's view of the guest. */
#ifndef AGENT_SERVE_GUEST_API_H
#define AGENT_SERVE_GUEST_API_H

#include "service/http.h"

extern const http_route agent_guest_api_routes[];
extern const size_t agent_guest_api_route_count;

/* Mount points that are shown as disks. */
extern const char *const agent_mount_points[];
extern const size_t agent_mount_point_count;

#endif
