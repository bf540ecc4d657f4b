/* Texts of a transparency log that come from outside: keys, checkpoints, entries, proofs. */
#include <string.h>

#include <dstack/tlog.h>

#include "base/auto.h"
#include "base/cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_proof(dstack_bytes input) {
    cursor c = cursor_init(input);
    dstack_tlog_proof proof = {0};
    dstack_tlog_hash leaf, root;
    uint64_t index = cursor_u16be(&c), total = cursor_u16be(&c);
    cursor_copy(&c, leaf.bytes, sizeof leaf.bytes);
    cursor_copy(&c, root.bytes, sizeof root.bytes);
    while (cursor_left(&c) >= 32 && proof.count < DSTACK_TLOG_PROOF_MAX) {
        cursor_copy(&c, proof.hashes[proof.count++].bytes, 32);
    }
    (void)dstack_tlog_check_inclusion(&leaf, index, total, &root, &proof, NULL);
    (void)dstack_tlog_check_consistency(index, &leaf, total, &root, &proof, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_tlog_key key = {.name = "log.example/a"};
    dstack_tlog_checkpoint checkpoint;
    if (size == 0) {
        return 0;
    }
    dstack_bytes rest = bytes_of(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        if (dstack_tlog_key_parse(rest, &key, NULL) == 0) {
            (void)dstack_tlog_key_text(&key, &out, NULL);
        }
        break;
    case 1:
        (void)dstack_tlog_checkpoint_open(rest, &key, &checkpoint, NULL);
        break;
    case 2:
        (void)dstack_tlog_entry_to_json(rest, &out, NULL);
        break;
    case 3:
        fuzz_proof(rest);
        break;
    }
    return 0;
}
