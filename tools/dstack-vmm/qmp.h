/* QEMU's machine protocol on a connected socket: greeting, commands without waiting, events. */
#ifndef VMM_QMP_H
#define VMM_QMP_H

#include <jansson.h>

#include <dstack/bytes.h>

struct qmp {
    int fd;
    dstack_buf pending;
    bool ready; /* the greeting came and the capabilities were negotiated */
    /* An event: its name and its data (may be NULL). */
    void (*event)(void *user, const char *name, const json_t *data);
    void *user;
};

/* Feeds bytes that arrived; answers the greeting. DSTACK_E_FORMAT or DSTACK_E_LIMIT when this is
 * not QMP. */
int qmp_feed(struct qmp *qmp, dstack_bytes input, dstack_error *err);
/* Sends a command without arguments. */
int qmp_command(struct qmp *qmp, const char *name, dstack_error *err);
void qmp_clear(struct qmp *qmp);

#endif
