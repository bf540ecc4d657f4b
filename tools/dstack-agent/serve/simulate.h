/* `dstack-agent simulate`: the agent's API over recorded evidence, for developing apps without a TEE.
 * The quote's signature does not hold once its report data is replaced, so nothing that verifies
 * evidence accepts it. */
#ifndef AGENT_SERVE_SIMULATE_H
#define AGENT_SERVE_SIMULATE_H

#include "serve/agent.h"

int simulate_main(int argc, char **argv);

/* Evidence source: `source` is the recorded attestation, a dstack_attestation. */
agent_attest_fn simulate_attest;

#endif
