#include "disk/luks_header.h"

#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"

/* Binary header: specification 1.1, section 2.1. */
#define BINARY_HEADER_SIZE 4096
#define HEADER_SIZE_MAX (16u << 20)
#define MAGIC_SIZE 6

static const uint8_t MAGIC[2][MAGIC_SIZE] = {
    {'L', 'U', 'K', 'S', 0xba, 0xbe},
    {'S', 'K', 'U', 'L', 0xba, 0xbe},
};

luks_presence luks_header_presence(dstack_bytes start) {
    if (start.len >= MAGIC_SIZE && memcmp(start.data, MAGIC[0], MAGIC_SIZE) == 0) {
        return LUKS_PRESENT;
    }
    for (size_t i = 0; i < start.len; i++) {
        if (start.data[i] != 0) {
            return LUKS_FOREIGN;
        }
    }
    return LUKS_ABSENT;
}

static int refuse(dstack_error *err, const char *where, const char *want) {
    return error_set(err, DSTACK_E_REFUSED, "LUKS header: %s must be %s", where, want);
}

static bool all_zero(dstack_bytes bytes) {
    for (size_t i = 0; i < bytes.len; i++) {
        if (bytes.data[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Only the named members, each of them present. */
static int members_exact(const json_t *object, const char *where, const char *const *names,
                         dstack_error *err) {
    if (!json_is_object(object)) {
        return refuse(err, where, "an object");
    }
    size_t count = 0;
    for (; names[count] != NULL; count++) {
        if (json_object_get(object, names[count]) == NULL) {
            return error_set(err, DSTACK_E_REFUSED, "LUKS header: %s has no member \"%s\"", where,
                             names[count]);
        }
    }
    if (json_object_size(object) != count) {
        return error_set(err, DSTACK_E_REFUSED, "LUKS header: %s has members that are not known",
                         where);
    }
    return 0;
}

static bool str_is(const json_t *object, const char *key, const char *want) {
    const char *have = json_string_value(json_object_get(object, key));
    return have != NULL && strcmp(have, want) == 0;
}

static bool int_is(const json_t *object, const char *key, json_int_t want) {
    const json_t *have = json_object_get(object, key);
    return json_is_integer(have) && json_integer_value(have) == want;
}

/* LUKS2 writes 64-bit numbers as decimal text. */
static bool number_of(const json_t *object, const char *key, uint64_t *out) {
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL || text[0] == '\0' || strlen(text) > 18) {
        return false;
    }
    uint64_t value = 0;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return false;
        }
        value = value * 10 + (uint64_t)(*text - '0');
    }
    *out = value;
    return true;
}

/* An array holding exactly the string "0". */
static bool only_zero(const json_t *array) {
    return json_array_size(array) == 1 && json_is_string(json_array_get(array, 0)) &&
           strcmp(json_string_value(json_array_get(array, 0)), "0") == 0;
}

static int check_area(const json_t *area, uint64_t header_size, dstack_error *err) {
    static const char *const names[] = {"type", "offset", "size", "encryption", "key_size", NULL};
    int rc = members_exact(area, "keyslots.0.area", names, err);
    if (rc != 0) {
        return rc;
    }
    uint64_t offset, size;
    if (!str_is(area, "type", "raw")) {
        return refuse(err, "keyslots.0.area.type", "raw");
    }
    if (!str_is(area, "encryption", LUKS_ENCRYPTION) || !int_is(area, "key_size", LUKS_KEY_SIZE)) {
        return refuse(err, "keyslots.0.area.encryption", LUKS_ENCRYPTION " with 64-byte keys");
    }
    if (!number_of(area, "offset", &offset) || !number_of(area, "size", &size) ||
        offset < 2 * header_size || size > LUKS_HEADER_AREA || offset > LUKS_HEADER_AREA - size) {
        return refuse(err, "keyslots.0.area", "between the header copies and the data");
    }
    return 0;
}

static int check_keyslot(const json_t *slot, uint64_t header_size, dstack_error *err) {
    static const char *const names[] = {"type", "key_size", "af", "area", "kdf", NULL};
    static const char *const af_names[] = {"type", "stripes", "hash", NULL};
    static const char *const kdf_names[] = {"type", "hash", "iterations", "salt", NULL};
    int rc = members_exact(slot, "keyslots.0", names, err);
    if (rc != 0) {
        return rc;
    }
    if (!str_is(slot, "type", "luks2") || !int_is(slot, "key_size", LUKS_KEY_SIZE)) {
        return refuse(err, "keyslots.0", "of type luks2 with a 64-byte key");
    }
    const json_t *af = json_object_get(slot, "af");
    const json_t *kdf = json_object_get(slot, "kdf");
    if ((rc = members_exact(af, "keyslots.0.af", af_names, err)) != 0 ||
        (rc = check_area(json_object_get(slot, "area"), header_size, err)) != 0) {
        return rc;
    }
    if (!str_is(af, "type", "luks1") || !str_is(af, "hash", "sha256") ||
        !int_is(af, "stripes", 4000)) {
        return refuse(err, "keyslots.0.af", "luks1, sha256, 4000 stripes");
    }
    if (!str_is(kdf, "type", "pbkdf2") || !str_is(kdf, "hash", "sha256")) {
        return refuse(err, "keyslots.0.kdf", "pbkdf2 with sha256");
    }
    return members_exact(kdf, "keyslots.0.kdf", kdf_names, err);
}

static int check_segment(const json_t *segment, dstack_error *err) {
    static const char *const names[] = {"type",       "offset",      "size", "iv_tweak",
                                        "encryption", "sector_size", NULL};
    if (json_object_get(segment, "integrity") != NULL) {
        return refuse(err, "segments.0.integrity", "absent");
    }
    int rc = members_exact(segment, "segments.0", names, err);
    if (rc != 0) {
        return rc;
    }
    if (!str_is(segment, "type", "crypt") || !str_is(segment, "encryption", LUKS_ENCRYPTION)) {
        return refuse(err, "segments.0.encryption", LUKS_ENCRYPTION);
    }
    if (!str_is(segment, "offset", "16777216") || !str_is(segment, "size", "dynamic") ||
        !str_is(segment, "iv_tweak", "0")) {
        return refuse(err, "segments.0", "the whole disk from 16 MiB on, without tweak");
    }
    if (!int_is(segment, "sector_size", LUKS_SECTOR_SIZE)) {
        return refuse(err, "segments.0.sector_size", "512");
    }
    return 0;
}

static int check_digest(const json_t *digest, dstack_error *err) {
    static const char *const names[] = {"type",       "keyslots", "segments", "hash",
                                        "iterations", "salt",     "digest",   NULL};
    int rc = members_exact(digest, "digests.0", names, err);
    if (rc != 0) {
        return rc;
    }
    if (!str_is(digest, "type", "pbkdf2") || !str_is(digest, "hash", "sha256")) {
        return refuse(err, "digests.0", "pbkdf2 with sha256");
    }
    if (!only_zero(json_object_get(digest, "keyslots")) ||
        !only_zero(json_object_get(digest, "segments"))) {
        return refuse(err, "digests.0", "about keyslot 0 and segment 0 alone");
    }
    return 0;
}

/* Exactly one entry, called "0". */
static const json_t *only_entry(const json_t *root, const char *key) {
    const json_t *object = json_object_get(root, key);
    return json_object_size(object) == 1 ? json_object_get(object, "0") : NULL;
}

static int check_metadata(const json_t *root, uint64_t header_size, dstack_error *err) {
    static const char *const names[] = {"keyslots", "tokens", "segments",
                                        "digests",  "config", NULL};
    static const char *const config_names[] = {"json_size", "keyslots_size", NULL};
    int rc = members_exact(root, "the document", names, err);
    if (rc != 0) {
        return rc;
    }
    if (json_object_size(json_object_get(root, "tokens")) != 0) {
        return refuse(err, "tokens", "empty");
    }
    if ((rc = members_exact(json_object_get(root, "config"), "config", config_names, err)) != 0) {
        return rc;
    }
    const json_t *keyslot = only_entry(root, "keyslots");
    const json_t *segment = only_entry(root, "segments");
    const json_t *digest = only_entry(root, "digests");
    if (keyslot == NULL || segment == NULL || digest == NULL) {
        return refuse(err, "keyslots, segments and digests", "one entry \"0\" each");
    }
    if ((rc = check_keyslot(keyslot, header_size, err)) != 0 ||
        (rc = check_segment(segment, err)) != 0) {
        return rc;
    }
    return check_digest(digest, err);
}

/* One of the two copies. `*header_size` is 0 for the first, which decides it for the second. */
static int check_copy(dstack_bytes area, int index, uint64_t *header_size, dstack_error *err) {
    cursor c = cursor_init(area);
    cursor_skip(&c, (size_t)index * (size_t)*header_size);
    dstack_bytes magic = cursor_take(&c, MAGIC_SIZE);
    uint16_t version = cursor_u16be(&c);
    uint64_t size = cursor_u64be(&c);
    cursor_skip(&c, 8); /* sequence number */
    dstack_bytes label = cursor_take(&c, 48);
    dstack_bytes checksum = cursor_take(&c, 32);
    cursor_skip(&c, 64 + 40); /* salt, uuid */
    dstack_bytes subsystem = cursor_take(&c, 48);
    uint64_t offset = cursor_u64be(&c);
    cursor_skip(&c, BINARY_HEADER_SIZE - (MAGIC_SIZE + 2 + 8 + 8 + 48 + 32 + 64 + 40 + 48 + 8));
    if (!cursor_ok(&c) || memcmp(magic.data, MAGIC[index], MAGIC_SIZE) != 0 || version != 2) {
        return error_set(err, DSTACK_E_FORMAT, "header copy %d is not LUKS2", index);
    }
    if (size <= BINARY_HEADER_SIZE || size > HEADER_SIZE_MAX || size > area.len / 2 ||
        (*header_size != 0 && size != *header_size)) {
        return error_set(err, DSTACK_E_FORMAT, "header copy %d states an impossible size", index);
    }
    *header_size = size;
    if (offset != (uint64_t)index * size) {
        return refuse(err, "hdr_offset", "where the header lies");
    }
    if (!all_zero(label) || !all_zero(subsystem)) {
        return refuse(err, "label and subsystem", "empty");
    }
    if (memcmp(checksum.data, "sha256", sizeof "sha256") != 0) {
        return refuse(err, "csum_alg", "sha256");
    }
    dstack_bytes text = cursor_take(&c, (size_t)size - BINARY_HEADER_SIZE);
    if (!cursor_ok(&c)) {
        return error_set(err, DSTACK_E_FORMAT, "header copy %d is cut short", index);
    }
    text.len = strnlen((const char *)text.data, text.len);
    DSTACK_AUTO(json) json_t *root = json_parse(text, text.len, "the LUKS metadata", err);
    return root == NULL ? DSTACK_E_FORMAT : check_metadata(root, size, err);
}

int luks_header_check(dstack_bytes area, dstack_error *err) {
    uint64_t header_size = 0;
    int rc = check_copy(area, 0, &header_size, err);
    return rc != 0 ? rc : check_copy(area, 1, &header_size, err);
}
