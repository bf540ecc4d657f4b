/* The commands of `dstack chain`, by file. */
#ifndef DSTACK_CLI_CMD_CHAIN_H
#define DSTACK_CLI_CMD_CHAIN_H

#include "cli.h"

/* cmd_chain_deploy.c */
extern const struct cli_command chain_command_deploy;
extern const struct cli_command chain_command_timelock;
extern const struct cli_command chain_command_app;
/* cmd_chain_change.c */
extern const struct cli_command chain_command_allow;
extern const struct cli_command chain_command_revoke;
extern const struct cli_command chain_command_set;
extern const struct cli_command chain_command_owner;
/* cmd_chain_read.c */
extern const struct cli_command chain_command_status;
extern const struct cli_command chain_command_history;

#endif
