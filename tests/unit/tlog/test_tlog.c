/* Merkle trees, proofs, checkpoints and entries of a transparency log. */
#include "check.h"

#include <dstack/tlog.h>

#include "base/hex.h"
#include "base/json.h"
#include "tlog/tlog.h"

#define LEAVES 40

static void make_leaves(dstack_tlog_hash *leaves) {
    for (size_t i = 0; i < LEAVES; i++) {
        uint8_t entry = (uint8_t)i;
        dstack_tlog_leaf(bytes_of(&entry, 1), &leaves[i]);
    }
}

/* RFC 6962, section 2.1, word for word. */
static void slow_root(const dstack_tlog_hash *leaves, size_t count, dstack_tlog_hash *out) {
    if (count == 1) {
        *out = leaves[0];
        return;
    }
    size_t split = tlog_split(count);
    dstack_tlog_hash left, right;
    slow_root(leaves, split, &left);
    slow_root(leaves + split, count - split, &right);
    dstack_tlog_node(&left, &right, out);
}

static void the_empty_tree_and_the_first_leaf_hash_as_the_rfc_says(void **state) {
    dstack_tlog_hash hash;
    dstack_tlog_root(NULL, 0, &hash);
    assert_hex(bytes_of(hash.bytes, 32),
               "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    dstack_tlog_leaf(bytes_of("", 0), &hash);
    assert_hex(bytes_of(hash.bytes, 32),
               "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

static void every_inclusion_proof_holds_and_no_changed_one(void **state) {
    dstack_tlog_hash leaves[LEAVES], root;
    dstack_tlog_proof proof;
    dstack_error err = {0};
    make_leaves(leaves);
    for (size_t size = 1; size <= LEAVES; size++) {
        dstack_tlog_hash slow;
        dstack_tlog_root(leaves, size, &root);
        slow_root(leaves, size, &slow);
        assert_memory_equal(root.bytes, slow.bytes, 32);
        for (size_t i = 0; i < size; i++) {
            assert_ok(dstack_tlog_prove_inclusion(leaves, size, i, &proof, &err), err);
            assert_ok(dstack_tlog_check_inclusion(&leaves[i], i, size, &root, &proof, &err), err);
            size_t other = (i + 1) % size;
            if (other != i) {
                assert_int_equal(
                    dstack_tlog_check_inclusion(&leaves[i], other, size, &root, &proof, &err),
                    DSTACK_E_CRYPTO);
                assert_int_equal(
                    dstack_tlog_check_inclusion(&leaves[other], i, size, &root, &proof, &err),
                    DSTACK_E_CRYPTO);
            }
            for (size_t k = 0; k < proof.count; k++) {
                proof.hashes[k].bytes[k % 32] ^= 1;
                assert_int_equal(
                    dstack_tlog_check_inclusion(&leaves[i], i, size, &root, &proof, &err),
                    DSTACK_E_CRYPTO);
                proof.hashes[k].bytes[k % 32] ^= 1;
            }
            proof.count++;
            assert_int_equal(dstack_tlog_check_inclusion(&leaves[i], i, size, &root, &proof, &err),
                             DSTACK_E_CRYPTO);
        }
        assert_int_equal(dstack_tlog_prove_inclusion(leaves, size, size, &proof, &err),
                         DSTACK_E_ARGUMENT);
    }
    proof.count = 0;
    assert_int_equal(dstack_tlog_check_inclusion(&leaves[0], 0, 0, &root, &proof, &err),
                     DSTACK_E_CRYPTO);
}

static void every_consistency_proof_holds_and_no_changed_one(void **state) {
    dstack_tlog_hash leaves[LEAVES], old_root, root;
    dstack_tlog_proof proof;
    dstack_error err = {0};
    make_leaves(leaves);
    for (size_t size = 1; size <= LEAVES; size++) {
        dstack_tlog_root(leaves, size, &root);
        for (size_t old = 0; old <= size; old++) {
            dstack_tlog_root(leaves, old, &old_root);
            assert_ok(dstack_tlog_prove_consistency(leaves, size, old, &proof, &err), err);
            assert_ok(dstack_tlog_check_consistency(old, &old_root, size, &root, &proof, &err),
                      err);
            if (old == 0) {
                continue;
            }
            old_root.bytes[0] ^= 1; /* another history */
            assert_int_equal(
                dstack_tlog_check_consistency(old, &old_root, size, &root, &proof, &err),
                DSTACK_E_CRYPTO);
            old_root.bytes[0] ^= 1;
            for (size_t k = 0; k < proof.count; k++) {
                proof.hashes[k].bytes[0] ^= 0x80;
                assert_int_equal(
                    dstack_tlog_check_consistency(old, &old_root, size, &root, &proof, &err),
                    DSTACK_E_CRYPTO);
                proof.hashes[k].bytes[0] ^= 0x80;
            }
            proof.count++;
            assert_int_equal(
                dstack_tlog_check_consistency(old, &old_root, size, &root, &proof, &err),
                DSTACK_E_CRYPTO);
        }
        assert_int_equal(dstack_tlog_prove_consistency(leaves, size, size + 1, &proof, &err),
                         DSTACK_E_ARGUMENT);
        proof.count = 0;
        assert_int_equal(dstack_tlog_check_consistency(size + 1, &root, size, &root, &proof, &err),
                         DSTACK_E_CRYPTO);
    }
}

/* ---- checkpoints ------------------------------------------------------------------------------ */

static void a_checkpoint_opens_with_its_key_alone(void **state) {
    static const uint8_t seeds[2][32] = {{1}, {2}};
    static const char *const keys[2] = {
        "log.example/a+", "log.example/b+"}; /* completed below by the library itself */
    dstack_error err = {0};
    DSTACK_AUTO(secret) dstack_secret *seed = dstack_secret_copy(seeds[0], 32);
    DSTACK_AUTO(buf) dstack_buf note = {0}, text = {0}, changed = {0};
    dstack_tlog_checkpoint checkpoint = {.origin = "log.example/a", .size = 7}, found;
    dstack_tlog_key key = {.name = "log.example/a"}, again, wrong;
    memset(checkpoint.root.bytes, 9, 32);
    /* public key of the seed 01 00… (RFC 8032 computation, independent implementation) */
    DSTACK_AUTO(buf) dstack_buf public_key = {0};
    put_hex(&public_key, "cecc1507dc1ddd7295951c290888f095adb9044d1b73d696e6df065d683bd4fc");
    memcpy(key.public_key, public_key.data, 32);
    assert_ok(dstack_tlog_key_text(&key, &text, &err), err);
    assert_memory_equal(text.data, keys[0], strlen(keys[0]));
    assert_ok(dstack_tlog_key_parse(bytes_of_buf(&text), &again, &err), err);
    assert_memory_equal(again.public_key, key.public_key, 32);
    assert_ok(dstack_tlog_checkpoint_sign(&checkpoint, seed, &note, &err), err);
    assert_ok(dstack_tlog_checkpoint_open(bytes_of_buf(&note), &key, &found, &err), err);
    assert_int_equal(found.size, 7);
    assert_memory_equal(found.root.bytes, checkpoint.root.bytes, 32);
    /* any changed byte: malformed, of another log, by another key, or a wrong signature */
    for (size_t i = 0; i < note.len; i++) {
        note.data[i] ^= 1;
        int rc = dstack_tlog_checkpoint_open(bytes_of_buf(&note), &key, &found, NULL);
        if (rc == 0) {
            fail_msg("byte %zu may be changed", i);
        }
        note.data[i] ^= 1;
    }
    for (size_t len = 0; len < note.len; len++) {
        assert_int_not_equal(
            dstack_tlog_checkpoint_open(bytes_of(note.data, len), &key, &found, NULL), 0);
    }
    /* a witness's line beside the log's changes nothing, alone it is not enough */
    buf_put_bytes(&changed, bytes_of_buf(&note));
    buf_put_str(&changed, "\xe2\x80\x94 witness.example AAAAAAAA\n");
    assert_ok(dstack_tlog_checkpoint_open(bytes_of_buf(&changed), &key, &found, &err), err);
    wrong = key;
    wrong.public_key[0] ^= 1;
    assert_int_equal(dstack_tlog_checkpoint_open(bytes_of_buf(&note), &wrong, &found, &err),
                     DSTACK_E_REFUSED);
    strcpy(wrong.name, "log.example/b");
    assert_int_equal(dstack_tlog_checkpoint_open(bytes_of_buf(&note), &wrong, &found, &err),
                     DSTACK_E_REFUSED);
}

static void malformed_keys_and_notes_are_refused(void **state) {
    static const char *const bad_keys[] = {
        "",
        "a",
        "a+b",
        "a+00000000+",
        "a b+00000000+AA==",
        "+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "a+00000000+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    static const char *const bad_notes[] = {"a\n1\n",
                                            "a\n1\nAA==\n\n",
                                            "a\n01\nAA==\n\n\xe2\x80\x94 a AA==\n",
                                            "a\n-1\nAA==\n\n\xe2\x80\x94 a AA==\n",
                                            "a\n1\nAA==\n\na AA==\n",
                                            "a\n99999999999999999999\n\n\xe2\x80\x94 a AA==\n"};
    dstack_tlog_key key = {.name = "a"};
    dstack_tlog_checkpoint found;
    for (size_t i = 0; i < sizeof bad_keys / sizeof bad_keys[0]; i++) {
        dstack_tlog_key other;
        assert_int_equal(dstack_tlog_key_parse(bytes_of_str(bad_keys[i]), &other, NULL),
                         DSTACK_E_FORMAT);
    }
    for (size_t i = 0; i < sizeof bad_notes / sizeof bad_notes[0]; i++) {
        assert_int_equal(
            dstack_tlog_checkpoint_open(bytes_of_str(bad_notes[i]), &key, &found, NULL),
            DSTACK_E_FORMAT);
    }
}

/* ---- published vectors ------------------------------------------------------------------------ */

static json_t *vectors;

static dstack_bytes hex_member(const char *name, size_t index, dstack_buf *room) {
    const json_t *value = json_object_get(vectors, name);
    value = json_is_array(value) ? json_array_get(value, index) : value;
    buf_reset(room);
    put_hex(room, json_string_value(value));
    return bytes_of_buf(room);
}

static void expect_hash(const char *name, size_t index, const dstack_tlog_hash *found) {
    DSTACK_AUTO(buf) dstack_buf room = {0};
    dstack_bytes expected = hex_member(name, index, &room);
    assert_true(bytes_equal(expected, bytes_of(found->bytes, 32)));
}

static void the_published_log_is_recomputed(void **state) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf text = {0}, room = {0}, out = {0};
    dstack_error err = {0};
    dstack_tlog_hash leaves[3], root;
    dstack_tlog_proof proof;
    load_file(SHARED_DATA "governance/tlog.json", &text);
    vectors = json_parse(bytes_of_buf(&text), text.len, "tlog.json", &err);
    assert_non_null(vectors);
    for (size_t i = 0; i < 3; i++) {
        static const char *const roots[] = {"root_size1", "root_size2", "root_size3"};
        dstack_tlog_leaf(hex_member("entries", i, &room), &leaves[i]);
        expect_hash("leaf_hashes", i, &leaves[i]);
        dstack_tlog_root(leaves, i + 1, &root);
        expect_hash(roots[i], 0, &root);
    }
    assert_ok(dstack_tlog_prove_inclusion(leaves, 3, 1, &proof, &err), err);
    assert_int_equal(proof.count, 2);
    expect_hash("inclusion_proof_index1_size3", 0, &proof.hashes[0]);
    expect_hash("inclusion_proof_index1_size3", 1, &proof.hashes[1]);
    assert_ok(dstack_tlog_prove_consistency(leaves, 3, 2, &proof, &err), err);
    assert_int_equal(proof.count, 1);
    expect_hash("consistency_2_to_3", 0, &proof.hashes[0]);

    dstack_bytes seed_bytes = hex_member("ed25519_seed", 0, &room);
    DSTACK_AUTO(secret) dstack_secret *seed = dstack_secret_copy(seed_bytes.data, 32);
    dstack_tlog_checkpoint checkpoint = {.size = 3, .root = root}, found;
    dstack_tlog_key key;
    strcpy(checkpoint.origin, json_string_value(json_object_get(vectors, "log_name")));
    assert_ok(dstack_tlog_checkpoint_sign(&checkpoint, seed, &out, &err), err);
    assert_string_equal(buf_text(&out),
                        json_string_value(json_object_get(vectors, "checkpoint_size3")));
    const char *vkey = json_string_value(json_object_get(vectors, "vkey"));
    assert_ok(dstack_tlog_key_parse(bytes_of_str(vkey), &key, &err), err);
    assert_ok(dstack_tlog_checkpoint_open(bytes_of_buf(&out), &key, &found, &err), err);
    buf_reset(&out);
    assert_ok(dstack_tlog_key_text(&key, &out, &err), err);
    assert_string_equal(buf_text(&out), vkey);
    json_decref(vectors);
}

static void the_published_entries_are_encoded_again(void **state) {
    need_shared_data();
    uint8_t node[32], e1[32], d1[32], a1[32], b1[32], h13[32], h14[32];
    memset(node, 0x10, 32);
    memset(e1, 0xe1, 32);
    memset(d1, 0xd1, 32);
    memset(a1, 0xa1, 32);
    memset(b1, 0xb1, 32);
    memset(h13, 0x13, 32);
    memset(h14, 0x14, 32);
    DSTACK_AUTO(buf) dstack_buf app = {0}, instance = {0}, block = {0}, contract = {0};
    DSTACK_AUTO(buf) dstack_buf text = {0}, room = {0};
    dstack_error err = {0};
    put_hex(&app, "5bb4ff9a3837357f19dc176407a5709c62eb6c56");
    put_hex(&instance, "1691ed1b47506cad7d08834668691d88246f5b1f");
    put_hex(&block, "841453b3302fc71ac51e7622aa8d213858b6d0a9ec641ddb46e9dd2eff254edd");
    put_hex(&contract, "9fe46736679d2d9a65f0992f2272de9f3c7fa6e0");
    static const struct {
        dstack_tlog_type type;
        bool allowed;
        const char *reason;
    } cases[] = {{DSTACK_TLOG_KEY_RELEASE, true, ""},
                 {DSTACK_TLOG_DENIAL, false, "Compose hash not allowed"},
                 {DSTACK_TLOG_CERTIFICATE, true, ""}};
    load_file(SHARED_DATA "governance/tlog.json", &text);
    vectors = json_parse(bytes_of_buf(&text), text.len, "tlog.json", &err);
    for (size_t i = 0; i < 3; i++) {
        DSTACK_AUTO(buf) dstack_buf out = {0}, json = {0};
        dstack_tlog_entry entry = {.type = cases[i].type,
                                   .time = 1700000000 + i,
                                   .node_id = bytes_of(node, 32),
                                   .app_id = bytes_of_buf(&app),
                                   .compose_hash = bytes_of(e1, 32),
                                   .instance_id = bytes_of_buf(&instance),
                                   .device_id = bytes_of(d1, 32),
                                   .os_image_hash = bytes_of(a1, 32),
                                   .mr_aggregated = bytes_of(b1, 32),
                                   .tee_variant = "dstack-tdx",
                                   .tcb_status = "UpToDate",
                                   .requester = bytes_of(h13, 32),
                                   .evidence = bytes_of(h14, 32),
                                   .allowed = cases[i].allowed,
                                   .reason = cases[i].reason,
                                   .has_policy_view = true,
                                   .chain_id = 31337,
                                   .block_number = 14,
                                   .block_hash = bytes_of_buf(&block),
                                   .contract = bytes_of_buf(&contract),
                                   .epoch = 7,
                                   .purposes = {"disk", "env", "k256"},
                                   .purpose_count = 3};
        assert_ok(dstack_tlog_entry_encode(&entry, &out, &err), err);
        assert_hex(bytes_of_buf(&out),
                   json_string_value(json_array_get(json_object_get(vectors, "entries"), i)));
        assert_ok(dstack_tlog_entry_to_json(bytes_of_buf(&out), &json, &err), err);
        assert_non_null(strstr(buf_text(&json), "\"chain_id\":31337"));
    }
    json_decref(vectors);
}

static void entries_are_one_map_with_rising_keys(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0}, json = {0};
    dstack_error err = {0};
    dstack_tlog_entry entry = {.type = DSTACK_TLOG_DENIAL, .reason = "app not registered"};
    assert_ok(dstack_tlog_entry_encode(&entry, &out, &err), err);
    assert_ok(dstack_tlog_entry_to_json(bytes_of_buf(&out), &json, &err), err);
    assert_non_null(strstr(buf_text(&json), "\"type\":\"denial\""));
    assert_non_null(strstr(buf_text(&json), "\"reason\":\"app not registered\""));
    assert_non_null(strstr(buf_text(&json), "\"policy_view\":null"));
    for (size_t len = 0; len < out.len; len++) {
        DSTACK_AUTO(buf) dstack_buf none = {0};
        assert_int_equal(dstack_tlog_entry_to_json(bytes_of(out.data, len), &none, NULL),
                         DSTACK_E_FORMAT);
    }
    static const uint8_t twice[] = {0xa2, 0x01, 0x01, 0x01, 0x01};
    static const uint8_t later[] = {0xa2, 0x01, 0x01, 0x18, 0x1f, 0x41, 0x00};
    assert_int_equal(dstack_tlog_entry_to_json(bytes_of(twice, sizeof twice), &json, NULL),
                     DSTACK_E_FORMAT);
    assert_ok(dstack_tlog_entry_to_json(bytes_of(later, sizeof later), &json, &err), err);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_empty_tree_and_the_first_leaf_hash_as_the_rfc_says),
        cmocka_unit_test(every_inclusion_proof_holds_and_no_changed_one),
        cmocka_unit_test(every_consistency_proof_holds_and_no_changed_one),
        cmocka_unit_test(a_checkpoint_opens_with_its_key_alone),
        cmocka_unit_test(malformed_keys_and_notes_are_refused),
        cmocka_unit_test(the_published_log_is_recomputed),
        cmocka_unit_test(the_published_entries_are_encoded_again),
        cmocka_unit_test(entries_are_one_map_with_rising_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
