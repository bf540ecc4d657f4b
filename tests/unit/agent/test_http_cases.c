/* What a request's form makes of its answer: method, target, media type and body in every spelling
 * that a client may use. */
#include "agent_world.h"

#include "raw_http.h"

#define S "dstack.sock"
#define T "tappd.sock"
#define X "external.sock"
#define G "guest.sock"
/* 65 bytes */
#define LONG "abababababababababababababababab"
#define TOO_LONG LONG LONG LONG LONG "ab"

/* `says`: what the body must hold (in a protobuf error its text); NULL: anything. */
static const struct own_case {
    const char *socket, *method, *target, *type, *body;
    int status;
    const char *answer, *says;
} own_cases[] = {
    {S, "GET", "/GetKey", NULL, "", 200, RAW_JSON, "\"signature_chain\":["},
    {S, "GET", "/GetKey?path=test&purpose=signing&algorithm=ed25519", NULL, "", 200, RAW_JSON,
     NULL},
    {S, "GET", "/GetKey?path=a%20b+c", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/GetKey?path", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/GetKey?json&x=1&path=test", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/GetKey?path=test&path=x", NULL, "", 400, RAW_JSON, "Multiple values for one key"},
    {S, "GET", "/GetKey?path=%ff", NULL, "", 400, RAW_JSON, "not UTF-8"},
    {S, "GET", "/GetKey?path=%00", NULL, "", 400, RAW_JSON, NULL},
    {S, "GET", "/GetKey?path=%zz", NULL, "", 400, RAW_JSON, NULL},
    {S, "GET", "/GetKey/?path=test", NULL, "", 404, RAW_PAGE, NULL},
    {S, "GET", "/getkey", NULL, "", 404, RAW_JSON, "Service not found: getkey"},
    {S, "GET", "/%47etKey?path=test", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/Tappd.GetKey", NULL, "", 404, RAW_JSON, "Service not found: Tappd.GetKey"},
    {S, "GET", "/", NULL, "", 422, RAW_PAGE, NULL},
    {S, "POST", "/", RAW_JSON, "{}", 422, RAW_PAGE, NULL},
    {S, "PUT", "/", NULL, "", 404, RAW_PAGE, NULL},
    {S, "GET", "/prpc/GetKey", NULL, "", 404, RAW_PAGE, NULL},
    {S, "GET", "/v0/GetKey", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/v1/GetKey?algorithm=ed25519", NULL, "", 200, RAW_JSON, "\"public_key\""},
    {S, "GET", "/v1/GetKey", NULL, "", 400, RAW_JSON, "algorithm is required"},
    {S, "GET", "/v1/Sign", NULL, "", 404, RAW_JSON, "Service not found: Sign"},
    {S, "GET", "/v2/Version", NULL, "", 404, RAW_PAGE, NULL},
    {S, "PUT", "/Version", NULL, "", 404, RAW_PAGE, NULL},
    {S, "DELETE", "/Version", NULL, "", 404, RAW_PAGE, NULL},
    {S, "GET", "/GetTlsKey?subject=a&alt_names[0]=x.com&alt_names[1]=y.com", NULL, "", 200,
     RAW_JSON, NULL},
    {S, "GET", "/GetTlsKey?alt_names[]=x.com&alt_names[]=y.com", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/GetTlsKey?alt_names=x.com", NULL, "", 400, RAW_JSON, "expected a sequence"},
    {S, "GET", "/GetTlsKey?usage_ra_tls=1", NULL, "", 400, RAW_JSON, "`true` or `false`"},
    {S, "GET", "/GetTlsKey?usage_ra_tls=yes", NULL, "", 400, RAW_JSON, "`true` or `false`"},
    {S, "GET", "/GetTlsKey?usage_ra_tls=", NULL, "", 400, RAW_JSON, "`true` or `false`"},
    {S, "GET", "/GetTlsKey?not_before=", NULL, "", 200, RAW_JSON, NULL},
    {S, "GET", "/GetTlsKey?not_before=-1", NULL, "", 400, RAW_JSON, NULL},
    {S, "GET", "/GetTlsKey?not_before=1x", NULL, "", 400, RAW_JSON, "invalid digit"},
    {S, "GET", "/GetTlsKey?not_before=99999999999999999999", NULL, "", 400, RAW_JSON, NULL},
    {S, "GET", "/GetTlsKey?not_before=5&not_after=5", NULL, "", 400, RAW_JSON,
     "not_before must be earlier than not_after"},
    {S, "GET", "/GetQuote?report_data=123", NULL, "", 400, RAW_JSON, "Odd number of digits"},
    {S, "GET", "/GetQuote?report_data=zz", NULL, "", 400, RAW_JSON,
     "Invalid character 'z' at position 0"},
    {S, "GET", "/GetQuote?report_data=" TOO_LONG, NULL, "", 400, RAW_JSON,
     "Report data is too long"},
    {S, "GET", "/v1/Attest?report_data=" TOO_LONG, NULL, "", 400, RAW_JSON,
     "report data is too long"},
    {S, "POST", "/Version", NULL, "", 200, RAW_PROTOBUF, "0.6.0"},
    {S, "POST", "/GetKey", NULL,
     "\x0a\x04test\x12\x07signing\x1a\x07"
     "ed25519",
     200, RAW_PROTOBUF, NULL},
    {S, "POST", "/Nope", NULL, "", 404, RAW_PROTOBUF, "Service not found: Nope"},
    {S, "POST", "/GetKey", NULL, "\xff", 400, RAW_PROTOBUF, "failed to decode Protobuf message"},
    {S, "POST", "/GetKey", "text/json", "{\"algorithm\":\"rsa\"}", 400, RAW_PROTOBUF,
     "decode Protobuf"},
    {S, "POST", "/GetKey", RAW_JSON "; charset=utf-8", "{\"algorithm\":\"rsa\"}", 400, RAW_JSON,
     "Unsupported algorithm"},
    {S, "POST", "/GetKey", "application/JSON", "{\"algorithm\":\"rsa\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey?json", NULL, "{\"algorithm\":\"rsa\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey?json=", NULL, "{\"algorithm\":\"rsa\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey?json=1", NULL, "{\"algorithm\":\"rsa\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey?json=true", NULL, "{\"algorithm\":\"rsa\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey?json=false", NULL, "{\"algorithm\":\"rsa\"}", 400, RAW_PROTOBUF, NULL},
    {S, "POST", "/GetKey?json=yes", NULL, "{\"algorithm\":\"rsa\"}", 400, RAW_PROTOBUF, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "", 200, RAW_JSON, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "{", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "null", 400, RAW_JSON, "invalid type: null"},
    {S, "POST", "/GetKey", RAW_JSON, "\"x\"", 400, RAW_JSON, "invalid type: string"},
    {S, "POST", "/GetKey", RAW_JSON, "[]", 400, RAW_JSON, "invalid type: array"},
    {S, "POST", "/GetKey", RAW_JSON, "{} x", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":1}", 400, RAW_JSON, "expected a string"},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":null}", 400, RAW_JSON, "invalid type: null"},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":\"a\",\"path\":\"b\"}", 400, RAW_JSON, "duplicate"},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":\"a\",\"more\":[{}]}", 200, RAW_JSON, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":\"\xff\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":\"a\\u0000b\"}", 200, RAW_JSON, NULL},
    {S, "POST", "/GetKey", RAW_JSON, "{\"algorithm\":\"k256\\u0000\"}", 400, RAW_JSON,
     "zero character"},
    {S, "POST", "/Sign", RAW_JSON, "{\"algorithm\":\"ed25519\",\"data\":\"00\\u0000zz\"}", 400,
     RAW_JSON, "Invalid character"},
    {S, "POST", "/GetKey", RAW_JSON, "{\"path\":\"\\ud800\"}", 400, RAW_JSON, NULL},
    {S, "POST", "/Sign", RAW_JSON, "{\"algorithm\":\"ed25519\",\"data\":\"0x00\"}", 200, RAW_JSON,
     NULL},
    {S, "POST", "/Sign", RAW_JSON, "{\"algorithm\":\"ed25519\",\"data\":\"0x0x00\"}", 200, RAW_JSON,
     NULL},
    {S, "POST", "/GetQuote", RAW_JSON, "{\"report_data\":\"0X12\"}", 400, RAW_JSON,
     "Invalid character 'X' at position 1"},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"alt_names\":null}", 400, RAW_JSON,
     "invalid type: null"},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"alt_names\":[null]}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"not_before\":null}", 200, RAW_JSON, NULL},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"not_before\":\"5\"}", 400, RAW_JSON,
     "invalid type: string"},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"not_before\":5.0}", 400, RAW_JSON,
     "invalid type: real"},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"not_before\":1e400}", 400, RAW_JSON, NULL},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"alt_names\":[\"bad \xc3\xbc\"]}", 400, RAW_JSON,
     "Failed to sign the CSR"},
    {S, "POST", "/GetTlsKey", RAW_JSON, "{\"alt_names\":[\"\"]}", 400, RAW_JSON, NULL},
    {S, "POST", "/Version", RAW_JSON, "garbage", 200, RAW_JSON, "\"version\":\"0.6.0\""},
    {S, "GET", "/EmitEvent", NULL, "", 400, RAW_JSON, "EmitEvent was removed in dstack 0.6.0"},
    {S, "POST", "/EmitEvent", RAW_JSON, "{\"event\":7}", 400, RAW_JSON, "invalid type"},
    {T, "GET", "/prpc/Tappd.Version", NULL, "", 200, RAW_JSON, NULL},
    {T, "GET", "/prpc/Version", NULL, "", 200, RAW_JSON, NULL},
    {T, "GET", "/prpc/Tappd.Tappd.Version", NULL, "", 200, RAW_JSON, NULL},
    {T, "GET", "/Version", NULL, "", 404, RAW_PAGE, NULL},
    {T, "GET", "/v1/Version", NULL, "", 404, RAW_PAGE, NULL},
    {T, "GET", "/prpc/Worker.Version", NULL, "", 404, RAW_JSON,
     "Service not found: Worker.Version"},
    {T, "GET", "/prpc/Tappd.GetKey", NULL, "", 404, RAW_JSON, "Service not found: GetKey"},
    {T, "GET", "/prpc/Tappd.TdxQuote?report_data=74657374&hash_algorithm=raw", NULL, "", 400,
     RAW_JSON, "invalid content length"},
    {T, "GET", "/prpc/Tappd.TdxQuote?report_data=74657374&hash_algorithm=SHA256", NULL, "", 400,
     RAW_JSON, "invalid hash algorithm"},
    {X, "GET", "/prpc/Worker.Version", NULL, "", 200, RAW_JSON, NULL},
    {X, "GET", "/prpc/Version", NULL, "", 200, RAW_JSON, NULL},
    {X, "GET", "/Version", NULL, "", 404, RAW_PAGE, NULL},
    {X, "GET", "/prpc/Worker.GetKey", NULL, "", 404, RAW_JSON, "Service not found: GetKey"},
    {X, "GET", "/prpc/GetAttestationForAppKey", NULL, "", 400, RAW_JSON, "Unsupported algorithm"},
    {X, "GET", "/prpc/v1/Health", NULL, "", 200, RAW_JSON, "\"healthy\":true"},
    {X, "GET", "/prpc/Health", NULL, "", 404, RAW_JSON, "Service not found: Health"},
    {X, "GET", "/logs/foo?follow=maybe", NULL, "", 422, RAW_JSON, "Invalid flag"},
    {X, "GET", "/logs/foo?since=30x", NULL, "", 400, RAW_JSON, "Invalid since"},
    {X, "GET", "/logs/foo?until=x", NULL, "", 400, RAW_JSON, "Invalid until"},
    {X, "GET", "/logs/foo?tail=-1", NULL, "", 400, RAW_JSON, "Invalid tail"},
    {X, "GET", "/logs/foo%2Fjson%3F", NULL, "", 404, RAW_PAGE, NULL},
    {X, "GET", "/logs/..%2F..%2Finfo", NULL, "", 404, RAW_PAGE, NULL},
    {G, "GET", "/api/GuestApi.Info", NULL, "", 404, RAW_JSON, "Service not found: GuestApi.Info"},
    {G, "GET", "/Info", NULL, "", 404, RAW_PAGE, NULL},
};

