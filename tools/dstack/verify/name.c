/* Host names as gateways form them. */
#include <ctype.h>
#include <string.h>

#include "verify/verify.h"

#define ID_LENGTH 40 /* app and instance ids are 20 bytes */

static bool is_id(const char *text) {
    return strcmp(text, "gateway") == 0 ||
           (strlen(text) == ID_LENGTH && strspn(text, "0123456789abcdef") == ID_LENGTH);
}

void verify_name_split(const char *host, verify_name *out) {
    *out = (verify_name){0};
    size_t len = strlen(host);
    len -= len > 0 && host[len - 1] == '.';
    if (len >= sizeof out->host) {
        return;
    }
    for (size_t i = 0; i < len; i++) {
        out->host[i] = (char)tolower((unsigned char)host[i]);
    }
    const char *dot = strchr(out->host, '.');
    size_t id_len = strcspn(out->host, "-.");
    if (dot == NULL || dot[1] == '\0' || id_len >= sizeof out->id) {
        return;
    }
    memcpy(out->id, out->host, id_len);
    if (is_id(out->id)) {
        strcpy(out->base, dot + 1);
    } else {
        memset(out->id, 0, sizeof out->id);
    }
}

bool verify_name_is_gateway(const verify_name *name) {
    return strcmp(name->id, "gateway") == 0;
}
