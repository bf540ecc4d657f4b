/* Inclusion and consistency proofs (RFC 9162, sections 2.1.3 and 2.1.4). */
#include <string.h>

#include "base/error.h"
#include "tlog/tlog.h"

/* ---- making ----------------------------------------------------------------------------------- */

static void add(dstack_tlog_proof *proof, const dstack_tlog_hash *leaves, size_t count) {
    dstack_tlog_root(leaves, count, &proof->hashes[proof->count++]);
}

/* The hashes are found from the root down and wanted from the leaf up. */
static void reverse(dstack_tlog_proof *proof) {
    for (size_t i = 0; i < proof->count / 2; i++) {
        dstack_tlog_hash other = proof->hashes[proof->count - 1 - i];
        proof->hashes[proof->count - 1 - i] = proof->hashes[i];
        proof->hashes[i] = other;
    }
}

int dstack_tlog_prove_inclusion(const dstack_tlog_hash *leaves, size_t count, size_t index,
                                dstack_tlog_proof *out, dstack_error *err) {
    out->count = 0;
    if (index >= count) {
        return error_set(err, DSTACK_E_ARGUMENT, "entry %zu is not in a log of %zu", index, count);
    }
    while (count > 1) {
        size_t split = tlog_split(count);
        if (index < split) {
            add(out, leaves + split, count - split);
            count = split;
        } else {
            add(out, leaves, split);
            leaves += split;
            index -= split;
            count -= split;
        }
    }
    reverse(out);
    return 0;
}

int dstack_tlog_prove_consistency(const dstack_tlog_hash *leaves, size_t count, size_t old_count,
                                  dstack_tlog_proof *out, dstack_error *err) {
    bool whole = true; /* the old tree is a complete subtree that the verifier knows */
    out->count = 0;
    if (old_count > count) {
        return error_set(err, DSTACK_E_ARGUMENT, "a log of %zu does not begin with one of %zu",
                         count, old_count);
    }
    if (old_count == 0) {
        return 0;
    }
    while (old_count < count) {
        size_t split = tlog_split(count);
        if (old_count <= split) {
            add(out, leaves + split, count - split);
            count = split;
        } else {
            add(out, leaves, split);
            leaves += split;
            old_count -= split;
            count -= split;
            whole = false;
        }
    }
    if (!whole) {
        add(out, leaves, count);
    }
    reverse(out);
    return 0;
}

/* ---- checking --------------------------------------------------------------------------------- */

static bool same(const dstack_tlog_hash *a, const dstack_tlog_hash *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

/* Goes up over the levels where the node is a left one without a sibling. */
static void climb(uint64_t *node, uint64_t *last) {
    while ((*node & 1) == 0 && *node != 0) {
        *node >>= 1;
        *last >>= 1;
    }
}

int dstack_tlog_check_inclusion(const dstack_tlog_hash *leaf, uint64_t index, uint64_t size,
                                const dstack_tlog_hash *root, const dstack_tlog_proof *proof,
                                dstack_error *err) {
    uint64_t node = index, last = size - 1;
    dstack_tlog_hash sum = *leaf;
    bool good = index < size && proof->count <= DSTACK_TLOG_PROOF_MAX;
    for (size_t i = 0; good && i < proof->count; i++) {
        good = last != 0;
        if ((node & 1) != 0 || node == last) {
            dstack_tlog_node(&proof->hashes[i], &sum, &sum);
            climb(&node, &last);
        } else {
            dstack_tlog_node(&sum, &proof->hashes[i], &sum);
        }
        node >>= 1;
        last >>= 1;
    }
    return good && last == 0 && same(&sum, root)
               ? 0
               : error_set(err, DSTACK_E_CRYPTO, "the proof of inclusion does not hold");
}

static bool consistent(uint64_t old_size, const dstack_tlog_hash *old_root, uint64_t size,
                       const dstack_tlog_hash *root, const dstack_tlog_proof *proof) {
    uint64_t node = old_size - 1, last = size - 1;
    bool power = (old_size & (old_size - 1)) == 0;
    size_t next = power ? 0 : 1;
    if (proof->count < next || proof->count > DSTACK_TLOG_PROOF_MAX) {
        return false;
    }
    while ((node & 1) != 0) {
        node >>= 1;
        last >>= 1;
    }
    dstack_tlog_hash before = power ? *old_root : proof->hashes[0];
    dstack_tlog_hash after = before;
    for (size_t i = next; i < proof->count; i++) {
        if (last == 0) {
            return false;
        }
        if ((node & 1) != 0 || node == last) {
            dstack_tlog_node(&proof->hashes[i], &before, &before);
            dstack_tlog_node(&proof->hashes[i], &after, &after);
            climb(&node, &last);
        } else {
            dstack_tlog_node(&after, &proof->hashes[i], &after);
        }
        node >>= 1;
        last >>= 1;
    }
    return last == 0 && same(&before, old_root) && same(&after, root);
}

int dstack_tlog_check_consistency(uint64_t old_size, const dstack_tlog_hash *old_root,
                                  uint64_t size, const dstack_tlog_hash *root,
                                  const dstack_tlog_proof *proof, dstack_error *err) {
    bool good;
    if (old_size == 0 || old_size == size) {
        good = proof->count == 0 && (old_size == 0 || same(old_root, root));
    } else {
        good = old_size < size && consistent(old_size, old_root, size, root, proof);
    }
    return good ? 0 : error_set(err, DSTACK_E_CRYPTO, "the proof of consistency does not hold");
}