static void requests_of_every_form_get_their_status_and_shape(void **state) {
    world w;
    world_begin(&w, ",\"public_logs\":true");
    raw_listen(&w.f, w.dir);
    for (size_t i = 0; i < sizeof own_cases / sizeof *own_cases; i++) {
        const struct own_case *c = &own_cases[i];
        DSTACK_AUTO(http_client_response) http_client_response answer = {0};
        char type[64] = "", length[32];
        raw_call(w.dir, c->socket, c->method, c->target, c->type, bytes_of_str(c->body), &answer);
        http_client_response_header(&answer, "content-type", type, sizeof type);
        if (answer.status != c->status || strcmp(type, c->answer) != 0 ||
            !raw_holds(&answer.body, c->says) || !raw_shape_is_right(&answer, type) ||
            !http_client_response_header(&answer, "content-length", length, sizeof length)) {
            fail_msg("case %zu (%s %s %s): %d %s\n%.*s", i, c->method, c->target, c->body,
                     answer.status, type, (int)answer.body.len, (const char *)answer.body.data);
        }
    }
    world_end(&w);
}

static void post(world *w, const char *target, const char *type, dstack_bytes body, int want,
                 http_client_response *answer) {
    assert_int_equal(raw_call(w->dir, S, "POST", target, type, body, answer), want);
}

