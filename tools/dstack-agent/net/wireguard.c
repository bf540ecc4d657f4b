#include "net/wireguard.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/genetlink.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <linux/time_types.h>
#include <linux/wireguard.h>
#include <string.h>
#include <time.h>

#include <libmnl/libmnl.h>
#include <sodium.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/error.h"

/* if_nametoindex without <net/if.h>, which does not mix with <linux/if.h>. */
extern unsigned if_nametoindex(const char *name);

#define MESSAGE_MAX 16384

DSTACK_AUTO_DEFINE(mnl, struct mnl_socket, mnl_socket_close)

/* Sends one request and runs `callback` over the answers until the kernel acknowledges. */
static int talk(int bus, struct nlmsghdr *message, mnl_cb_t callback, void *user, const char *what,
                dstack_error *err) {
    DSTACK_AUTO(mnl) struct mnl_socket *socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
    if (socket == NULL || mnl_socket_bind(socket, 0, MNL_SOCKET_AUTOPID) < 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s: no netlink socket", what);
    }
    unsigned seq = (unsigned)time(NULL);
    message->nlmsg_seq = seq;
    if (mnl_socket_sendto(socket, message, message->nlmsg_len) < 0) {
        return error_set_errno(err, DSTACK_E_IO, "%s", what);
    }
    uint8_t answer[MESSAGE_MAX];
    for (;;) {
        ssize_t got = mnl_socket_recvfrom(socket, answer, sizeof answer);
        if (got < 0) {
            return error_set_errno(err, DSTACK_E_IO, "%s", what);
        }
        int rc =
            mnl_cb_run(answer, (size_t)got, seq, mnl_socket_get_portid(socket), callback, user);
        if (rc < 0) {
            return error_set_errno(err, DSTACK_E_IO, "%s", what);
        }
        if (rc == MNL_CB_STOP) {
            return 0;
        }
    }
}

static struct nlmsghdr *begin(void *buf, uint16_t type, uint16_t flags) {
    struct nlmsghdr *message = mnl_nlmsg_put_header(buf);
    message->nlmsg_type = type;
    message->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | NLM_F_ACK | flags);
    return message;
}

