/* The agent's calls against vectors recorded from the reference system. */
#include "agent_recorded.h"
#include "serve/key_cache.h"

/* Calls `one` with every row of a list in a data file; each list has at least `least` rows. */
static void each_vector(const char *file, const char *list, size_t least,
                        void (*one)(recorded *r, const json_t *row)) {
    recorded r;
    recorded_begin(&r);
    DSTACK_AUTO(json) json_t *data = load_json(file);
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, list), i, row) {
        one(&r, row);
    }
    assert_true(i >= least);
    recorded_end(&r);
}

/* A JSON call whose arguments are members of the row: pairs of argument and member, then NULL. */
static int call_with(recorded *r, const char *listener, const char *path, const json_t *row,
                     const char *const *members, json_t **answer) {
    DSTACK_AUTO(json) json_t *args = json_object();
    for (; *members != NULL; members += 2) {
        json_object_set(args, members[0], json_object_get(row, members[1]));
    }
    DSTACK_AUTO(str) char *body = dump(args);
    return fixture_call(&r->f, listener, path, body, answer);
}

#define KEY_VECTORS SHARED_DATA "agent/key-vectors.json"

static void get_key(recorded *r, const json_t *row) {
    static const char *const members[] = {"path",      "path",      "purpose", "purpose",
                                          "algorithm", "algorithm", NULL};
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(call_with(r, "internal", "/GetKey", row, members, &answer), 200);
    assert_string_equal(text_of(answer, "key"), text_of(row, "key"));
    assert_true(json_equal(json_object_get(answer, "signature_chain"),
                           json_object_get(row, "signature_chain")));
}

static void every_get_key_vector_is_reproduced(void **state) {
    each_vector(KEY_VECTORS, "get_key", 14, get_key);
}

static void sign(recorded *r, const json_t *row) {
    static const char *const members[] = {"algorithm", "algorithm", "data", "data", NULL};
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(call_with(r, "internal", "/v0/Sign", row, members, &answer), 200);
    assert_true(json_equal(answer, json_object_get(row, "response")));
}

static void every_sign_vector_is_reproduced(void **state) {
    each_vector(KEY_VECTORS, "sign", 12, sign);
}

/* Small-order Ed25519 keys are the one place where this agent is stricter on purpose. */
static void verify(recorded *r, const json_t *row) {
    DSTACK_AUTO(str) char *body = dump(json_object_get(row, "request"));
    DSTACK_AUTO(json) json_t *answer = NULL;
    int status = fixture_call(&r->f, "internal", "/Verify", body, &answer);
    const json_t *valid = json_object_get(json_object_get(row, "result"), "valid");
    const char *note = text_of(row, "note");
    if (status != (valid != NULL ? 200 : 400) ||
        (valid != NULL && !json_equal(json_object_get(answer, "valid"), valid))) {
        fail_msg("verify vector \"%s\"", note);
    }
}

static void every_verify_vector_is_reproduced(void **state) {
    each_vector(KEY_VECTORS, "verify", 18, verify);
}

static void derive_p256(recorded *r, const json_t *row) {
    static const char *const members[] = {"path", "path", NULL};
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(call_with(r, "tappd", "/prpc/Tappd.DeriveKey", row, members, &answer), 200);
    assert_string_equal(text_of(answer, "key"), text_of(row, "pem"));
}

static void derived_p256_keys_are_reproduced(void **state) {
    each_vector(KEY_VECTORS, "tappd_derive_key", 3, derive_p256);
}

static void quote_data(recorded *r, const json_t *row) {
    static const char *const members[] = {
        "report_data", "data", "hash_algorithm", "hash_algorithm", "prefix", "prefix", NULL};
    DSTACK_AUTO(json) json_t *answer = NULL;
    assert_int_equal(call_with(r, "tappd", "/prpc/TdxQuote", row, members, &answer), 200);
    assert_memory_equal(text_of(answer, "quote") + (size_t)2 * 568,
                        text_of(row, "quoted_report_data"), 128);
    assert_string_equal(text_of(answer, "prefix"), text_of(row, "reply_prefix"));
    assert_string_equal(text_of(answer, "hash_algorithm"), text_of(row, "reply_hash_algorithm"));
}

static void report_data_of_every_hash_is_reproduced(void **state) {
    each_vector(KEY_VECTORS, "tdx_quote_report_data", 10, quote_data);
}

static size_t v1_count;

static void v1_set(recorded *r, const json_t *set) {
    static const char *const members[] = {"domain", "domain", "algorithm", "algorithm", NULL};
    dstack_error err = {0};
    assert_ok(hex_decode_fixed(text_of(set, "app_root_key"),
                               dstack_secret_data(r->f.a->keys.k256_key), 32, &err),
              err);
    key_cache_free(r->f.a->kept_keys); /* of the root before */
    r->f.a->kept_keys = key_cache_new();
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(set, "cases"), i, row) {
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(call_with(r, "internal", "/v1/GetKey", row, members, &answer), 200);
        assert_string_equal(text_of(answer, "key"), text_of(row, "key"));
        assert_string_equal(text_of(answer, "public_key"), text_of(row, "public_key"));
        v1_count++;
    }
}

static void v1_keys_of_every_root_are_reproduced(void **state) {
    v1_count = 0;
    each_vector(SHARED_DATA "agent/v1/key-vectors.json", "sets", 1, v1_set);
    assert_true(v1_count >= 32);
}

static void the_event_log_of_get_quote_is_stripped_as_a_real_agent_does(void **state) {
    recorded r;
    recorded_begin(&r);
    DSTACK_AUTO(buf) dstack_buf want = {0};
    DSTACK_AUTO(buf) dstack_buf have = {0};
    load_file(SHARED_DATA "agent/getquote-event-log.real-agent.json", &want);
    dstack_error err = {0};
    assert_ok(quote_event_log(dstack_attestation_event_log(r.attestation), false, &have, &err),
              err);
    while (want.len > 0 && want.data[want.len - 1] == '\n') {
        want.len--;
    }
    assert_int_equal(have.len, want.len);
    assert_memory_equal(have.data, want.data, want.len);
    recorded_end(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_get_key_vector_is_reproduced),
        cmocka_unit_test(every_sign_vector_is_reproduced),
        cmocka_unit_test(every_verify_vector_is_reproduced),
        cmocka_unit_test(derived_p256_keys_are_reproduced),
        cmocka_unit_test(report_data_of_every_hash_is_reproduced),
        cmocka_unit_test(v1_keys_of_every_root_are_reproduced),
        cmocka_unit_test(the_event_log_of_get_quote_is_stripped_as_a_real_agent_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