static void a_protobuf_text_is_never_cut_at_a_zero_character(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    DSTACK_AUTO(http_client_response) http_client_response refused = {0};
    DSTACK_AUTO(http_client_response) http_client_response no_text = {0};
    /* the algorithm "k\0" */
    post(&w, "/GetKey", NULL, bytes_of("\x1a\x02k\0", 4), 400, &refused);
    assert_true(raw_holds(&refused.body, "zero character"));
    /* a path that is no UTF-8, behind a zero character */
    post(&w, "/GetKey", NULL, bytes_of("\x0a\x02\0\xff", 4), 400, &no_text);
    assert_true(raw_holds(&no_text.body, "not UTF-8"));
    world_end(&w);
}

/* Paths and domains may hold zero characters: each is a key of its own, the same in both forms of a
 * request. */
static void a_key_of_a_name_with_a_zero_character_is_its_own(void **state) {
    static const struct {
        const char *target, *json, *cut_json, *protobuf;
        size_t protobuf_len;
    } cases[] = {
        {"/GetKey?json", "{\"path\":\"a\\u0000b\"}", "{\"path\":\"a\"}",
         "\x0a\x03"
         "a\0b",
         5},
        {"/v1/GetKey?json", "{\"domain\":\"a\\u0000b\",\"algorithm\":\"ed25519\"}",
         "{\"domain\":\"a\",\"algorithm\":\"ed25519\"}",
         "\x0a\x03"
         "a\0b\x12\x07"
         "ed25519",
         14},
    };
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(http_client_response) http_client_response whole = {0};
        DSTACK_AUTO(http_client_response) http_client_response cut = {0};
        DSTACK_AUTO(http_client_response) http_client_response encoded = {0};
        char target[32];
        snprintf(target, sizeof target, "%.*s", (int)strcspn(cases[i].target, "?"),
                 cases[i].target);
        post(&w, cases[i].target, NULL, bytes_of_str(cases[i].json), 200, &whole);
        post(&w, cases[i].target, NULL, bytes_of_str(cases[i].cut_json), 200, &cut);
        post(&w, target, NULL, bytes_of(cases[i].protobuf, cases[i].protobuf_len), 200, &encoded);
        DSTACK_AUTO(json) json_t *a = json_parse(bytes_of_buf(&whole.body), 65536, "a", NULL);
        DSTACK_AUTO(json) json_t *b = json_parse(bytes_of_buf(&cut.body), 65536, "b", NULL);
        assert_string_not_equal(text_of(a, "key"), text_of(b, "key"));
        DSTACK_AUTO(buf) dstack_buf key = {0};
        put_hex(&key, text_of(a, "key"));
        assert_int_equal(key.len, 32);
        assert_non_null(memmem(encoded.body.data, encoded.body.len, key.data, key.len));
    }
    world_end(&w);
}

/* Clients that take Content-Length for characters must not wait for more. */
static void answers_are_ascii(void **state) {
    world w;
    world_begin(&w, ",\"description\":\"\xc3\xbc \xf0\x9f\x94\x91 \xe2\x82\xac\"");
    raw_listen(&w.f, w.dir);
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    assert_int_equal(raw_call(w.dir, S, "GET", "/v1/Info", NULL, bytes_of(NULL, 0), &answer), 200);
    for (size_t i = 0; i < answer.body.len; i++) {
        assert_true(answer.body.data[i] < 0x80);
    }
    assert_true(raw_holds(&answer.body, "\\u00fc \\ud83d\\udd11 \\u20ac"));
    DSTACK_AUTO(json) json_t *info = json_parse(bytes_of_buf(&answer.body), 1 << 20, "info", NULL);
    assert_non_null(strstr(text_of(info, "app_compose"), "\xc3\xbc \xf0\x9f\x94\x91 \xe2\x82\xac"));
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_of_every_form_get_their_status_and_shape),
        cmocka_unit_test(a_protobuf_text_is_never_cut_at_a_zero_character),
        cmocka_unit_test(a_key_of_a_name_with_a_zero_character_is_its_own),
        cmocka_unit_test(answers_are_ascii),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
