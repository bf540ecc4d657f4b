/* What the host and the guest agree on about the shared disk and the two ports between them. The
 * guest trusts none of these files except through measurement. */
#ifndef SERVICE_HOST_SHARE_H
#define SERVICE_HOST_SHARE_H

/* Label of the FAT disk; all files lie in its root. */
#define HOST_SHARE_LABEL "DSTACKSHR"

/* Names and the largest size that a guest copies; larger is a boot error. */
#define HOST_SHARE_APP_COMPOSE "app-compose.json"
#define HOST_SHARE_APP_COMPOSE_MAX (50U << 20)
#define HOST_SHARE_SYS_CONFIG ".sys-config.json"
#define HOST_SHARE_SYS_CONFIG_MAX (32U << 10)
#define HOST_SHARE_INSTANCE_INFO ".instance_info"
#define HOST_SHARE_INSTANCE_INFO_MAX (10U << 10)
#define HOST_SHARE_ENCRYPTED_ENV ".encrypted-env"
#define HOST_SHARE_ENCRYPTED_ENV_MAX (256U << 10)
#define HOST_SHARE_USER_CONFIG ".user-config"
#define HOST_SHARE_USER_CONFIG_MAX (50U << 20)
/* Simulated VMs only: the root certificate (DER) whose hash the measured command line pins, and the
 * collateral that belongs to it. */
#define HOST_SHARE_SIM_ROOT ".sim-root.der"
#define HOST_SHARE_SIM_ROOT_MAX (16U << 10)
#define HOST_SHARE_SIM_COLLATERAL ".sim-collateral.json"
#define HOST_SHARE_SIM_COLLATERAL_MAX (1U << 20)

/* virtio-serial ports, in the guest below /dev/virtio-ports/: requests of the guest to the host
 * (any program of the guest, one at a time), requests of the host to the guest's agent, and the
 * simulated TEE. */
#define HOST_PORT_API "org.dstack.host.0"
#define HOST_PORT_GUEST "org.dstack.guest.0"
#define HOST_PORT_TEE "org.dstack.tee.0"
/* `host_api_url` of .sys-config.json when the host API is behind the port (service/link.h):
 * requests go to /api/Notify and the like. */
#define HOST_API_PORT_URL "port:" HOST_PORT_API "/api"

/* Largest payload of a notification; larger ones are dropped. */
#define HOST_NOTIFY_PAYLOAD_MAX 4096

#endif
