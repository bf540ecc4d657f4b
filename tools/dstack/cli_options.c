/* Reading the options and the input files of a command. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/json.h"
#include "cli.h"

bool cli_has(const struct cli *cli, const char *name) {
    for (size_t i = 0; i < cli->option_count; i++) {
        if (strcmp(cli->options[i].option->name, name) == 0) {
            return true;
        }
    }
    return false;
}

const char *cli_value(const struct cli *cli, const char *name, const char *fallback) {
    const char *found = fallback;
    for (size_t i = 0; i < cli->option_count; i++) {
        if (strcmp(cli->options[i].option->name, name) == 0) {
            found = cli->options[i].value;
        }
    }
    return found;
}

const char *cli_value_at(const struct cli *cli, const char *name, size_t index) {
    for (size_t i = 0; i < cli->option_count; i++) {
        if (strcmp(cli->options[i].option->name, name) == 0 && index-- == 0) {
            return cli->options[i].value;
        }
    }
    return NULL;
}

int cli_int(const struct cli *cli, const char *name, int64_t fallback, int64_t min, int64_t max,
            int64_t *out, dstack_error *err) {
    const char *text = cli_value(cli, name, NULL);
    if (text == NULL) {
        *out = fallback;
        return 0;
    }
    char *end = NULL;
    errno = 0;
    bool hex = strncmp(text, "0x", 2) == 0 || strncmp(text, "0X", 2) == 0;
    long long value = strtoll(text, &end, hex ? 16 : 10);
    if (errno != 0 || end == text || *end != 0 || text[0] == ' ') {
        return cli_usage(err, "--%s: expected a whole number, found \"%s\"", name, text);
    }
    if (value < min || value > max) {
        return cli_usage(err, "--%s: %s is not between %" PRId64 " and %" PRId64, name, text, min,
                         max);
    }
    *out = value;
    return 0;
}

int cli_size(const struct cli *cli, const char *name, uint64_t fallback, uint64_t unit,
             uint64_t *out, dstack_error *err) {
    const char *text = cli_value(cli, name, NULL);
    if (text == NULL) {
        *out = fallback;
        return 0;
    }
    static const char letters[] = "KMGT";
    char *end = NULL;
    errno = 0;
    bool hex = strncmp(text, "0x", 2) == 0;
    unsigned long long value = strtoull(text, &end, hex ? 16 : 10);
    uint64_t factor = unit;
    if (end != text && *end != 0) {
        const char upper = *end >= 'a' && *end <= 'z' ? (char)(*end - 'a' + 'A') : *end;
        const char *letter = strchr(letters, upper);
        if (letter != NULL) {
            factor = (uint64_t)1 << (10 * (letter - letters + 1));
            end++;
        }
    }
    if (errno != 0 || end == text || *end != 0 || text[0] == '-' || text[0] == ' ') {
        return cli_usage(err, "--%s: expected a size such as 2048 or 2G, found \"%s\"", name, text);
    }
    if (__builtin_mul_overflow((uint64_t)value, factor, out)) {
        return cli_usage(err, "--%s: %s is too large", name, text);
    }
    return 0;
}

int cli_hex_fixed(const struct cli *cli, const char *name, uint8_t *out, size_t len, bool *given,
                  dstack_error *err) {
    const char *text = cli_value(cli, name, NULL);
    if (given != NULL) {
        *given = text != NULL;
    }
    if (text == NULL) {
        return 0;
    }
    if (strlen(text) != 2 * len || hex_decode_fixed(text, out, len, NULL) != 0) {
        return cli_usage(err, "--%s: expected %zu hex digits, found %zu characters", name, 2 * len,
                         strlen(text));
    }
    return 0;
}

int cli_hex(const struct cli *cli, const char *name, dstack_buf *out, dstack_error *err) {
    const char *text = cli_value(cli, name, NULL);
    if (text == NULL) {
        return 0;
    }
    if (hex_decode(bytes_of_str(text), out, NULL) != 0) {
        return cli_usage(err, "--%s: expected hex digits", name);
    }
    return buf_check(out, err);
}

int cli_read(const char *path, size_t limit, dstack_buf *out, dstack_error *err) {
    return file_read(path, limit, out, err);
}

int cli_read_any(const char *path, size_t limit, bool (*looks_binary)(dstack_bytes),
                 dstack_buf *out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    /* Hex doubles the size; line breaks add a little. */
    int rc = file_read(path, 3 * limit, &raw, err);
    if (rc == 0) {
        rc = bytes_from_any_text(bytes_of_buf(&raw), looks_binary, out, err);
        if (rc != 0) {
            error_prefix(err, rc, "%s", path);
        }
    }
    if (rc == 0 && out->len > limit) {
        rc = error_set(err, DSTACK_E_LIMIT, "%s: more than %zu bytes", path, limit);
    }
    return rc;
}

json_t *cli_read_json(const char *path, size_t limit, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    if (file_read(path, limit, &raw, err) != 0) {
        return NULL;
    }
    return json_parse(bytes_of_buf(&raw), limit, path, err);
}

json_t *cli_json_or_file(const char *text, size_t limit, dstack_error *err) {
    const char *start = text + strspn(text, " \t\r\n");
    if (*start == '{' || *start == '[') {
        return json_parse(bytes_of_str(text), limit, "the JSON argument", err);
    }
    return cli_read_json(text, limit, err);
}
