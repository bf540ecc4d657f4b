#include "check.h"

#include <gnutls/crypto.h>

#include "client/http_client.h"
#include "rpc_sample.pb-c.h"
#include "service/rpc.h"
#include "service/rpc_client.h"

#define DESCRIPTOR &sample__everything__descriptor

static const char everything[] =
    "{\"text\":\"a\\\"b\\\\\\n\\u0001\",\"data\":\"00ff\",\"small\":7,\"wide\":-5,\"flag\":true,"
    "\"number\":18446744073709551615,\"word\":\"w\",\"inner\":{\"name\":\"n\",\"big\":9},"
    "\"names\":[\"x\",\"y\"],\"blobs\":[\"01\",\"\"],\"inners\":[{\"name\":\"\",\"big\":0}],"
    "\"labels\":{\"k\":\"v\"}}";

static void a_message_of_all_types_prints_every_field_in_order(void **state) {
    Sample__Everything *m = (Sample__Everything *)rpc_new_message(DESCRIPTOR);
    rpc_set_str(&m->text, "a\"b\\\n\x01");
    rpc_set_bytes(&m->data, bytes_of("\x00\xff", 2));
    m->small = 7;
    m->wide = -5;
    m->flag = 1;
    m->number = UINT64_MAX;
    m->opt_number_case = SAMPLE__EVERYTHING__OPT_NUMBER_NUMBER;
    m->word = NULL;
    rpc_set_str(&m->word, "w");
    m->opt_word_case = SAMPLE__EVERYTHING__OPT_WORD_WORD;
    m->inner = (Sample__Inner *)rpc_new_message(&sample__inner__descriptor);
    rpc_set_str(&m->inner->name, "n");
    m->inner->big = 9;
    rpc_add_str(&m->n_names, &m->names, "x");
    rpc_add_str(&m->n_names, &m->names, "y");
    rpc_add_bytes(&m->n_blobs, &m->blobs, bytes_of("\x01", 1));
    rpc_add_bytes(&m->n_blobs, &m->blobs, (dstack_bytes){0});
    rpc_add_message(&m->n_inners, &m->inners, &sample__inner__descriptor);
    Sample__Everything__LabelsEntry *entry = (Sample__Everything__LabelsEntry *)rpc_add_message(
        &m->n_labels, &m->labels, &sample__everything__labels_entry__descriptor);
    rpc_set_str(&entry->key, "k");
    rpc_set_str(&entry->value, "v");
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(rpc_message_to_json(&m->base, &out, &err), err);
    assert_string_equal(buf_text(&out), everything);
    rpc_free_message(&m->base);
}

static void an_empty_message_prints_defaults_and_nulls(void **state) {
    ProtobufCMessage *m = rpc_new_message(DESCRIPTOR);
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(rpc_message_to_json(m, &out, &err), err);
    assert_string_equal(buf_text(&out),
                        "{\"text\":\"\",\"data\":\"\",\"small\":0,\"wide\":0,\"flag\":false,"
                        "\"number\":null,\"word\":null,\"inner\":null,\"names\":[],\"blobs\":[],"
                        "\"inners\":[],\"labels\":{}}");
    rpc_free_message(m);
}

static void json_and_protobuf_give_back_what_they_took(void **state) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_str(&text, everything);
    dstack_error err = {0};
    ProtobufCMessage *m = NULL;
    assert_ok(rpc_message_from_json(DESCRIPTOR, bytes_of_buf(&text), &m, &err), err);
    DSTACK_AUTO(buf) dstack_buf wire = {0};
    assert_ok(rpc_message_to_protobuf(m, &wire, &err), err);
    rpc_free_message(m);
    assert_ok(rpc_message_from_protobuf(DESCRIPTOR, bytes_of_buf(&wire), &m, &err), err);
    DSTACK_AUTO(buf) dstack_buf out = {0};
    assert_ok(rpc_message_to_json(m, &out, &err), err);
    rpc_free_message(m);
    assert_string_equal(buf_text(&out), buf_text(&text));
}

