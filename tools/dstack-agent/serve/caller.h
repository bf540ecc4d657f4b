/* Who is at the other end of a unix connection: a process of the guest itself, or which service of
 * the app.
 *
 * The kernel names the process that connected; its control group names its container, and the engine
 * the service that the container was made for. The process holds its pid as long as it lives: the
 * answer counts only if it still lives when all has been read, by a descriptor that stands for it and
 * for no later process of the same number. */
#ifndef AGENT_SERVE_CALLER_H
#define AGENT_SERVE_CALLER_H

#include <stdbool.h>
#include <sys/types.h>

#include <dstack/bytes.h>
#include <dstack/error.h>
#include <dstack/manifest.h>

/* The compose project of the app, as the boot starts it. */
#define CALLER_PROJECT "dstack"
#define CALLER_CONTAINER_ID_LEN 64

typedef enum caller_kind {
    CALLER_STRANGER, /* in a container that is no service of the app, or cannot be told */
    CALLER_SERVICE,
    CALLER_GUEST, /* root in the guest's own namespaces: it can read the keys' file anyway */
} caller_kind;

typedef struct caller {
    caller_kind kind;
    char service[DSTACK_SERVICE_NAME_MAX + 1];
} caller;

/* The process: pid and user as the socket told them, and the descriptor that stands for it. */
typedef struct caller_process {
    pid_t pid;
    uid_t uid;
    int pidfd;
} caller_process;

/* What is known of containers, by their id; shared among threads. */
typedef struct caller_book caller_book;

/* `proc` is where the process file system is mounted, `engine` the engine's socket. */
caller_book *caller_book_new(const char *proc, const char *engine);
/* Accepts NULL. */
void caller_book_free(caller_book *book);

/* May ask the engine and so blocks. DSTACK_E_REFUSED when the process is gone or cannot be followed,
 * another status when the engine cannot be asked. */
int caller_identify(caller_book *book, const caller_process *process, caller *out,
                    dstack_error *err);

/* The id of the container that a process is in, from the text of /proc/PID/cgroup; false when it
 * names none. The outermost counts: a container can give any name to the groups inside its own. */
bool caller_container_of(dstack_bytes cgroup, char id[CALLER_CONTAINER_ID_LEN + 1]);

#endif
