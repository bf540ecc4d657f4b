/* /etc/docker/daemon.json: the image's settings, and the registry that the host offers. */
#ifndef AGENT_APP_DOCKER_CONFIG_H
#define AGENT_APP_DOCKER_CONFIG_H

#include <dstack/bytes.h>

/* Appends the settings `base` (JSON object text; empty: none) with `registry` as mirror. A registry
 * without TLS, "http://host:port" or "host:port", is also let in as insecure: images from it are only
 * worth their digests, as with any registry that the host chose. An empty registry changes nothing.
 * DSTACK_E_FORMAT when the URL has anything but scheme, host and port. */
int docker_config_build(dstack_bytes base, const char *registry, dstack_buf *out,
                        dstack_error *err);

#endif
