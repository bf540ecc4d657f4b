#include "check.h"

#include <sys/socket.h>

#include "service/link.h"

static void answer(http_request *request, http_response *response, void *user) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    const http_peer *peer = http_request_peer(request);
    if (strcmp(http_request_path(request), "/slow") == 0) {
        usleep(200000);
    }
    buf_put_fmt(&text, "%s %s from %s: ", (const char *)user, http_request_path(request),
                peer->address);
    buf_put_bytes(&text, http_request_body(request));
    http_response_bytes(response, 200, "text/plain", bytes_of_buf(&text));
}

static const http_route routes[] = {{"*", "/**", answer, NULL, 0, 0}};

typedef struct fixture {
    int fds[2];
    http_server *server;
    service_link *guest;
    service_link *host;
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    dstack_error err = {0};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, f->fds), 0);
    f->server = http_server_new(&(http_server_config){.name = "test", .workers = 1});
    http_listener_config config = {
        .name = "guest", .address = "none", .routes = routes, .route_count = 1, .user = "guest"};
    assert_ok(http_server_listen(f->server, &config, &err), err);
    config.name = config.user = "host";
    assert_ok(http_server_listen(f->server, &config, &err), err);
    f->guest = service_link_new(f->fds[0],
                                &(service_link_config){.side = SERVICE_LINK_GUEST,
                                                       .name = "to-host",
                                                       .server = f->server,
                                                       .listener = "guest"},
                                &err);
    *state = f;
    return 0;
}

static void join_host(fixture *f) {
    dstack_error err = {0};
    f->host = service_link_new(
        f->fds[1],
        &(service_link_config){
            .side = SERVICE_LINK_HOST, .name = "vm-7", .server = f->server, .listener = "host"},
        &err);
}

static int teardown(void **state) {
    fixture *f = *state;
    service_link_free(f->guest);
    service_link_free(f->host);
    http_server_free(f->server);
    free(f);
    return 0;
}

static void ask(service_link *link, const char *path, const char *body, const char *wanted) {
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_ok(service_link_send(link,
                                &(http_client_request){
                                    .method = "POST", .path = path, .body = bytes_of_str(body)},
                                5000, &response, &err),
              err);
    assert_int_equal(response.status, 200);
    assert_string_equal(buf_text(&response.body), wanted);
}

static void both_ends_ask_and_answer(void **state) {
    fixture *f = *state;
    join_host(f);
    for (int i = 0; i < 50; i++) {
        ask(f->guest, "/api/Notify", "hello", "host /api/Notify from vm-7: hello");
        ask(f->host, "/api/Shutdown", "now", "guest /api/Shutdown from to-host: now");
    }
}

static void garbage_on_the_line_is_skipped(void **state) {
    fixture *f = *state;
    const char junk[] = "boot noise DSF1 DSF1\x00\x00\x00\x02\xff\xff\xff\xff more DSF";
    assert_int_equal(write(f->fds[1], junk, sizeof junk - 1), sizeof junk - 1);
    join_host(f);
    ask(f->host, "/x", "a", "guest /x from to-host: a");
}

static void a_slow_answer_times_out_and_the_link_goes_on(void **state) {
    fixture *f = *state;
    join_host(f);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_int_equal(service_link_send(f->guest,
                                       &(http_client_request){.method = "GET", .path = "/slow"}, 50,
                                       &response, &err),
                     DSTACK_E_TIMEOUT);
    ask(f->guest, "/y", "b", "host /y from vm-7: b");
}

static void the_host_notices_when_the_stream_ends(void **state) {
    fixture *f = *state;
    join_host(f);
    service_link_free(f->guest);
    f->guest = NULL;
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    int rc = service_link_send(f->host, &(http_client_request){.method = "GET", .path = "/"}, 5000,
                               &response, &err);
    assert_int_equal(rc, DSTACK_E_NETWORK);
    assert_false(service_link_alive(f->host));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(both_ends_ask_and_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(garbage_on_the_line_is_skipped, setup, teardown),
        cmocka_unit_test_setup_teardown(a_slow_answer_times_out_and_the_link_goes_on, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(the_host_notices_when_the_stream_ends, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
