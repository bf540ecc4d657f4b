/* Keeps the way from the gateway open while the app runs. */
#ifndef AGENT_SERVE_INGRESS_H
#define AGENT_SERVE_INGRESS_H

#include "serve/agent.h"

/* Starts a thread that watches the tunnel and registers again when it is due. Does nothing for an app
 * without gateway. `a` lives as long as the program. */
void ingress_start(agent *a);

#endif
