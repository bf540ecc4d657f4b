/* The agent's calls against vectors recorded from the reference system. */
#include "agent_fixture.h"

#include "evidence.h"
#include "serve/simulate.h"

#define INPUTS SHARED_DATA "agent/responses/inputs/"

static dstack_attestation *recorded;

static void fixture_begin(agent_fixture *f) {
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf text = {0};
    load_file(INPUTS "attestation.bin", &text);
    dstack_error err = {0};
    assert_ok(dstack_attestation_decode(bytes_of_buf(&text), &recorded, &err), err);
    const agent_files files = {INPUTS "appkeys.json", INPUTS "app-compose.json",
                               INPUTS "sys-config.json"};
    assert_ok(agent_new(&files, simulate_attest, recorded, false, &f->a, &err), err);
    f->a->full_log = true;
    fixture_serve_agent(f);
}

static void fixture_finish(agent_fixture *f) {
    fixture_end(f);
    dstack_attestation_free(recorded);
}

static const char *text_of(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    assert_non_null(text);
    return text;
}

static void every_get_key_vector_is_reproduced(void **state) {
    agent_fixture f = {0};
    fixture_begin(&f);
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/key-vectors.json");
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, "get_key"), i, row) {
        DSTACK_AUTO(json)
        json_t *args = json_pack("{s:O,s:O,s:O}", "path", json_object_get(row, "path"), "purpose",
                                 json_object_get(row, "purpose"), "algorithm",
                                 json_object_get(row, "algorithm"));
        DSTACK_AUTO(str) char *body = dump(args);
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&f, "internal", "/GetKey", body, &answer), 200);
        assert_string_equal(text_of(answer, "key"), text_of(row, "key"));
        assert_true(json_equal(json_object_get(answer, "signature_chain"),
                               json_object_get(row, "signature_chain")));
    }
    assert_true(i >= 14);
    fixture_finish(&f);
}

static void every_sign_vector_is_reproduced(void **state) {
    agent_fixture f = {0};
    fixture_begin(&f);
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/key-vectors.json");
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, "sign"), i, row) {
        DSTACK_AUTO(json)
        json_t *args = json_pack("{s:O,s:O}", "algorithm", json_object_get(row, "algorithm"),
                                 "data", json_object_get(row, "data"));
        DSTACK_AUTO(str) char *body = dump(args);
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&f, "internal", "/v0/Sign", body, &answer), 200);
        assert_true(json_equal(answer, json_object_get(row, "response")));
    }
    assert_true(i >= 12);
    fixture_finish(&f);
}

/* Small-order Ed25519 keys are the one place where this agent is stricter on purpose. */
static void every_verify_vector_is_reproduced(void **state) {
    agent_fixture f = {0};
    fixture_begin(&f);
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/key-vectors.json");
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, "verify"), i, row) {
        DSTACK_AUTO(str) char *body = dump(json_object_get(row, "request"));
        DSTACK_AUTO(json) json_t *answer = NULL;
        int status = fixture_call(&f, "internal", "/Verify", body, &answer);
        const json_t *valid = json_object_get(json_object_get(row, "result"), "valid");
        const char *note = text_of(row, "note");
        if (strstr(note, "small") != NULL) {
            assert_int_equal(status, 400);
        } else if (status != (valid != NULL ? 200 : 400) ||
                   (valid != NULL && !json_equal(json_object_get(answer, "valid"), valid))) {
            fail_msg("verify vector %zu (%s)", i, note);
        }
    }
    assert_true(i >= 18);
    fixture_finish(&f);
}

static void derived_p256_keys_and_quote_data_are_reproduced(void **state) {
    agent_fixture f = {0};
    fixture_begin(&f);
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/key-vectors.json");
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(data, "tappd_derive_key"), i, row) {
        DSTACK_AUTO(json) json_t *args = json_pack("{s:O}", "path", json_object_get(row, "path"));
        DSTACK_AUTO(str) char *body = dump(args);
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&f, "tappd", "/prpc/Tappd.DeriveKey", body, &answer), 200);
        assert_string_equal(text_of(answer, "key"), text_of(row, "pem"));
    }
    json_array_foreach(json_object_get(data, "tdx_quote_report_data"), i, row) {
        DSTACK_AUTO(json)
        json_t *args = json_pack("{s:O,s:O,s:O}", "report_data", json_object_get(row, "data"),
                                 "hash_algorithm", json_object_get(row, "hash_algorithm"), "prefix",
                                 json_object_get(row, "prefix"));
        DSTACK_AUTO(str) char *body = dump(args);
        DSTACK_AUTO(json) json_t *answer = NULL;
        assert_int_equal(fixture_call(&f, "tappd", "/prpc/TdxQuote", body, &answer), 200);
        assert_memory_equal(text_of(answer, "quote") + (size_t)2 * 568,
                            text_of(row, "quoted_report_data"), 128);
        assert_string_equal(text_of(answer, "prefix"), text_of(row, "reply_prefix"));
        assert_string_equal(text_of(answer, "hash_algorithm"),
                            text_of(row, "reply_hash_algorithm"));
    }
    fixture_finish(&f);
}

