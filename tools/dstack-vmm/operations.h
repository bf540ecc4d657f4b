/* The steps behind the registry's operations; callers hold its mutex. Shared between the two files of
 * the registry only. */
#ifndef VMM_OPERATIONS_H
#define VMM_OPERATIONS_H

#include "registry.h"

/* Folders of the run path that hold nothing worth keeping after a crash. */
#define OPERATION_NEW_PREFIX ".new-"
#define OPERATION_GONE_PREFIX ".gone-"

int operation_start(struct registry *registry, const char *dir, dstack_error *err);
int operation_stop(struct registry *registry, const char *dir, dstack_error *err);
int operation_remove(struct registry *registry, const char *dir, dstack_error *err);
void operation_delete_tree(const char *path);
void registry_forget_restarts(struct registry *registry, const char *id);

#endif
