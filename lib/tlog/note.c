/* Signed notes and checkpoints (c2sp.org/signed-note, c2sp.org/tlog-checkpoint). */
#include <ctype.h>
#include <string.h>

#include <dstack/tlog.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "crypto/ed25519.h"
#include "crypto/hash.h"

#define NOTE_LIMIT ((size_t)64 << 10)
#define SIGNATURES_MAX 64
#define ALGORITHM_ED25519 1
#define KEY_ID_SIZE 4
#define SIGNATURE_LINE "\xe2\x80\x94 " /* em dash, blank */
#define SIGNATURE_TEXT_MAX 512

static bool name_is_valid(dstack_bytes name) {
    bool valid = name.len > 0 && name.len < DSTACK_TLOG_NAME_SIZE;
    for (size_t i = 0; i < name.len; i++) {
        valid = valid && name.data[i] > ' ' && name.data[i] != '+' && name.data[i] != 0x7f;
    }
    return valid;
}

/* First four bytes of SHA-256(name ‖ LF ‖ algorithm ‖ public key). */
static void key_id(dstack_bytes name, const uint8_t public_key[32], uint8_t out[KEY_ID_SIZE]) {
    uint8_t hash[32];
    static const uint8_t kind[] = {'\n', ALGORITHM_ED25519};
    const dstack_bytes parts[] = {name, bytes_of(kind, sizeof kind), bytes_of(public_key, 32)};
    hash_parts(HASH_SHA256, parts, 3, hash);
    memcpy(out, hash, KEY_ID_SIZE);
}

/* Splits off what stands before the separator; false when there is none. */
static bool take_until(dstack_bytes *text, uint8_t separator, dstack_bytes *part) {
    const uint8_t *at = text->len > 0 ? memchr(text->data, separator, text->len) : NULL;
    if (at == NULL) {
        return false;
    }
    *part = bytes_of(text->data, (size_t)(at - text->data));
    *text = bytes_of(at + 1, text->len - part->len - 1);
    return true;
}

/* The one standard encoding of exactly len bytes. */
static bool decode(dstack_bytes text, uint8_t *out, size_t len) {
    DSTACK_AUTO(buf) dstack_buf bytes = {0}, again = {0};
    if (text.len > SIGNATURE_TEXT_MAX || base64_decode(text, BASE64_STANDARD, &bytes, NULL) != 0 ||
        bytes.len != len) {
        return false;
    }
    memcpy(out, bytes.data, len);
    base64_encode(bytes_of_buf(&bytes), BASE64_STANDARD, &again);
    return bytes_equal(bytes_of_buf(&again), text);
}

/* ---- keys ------------------------------------------------------------------------------------- */

int dstack_tlog_key_text(const dstack_tlog_key *key, dstack_buf *out, dstack_error *err) {
    uint8_t id[KEY_ID_SIZE], encoded[33] = {ALGORITHM_ED25519};
    dstack_bytes name = bytes_of_str(key->name);
    if (!name_is_valid(name)) {
        return error_set(err, DSTACK_E_ARGUMENT, "a log's name has neither blanks nor '+'");
    }
    key_id(name, key->public_key, id);
    memcpy(encoded + 1, key->public_key, 32);
    buf_put_fmt(out, "%s+", key->name);
    buf_put_hex(out, bytes_of(id, sizeof id));
    buf_put_str(out, "+");
    base64_encode(bytes_of(encoded, sizeof encoded), BASE64_STANDARD, out);
    return buf_check(out, err);
}

int dstack_tlog_key_parse(dstack_bytes text, dstack_tlog_key *out, dstack_error *err) {
    dstack_bytes name, id;
    uint8_t encoded[33], expected[KEY_ID_SIZE];
    char hex[2 * KEY_ID_SIZE + 1];
    while (text.len > 0 && isspace(text.data[text.len - 1])) {
        text.len--;
    }
    if (!take_until(&text, '+', &name) || !name_is_valid(name) || !take_until(&text, '+', &id) ||
        !decode(text, encoded, sizeof encoded)) {
        return error_set(err, DSTACK_E_FORMAT, "a log's key is \"name+keyid+base64\"");
    }
    if (encoded[0] != ALGORITHM_ED25519) {
        return error_set(err, DSTACK_E_UNSUPPORTED, "log key: algorithm %u is not Ed25519",
                         encoded[0]);
    }
    memcpy(out->public_key, encoded + 1, 32);
    memcpy(out->name, name.data, name.len);
    out->name[name.len] = 0;
    key_id(name, out->public_key, expected);
    hex_encode(bytes_of(expected, sizeof expected), hex);
    return bytes_equal_str(id, hex)
               ? 0
               : error_set(err, DSTACK_E_FORMAT, "log key: the key id must be %s", hex);
}

/* ---- signing ---------------------------------------------------------------------------------- */

