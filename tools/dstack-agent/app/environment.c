#include "app/environment.h"

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "keys/app_keys.h"

#define ENV_MAX ((size_t)8 << 20)

void app_environment_clear(app_environment *environment) {
    buf_wipe(&environment->text);
    free(environment->list);
    environment->list = NULL;
}

/* One string per variable, all in one buffer that does not move. */
static int variables_add(app_environment *out, const json_t *values, dstack_error *err) {
    size_t count = json_object_size(values);
    out->list = calloc(count + 3, sizeof *out->list);
    buf_reserve(&out->text, ENV_MAX + 2 * count);
    if (out->list == NULL || out->text.failed) {
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    size_t n = 0;
    out->list[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    out->list[n++] = "HOME=/root";
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)values, key, value) {
        const char *text = json_string_value(value);
        if (text == NULL || strlen(text) != json_string_length(value)) {
            return error_set(err, DSTACK_E_FORMAT, "the environment holds what is no text");
        }
        out->list[n++] = (const char *)out->text.data + out->text.len;
        buf_put_str(&out->text, key);
        buf_put_u8(&out->text, '=');
        buf_put_str(&out->text, text);
        buf_put_u8(&out->text, 0);
    }
    return buf_check(&out->text, err);
}

int app_environment_load(const char *path, app_environment *out, dstack_error *err) {
    DSTACK_AUTO(wiped) dstack_buf json = {0};
    buf_reserve(&json, ENV_MAX);
    int rc = file_read(path, ENV_MAX - 65536, &json, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(json)
    json_t *values = json.len > 0 ? json_parse(bytes_of_buf(&json), ENV_MAX, "environment", NULL)
                                  : json_object();
    return json_is_object(values)
               ? variables_add(out, values, err)
               : error_set(err, DSTACK_E_FORMAT, "the environment file is not an object");
}