static int link_create(const char *name, dstack_error *err) {
    uint8_t buf[1024];
    struct nlmsghdr *message = begin(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    mnl_attr_put_strz(message, IFLA_IFNAME, name);
    struct nlattr *nest = mnl_attr_nest_start(message, IFLA_LINKINFO);
    mnl_attr_put_strz(message, IFLA_INFO_KIND, "wireguard");
    mnl_attr_nest_end(message, nest);
    return talk(NETLINK_ROUTE, message, NULL, NULL, "cannot make the WireGuard interface", err);
}

static int link_up(uint32_t ifindex, dstack_error *err) {
    uint8_t buf[1024];
    struct nlmsghdr *message = begin(buf, RTM_NEWLINK, 0);
    struct ifinfomsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifi_family = AF_UNSPEC;
    info->ifi_index = (int)ifindex;
    info->ifi_change = IFF_UP;
    info->ifi_flags = IFF_UP;
    mnl_attr_put_u32(message, IFLA_MTU, 1420);
    return talk(NETLINK_ROUTE, message, NULL, NULL, "cannot bring WireGuard up", err);
}

static int address_set(uint32_t ifindex, struct in_addr address, dstack_error *err) {
    uint8_t buf[1024];
    struct nlmsghdr *message = begin(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
    struct ifaddrmsg *info = mnl_nlmsg_put_extra_header(message, sizeof *info);
    info->ifa_family = AF_INET;
    info->ifa_prefixlen = 32;
    info->ifa_index = ifindex;
    mnl_attr_put_u32(message, IFA_LOCAL, address.s_addr);
    mnl_attr_put_u32(message, IFA_ADDRESS, address.s_addr);
    return talk(NETLINK_ROUTE, message, NULL, NULL, "cannot set the WireGuard address", err);
}

static int route_set(uint32_t ifindex, struct in_addr target, dstack_error *err) {
    uint8_t buf[1024];
    struct nlmsghdr *message = begin(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
    struct rtmsg *route = mnl_nlmsg_put_extra_header(message, sizeof *route);
    route->rtm_family = AF_INET;
    route->rtm_dst_len = 32;
    route->rtm_table = RT_TABLE_MAIN;
    route->rtm_protocol = RTPROT_STATIC;
    route->rtm_scope = RT_SCOPE_LINK;
    route->rtm_type = RTN_UNICAST;
    mnl_attr_put_u32(message, RTA_DST, target.s_addr);
    mnl_attr_put_u32(message, RTA_OIF, ifindex);
    return talk(NETLINK_ROUTE, message, NULL, NULL, "cannot set a WireGuard route", err);
}

static void put_peer(struct nlmsghdr *message, const wg_peer *peer) {
    struct nlattr *nest = mnl_attr_nest_start(message, 0);
    mnl_attr_put(message, WGPEER_A_PUBLIC_KEY, WG_KEY_SIZE, peer->public_key);
    mnl_attr_put_u32(message, WGPEER_A_FLAGS, WGPEER_F_REPLACE_ALLOWEDIPS);
    size_t size = peer->endpoint.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                       : sizeof(struct sockaddr_in);
    mnl_attr_put(message, WGPEER_A_ENDPOINT, size, &peer->endpoint);
    mnl_attr_put_u16(message, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, peer->keepalive_s);
    struct nlattr *list = mnl_attr_nest_start(message, WGPEER_A_ALLOWEDIPS);
    struct nlattr *entry = mnl_attr_nest_start(message, 0);
    mnl_attr_put_u16(message, WGALLOWEDIP_A_FAMILY, AF_INET);
    mnl_attr_put(message, WGALLOWEDIP_A_IPADDR, sizeof peer->allowed_ip, &peer->allowed_ip);
    mnl_attr_put_u8(message, WGALLOWEDIP_A_CIDR_MASK, 32);
    mnl_attr_nest_end(message, entry);
    mnl_attr_nest_end(message, list);
    mnl_attr_nest_end(message, nest);
}

int wg_message_build(const wg_config *config, uint32_t ifindex, dstack_buf *out,
                     dstack_error *err) {
    if (config->peer_count > WG_PEERS_MAX ||
        dstack_secret_len(config->private_key) != WG_KEY_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "bad WireGuard configuration");
    }
    uint8_t buf[MESSAGE_MAX];
    struct nlmsghdr *message = begin(buf, 0, 0);
    struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(message, sizeof *genl);
    genl->cmd = WG_CMD_SET_DEVICE;
    genl->version = WG_GENL_VERSION;
    mnl_attr_put_u32(message, WGDEVICE_A_IFINDEX, ifindex);
    mnl_attr_put_u32(message, WGDEVICE_A_FLAGS, WGDEVICE_F_REPLACE_PEERS);
    mnl_attr_put(message, WGDEVICE_A_PRIVATE_KEY, WG_KEY_SIZE,
                 dstack_secret_peek(config->private_key));
    mnl_attr_put_u16(message, WGDEVICE_A_LISTEN_PORT, config->listen_port);
    struct nlattr *peers = mnl_attr_nest_start(message, WGDEVICE_A_PEERS);
    for (size_t i = 0; i < config->peer_count; i++) {
        put_peer(message, &config->peers[i]);
    }
    mnl_attr_nest_end(message, peers);
    buf_reserve(out, message->nlmsg_len);
    buf_put(out, buf, message->nlmsg_len);
    sodium_memzero(buf, sizeof buf);
    return buf_check(out, err);
}

static int family_attribute(const struct nlattr *attribute, void *user) {
    if (mnl_attr_get_type(attribute) == CTRL_ATTR_FAMILY_ID) {
        *(uint16_t *)user = mnl_attr_get_u16(attribute);
    }
    return MNL_CB_OK;
}

static int family_answer(const struct nlmsghdr *message, void *user) {
    return mnl_attr_parse(message, sizeof(struct genlmsghdr), family_attribute, user);
}

static int family_find(uint16_t *family, dstack_error *err) {
    uint8_t buf[1024];
    struct nlmsghdr *message = begin(buf, GENL_ID_CTRL, 0);
    struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(message, sizeof *genl);
    genl->cmd = CTRL_CMD_GETFAMILY;
    genl->version = 1;
    mnl_attr_put_u16(message, CTRL_ATTR_FAMILY_ID, GENL_ID_CTRL);
    mnl_attr_put_strz(message, CTRL_ATTR_FAMILY_NAME, WG_GENL_NAME);
    *family = 0;
    int rc =
        talk(NETLINK_GENERIC, message, family_answer, family, "no WireGuard in the kernel", err);
    return rc == 0 && *family == 0
               ? error_set(err, DSTACK_E_UNSUPPORTED, "no WireGuard in the kernel")
               : rc;
}

/* A key that is sent is also wiped from the message it was sent in. */
DSTACK_AUTO_DEFINE_CLEAR(message, dstack_buf, buf_wipe)

int wg_apply(const wg_config *config, dstack_error *err) {
    int rc;
    if (if_nametoindex(config->name) == 0 && (rc = link_create(config->name, err)) != 0) {
        return rc;
    }
    uint32_t ifindex = if_nametoindex(config->name);
    uint16_t family = 0;
    DSTACK_AUTO(message) dstack_buf message = {0};
    if ((rc = family_find(&family, err)) != 0 ||
        (rc = wg_message_build(config, ifindex, &message, err)) != 0) {
        return rc;
    }
    struct nlmsghdr *header = (struct nlmsghdr *)(void *)message.data;
    header->nlmsg_type = family;
    if ((rc = talk(NETLINK_GENERIC, header, NULL, NULL, "cannot configure WireGuard", err)) != 0 ||
        (rc = address_set(ifindex, config->address, err)) != 0 ||
        (rc = link_up(ifindex, err)) != 0) {
        return rc;
    }
    for (size_t i = 0; i < config->peer_count; i++) {
        if ((rc = route_set(ifindex, config->peers[i].allowed_ip, err)) != 0) {
            return rc;
        }
    }
    return 0;
}

static int peer_attribute(const struct nlattr *attribute, void *user) {
    if (mnl_attr_get_type(attribute) == WGPEER_A_LAST_HANDSHAKE_TIME &&
        mnl_attr_get_payload_len(attribute) >= sizeof(struct __kernel_timespec)) {
        struct __kernel_timespec at;
        memcpy(&at, mnl_attr_get_payload(attribute), sizeof at);
        int64_t *newest = user;
        *newest = at.tv_sec > *newest ? at.tv_sec : *newest;
    }
    return MNL_CB_OK;
}

static int peers_attribute(const struct nlattr *attribute, void *user) {
    return mnl_attr_parse_nested(attribute, peer_attribute, user);
}

static int device_attribute(const struct nlattr *attribute, void *user) {
    return mnl_attr_get_type(attribute) == WGDEVICE_A_PEERS
               ? mnl_attr_parse_nested(attribute, peers_attribute, user)
               : MNL_CB_OK;
}

static int device_answer(const struct nlmsghdr *message, void *user) {
    return mnl_attr_parse(message, sizeof(struct genlmsghdr), device_attribute, user);
}

int wg_last_handshake(const char *name, int64_t *seconds, dstack_error *err) {
    uint16_t family = 0;
    int rc = family_find(&family, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t buf[1024];
    struct nlmsghdr *message = begin(buf, family, NLM_F_DUMP);
    struct genlmsghdr *genl = mnl_nlmsg_put_extra_header(message, sizeof *genl);
    genl->cmd = WG_CMD_GET_DEVICE;
    genl->version = WG_GENL_VERSION;
    mnl_attr_put_strz(message, WGDEVICE_A_IFNAME, name);
    *seconds = 0;
    return talk(NETLINK_GENERIC, message, device_answer, seconds, "cannot read WireGuard", err);
}
