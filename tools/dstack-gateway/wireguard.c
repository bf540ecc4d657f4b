#include "wireguard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "service/log.h"
#include "service/run.h"

#define COMMAND_MS 15000
#define KEY_SIZE 32

struct wireguard {
    char *interface;
    char *config_path;
    uint16_t listen_port;
    bool created;
    dstack_secret *private_key; /* base64 text with its final zero */
    char public_key[WG_KEY_TEXT_SIZE];
};

static int run(dstack_error *err, dstack_buf *out, const char *const *argv) {
    return run_program(argv, true, out, COMMAND_MS, err);
}

#define RUN(err, out, ...) run(err, out, (const char *const[]){__VA_ARGS__, NULL})

void wireguard_stop(wireguard *w) {
    if (w == NULL) {
        return;
    }
    if (w->created) {
        /* wireguard-go ends by itself when its device goes away. */
        (void)RUN(NULL, NULL, "ip", "link", "delete", "dev", w->interface);
    }
    dstack_secret_free(w->private_key);
    free(w->interface);
    free(w->config_path);
    free(w);
}

DSTACK_AUTO_DEFINE(wireguard, wireguard, wireguard_stop)

static int make_key(const char *path, dstack_error *err) {
    uint8_t raw[KEY_SIZE];
    randombytes_buf(raw, sizeof raw);
    raw[0] &= 248; /* RFC 7748 section 5, stored clamped as wg(8) does */
    raw[31] = (uint8_t)((raw[31] & 127) | 64);
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_reserve(&text, 128);
    base64_encode(bytes_of(raw, sizeof raw), BASE64_STANDARD, &text);
    sodium_memzero(raw, sizeof raw);
    int rc = file_write_new(path, bytes_of_buf(&text), 0600, err);
    sodium_memzero(text.data, text.cap);
    return rc;
}

