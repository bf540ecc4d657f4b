/* dstack key: the derivations and signature chains on given inputs. */
#include "key_input.h"

static const struct cli_command *const key_children[] = {&cli_command_key_derive,
                                                         &cli_command_key_verify_chain, NULL};

const struct cli_command cli_command_key = {
    .name = "key",
    .summary = "Key derivations and signature chains",
    .children = key_children,
    .max_args = -1,
};
