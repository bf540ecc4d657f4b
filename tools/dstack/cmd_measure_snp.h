/* The part of `dstack measure` that is SEV-SNP's. */
#ifndef DSTACK_CMD_MEASURE_SNP_H
#define DSTACK_CMD_MEASURE_SNP_H

#include "cli.h"

extern const struct cli_command cli_command_measure_snp;

#endif
