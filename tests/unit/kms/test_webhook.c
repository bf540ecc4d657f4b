/* The webhook client against a server that answers well, badly, late, or not at all. */
#include "check.h"

#include "service/http.h"
#include "webhook.h"

typedef struct answer {
    int status;
    const char *body;
    unsigned delay_ms;
    char seen[400]; /* method, path, type and body of the last request */
} answer;

static void reply(http_request *request, http_response *response, void *user) {
    answer *a = user;
    dstack_bytes body = http_request_body(request);
    const char *type = http_request_header(request, "content-type");
    snprintf(a->seen, sizeof a->seen, "%s %s %s %.*s", http_request_method(request),
             http_request_path(request), type != NULL ? type : "-", (int)body.len,
             body.data != NULL ? (const char *)body.data : "");
    usleep(a->delay_ms * 1000);
    http_response_bytes(response, a->status, "application/json", bytes_of_str(a->body));
}

typedef struct fixture {
    http_server *server;
    http_route route;
    answer answer;
    char url[64];
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    dstack_error err = {0};
    f->route = (http_route){"*", "/**", reply, &f->answer, 0, 0};
    f->server = http_server_new(&(http_server_config){.name = "auth", .workers = 1});
    assert_ok(http_server_listen(
                  f->server,
                  &(http_listener_config){
                      .name = "a", .address = "127.0.0.1:0", .routes = &f->route, .route_count = 1},
                  &err),
              err);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u", http_server_port(f->server, "a"));
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    http_server_free(f->server);
    free(f);
    return 0;
}

#define INFO "{\"appId\":\"11\"}"

static int decide(fixture *f, kms_boot_kind kind, kms_decision *decision, dstack_error *err) {
    return kms_webhook_decide(f->url, 300, kind, bytes_of_str(INFO), decision, err);
}

static void a_decision_is_taken_as_given(void **state) {
    fixture *f = *state;
    dstack_error err = {0};
    kms_decision decision;
    f->answer = (answer){200, "{\"isAllowed\":true,\"gatewayAppId\":\"any\",\"reason\":\"\"}"};
    assert_ok(decide(f, KMS_BOOT_APP, &decision, &err), err);
    assert_true(decision.allowed);
    assert_string_equal(decision.gateway_app_id, "any");
    assert_string_equal(f->answer.seen, "POST /bootAuth/app application/json " INFO);
    f->answer = (answer){200, "{\"isAllowed\":false,\"gatewayAppId\":\"\",\"reason\":\"no\"}"};
    assert_ok(decide(f, KMS_BOOT_KMS, &decision, &err), err);
    assert_false(decision.allowed);
    assert_string_equal(decision.reason, "no");
    assert_string_equal(f->answer.seen, "POST /bootAuth/kms application/json " INFO);
}

static void sec_33_no_good_answer_in_time_is_never_an_allowance(void **state) {
    fixture *f = *state;
    static const struct {
        answer answer;
        const char *says;
    } cases[] = {
        {{500, "{\"isAllowed\":true,\"gatewayAppId\":\"\",\"reason\":\"\"}"}, "returned 500: {"},
        {{302, ""}, "returned 302"},
        {{200, "{\"isAllowed\":\"true\",\"gatewayAppId\":\"\",\"reason\":\"\"}"},
         "failed to decode response from"},
        {{200, "{\"isAllowed\":true,\"reason\":\"\"}"}, "failed to decode response from"},
        {{200, "{\"isAllowed\":true,\"gatewayAppId\":\"\"}"}, "failed to decode response from"},
        {{200, "true"}, "failed to decode response from"},
        {{200, ""}, "failed to decode response from"},
        {{200, "{\"isAllowed\":true,\"gatewayAppId\":\"\",\"reason\":\"\"}", 800}, "in time"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        kms_decision decision = {.allowed = true};
        f->answer = cases[i].answer;
        int rc = decide(f, KMS_BOOT_APP, &decision, &err);
        if (rc == 0 || decision.allowed || strstr(err.message, cases[i].says) == NULL) {
            fail_msg("case %zu: %d %s", i, rc, err.message);
        }
    }
    dstack_error err = {0};
    kms_decision decision = {.allowed = true};
    assert_int_not_equal(kms_webhook_decide("unix:/nonexistent", 300, KMS_BOOT_APP,
                                            bytes_of_str(INFO), &decision, &err),
                         0);
    assert_false(decision.allowed);
}

static void information_is_read_with_all_required_members(void **state) {
    fixture *f = *state;
    dstack_error err = {0};
    kms_auth_info info;
    f->answer =
        (answer){200, "{\"status\":\"ok\",\"kmsContractAddr\":\"0x1\",\"gatewayAppId\":\"g\","
                      "\"chainId\":31337,\"appImplementation\":\"0x2\",\"more\":1}"};
    assert_ok(kms_webhook_info(f->url, 300, &info, &err), err);
    assert_int_equal(info.chain_id, 31337);
    assert_string_equal(info.contract_address, "0x1");
    assert_true(info.has_contract);
    assert_string_equal(f->answer.seen, "GET / - ");
    f->answer =
        (answer){200, "{\"status\":\"ok\",\"kmsContractAddr\":\"0x1\",\"gatewayAppId\":\"g\"}"};
    assert_int_not_equal(kms_webhook_info(f->url, 300, &info, &err), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_decision_is_taken_as_given, setup, teardown),
        cmocka_unit_test_setup_teardown(sec_33_no_good_answer_in_time_is_never_an_allowance, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(information_is_read_with_all_required_members, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
