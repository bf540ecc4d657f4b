/* What a daemon and systemd say to each other, over the protocols that systemd documents as stable:
 * sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3) and the journal's native protocol. Not
 * libsystemd: it brings compression and cryptography into every process for a few datagrams. */
#ifndef SERVICE_SYSTEMD_H
#define SERVICE_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

#include <dstack/bytes.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", lines of them. Nothing happens when nobody listens. */
void systemd_notify(const char *state);

#define SYSTEMD_LISTEN_FDS_START 3
/* How many sockets this process was started with, beginning with the first; they are marked
 * close-on-exec, and the environment no longer names them. */
int systemd_listen_fds(void);

/* Microseconds within which the watchdog wants to hear from us; 0 for no watchdog. */
uint64_t systemd_watchdog_us(void);

/* Appends one field of a journal entry. The name is the caller's and well-formed: [A-Z0-9_]. */
void systemd_journal_put(dstack_buf *entry, const char *name, const char *value);
/* False when the journal did not take the entry: absent, or the entry too large for a datagram. */
bool systemd_journal_send(dstack_bytes entry);

#endif