static void unsigned_integers_reach_their_limit_and_no_further(void **state) {
    static const struct {
        const char *text;
        uint64_t number; /* 0: refused */
    } cases[] = {
        {"{\"number\":9223372036854775807}", INT64_MAX},
        {"{\"number\":9223372036854775808}", (uint64_t)INT64_MAX + 1},
        {"{\"number\": 18446744073709551615 }", UINT64_MAX},
        {"{\"number\":18446744073709551616}", 0},
        {"{\"number\":99999999999999999999}", 0},
        {"{\"number\":-9223372036854775809}", 0},
        {"{\"number\":9223372036854775808.0}", 0},
        {"{\"number\":9223372036854775808e0}", 0},
        {"{\"wide\":9223372036854775808}", 0},
        {"{\"small\":9223372036854775808}", 0},
        {"{\"text\":9223372036854775808}", 0},
        {"{\"number\":\"9223372036854775808\"}", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        ProtobufCMessage *m = NULL;
        int rc = rpc_message_from_json(DESCRIPTOR, bytes_of_str(cases[i].text), &m, &err);
        if ((rc == 0) != (cases[i].number != 0) ||
            (rc == 0 && ((Sample__Everything *)m)->number != cases[i].number)) {
            fail_msg("%s: %d %s", cases[i].text, rc, err.message);
        }
        rpc_free_message(m);
    }
    /* digits within texts stay texts */
    dstack_error err = {0};
    ProtobufCMessage *m = NULL;
    const char *text =
        "{\"text\":\"\\\" 9223372036854775808,\\\\\",\"number\":9223372036854775808}";
    assert_ok(rpc_message_from_json(DESCRIPTOR, bytes_of_str(text), &m, &err), err);
    assert_string_equal(((Sample__Everything *)m)->text, "\" 9223372036854775808,\\");
    rpc_free_message(m);
}

static void bytes_take_any_number_of_prefixes(void **state) {
    dstack_error err = {0};
    ProtobufCMessage *m = NULL;
    const char *text = "{\"data\":\"0x0x00Ff\",\"unknown\":[1]}";
    assert_ok(rpc_message_from_json(DESCRIPTOR, bytes_of_str(text), &m, &err), err);
    Sample__Everything *e = (Sample__Everything *)m;
    assert_int_equal(e->data.len, 2);
    rpc_free_message(m);
}

static void wrong_json_is_refused(void **state) {
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"{\"text\":null}", "invalid type: null"},
        {"{\"text\":5}", "invalid type: integer, expected a string"},
        {"{\"small\":\"5\"}", "invalid type: string"},
        {"{\"small\":4294967296}", "unsigned 32-bit"},
        {"{\"small\":-1}", "unsigned 32-bit"},
        {"{\"data\":\"0\"}", "Odd number of digits"},
        {"{\"data\":\"0z\"}", "Invalid character 'z' at position 1"},
        {"{\"data\":\"0X00\"}", "Invalid character 'X' at position 1"},
        {"{\"flag\":\"true\"}", "invalid type: string, expected a boolean"},
        {"{\"names\":\"x\"}", "expected a sequence"},
        {"{\"text\":\"a\",\"text\":\"b\"}", "duplicate"},
        {"{} x", "end of file expected"},
        {"null", "invalid type: null"},
        {"[]", "invalid type: array"},
        {"{\"text\":\"a\\u0000b\"}", "zero character"},
        {"{", "line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        ProtobufCMessage *m = NULL;
        int rc = rpc_message_from_json(DESCRIPTOR, bytes_of_str(cases[i].text), &m, &err);
        assert_int_equal(rc, DSTACK_E_FORMAT);
        assert_null(m);
        if (strstr(err.message, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].text, err.message);
        }
    }
}

