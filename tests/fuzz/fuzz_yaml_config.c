/* Configuration files and the KMS's allow-list: what loads must print and load again. */
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "service/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const config_key keys[] = {
    {"a.text", CONFIG_STR, "x", ""},     {"a.number", CONFIG_INT, "1", ""},
    {"a.flag", CONFIG_BOOL, "true", ""}, {"wait", CONFIG_DURATION, "5s", ""},
    {"size", CONFIG_SIZE, "1K", ""},     {"list", CONFIG_LIST, "a", ""},
    {"tree", CONFIG_TREE, NULL, ""},
};
#define KEYS keys, sizeof keys / sizeof keys[0]

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    service_config *config = config_parse(bytes_of(data, size), NULL, KEYS, NULL);
    if (config != NULL) {
        dstack_buf text = {0};
        config_print(config, &text, NULL);
        service_config *again = config_parse(bytes_of_buf(&text), NULL, KEYS, NULL);
        if (again == NULL) {
            abort();
        }
        config_free(again);
        dstack_buf_clear(&text);
    }
    config_free(config);
    return 0;
}
