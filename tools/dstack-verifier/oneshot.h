/* dstack-verifier --verify FILE and --verify-cert FILE: one verdict, no service. */
#ifndef VERIFIER_ONESHOT_H
#define VERIFIER_ONESHOT_H

#include <stdbool.h>

/* Whether the command line asks for it. */
bool oneshot_wanted(int argc, char **argv);
/* Exit status: 0 valid, 1 refused, 2 usage, 3 a file or service that it needs is missing. */
int oneshot_main(int argc, char **argv);

#endif
