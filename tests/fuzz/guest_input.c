/* Every text that the host or a peer of the guest hands to the boot: first byte chooses the parser. */
#include <string.h>

#include "app/docker_config.h"
#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/json.h"
#include "boot/share.h"
#include "boot/sys_config.h"
#include "cmdline.h"
#include "keys/app_keys.h"
#include "net/gateway.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse_cmdline(dstack_bytes input) {
    char text[4096], value[32];
    size_t len = input.len < sizeof text - 1 ? input.len : sizeof text - 1;
    memcpy(text, input.data, len);
    text[len] = '\0';
    cmdline_option(text, "dstack.data_device", value, sizeof value, NULL);
    uint8_t id[20] = {1};
    gateway_app_id_allowed(text, bytes_of(id, sizeof id));
    DSTACK_AUTO(buf) dstack_buf out = {0};
    docker_config_build(bytes_of_str("{}"), text, &out, NULL);
}

/* Endpoints are numbers here: names would be looked up. */
static void parse_gateway(dstack_bytes input) {
    DSTACK_AUTO(json) json_t *answer = json_parse(input, 65536, "answer", NULL);
    const json_t *servers = json_object_get(json_object_get(answer, "wg"), "servers");
    for (size_t i = 0; i < json_array_size(servers); i++) {
        const char *endpoint =
            json_string_value(json_object_get(json_array_get(servers, i), "endpoint"));
        if (endpoint != NULL && strspn(endpoint, "0123456789.:[]") != strlen(endpoint)) {
            return;
        }
    }
    static wg_config wg;
    if (answer != NULL) {
        gateway_answer_parse(answer, &wg, NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    dstack_bytes input = bytes_of(data + 1, size - 1);
    DSTACK_AUTO(sys_config) sys_config config = {0};
    DSTACK_AUTO(app_keys) app_keys keys = {0};
    DSTACK_AUTO(buf) dstack_buf out = {0};
    instance_info info;
    char label[12];
    switch (data[0] % 7) {
    case 0:
        sys_config_parse(input, &config, NULL);
        break;
    case 1:
        instance_info_parse(input, &info, NULL);
        break;
    case 2:
        app_keys_parse(input, &keys, NULL);
        break;
    case 3:
        share_fat_label(input, label);
        break;
    case 4:
        docker_config_build(input, "http://h:1", &out, NULL);
        break;
    case 5:
        parse_gateway(input);
        break;
    default:
        parse_cmdline(input);
    }
    return 0;
}
