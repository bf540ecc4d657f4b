/* The container engine as the agent sees it: read-only questions on its socket. */
#ifndef AGENT_SERVE_ENGINE_H
#define AGENT_SERVE_ENGINE_H

#include <jansson.h>

#include <dstack/error.h>

#define ENGINE_SOCKET_PATH "/run/docker.sock"

/* All containers, running or not, as the engine's JSON array; the caller owns it. */
int engine_containers(const char *socket, json_t **out, dstack_error *err);
/* One container by its full id, as a JSON object; the caller owns it. */
int engine_container(const char *socket, const char *id, json_t **out, dstack_error *err);

#endif
