/* Starting and stopping the app once the engine runs. */
#ifndef AGENT_APP_APP_H
#define AGENT_APP_APP_H

/* `dstack-agent app start|stop`: returns the exit code. */
int app_main(int argc, char **argv);

#endif
