/* Keeps a transparency log in a folder: tiles of entries and of hashes as c2sp.org/tlog-tiles lays them
 * out, the key, and the last checkpoint.
 *
 *     log.key               0600, Ed25519 seed; made with the folder
 *     log.pub               its verifier key text
 *     checkpoint            the last one signed
 *     tile/entries/000 ...  each entry with its length before it
 *     tile/0/000 ...        hashes of 256 entries; tile/1: of 256 tiles of level 0; and so on
 *
 * An append returns when the entry is on disk and a checkpoint over it is signed; appends of several
 * threads share one sync. A crash may leave half an entry at the end, which the next start cuts off:
 * no checkpoint was signed over it. A log that lacks what its checkpoint covers, or holds something
 * else, does not open. Shared among threads. */
#ifndef SERVICE_TLOG_STORE_H
#define SERVICE_TLOG_STORE_H

#include <dstack/tlog.h>

#include "base/auto.h"

typedef struct tlog_store tlog_store;

/* `origin` names the log where the folder is new; an old one keeps its name. */
int tlog_store_open(tlog_store **out, const char *dir, const char *origin, dstack_error *err);
void tlog_store_free(tlog_store *store);
DSTACK_AUTO_DEFINE(tlog_store, tlog_store, tlog_store_free)

const dstack_tlog_key *tlog_store_key(const tlog_store *store);
uint64_t tlog_store_size(tlog_store *store);
/* index may be NULL. After a failure every append fails until the log is opened again. */
int tlog_store_append(tlog_store *store, dstack_bytes entry, uint64_t *index, dstack_error *err);
/* Appends the signed checkpoint over all entries. */
int tlog_store_checkpoint(tlog_store *store, dstack_buf *out, dstack_error *err);
/* Appends what a reader asks for: "checkpoint", "tile/<level or entries>/<number>[.p/<width>]".
 * DSTACK_E_NOT_FOUND for what is not there and for other paths. */
int tlog_store_read(tlog_store *store, const char *path, dstack_buf *out, dstack_error *err);
/* Appends entry `index`, without its length. */
int tlog_store_entry(tlog_store *store, uint64_t index, dstack_buf *out, dstack_error *err);

#endif
