/* Merkle tree hashes (RFC 6962, section 2.1). */
#include <string.h>

#include <dstack/tlog.h>

#include "base/buf.h"
#include "base/cursor.h"
#include "crypto/hash.h"
#include "tlog/tlog.h"

void dstack_tlog_leaf(dstack_bytes entry, dstack_tlog_hash *out) {
    static const uint8_t prefix = 0;
    const dstack_bytes parts[] = {bytes_of(&prefix, 1), entry};
    hash_parts(HASH_SHA256, parts, 2, out->bytes);
}

void dstack_tlog_node(const dstack_tlog_hash *left, const dstack_tlog_hash *right,
                      dstack_tlog_hash *out) {
    static const uint8_t prefix = 1;
    dstack_tlog_hash sum;
    const dstack_bytes parts[] = {bytes_of(&prefix, 1), bytes_of(left->bytes, sizeof left->bytes),
                                  bytes_of(right->bytes, sizeof right->bytes)};
    hash_parts(HASH_SHA256, parts, 3, sum.bytes);
    *out = sum;
}

size_t tlog_split(size_t count) {
    size_t split = 1;
    while (split < count - split) {
        split *= 2;
    }
    return split;
}

void dstack_tlog_root(const dstack_tlog_hash *leaves, size_t count, dstack_tlog_hash *out) {
    tlog_frontier frontier = {0};
    for (size_t i = 0; i < count; i++) {
        tlog_frontier_add(&frontier, &leaves[i]);
    }
    tlog_frontier_root(&frontier, out);
}

/* Each set bit of the size is one complete subtree; adding a leaf carries like adding one. */
void tlog_frontier_add(tlog_frontier *f, const dstack_tlog_hash *leaf) {
    dstack_tlog_hash sum = *leaf;
    unsigned level = 0;
    for (uint64_t size = f->size; (size & 1) != 0; size >>= 1) {
        dstack_tlog_node(&f->peaks[level++], &sum, &sum);
    }
    f->peaks[level] = sum;
    f->size++;
}

void tlog_frontier_root(const tlog_frontier *f, dstack_tlog_hash *out) {
    bool any = false;
    if (f->size == 0) {
        hash_sha256(bytes_of("", 0), out->bytes);
    }
    for (unsigned level = 0; level < 64; level++) {
        if ((f->size >> level & 1) == 0) {
            continue;
        }
        if (any) {
            dstack_tlog_node(&f->peaks[level], out, out);
        } else {
            *out = f->peaks[level];
            any = true;
        }
    }
}

void tlog_put_tile(dstack_buf *out, uint64_t number) {
    uint64_t parts[8] = {0};
    size_t count = 0;
    do {
        parts[count++] = number % 1000;
        number /= 1000;
    } while (number > 0 && count < sizeof parts / sizeof parts[0]);
    while (count > 1) {
        buf_put_fmt(out, "x%03u/", (unsigned)parts[--count]);
    }
    buf_put_fmt(out, "%03u", (unsigned)parts[0]);
}
