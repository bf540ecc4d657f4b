/* Where things lie in the guest. Only this program and the image's units know these. */
#ifndef AGENT_PATHS_H
#define AGENT_PATHS_H

#define AGENT_WORK_DIR "/dstack" /* tmpfs, mounted by the boot */
#define AGENT_SHARE_DIR AGENT_WORK_DIR "/.host-shared"
#define AGENT_APP_KEYS AGENT_SHARE_DIR "/.appkeys.json"
#define AGENT_COMPOSE AGENT_SHARE_DIR "/app-compose.json"
#define AGENT_SYS_CONFIG AGENT_SHARE_DIR "/.sys-config.json"
#define AGENT_DATA_DIR AGENT_WORK_DIR "/persistent"
#define AGENT_DATA_MAPPING "dstack_data_disk"
#define AGENT_EVENT_DIR "/run/log/dstack"
#define AGENT_GATEWAY_DIR "/run/dstack"

#define AGENT_HOST_PORT "/dev/virtio-ports/org.dstack.host.0"
#define AGENT_GUEST_PORT "/dev/virtio-ports/org.dstack.guest.0"

#define AGENT_SOCKET "/run/dstack.sock"
#define AGENT_TAPPD_SOCKET "/run/tappd.sock"
#define AGENT_EXTERNAL_PORT 8090

#endif
