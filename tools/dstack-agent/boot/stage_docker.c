/* The container engine's settings. The engine itself is started by the image's units, after this. */
#include "boot/boot.h"

#include "app/docker_config.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/file.h"

#define DAEMON_CONFIG "/etc/docker/daemon.json"

int stage_docker(void *context, dstack_error *err) {
    boot *b = context;
    DSTACK_AUTO(buf) dstack_buf base = {0};
    DSTACK_AUTO(buf) dstack_buf config = {0};
    int rc = file_read(DAEMON_CONFIG, (size_t)64 << 10, &base, err);
    if (rc != 0 && rc != DSTACK_E_NOT_FOUND) {
        return rc;
    }
    if ((rc = docker_config_build(bytes_of_buf(&base), b->config.docker_registry, &config, err)) !=
            0 ||
        (rc = file_make_dirs("/etc/docker", 0755, err)) != 0) {
        return rc;
    }
    return file_write_atomic(DAEMON_CONFIG, bytes_of_buf(&config), 0644, err);
}
