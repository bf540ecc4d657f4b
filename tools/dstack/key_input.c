/* Inputs of `dstack key`: bytes in hex, as text, or from files. */
#include "key_input.h"

#include <ctype.h>
#include <string.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/hex.h"
#include "base/json.h"

#define INPUT_MAX ((size_t)64 << 10)

int key_input_value(const char *value, dstack_buf *out, dstack_error *err) {
    if (strncmp(value, "text:", 5) == 0) {
        buf_put_str(out, value + 5);
        return buf_check(out, err);
    }
    if (value[0] != '@') {
        return hex_decode(bytes_of_str(value), out, err);
    }
    DSTACK_AUTO(wiped_buf) dstack_buf file = {0};
    int rc = cli_read(value + 1, INPUT_MAX, &file, err);
    while (rc == 0 && file.len > 0 && isspace(file.data[file.len - 1])) {
        file.len--;
    }
    return rc != 0 ? rc : hex_decode(bytes_of_buf(&file), out, err);
}

int key_input_bytes(struct cli *cli, const char *name, bool required, dstack_buf *out,
                    dstack_error *err) {
    const char *value = cli_value(cli, name, NULL);
    if (value == NULL) {
        return required ? cli_usage(err, "this scheme needs --%s", name) : 0;
    }
    int rc = key_input_value(value, out, err);
    return rc == 0 ? 0 : error_prefix(err, DSTACK_E_ARGUMENT, "--%s", name);
}

int key_input_secret(struct cli *cli, const char *name, dstack_secret **out, dstack_error *err) {
    DSTACK_AUTO(wiped_buf) dstack_buf bytes = {0};
    int rc = key_input_bytes(cli, name, true, &bytes, err);
    if (rc == 0) {
        *out = dstack_secret_copy(bytes.data, bytes.len);
        rc = *out != NULL ? 0 : cli_usage(err, "--%s is empty", name);
    }
    return rc;
}

int key_input_algorithm(struct cli *cli, dstack_key_algorithm *out, dstack_error *err) {
    const char *name = cli_value(cli, "algorithm", "secp256k1");
    *out = strcmp(name, "ed25519") == 0 ? DSTACK_KEY_ED25519 : DSTACK_KEY_SECP256K1;
    if (strcmp(name, dstack_key_algorithm_name(*out)) != 0) {
        return cli_usage(err, "--algorithm: want secp256k1 or ed25519, found %s", name);
    }
    return 0;
}

void key_put_hex(json_t *out, const char *name, const void *data, size_t len) {
    json_object_set_new(out, name, json_hex(bytes_of(data, len)));
}

int key_print(struct cli *cli, json_t *result, dstack_error *err) {
    if (cli->json) {
        return cli_print_json(cli, result, err);
    }
    cli_print_object(cli, result);
    return 0;
}
