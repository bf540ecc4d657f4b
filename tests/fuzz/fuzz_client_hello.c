/* The gateway's look at the first bytes of a connection. */
#include <stdlib.h>
#include <string.h>

#include "client_hello.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char sni[SNI_SIZE];
    memset(sni, 'x', sizeof sni);
    if (client_hello_sni((dstack_bytes){data, size}, sni) == SNI_FOUND &&
        memchr(sni, '\0', sizeof sni) == NULL) {
        abort();
    }
    return 0;
}