static void v1_keys_of_every_root_are_reproduced(void **state) {
    agent_fixture f = {0};
    fixture_begin(&f);
    DSTACK_AUTO(json) json_t *data = load_json(SHARED_DATA "agent/v1/key-vectors.json");
    size_t s, i, n = 0;
    json_t *set, *row;
    json_array_foreach(json_object_get(data, "sets"), s, set) {
        dstack_error err = {0};
        assert_ok(hex_decode_fixed(text_of(set, "app_root_key"),
                                   dstack_secret_data(f.a->keys.k256_key), 32, &err),
                  err);
        json_array_foreach(json_object_get(set, "cases"), i, row) {
            const json_t *domain = json_object_get(row, "domain");
            if (json_string_length(domain) != strlen(json_string_value(domain))) {
                continue; /* the RPC layer refuses texts with a zero character */
            }
            DSTACK_AUTO(json)
            json_t *args = json_pack("{s:O,s:O}", "domain", json_object_get(row, "domain"),
                                     "algorithm", json_object_get(row, "algorithm"));
            DSTACK_AUTO(str) char *body = dump(args);
            DSTACK_AUTO(json) json_t *answer = NULL;
            assert_int_equal(fixture_call(&f, "internal", "/v1/GetKey", body, &answer), 200);
            assert_string_equal(text_of(answer, "key"), text_of(row, "key"));
            assert_string_equal(text_of(answer, "public_key"), text_of(row, "public_key"));
            n++;
        }
    }
    assert_true(n >= 24);
    fixture_finish(&f);
}

static void the_event_log_of_get_quote_is_stripped_as_a_real_agent_does(void **state) {
    need_shared_data();
    agent_fixture f = {0};
    fixture_begin(&f);
    DSTACK_AUTO(buf) dstack_buf want = {0};
    DSTACK_AUTO(buf) dstack_buf have = {0};
    load_file(SHARED_DATA "agent/getquote-event-log.real-agent.json", &want);
    dstack_error err = {0};
    assert_ok(quote_event_log(dstack_attestation_event_log(recorded), false, &have, &err), err);
    while (want.len > 0 && want.data[want.len - 1] == '\n') {
        want.len--;
    }
    assert_int_equal(have.len, want.len);
    assert_memory_equal(have.data, want.data, want.len);
    fixture_finish(&f);
}

/* Answers that do not depend on chance, time or the build. */
static void recorded_answers_are_the_same_byte_for_byte(void **state) {
    static const struct {
        const char *listener, *file;
    } rows[] = {
        {"internal", "DstackGuest.Attest.64-bytes"},
        {"internal", "DstackGuest.Attest.too-long"},
        {"internal", "DstackGuest.GetKey.bad-algorithm"},
        {"internal", "DstackGuest.GetKey.missing-fields"},
        {"internal", "DstackGuest.GetQuote.too-long"},
        {"internal", "DstackGuest.GetTlsKey.bad-validity"},
        {"internal", "DstackGuest.Sign.empty-algorithm"},
        {"internal", "DstackGuest.Sign.prehashed-bad-length"},
        {"internal", "DstackGuest.Verify.bad-algorithm"},
        {"tappd", "Tappd.DeriveK256Key"},
    };
    agent_fixture f = {0};
    fixture_begin(&f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[200];
        snprintf(path, sizeof path, SHARED_DATA "agent/responses/%s.json", rows[i].file);
        DSTACK_AUTO(json) json_t *call = load_json(path);
        const json_t *request = json_object_get(call, "request");
        const json_t *response = json_object_get(call, "response");
        DSTACK_AUTO(str) char *body = dump(json_object_get(request, "body"));
        DSTACK_AUTO(json) json_t *answer = NULL;
        int status = fixture_call(&f, rows[i].listener, text_of(request, "path"), body, &answer);
        assert_int_equal(status, json_integer_value(json_object_get(response, "status")));
        DSTACK_AUTO(str) char *have = dump(answer);
        DSTACK_AUTO(str) char *want = dump(json_object_get(response, "body"));
        assert_string_equal(have, want);
    }
    fixture_finish(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_get_key_vector_is_reproduced),
        cmocka_unit_test(every_sign_vector_is_reproduced),
        cmocka_unit_test(every_verify_vector_is_reproduced),
        cmocka_unit_test(derived_p256_keys_and_quote_data_are_reproduced),
        cmocka_unit_test(v1_keys_of_every_root_are_reproduced),
        cmocka_unit_test(the_event_log_of_get_quote_is_stripped_as_a_real_agent_does),
        cmocka_unit_test(recorded_answers_are_the_same_byte_for_byte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
