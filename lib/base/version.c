#include <dstack/version.h>

const char *dstack_version(void) {
    return DSTACK_VERSION;
}
