#include "client_hello.h"

#include <string.h>

#include "base/cursor.h"

#define RECORD_HANDSHAKE 22
#define HANDSHAKE_CLIENT_HELLO 1
#define EXTENSION_SERVER_NAME 0
#define NAME_TYPE_HOST 0
#define RECORD_MAX 16384 /* plaintext bytes of one record */
#define HELLO_MAX 16384  /* far above any real ClientHello */

static sni_result take_name(dstack_bytes name, char sni[SNI_SIZE]) {
    if (name.len == 0 || name.len >= SNI_SIZE) {
        return SNI_INVALID;
    }
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.data[i];
        c = c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
              c == '_')) {
            return SNI_INVALID;
        }
        sni[i] = (char)c;
    }
    sni[name.len] = '\0';
    return SNI_FOUND;
}

static sni_result read_server_name(dstack_bytes extension, char sni[SNI_SIZE]) {
    cursor c = cursor_init(extension);
    cursor list = cursor_init(cursor_take(&c, cursor_u16be(&c)));
    if (!cursor_done(&c)) {
        return SNI_INVALID;
    }
    while (cursor_left(&list) > 0) {
        uint8_t type = cursor_u8(&list);
        dstack_bytes name = cursor_take(&list, cursor_u16be(&list));
        if (!cursor_ok(&list)) {
            return SNI_INVALID;
        }
        if (type == NAME_TYPE_HOST) {
            return take_name(name, sni);
        }
    }
    return SNI_ABSENT;
}

static sni_result read_hello(dstack_bytes body, char sni[SNI_SIZE]) {
    cursor c = cursor_init(body);
    cursor_skip(&c, 2 + 32);           /* legacy_version, random */
    cursor_skip(&c, cursor_u8(&c));    /* legacy_session_id */
    cursor_skip(&c, cursor_u16be(&c)); /* cipher_suites */
    cursor_skip(&c, cursor_u8(&c));    /* legacy_compression_methods */
    if (cursor_done(&c)) {
        return SNI_ABSENT; /* TLS 1.2 allows a hello without extensions */
    }
    cursor extensions = cursor_init(cursor_take(&c, cursor_u16be(&c)));
    if (!cursor_done(&c)) {
        return SNI_INVALID;
    }
    while (cursor_left(&extensions) > 0) {
        uint16_t type = cursor_u16be(&extensions);
        dstack_bytes value = cursor_take(&extensions, cursor_u16be(&extensions));
        if (!cursor_ok(&extensions)) {
            return SNI_INVALID;
        }
        if (type == EXTENSION_SERVER_NAME) {
            return read_server_name(value, sni);
        }
    }
    return SNI_ABSENT;
}

/* Joins the handshake bytes of the records that are there. Gives the number of joined bytes, or
 * sets *invalid when something that is not a handshake record comes. */
static size_t join_records(dstack_bytes bytes, uint8_t *out, bool *invalid) {
    cursor c = cursor_init(bytes);
    size_t joined = 0;
    while (cursor_left(&c) > 0 && joined < HELLO_MAX) {
        if (cursor_peek_u8(&c) != RECORD_HANDSHAKE) {
            *invalid = true;
            break;
        }
        if (cursor_left(&c) < 5) {
            break;
        }
        cursor_skip(&c, 1);
        uint16_t version = cursor_u16be(&c);
        size_t len = cursor_u16be(&c);
        if (version >> 8 != 3 || len == 0 || len > RECORD_MAX) {
            *invalid = true;
            break;
        }
        size_t have = len < cursor_left(&c) ? len : cursor_left(&c);
        size_t room = HELLO_MAX - joined;
        cursor_copy(&c, out + joined, have < room ? have : room);
        joined += have < room ? have : room;
        if (have < len) {
            break;
        }
    }
    return joined;
}

sni_result client_hello_sni(dstack_bytes bytes, char sni[SNI_SIZE]) {
    uint8_t joined[HELLO_MAX];
    bool invalid = false;
    size_t len = join_records(bytes, joined, &invalid);
    cursor c = cursor_init(bytes_of(joined, len));
    if (len > 0 && joined[0] != HANDSHAKE_CLIENT_HELLO) {
        return SNI_INVALID;
    }
    if (len >= 4) {
        uint32_t head = cursor_u32be(&c);
        size_t body_len = head & 0xffffff;
        if (body_len > HELLO_MAX - 4) {
            return SNI_INVALID;
        }
        if (cursor_left(&c) >= body_len) {
            return read_hello(cursor_take(&c, body_len), sni);
        }
    }
    return invalid ? SNI_INVALID : SNI_MORE;
}
