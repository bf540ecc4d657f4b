/* What the files of lib/tlog and a log's keeper share. */
#ifndef TLOG_TLOG_H
#define TLOG_TLOG_H

#include <dstack/tlog.h>

/* Largest power of two below count, which is 2 at least. */
size_t tlog_split(size_t count);

/* All that is needed of a tree to go on with it. */
typedef struct tlog_frontier {
    uint64_t size;
    dstack_tlog_hash peaks[64]; /* of level i, where bit i of size is set */
} tlog_frontier;

void tlog_frontier_add(tlog_frontier *f, const dstack_tlog_hash *leaf);
void tlog_frontier_root(const tlog_frontier *f, dstack_tlog_hash *out);

/* A tile's number as c2sp.org/tlog-tiles writes it in paths: 1234067 is x001/x234/067. */
void tlog_put_tile(dstack_buf *out, uint64_t number);

#endif