static void query_arguments_follow_their_rules(void **state) {
    static const struct {
        const char *query;
        const char *json; /* NULL: refused */
    } cases[] = {
        {"text=a+b%21&small=3&flag=true&names[0]=x&names[]=y&other=1&json",
         "{\"text\":\"a b!\",\"small\":3,\"flag\":true,\"names\":[\"x\",\"y\"]"},
        {"number=", "{\"text\":\"\",\"small\":0"},
        {"flag=1", NULL},
        {"names=x", NULL},
        {"text[0]=x", NULL},
        {"text=a&text=b", NULL},
        {"small=x", NULL},
        {"data=0x0z", NULL},
        {"text=%zz", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        ProtobufCMessage *m = NULL;
        int rc = rpc_message_from_query(DESCRIPTOR, cases[i].query, &m, &err);
        assert_int_equal(rc == 0, cases[i].json != NULL);
        rpc_free_message(m);
    }
    dstack_error err = {0};
    ProtobufCMessage *m = NULL;
    assert_ok(rpc_message_from_query(DESCRIPTOR, cases[0].query, &m, &err), err);
    Sample__Everything *e = (Sample__Everything *)m;
    assert_string_equal(e->text, "a b!");
    assert_int_equal(e->small, 3);
    assert_int_equal(e->n_names, 2);
    rpc_free_message(m);
}

static void text_that_is_not_utf8_is_refused_in_protobuf(void **state) {
    dstack_error err = {0};
    ProtobufCMessage *m = NULL;
    assert_int_equal(
        rpc_message_from_protobuf(DESCRIPTOR, bytes_of("\x0a\x02\xc0\x80", 4), &m, &err),
        DSTACK_E_FORMAT);
    assert_int_equal(rpc_message_from_protobuf(DESCRIPTOR, bytes_of("\x0a\x05", 2), &m, &err),
                     DSTACK_E_FORMAT);
}

/* ---- dispatch ---------------------------------------------------------------------------------
 */

static int echo(rpc_call *call, dstack_error *err) {
    Sample__Everything *in = (Sample__Everything *)call->request;
    Sample__Everything *out = (Sample__Everything *)call->response;
    if (strcmp(in->text, "fail") == 0) {
        call->http_status = in->small == 0 ? 0 : (int)in->small;
        return error_set(err, DSTACK_E_REFUSED, "asked to fail");
    }
    rpc_set_str(&out->text, in->text);
    return 0;
}

static int nothing(rpc_call *call, dstack_error *err) {
    return 0;
}

static int custom(rpc_call *call, dstack_error *err) {
    return error_set(err, DSTACK_E_REFUSED, "custom says no");
}

static const rpc_method methods[] = {
    {"Echo", DESCRIPTOR, DESCRIPTOR, RPC_CALLER_ANYONE, echo, 300},
    {"Nothing", NULL, NULL, RPC_CALLER_ANYONE, nothing},
    {"Attested", NULL, NULL, RPC_CALLER_ATTESTED, nothing},
    {"Default", NULL, NULL, .handler = nothing},
    {"Token", NULL, NULL, RPC_CALLER_TOKEN, nothing},
    {"Local", NULL, NULL, RPC_CALLER_LOCAL, nothing},
    {"Guest", NULL, NULL, RPC_CALLER_GUEST, nothing},
    {"Custom", NULL, NULL, RPC_CALLER_CUSTOM, nothing},
};
static const rpc_service service = {.name = "sample",
                                    .prefix = "Sample.",
                                    .methods = methods,
                                    .method_count = sizeof methods / sizeof methods[0],
                                    .custom = custom};

typedef struct fixture {
    http_server *server;
    http_client *client;
    rpc_binding binding;
    http_route routes[1];
    uint8_t token_hash[32];
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    dstack_error err = {0};
    gnutls_hash_fast(GNUTLS_DIG_SHA256, "secret", 6, f->token_hash);
    f->binding = (rpc_binding){.service = &service, .token_hash = f->token_hash};
    f->routes[0] =
        (http_route){"*", "/prpc/*", rpc_handle, &f->binding, 1000, HTTP_ROUTE_TAKES_OVERSIZE};
    f->server = http_server_new(&(http_server_config){.name = "test", .workers = 2});
    assert_ok(http_server_listen(f->server,
                                 &(http_listener_config){.name = "tcp",
                                                         .address = "127.0.0.1:0",
                                                         .routes = f->routes,
                                                         .route_count = 1},
                                 &err),
              err);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(f->server, "tcp"));
    f->client = http_client_new(&(http_client_config){.url = url}, &err);
    assert_non_null(f->client);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    http_client_free(f->client);
    http_server_free(f->server);
    free(f);
    return 0;
}

