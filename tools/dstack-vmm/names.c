#include "names.h"

#include <stdio.h>
#include <string.h>

#include <sodium.h>

#include "base/error.h"

static bool is_alnum(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool only(const char *text, const char *also) {
    for (; *text != 0; text++) {
        if (!is_alnum(*text) && strchr(also, *text) == NULL) {
            return false;
        }
    }
    return true;
}

int vm_id_check(const char *id, dstack_error *err) {
    size_t len = strlen(id);
    if (len == 0 || len > VM_ID_MAX || !only(id, "_-")) {
        return error_set(err, DSTACK_E_ARGUMENT, "invalid VM id");
    }
    return 0;
}

int vm_name_check(const char *name, dstack_error *err) {
    if (!only(name, "-_. @~!$^()")) {
        return error_set(err, DSTACK_E_ARGUMENT,
                         "Invalid name: letters, digits and - _ . space @ ~ ! $ ^ ( ) are allowed");
    }
    if (strlen(name) > VM_NAME_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "Invalid name: more than %d characters", VM_NAME_MAX);
    }
    return 0;
}

int image_name_check(const char *name, dstack_error *err) {
    size_t len = strlen(name);
    if (len == 0 || len > IMAGE_NAME_MAX || !only(name, "_-.") || strstr(name, "..") != NULL ||
        name[0] == '.') {
        return error_set(err, DSTACK_E_ARGUMENT, "Invalid image name");
    }
    return 0;
}

bool version_tuple(const char *text, uint16_t out[3]) {
    for (int i = 0; i < 3; i++) {
        uint32_t value = 0;
        const char *start = text;
        for (; *text >= '0' && *text <= '9' && value <= UINT16_MAX; text++) {
            value = value * 10 + (uint32_t)(*text - '0');
        }
        char end = i < 2 ? '.' : 0;
        bool ends_right = *text == end || (i == 2 && *text == '.');
        if (text == start || value > UINT16_MAX || !ends_right) {
            return false;
        }
        out[i] = (uint16_t)value;
        text += *text != 0;
    }
    return true;
}

void vm_id_new(char out[37]) {
    unsigned char b[16];
    randombytes_buf(b, sizeof b);
    b[6] = (unsigned char)((b[6] & 0x0f) | 0x40);
    b[8] = (unsigned char)((b[8] & 0x3f) | 0x80);
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
             b[14], b[15]);
}
