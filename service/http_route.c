#include <stdlib.h>
#include <string.h>

#include "service/http_internal.h"

static int hex_value(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

char *http_decode(const char *text, size_t len, bool plus) {
    char *out = malloc(len + 1);
    size_t n = 0;
    for (size_t i = 0; out != NULL && i < len; i++) {
        char c = text[i];
        if (c == '%') {
            int high = i + 1 < len ? hex_value(text[i + 1]) : -1;
            int low = i + 2 < len ? hex_value(text[i + 2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                free(out);
                return NULL;
            }
            c = (char)(high * 16 + low);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    if (out != NULL) {
        out[n] = 0;
    }
    return out;
}

static void drop_captures(char **captures, size_t *count) {
    while (*count > 0) {
        free(captures[--*count]);
        captures[*count] = NULL;
    }
}

static bool capture(const char *text, size_t len, bool slashes, char **captures, size_t *count) {
    char *value = *count < HTTP_CAPTURES_MAX ? http_decode(text, len, false) : NULL;
    if (value == NULL || (!slashes && strchr(value, '/') != NULL)) {
        free(value);
        return false;
    }
    captures[(*count)++] = value;
    return true;
}

/* Walks pattern and path together, segment by segment. */
static bool matches(const char *pattern, const char *path, char **captures, size_t *count) {
    for (;;) {
        size_t p = strcspn(pattern, "/");
        size_t s = strcspn(path, "/");
        if (p == 2 && pattern[0] == '*' && pattern[1] == '*') {
            return capture(path, strlen(path), true, captures, count);
        }
        if (p == 1 && pattern[0] == '*') {
            if (s == 0 || !capture(path, s, false, captures, count)) {
                return false;
            }
        } else if (p != s || memcmp(pattern, path, p) != 0) {
            return false;
        }
        pattern += p;
        path += s;
        if (*pattern == 0 || *path == 0) {
            return *pattern == *path;
        }
        pattern++;
        path++;
    }
}

const http_route *http_route_find(const http_route *routes, size_t count, const char *method,
                                  const char *path, char **captures, size_t *capture_count) {
    for (size_t i = 0; i < count; i++) {
        bool method_fits =
            strcmp(routes[i].method, "*") == 0 || strcmp(routes[i].method, method) == 0;
        *capture_count = 0;
        if (method_fits && matches(routes[i].pattern, path, captures, capture_count)) {
            return &routes[i];
        }
        drop_captures(captures, capture_count);
    }
    return NULL;
}