int dstack_tlog_checkpoint_sign(const dstack_tlog_checkpoint *checkpoint, const dstack_secret *seed,
                                dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    uint8_t public_key[32];
    uint8_t line[KEY_ID_SIZE + ED25519_SIGNATURE_SIZE];
    dstack_bytes name = bytes_of_str(checkpoint->origin);
    if (!name_is_valid(name) || dstack_secret_len(seed) != ED25519_SEED_SIZE) {
        return error_set(err, DSTACK_E_ARGUMENT, "a checkpoint needs a name and a seed");
    }
    buf_put_fmt(&text, "%s\n%llu\n", checkpoint->origin, (unsigned long long)checkpoint->size);
    base64_encode(bytes_of(checkpoint->root.bytes, 32), BASE64_STANDARD, &text);
    buf_put_str(&text, "\n");
    int rc = buf_check(&text, err);
    rc = rc != 0 ? rc : ed25519_public(dstack_secret_peek(seed), public_key, err);
    rc = rc != 0
             ? rc
             : ed25519_sign(dstack_secret_peek(seed), bytes_of_buf(&text), line + KEY_ID_SIZE, err);
    if (rc != 0) {
        return rc;
    }
    key_id(name, public_key, line);
    buf_put_bytes(out, bytes_of_buf(&text));
    buf_put_fmt(out, "\n" SIGNATURE_LINE "%s ", checkpoint->origin);
    base64_encode(bytes_of(line, sizeof line), BASE64_STANDARD, out);
    buf_put_str(out, "\n");
    return buf_check(out, err);
}

/* ---- opening ---------------------------------------------------------------------------------- */

static int bad_note(const char *what, dstack_error *err) {
    return error_set(err, DSTACK_E_FORMAT, "checkpoint: %s", what);
}

/* The text ends with the last line feed before an empty line; after that come signatures only. */
static bool split_note(dstack_bytes note, dstack_bytes *text, dstack_bytes *signatures) {
    for (size_t i = note.len; i >= 2; i--) {
        if (note.data[i - 1] == '\n' && note.data[i - 2] == '\n') {
            *text = bytes_of(note.data, i - 1);
            *signatures = bytes_of(note.data + i, note.len - i);
            return signatures->len > 0;
        }
    }
    return false;
}

/* A signature line: "— name base64". *mine is set when it is by the key, and then it must hold. */
static int check_line(dstack_bytes line, dstack_bytes text, const dstack_tlog_key *key, bool *mine,
                      dstack_error *err) {
    const size_t mark = sizeof SIGNATURE_LINE - 1;
    uint8_t id[KEY_ID_SIZE], value[KEY_ID_SIZE + ED25519_SIGNATURE_SIZE];
    dstack_bytes name;
    if (line.len < mark || memcmp(line.data, SIGNATURE_LINE, mark) != 0) {
        return bad_note("a signature line begins with an em dash", err);
    }
    line = bytes_of(line.data + mark, line.len - mark);
    if (!take_until(&line, ' ', &name) || !name_is_valid(name) || line.len == 0) {
        return bad_note("a signature line is \"name base64\"", err);
    }
    key_id(name, key->public_key, id);
    if (!bytes_equal_str(name, key->name) || !decode(line, value, sizeof value) ||
        memcmp(value, id, sizeof id) != 0) {
        return 0; /* somebody else's */
    }
    *mine = true;
    int rc = ed25519_verify(key->public_key, text, value + KEY_ID_SIZE, err);
    return rc != 0 ? error_prefix(err, rc, "checkpoint") : 0;
}

static int check_signatures(dstack_bytes text, dstack_bytes signatures, const dstack_tlog_key *key,
                            dstack_error *err) {
    bool mine = false;
    int rc = 0;
    dstack_bytes line;
    for (size_t i = 0; rc == 0 && signatures.len > 0; i++) {
        if (i >= SIGNATURES_MAX || !take_until(&signatures, '\n', &line)) {
            return bad_note("its signatures do not end", err);
        }
        rc = check_line(line, text, key, &mine, err);
    }
    return rc != 0 || mine
               ? rc
               : error_set(err, DSTACK_E_REFUSED, "checkpoint: not signed by %s", key->name);
}

static bool read_size(dstack_bytes text, uint64_t *out) {
    *out = 0;
    if (text.len == 0 || text.len > 19 || (text.data[0] == '0' && text.len > 1)) {
        return false;
    }
    for (size_t i = 0; i < text.len; i++) {
        if (!isdigit(text.data[i])) {
            return false;
        }
        *out = *out * 10 + (uint64_t)(text.data[i] - '0');
    }
    return true;
}

int dstack_tlog_checkpoint_open(dstack_bytes note, const dstack_tlog_key *key,
                                dstack_tlog_checkpoint *out, dstack_error *err) {
    dstack_bytes text, signatures, origin, size, root, extra;
    *out = (dstack_tlog_checkpoint){0};
    if (note.len > NOTE_LIMIT || !split_note(note, &text, &signatures)) {
        return bad_note("no text and signatures with an empty line between", err);
    }
    dstack_bytes rest = text;
    if (!take_until(&rest, '\n', &origin) || !take_until(&rest, '\n', &size) ||
        !take_until(&rest, '\n', &root)) {
        return bad_note("three lines are needed", err);
    }
    while (rest.len > 0) { /* extensions, none of which is known here */
        if (!take_until(&rest, '\n', &extra) || extra.len == 0) {
            return bad_note("its text holds an empty line", err);
        }
    }
    if (!name_is_valid(origin) || !read_size(size, &out->size) ||
        !decode(root, out->root.bytes, sizeof out->root.bytes)) {
        return bad_note("origin, size or root is malformed", err);
    }
    memcpy(out->origin, origin.data, origin.len);
    if (strcmp(out->origin, key->name) != 0) {
        return error_set(err, DSTACK_E_REFUSED, "checkpoint: of the log %s, not %s", out->origin,
                         key->name);
    }
    return check_signatures(text, signatures, key, err);
}
