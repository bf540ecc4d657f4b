#include "label.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

/* Decimal 0 to 65535; leading zeros and one '+' are accepted, as existing links use them. */
static int parse_port(const char *text, size_t len, uint16_t *port, dstack_error *err) {
    size_t i = len > 0 && text[0] == '+' ? 1 : 0;
    if (i == len) {
        return error_set(err, DSTACK_E_FORMAT, "host label has an empty port");
    }
    uint32_t value = 0;
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return error_set(err, DSTACK_E_FORMAT, "host label has a port that is not a number");
        }
        value = value * 10 + (uint32_t)(text[i] - '0');
        if (value > UINT16_MAX) {
            return error_set(err, DSTACK_E_FORMAT, "host label has a port above 65535");
        }
    }
    *port = (uint16_t)value;
    return 0;
}

static int parse_suffix(const char *text, host_label *out, dstack_error *err) {
    size_t len = strlen(text);
    if (len > 0 && text[len - 1] == 'g') {
        out->h2 = true;
        len--;
    }
    if (len > 0 && text[len - 1] == 's') {
        out->passthrough = true;
        len--;
    }
    if (out->h2 && out->passthrough) {
        return error_set(err, DSTACK_E_FORMAT, "host label has both 's' and 'g'");
    }
    out->port = out->passthrough ? 443 : 80;
    return len == 0 ? 0 : parse_port(text, len, &out->port, err);
}

int host_label_parse(const char *label, host_label *out, dstack_error *err) {
    *out = (host_label){.port = 80};
    const char *dash = strchr(label, '-');
    size_t id_len = dash == NULL ? strlen(label) : (size_t)(dash - label);
    if (id_len == 0 || id_len >= LABEL_ID_SIZE) {
        return error_set(err, DSTACK_E_FORMAT, "host label has no usable id");
    }
    if (dash != NULL && strchr(dash + 1, '-') != NULL) {
        return error_set(err, DSTACK_E_FORMAT, "host label has more than one '-'");
    }
    memcpy(out->id, label, id_len);
    out->id[id_len] = '\0';
    return dash == NULL ? 0 : parse_suffix(dash + 1, out, err);
}
