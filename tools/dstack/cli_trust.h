/* What commands that verify evidence read from files: trust roots, collateral, policy. */
#ifndef DSTACK_CLI_TRUST_H
#define DSTACK_CLI_TRUST_H

#include <dstack/collateral.h>
#include <dstack/policy.h>
#include <dstack/snp.h>
#include <dstack/verifier.h>

#include "base/auto.h"
#include "cli.h"

#define CLI_MAX_ROOTS 16

DSTACK_AUTO_DEFINE(verifier, dstack_verifier, dstack_verifier_free)

/* Trust roots of one --root file: DER, or PEM with one or more certificates. The roots borrow from
 * the struct. */
typedef struct cli_roots {
    dstack_buf content;
    dstack_buf ders[CLI_MAX_ROOTS];
    char names[CLI_MAX_ROOTS][64];
    dstack_trust_root roots[CLI_MAX_ROOTS];
    size_t count;
} cli_roots;

/* Named after the file: "root.pem", "root.pem#2". */
int cli_read_roots(const char *path, cli_roots *out, dstack_error *err);
void cli_roots_clear(cli_roots *roots);
DSTACK_AUTO_DEFINE_CLEAR(cli_roots, cli_roots, cli_roots_clear)

/* A collateral bundle, JSON. */
int cli_read_collateral(const char *path, dstack_collateral **out, dstack_error *err);

/* Options of commands that fetch collateral. */
#define CLI_MAX_SERVERS 16
#define CLI_SERVER_OPTIONS                                                                         \
    {"pccs", 0, "URL", "server to fetch collateral from (repeat for more, tried in order)"},       \
        {"cache", 0, "DIR", "folder in which fetched collateral is kept"}, {                       \
        "no-cache", 0, NULL, "neither use nor keep what was fetched"                               \
    }
/* Where collateral comes from: --pccs or the variable PCCS_URL or the default, kept in --cache or
 * the user's cache folder. The servers borrow from the struct. */
typedef struct cli_servers {
    const char *urls[CLI_MAX_SERVERS];
    dstack_buf cache;
    dstack_collateral_servers servers;
} cli_servers;
int cli_servers_read(struct cli *cli, cli_servers *out, dstack_error *err);
void cli_servers_clear(cli_servers *servers);
DSTACK_AUTO_DEFINE_CLEAR(cli_servers, cli_servers, cli_servers_clear)

/* Options of commands that fetch AMD's certificates; --cache and --no-cache are above. */
#define CLI_KDS_OPTIONS                                                                            \
    {"kds", 0, "URL",                                                                              \
     "server to fetch AMD's certificates from (repeat for more, tried in order)"},                 \
    {                                                                                              \
        "offline", 0, NULL, "ask no server for AMD's certificates: kept ones must do"              \
    }
/* Where they come from: --kds or AMD's own service, kept beside collateral. The servers borrow from
 * the struct. */
typedef struct cli_kds {
    const char *urls[CLI_MAX_SERVERS];
    dstack_buf cache;
    dstack_snp_servers servers;
} cli_kds;
int cli_kds_read(struct cli *cli, cli_kds *out, dstack_error *err);
void cli_kds_clear(cli_kds *kds);
DSTACK_AUTO_DEFINE_CLEAR(cli_kds, cli_kds, cli_kds_clear)

/* A TCB policy, YAML or JSON. */
int cli_read_policy(const char *path, dstack_policy **out, dstack_error *err);

#endif