static void expect(fixture *f, http_client_request request, int status, const char *type,
                   dstack_bytes body) {
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_ok(http_client_send(f->client, &request, &response, &err), err);
    if (response.status != status || !bytes_equal(bytes_of_buf(&response.body), body)) {
        fail_msg("%s: %d %s", request.path, response.status, buf_text(&response.body));
    }
    char value[64] = "";
    http_client_response_header(&response, "content-type", value, sizeof value);
    assert_string_equal(value, type);
}

#define JSON_TYPE "application/json"
#define BINARY_TYPE "application/octet-stream"
#define NOT_FOUND_PAGE                                                                             \
    "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>404 Not "             \
    "Found</title>"                                                                                \
    "</head><body><h1>404 Not Found</h1></body></html>\n"
#define JSON_ERROR(text) bytes_of_str("{\n  \"error\": \"" text "\"\n}")

static void the_form_of_bodies_follows_the_request(void **state) {
    fixture *f = *state;
    expect(f, (http_client_request){"POST", "/prpc/Nothing?json"}, 200, JSON_TYPE,
           bytes_of_str("null"));
    expect(f, (http_client_request){"POST", "/prpc/Nothing?json=true", .body = bytes_of_str("zz")},
           200, JSON_TYPE, bytes_of_str("null"));
    expect(f, (http_client_request){"POST", "/prpc/Nothing", "Application/JSON; charset=x"}, 200,
           JSON_TYPE, bytes_of_str("null"));
    expect(f, (http_client_request){"POST", "/prpc/Nothing?json=false"}, 200, BINARY_TYPE,
           (dstack_bytes){0});
    expect(f, (http_client_request){"GET", "/prpc/Sample.Sample.Nothing"}, 200, JSON_TYPE,
           bytes_of_str("null"));
    expect(f, (http_client_request){"POST", "/prpc/Echo", .body = bytes_of("\x0a\x02hi", 4)}, 200,
           BINARY_TYPE, bytes_of("\x0a\x02hi", 4));
    expect(f, (http_client_request){"PUT", "/prpc/Echo"}, 404, "text/html; charset=utf-8",
           bytes_of_str(NOT_FOUND_PAGE));
}

static void errors_have_their_status_and_form(void **state) {
    fixture *f = *state;
    expect(f, (http_client_request){"POST", "/prpc/Sample.Nope?json"}, 404, JSON_TYPE,
           JSON_ERROR("Service not found: Nope"));
    expect(f, (http_client_request){"POST", "/prpc/Nope"}, 404, BINARY_TYPE,
           bytes_of_str("\x0a\x17Service not found: Nope"));
    expect(f, (http_client_request){"GET", "/prpc/Echo?text=fail"}, 400, JSON_TYPE,
           JSON_ERROR("asked to fail"));
    expect(f, (http_client_request){"GET", "/prpc/Echo?text=fail&small=501"}, 501, JSON_TYPE,
           JSON_ERROR("asked to fail"));
    char big[1200];
    memset(big, ' ', sizeof big);
    expect(f, (http_client_request){"POST", "/prpc/Echo?json", .body = bytes_of(big, 301)}, 413,
           JSON_TYPE, JSON_ERROR("failed to read data: payload too large"));
    expect(f, (http_client_request){"POST", "/prpc/Echo?json", .body = bytes_of(big, 1200)}, 413,
           JSON_TYPE, JSON_ERROR("failed to read data: payload too large"));
}

