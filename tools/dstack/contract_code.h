/* The contracts as `dstack chain deploy` brings them onto a chain. The source of the table is made
 * when building, from contracts/artifacts. */
#ifndef DSTACK_CLI_CONTRACT_CODE_H
#define DSTACK_CLI_CONTRACT_CODE_H

#include <dstack/bytes.h>

struct contract_code {
    const char *name;  /* NULL: the table's end */
    dstack_bytes code; /* deployment code, before constructor arguments */
};

extern const struct contract_code contract_codes[];

#endif
