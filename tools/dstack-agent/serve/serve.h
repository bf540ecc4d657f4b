/* `dstack-agent serve`: the agent as the image's unit runs it. */
#ifndef AGENT_SERVE_SERVE_H
#define AGENT_SERVE_SERVE_H

int serve_main(int argc, char **argv);

#endif