static void sec_11_a_method_admits_only_its_caller_class_and_attested_is_the_default(void **state) {
    fixture *f = *state;
    expect(f, (http_client_request){"GET", "/prpc/Attested"}, 400, JSON_TYPE,
           JSON_ERROR("No attestation provided"));
    expect(f, (http_client_request){"GET", "/prpc/Default"}, 400, JSON_TYPE,
           JSON_ERROR("No attestation provided"));
    expect(f, (http_client_request){"GET", "/prpc/Token"}, 401, JSON_TYPE,
           JSON_ERROR("a bearer token is required"));
    expect(
        f,
        (http_client_request){"GET", "/prpc/Token", .headers = "Authorization: Bearer secre\r\n"},
        401, JSON_TYPE, JSON_ERROR("a bearer token is required"));
    expect(
        f,
        (http_client_request){"GET", "/prpc/Token", .headers = "Authorization: Bearer secret\r\n"},
        200, JSON_TYPE, bytes_of_str("null"));
    expect(f, (http_client_request){"GET", "/prpc/Token", .headers = "X-Admin-Token: secret\r\n"},
           200, JSON_TYPE, bytes_of_str("null"));
    expect(f, (http_client_request){"GET", "/prpc/Local"}, 400, JSON_TYPE,
           JSON_ERROR("this method is for callers on the local socket only"));
    expect(f, (http_client_request){"GET", "/prpc/Guest"}, 400, JSON_TYPE,
           JSON_ERROR("this method is for a virtual machine's own channel only"));
    expect(f, (http_client_request){"GET", "/prpc/Custom"}, 400, JSON_TYPE,
           JSON_ERROR("custom says no"));
}

static void the_typed_client_gets_answers_and_the_servers_words(void **state) {
    fixture *f = *state;
    dstack_error err = {0};
    Sample__Everything request = SAMPLE__EVERYTHING__INIT;
    request.text = "hello";
    ProtobufCMessage *response = NULL;
    assert_ok(
        rpc_client_call(f->client, "/prpc", "Echo", &request.base, DESCRIPTOR, &response, &err),
        err);
    assert_string_equal(((Sample__Everything *)response)->text, "hello");
    rpc_free_message(response);
    request.text = "fail";
    assert_int_equal(
        rpc_client_call(f->client, "/prpc", "Echo", &request.base, DESCRIPTOR, &response, &err),
        DSTACK_E_PEER);
    assert_string_equal(err.message, "asked to fail");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_message_of_all_types_prints_every_field_in_order),
        cmocka_unit_test(an_empty_message_prints_defaults_and_nulls),
        cmocka_unit_test(json_and_protobuf_give_back_what_they_took),
        cmocka_unit_test(unsigned_integers_reach_their_limit_and_no_further),
        cmocka_unit_test(bytes_take_any_number_of_prefixes),
        cmocka_unit_test(wrong_json_is_refused),
        cmocka_unit_test(query_arguments_follow_their_rules),
        cmocka_unit_test(text_that_is_not_utf8_is_refused_in_protobuf),
        cmocka_unit_test_setup_teardown(the_form_of_bodies_follows_the_request, setup, teardown),
        cmocka_unit_test_setup_teardown(errors_have_their_status_and_form, setup, teardown),
        cmocka_unit_test_setup_teardown(
            sec_11_a_method_admits_only_its_caller_class_and_attested_is_the_default, setup,
            teardown),
        cmocka_unit_test_setup_teardown(the_typed_client_gets_answers_and_the_servers_words, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
