/* The evidence behind an https address, as steps for the page. */
#ifndef VERIFIER_INSPECT_ADDRESS_H
#define VERIFIER_INSPECT_ADDRESS_H

#include "inspect.h"

/* connect: "address:port" that is asked whatever the name resolves to. */
json_t *inspect_address(engine *e, const inspect_options *options, const char *url,
                        const char *connect, int64_t now, dstack_error *err);

#endif
