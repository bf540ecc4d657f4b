/* HTTP messages from peers: responses to our clients, requests in a link's frames. */
#include <stdint.h>

#include "base/cursor.h"
#include "client/http_message.h"

#define LIMIT 65536

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    http_client_response response = {0};
    http_client_response_parse(bytes_of(data, size), LIMIT, &response, NULL);
    http_client_response_clear(&response);
    http_request_message request = {0};
    http_reader reader = {.buf = {.data = (uint8_t *)(uintptr_t)data, .len = size}, .eof = true};
    http_read_request(&reader, LIMIT, &request, NULL);
    http_request_message_clear(&request);
    return 0;
}