static int load_key(wireguard *w, const char *state_dir, dstack_error *err) {
    DSTACK_AUTO(str) char *path = NULL;
    if (asprintf(&path, "%s/wg.key", state_dir) < 0) {
        path = NULL;
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_reserve(&text, 256);
    int rc = file_read(path, 128, &text, NULL);
    if (rc == DSTACK_E_NOT_FOUND) {
        rc = make_key(path, err);
        rc = rc != 0 ? rc : file_read(path, 128, &text, err);
    } else if (rc != 0) {
        rc = file_read(path, 128, &text, err);
    }
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    buf_reserve(&raw, 256);
    rc = rc != 0 ? rc : base64_decode(bytes_of_buf(&text), BASE64_STANDARD, &raw, err);
    if (rc == 0 && raw.len != KEY_SIZE) {
        rc = error_set(err, DSTACK_E_FORMAT, "%s is not a WireGuard key", path);
    }
    if (rc == 0) {
        uint8_t public_key[KEY_SIZE];
        crypto_scalarmult_base(public_key, raw.data);
        DSTACK_AUTO(buf) dstack_buf public_text = {0};
        base64_encode(bytes_of(public_key, KEY_SIZE), BASE64_STANDARD, &public_text);
        snprintf(w->public_key, sizeof w->public_key, "%s", buf_text(&public_text));
        w->private_key = dstack_secret_new(WG_KEY_TEXT_SIZE);
        if (w->private_key == NULL) {
            rc = error_set(err, DSTACK_E_MEMORY, "out of memory");
        } else {
            sodium_bin2base64((char *)dstack_secret_data(w->private_key), WG_KEY_TEXT_SIZE,
                              raw.data, KEY_SIZE, sodium_base64_VARIANT_ORIGINAL);
        }
    }
    if (raw.data != NULL) {
        sodium_memzero(raw.data, raw.cap);
    }
    if (text.data != NULL) {
        sodium_memzero(text.data, text.cap);
    }
    return rc;
}

static int create_interface(wireguard *w, dstack_error *err) {
    dstack_error kernel = {0};
    if (RUN(&kernel, NULL, "ip", "link", "add", "dev", w->interface, "type", "wireguard") == 0) {
        return 0;
    }
    dstack_error userspace = {0};
    if (RUN(&userspace, NULL, "wireguard-go", w->interface) == 0) {
        LOG_INFO("the kernel has no WireGuard, using wireguard-go", "interface", w->interface);
        return 0;
    }
    return error_set(err, DSTACK_E_UNSUPPORTED,
                     "cannot create WireGuard interface %s: kernel: %s; wireguard-go: %s",
                     w->interface, kernel.message, userspace.message);
}

int wireguard_start(wireguard **out, const wireguard_config *config, dstack_error *err) {
    DSTACK_AUTO(wireguard) wireguard *w = calloc(1, sizeof *w);
    size_t name_len = strlen(config->interface);
    if (name_len == 0 || name_len > 15 ||
        strspn(config->interface, "abcdefghijklmnopqrstuvwxyz0123456789-") != name_len) {
        return error_set(err, DSTACK_E_ARGUMENT, "\"%s\" can't be an interface name",
                         config->interface);
    }
    if (w == NULL || (w->interface = strdup(config->interface)) == NULL ||
        asprintf(&w->config_path, "%s/%s.conf", config->state_dir, config->interface) < 0) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    w->listen_port = config->listen_port;
    int rc = load_key(w, config->state_dir, err);
    if (rc != 0) {
        return rc;
    }
    if (RUN(NULL, NULL, "ip", "link", "show", "dev", w->interface) != 0) {
        rc = create_interface(w, err);
        if (rc != 0) {
            return rc;
        }
    }
    w->created = true;
    char address[IPV4_TEXT_SIZE + 4];
    ipv4_text(config->address.address, address);
    snprintf(address + strlen(address), 4, "/%u", config->address.prefix);
    rc = RUN(err, NULL, "ip", "address", "replace", address, "dev", w->interface);
    rc = rc != 0 ? rc : RUN(err, NULL, "ip", "link", "set", "dev", w->interface, "up");
    if (rc == 0) {
        *out = w;
        w = NULL;
    }
    return rc;
}

const char *wireguard_public_key(const wireguard *w) {
    return w->public_key;
}

static void render_peer(void *user, const char *instance_id, const char *app_id,
                        const char *public_key, uint32_t address, int64_t handshake) {
    (void)instance_id;
    (void)app_id;
    (void)handshake;
    char text[IPV4_TEXT_SIZE];
    ipv4_text(address, text);
    buf_put_fmt(user, "\n[Peer]\nPublicKey = %s\nAllowedIPs = %s/32\nPersistentKeepalive = 25\n",
                public_key, text);
}

void wireguard_render(const char *private_key, uint16_t listen_port, registry *r, dstack_buf *out) {
    buf_put_fmt(out, "[Interface]\nPrivateKey = %s\nListenPort = %u\n\n", private_key, listen_port);
    registry_each(r, render_peer, out);
}

int wireguard_sync(wireguard *w, registry *r, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_reserve(&text, 1024 + registry_count(r) * 160);
    wireguard_render((const char *)dstack_secret_peek(w->private_key), w->listen_port, r, &text);
    int rc = buf_check(&text, err);
    rc = rc != 0 ? rc : file_write_atomic(w->config_path, bytes_of_buf(&text), 0600, err);
    if (text.data != NULL) {
        sodium_memzero(text.data, text.cap);
    }
    return rc != 0 ? rc : RUN(err, NULL, "wg", "syncconf", w->interface, w->config_path);
}

int wireguard_refresh_handshakes(wireguard *w, registry *r, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    int rc = RUN(err, &text, "wg", "show", w->interface, "latest-handshakes");
    if (rc != 0) {
        return rc;
    }
    char *rest = NULL;
    char *all = (char *)(uintptr_t)buf_text(&text);
    for (char *line = all == NULL ? NULL : strtok_r(all, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char *tab = strchr(line, '\t');
        if (tab != NULL) {
            *tab = '\0';
            registry_set_handshake(r, line, strtoll(tab + 1, NULL, 10));
        }
    }
    return 0;
}
