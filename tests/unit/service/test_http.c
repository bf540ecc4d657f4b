#include "check.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "client/http_client.h"
#include "service/http.h"
#include "service/metrics.h"
#include "tls_pair.h"

static int refuse_named_bad(dstack_bytes leaf, int64_t now, void *user, dstack_error *err);

static void echo(http_request *request, http_response *response, void *user) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    buf_put_fmt(&text,
                "%s %s [%s] capture=%s arg=%s cert=%zu user=%s body=", http_request_method(request),
                http_request_path(request), http_request_query(request),
                http_request_capture(request, 0) ? http_request_capture(request, 0) : "-",
                http_request_arg(request, "a") ? http_request_arg(request, "a") : "-",
                http_request_client_cert(request).len, (const char *)user);
    buf_put_bytes(&text, http_request_body(request));
    http_response_header(response, "X-Echo", "yes");
    http_response_bytes(response, 200, "text/plain", bytes_of_buf(&text));
}

static void who(http_request *request, http_response *response, void *user) {
    const http_peer *peer = http_request_peer(request);
    char text[200];
    snprintf(text, sizeof text, "%d %d %d %d", peer->kind, peer->loopback, (int)peer->pid,
             (int)peer->uid);
    http_response_text(response, 200, text);
}

static void count_up(http_stream *stream, void *user) {
    for (int i = 0; i < 20000; i++) {
        char line[32];
        int n = snprintf(line, sizeof line, "line %d\n", i);
        if (!http_stream_write(stream, bytes_of(line, (size_t)n))) {
            return;
        }
        if (i % 5000 == 0) {
            usleep(20000);
        }
    }
}

static void never_ends(http_stream *stream, void *user) {
    while (http_stream_write(stream, bytes_of_str("tick\n"))) {
        usleep(10000);
    }
    atomic_store((atomic_bool *)user, true);
}

static void stream_lines(http_request *request, http_response *response, void *user) {
    http_response_stream(response, 200, "text/plain", count_up, NULL, NULL);
}

static atomic_bool endless_ended;
static void stream_forever(http_request *request, http_response *response, void *user) {
    http_response_stream(response, 200, "text/plain", never_ends, &endless_ended, NULL);
}

static void slow(http_request *request, http_response *response, void *user) {
    usleep(300000);
    http_response_text(response, 200, "slow");
}

static const http_route routes[] = {
    {"GET", "/who", who, NULL, 0, HTTP_ROUTE_INLINE},
    {"GET", "/lines", stream_lines, NULL, 0, 0},
    {"GET", "/forever", stream_forever, NULL, 0, 0},
    {"GET", "/slow", slow, NULL, 0, 0},
    {"*", "/prpc/*", echo, NULL, 0, 0},
    {"POST", "/small", echo, NULL, 10, 0},
    {"GET", "/files/**", echo, NULL, 0, HTTP_ROUTE_INLINE},
};

#define ROUTES .routes = routes, .route_count = sizeof routes / sizeof routes[0], .user = "me"

typedef struct fixture {
    http_server *server;
    http_tls *tls;
    tls_pair pair;
    char url[64];
    char unix_path[64];
    char unix_url[80];
    char tls_url[64];
} fixture;

static int setup(void **state) {
    fixture *f = calloc(1, sizeof *f);
    dstack_error err = {0};
    f->server = http_server_new(&(http_server_config){.name = "test", .workers = 3});
    assert_non_null(f->server);
    assert_ok(http_server_listen(
                  f->server,
                  &(http_listener_config){
                      .name = "tcp", .address = "127.0.0.1:0", ROUTES, .version_header = "v1"},
                  &err),
              err);
    snprintf(f->unix_path, sizeof f->unix_path, "/tmp/dstack-test-%d.sock", getpid());
    char address[80];
    snprintf(address, sizeof address, "unix:%s", f->unix_path);
    assert_ok(http_server_listen(f->server,
                                 &(http_listener_config){
                                     .name = "unix", .address = address, ROUTES, .unix_mode = 0660},
                                 &err),
              err);
    tls_pair_make(&f->pair, "localhost");
    f->tls = http_tls_new(&(http_tls_config){.certificate_pem = tls_pair_cert(&f->pair),
                                             .key_pem = tls_pair_key(&f->pair),
                                             .request_client_cert = true,
                                             .check = refuse_named_bad},
                          &err);
    if (f->tls == NULL) {
        fail_msg("%s", err.message);
    }
    assert_ok(
        http_server_listen(
            f->server,
            &(http_listener_config){.name = "tls", .address = "127.0.0.1:0", .tls = f->tls, ROUTES},
            &err),
        err);
    assert_ok(http_server_listen(f->server,
                                 &(http_listener_config){.name = "link", .address = "none", ROUTES},
                                 &err),
              err);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u", http_server_port(f->server, "tcp"));
    snprintf(f->tls_url, sizeof f->tls_url, "https://localhost:%u",
             http_server_port(f->server, "tls"));
    snprintf(f->unix_url, sizeof f->unix_url, "unix:%s", f->unix_path);
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture *f = *state;
    http_server_free(f->server);
    http_tls_free(f->tls);
    tls_pair_free(&f->pair);
    assert_int_not_equal(access(f->unix_path, F_OK), 0);
    free(f);
    return 0;
}

static http_client *client_of(const http_client_config *config) {
    dstack_error err = {0};
    http_client *client = http_client_new(config, &err);
    if (client == NULL) {
        fail_msg("%s", err.message);
    }
    return client;
}

static void expect(http_client *client, const char *method, const char *path, const char *body,
                   int status, const char *text) {
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_ok(http_client_send(client,
                               &(http_client_request){
                                   .method = method, .path = path, .body = bytes_of_str(body)},
                               &response, &err),
              err);
    assert_int_equal(response.status, status);
    if (text != NULL) {
        assert_string_equal(buf_text(&response.body), text);
    }
    char length[32];
    assert_true(http_client_response_header(&response, "content-length", length, sizeof length));
}

static void routes_and_arguments_reach_their_handlers(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client) http_client *client = client_of(&(http_client_config){.url = f->url});
    for (int i = 0; i < 3; i++) {
        expect(client, "POST", "/prpc/Get%4deta?json&a=1%202+3", "hello", 200,
               "POST /prpc/Get%4deta [json&a=1%202+3] capture=GetMeta arg=1 2 3 cert=0 user=me "
               "body=hello");
    }
    expect(client, "GET", "/files/a/b?x", "", 200,
           "GET /files/a/b [x] capture=a/b arg=- cert=0 user=me body=");
    expect(client, "GET", "/prpc/a/b", "", 404, NULL);
    expect(client, "GET", "/prpc/", "", 404, NULL);
    expect(client, "GET", "/prpc/%00", "", 404, NULL);
    expect(client, "GET", "/prpc/a%2fb", "", 404, NULL);
    expect(client, "DELETE", "/who", "", 404, NULL);
    expect(client, "GET", "/who", "", 200, NULL);
}

static void head_answers_like_get_without_a_body(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client) http_client *client = client_of(&(http_client_config){.url = f->url});
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_ok(http_client_send(client, &(http_client_request){.method = "HEAD", .path = "/prpc/x"},
                               &response, &err),
              err);
    assert_int_equal(response.status, 200);
    assert_int_equal(response.body.len, 0);
    char value[64];
    assert_true(http_client_response_header(&response, "x-app-version", value, sizeof value));
    assert_string_equal(value, "v1");
    assert_true(http_client_response_header(&response, "x-echo", value, sizeof value));
    assert_true(http_client_response_header(&response, "Content-Length", value, sizeof value));
    assert_true(atoi(value) > 10);
    expect(client, "GET", "/prpc/y", "", 200, NULL);
}

static void a_body_over_the_limit_is_refused_with_413(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client) http_client *client = client_of(&(http_client_config){.url = f->url});
    expect(client, "POST", "/small", "0123456789", 200, NULL);
    expect(client, "POST", "/small", "0123456789a", 413,
           "{\n  \"error\": \"failed to read data: payload too large\"\n}");
    expect(client, "POST", "/small", "01234", 200, NULL);
}

static void unix_listeners_know_their_peer(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client)
    http_client *client = client_of(&(http_client_config){.url = f->unix_url});
    char text[100];
    snprintf(text, sizeof text, "%d 0 %d %d", HTTP_PEER_UNIX, getpid(), getuid());
    expect(client, "GET", "/who", "", 200, text);
    struct stat info;
    assert_int_equal(stat(f->unix_path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0660);
    DSTACK_AUTO(http_client) http_client *tcp = client_of(&(http_client_config){.url = f->url});
    snprintf(text, sizeof text, "%d 1 -1 -1", HTTP_PEER_TCP);
    expect(tcp, "GET", "/who", "", 200, text);
}

static void a_live_unix_socket_is_not_taken_over(void **state) {
    fixture *f = *state;
    dstack_error err = {0};
    int rc = http_server_listen(
        f->server, &(http_listener_config){.name = "again", .address = f->unix_url, ROUTES}, &err);
    assert_int_equal(rc, DSTACK_E_EXISTS);
}

static void streams_arrive_whole_and_end_when_the_client_goes(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client) http_client *client = client_of(&(http_client_config){.url = f->url});
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_ok(http_client_send(client, &(http_client_request){.method = "GET", .path = "/lines"},
                               &response, &err),
              err);
    const char *text = buf_text(&response.body);
    assert_memory_equal(text, "line 0\nline 1\n", 14);
    assert_string_equal(text + strlen(text) - 11, "line 19999\n");
    DSTACK_AUTO(http_client)
    http_client *brief = client_of(&(http_client_config){.url = f->url, .total_timeout_ms = 200});
    int rc = http_client_send(brief, &(http_client_request){.method = "GET", .path = "/forever"},
                              &response, &err);
    assert_int_equal(rc, DSTACK_E_TIMEOUT);
    for (int i = 0; i < 200 && !atomic_load(&endless_ended); i++) {
        usleep(10000);
    }
    assert_true(atomic_load(&endless_ended));
}

static int refuse_named_bad(dstack_bytes leaf, int64_t now, void *user, dstack_error *err) {
    return memmem(leaf.data, leaf.len, "bad.example", 11) != NULL
               ? error_set(err, DSTACK_E_REFUSED, "that one is bad")
               : 0;
}

static http_client *tls_client(const fixture *f, const tls_pair *own, http_client_trust trust) {
    return client_of(&(http_client_config){
        .url = f->tls_url,
        .trust = trust,
        .ca_pem = tls_pair_cert(&f->pair),
        .certificate_pem = own != NULL ? tls_pair_cert(own) : (dstack_bytes){0},
        .key_pem = own != NULL ? tls_pair_key(own) : (dstack_bytes){0},
    });
}

static void client_certificates_reach_handlers_and_bad_ones_fail_the_handshake(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client) http_client *none = tls_client(f, NULL, HTTP_CLIENT_TRUST_CA);
    expect(none, "GET", "/prpc/x", "", 200, "GET /prpc/x [] capture=x arg=- cert=0 user=me body=");
    tls_pair good;
    tls_pair_make(&good, "good.example");
    DSTACK_AUTO(http_client) http_client *with = tls_client(f, &good, HTTP_CLIENT_TRUST_CA);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_ok(http_client_send(with, &(http_client_request){.method = "GET", .path = "/prpc/x"},
                               &response, &err),
              err);
    assert_null(strstr(buf_text(&response.body), "cert=0"));
    tls_pair_free(&good);
    tls_pair bad;
    tls_pair_make(&bad, "bad.example");
    DSTACK_AUTO(http_client) http_client *refused = tls_client(f, &bad, HTTP_CLIENT_TRUST_CA);
    int rc = http_client_send(refused, &(http_client_request){.method = "GET", .path = "/prpc/x"},
                              &response, &err);
    assert_int_equal(rc, DSTACK_E_NETWORK);
    tls_pair_free(&bad);
}

static int refuse_all(const dstack_bytes *chain, size_t count, void *user, dstack_error *err) {
    ++*(int *)user;
    assert_true(count >= 1 && chain[0].len > 100);
    return error_set(err, DSTACK_E_REFUSED, "not the one");
}

static void the_client_judges_the_server_inside_the_handshake(void **state) {
    fixture *f = *state;
    tls_pair other;
    tls_pair_make(&other, "localhost");
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *wrong_root = client_of(&(http_client_config){
        .url = f->tls_url, .trust = HTTP_CLIENT_TRUST_CA, .ca_pem = tls_pair_cert(&other)});
    http_client_request get = {.method = "GET", .path = "/who"};
    assert_int_equal(http_client_send(wrong_root, &get, &response, &err), DSTACK_E_CRYPTO);
    int asked = 0;
    DSTACK_AUTO(http_client)
    http_client *picky = client_of(&(http_client_config){.url = f->tls_url,
                                                         .trust = HTTP_CLIENT_TRUST_NONE,
                                                         .verify = refuse_all,
                                                         .user = &asked,
                                                         .attempts = 3});
    assert_int_equal(http_client_send(picky, &get, &response, &err), DSTACK_E_REFUSED);
    assert_string_equal(err.message, "not the one");
    assert_int_equal(asked, 1);
    tls_pair_free(&other);
}

static void a_replaced_certificate_serves_the_next_handshake(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client) http_client *before = tls_client(f, NULL, HTTP_CLIENT_TRUST_CA);
    expect(before, "GET", "/who", "", 200, NULL);
    tls_pair fresh;
    tls_pair_make(&fresh, "localhost");
    dstack_error err = {0};
    assert_int_equal(http_tls_replace(f->tls, tls_pair_cert(&fresh), tls_pair_key(&f->pair), &err),
                     DSTACK_E_CRYPTO);
    assert_ok(http_tls_replace(f->tls, tls_pair_cert(&fresh), tls_pair_key(&fresh), &err), err);
    expect(before, "GET", "/who", "", 200, NULL);
    DSTACK_AUTO(http_client)
    http_client *after = client_of(&(http_client_config){
        .url = f->tls_url, .trust = HTTP_CLIENT_TRUST_CA, .ca_pem = tls_pair_cert(&fresh)});
    expect(after, "GET", "/who", "", 200, NULL);
    tls_pair_free(&fresh);
}

static void slow_handlers_do_not_hold_up_others(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client)
    http_client *impatient =
        client_of(&(http_client_config){.url = f->url, .total_timeout_ms = 100});
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    assert_int_equal(http_client_send(impatient,
                                      &(http_client_request){.method = "GET", .path = "/slow"},
                                      &response, &err),
                     DSTACK_E_TIMEOUT);
    DSTACK_AUTO(http_client)
    http_client *other = client_of(&(http_client_config){.url = f->url, .total_timeout_ms = 150});
    expect(other, "GET", "/prpc/x", "", 200, NULL);
}

static void a_request_that_comes_byte_by_byte_is_cut_off(void **state) {
    dstack_error err = {0};
    metrics *registry = metrics_new();
    http_server *server =
        http_server_new(&(http_server_config){.name = "slow", .workers = 1, .metrics = registry});
    http_listener_config config = {.name = "s", .address = "127.0.0.1:0", ROUTES};
    config.limits.request_timeout_s = 1;
    assert_ok(http_server_listen(server, &config, &err), err);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(http_server_port(server, "s")),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    DSTACK_AUTO(fd) int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    int sent = 0;
    /* one byte every 50 ms never looks idle; slow handlers in between are not cut off */
    while (sent < 200 && send(fd, "G", 1, MSG_NOSIGNAL) == 1) {
        sent++;
        usleep(50000);
    }
    assert_true(sent < 100);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u", http_server_port(server, "s"));
    DSTACK_AUTO(http_client) http_client *client = client_of(&(http_client_config){.url = url});
    expect(client, "GET", "/slow", "", 200, "slow");
    DSTACK_AUTO(buf) dstack_buf text = {0};
    metrics_print(registry, &text);
    assert_non_null(strstr(buf_text(&text), "dstack_http_requests_total{listener=\"s\"} 1\n"));
    assert_non_null(strstr(buf_text(&text), "dstack_http_request_timeouts_total{listener=\"s\"} "));
    assert_null(strstr(buf_text(&text), "timeouts_total{listener=\"s\"} 0\n"));
    http_server_free(server);
    metrics_free(registry);
}

typedef struct busy {
    const fixture *f;
    int number;
    int wrong;
} busy;

static void *ask_often(void *user) {
    busy *b = user;
    dstack_error err = {0};
    http_client *client =
        http_client_new(&(http_client_config){.url = b->number % 2 == 0 ? b->f->url : b->f->tls_url,
                                              .trust = HTTP_CLIENT_TRUST_NONE},
                        &err);
    for (int i = 0; i < 100; i++) {
        http_client_response response = {0};
        char path[64], wanted[32];
        snprintf(path, sizeof path, "%s/x?a=%d-%d", i % 3 == 0 ? "/files" : "/prpc", b->number, i);
        snprintf(wanted, sizeof wanted, "arg=%d-%d ", b->number, i);
        http_client_request request = {
            .method = i % 3 == 0 ? "GET" : "POST", .path = path, .body = bytes_of_str("body")};
        if (http_client_send(client, &request, &response, &err) != 0 || response.status != 200 ||
            strstr(buf_text(&response.body), wanted) == NULL) {
            b->wrong++;
        }
        http_client_response_clear(&response);
        if (i % 10 == 9) { /* a new connection now and then */
            http_client_free(client);
            client = http_client_new(
                &(http_client_config){.url = b->number % 2 == 0 ? b->f->url : b->f->tls_url,
                                      .trust = HTTP_CLIENT_TRUST_NONE},
                &err);
        }
    }
    http_client_free(client);
    return NULL;
}

static void many_clients_at_once_get_their_own_answers(void **state) {
    fixture *f = *state;
    pthread_t threads[8];
    busy work[8];
    for (int i = 0; i < 8; i++) {
        work[i] = (busy){f, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &work[i]), 0);
    }
    for (int i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].wrong, 0);
    }
}

static void sec_33_answers_are_bounded_in_size_and_time(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    dstack_error err = {0};
    DSTACK_AUTO(http_client)
    http_client *small = client_of(&(http_client_config){.url = f->url, .body_limit = 1000});
    http_client_request lines = {.method = "GET", .path = "/lines"};
    assert_int_equal(http_client_send(small, &lines, &response, &err), DSTACK_E_LIMIT);
    assert_int_equal(response.body.len, 0);
    /* a port where nobody answers the handshake */
    char url[64];
    snprintf(url, sizeof url, "https://127.0.0.1:%u", http_server_port(f->server, "tcp"));
    DSTACK_AUTO(http_client)
    http_client *silent = client_of(&(http_client_config){
        .url = url, .trust = HTTP_CLIENT_TRUST_NONE, .connect_timeout_ms = 200});
    assert_int_not_equal(http_client_send(silent, &lines, &response, &err), 0);
    DSTACK_AUTO(http_client)
    http_client *gone =
        client_of(&(http_client_config){.url = "unix:/nonexistent.sock", .attempts = 2});
    assert_int_equal(http_client_send(gone, &lines, &response, &err), DSTACK_E_NETWORK);
}

static void an_exchange_runs_without_a_socket(void **state) {
    fixture *f = *state;
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    http_peer peer = {.kind = HTTP_PEER_LINK, .address = "vm-1"};
    const char *text = "POST /prpc/Boot?a=b HTTP/1.1\r\nContent-Length: 2\r\n\r\nhi";
    assert_ok(http_server_exchange(f->server, "link", bytes_of_str(text), &peer, &out, &err), err);
    DSTACK_AUTO(http_client_response) http_client_response response = {0};
    assert_ok(http_client_response_parse(bytes_of_buf(&out), 1000, &response, &err), err);
    assert_int_equal(response.status, 200);
    assert_string_equal(buf_text(&response.body),
                        "POST /prpc/Boot [a=b] capture=Boot arg=b cert=0 user=me body=hi");
    assert_int_equal(http_server_exchange(f->server, "link", bytes_of_str("nonsense\r\n\r\n"),
                                          &peer, &out, &err),
                     DSTACK_E_FORMAT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(routes_and_arguments_reach_their_handlers, setup, teardown),
        cmocka_unit_test_setup_teardown(head_answers_like_get_without_a_body, setup, teardown),
        cmocka_unit_test_setup_teardown(a_body_over_the_limit_is_refused_with_413, setup, teardown),
        cmocka_unit_test_setup_teardown(unix_listeners_know_their_peer, setup, teardown),
        cmocka_unit_test_setup_teardown(a_live_unix_socket_is_not_taken_over, setup, teardown),
        cmocka_unit_test_setup_teardown(streams_arrive_whole_and_end_when_the_client_goes, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(
            client_certificates_reach_handlers_and_bad_ones_fail_the_handshake, setup, teardown),
        cmocka_unit_test_setup_teardown(the_client_judges_the_server_inside_the_handshake, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_replaced_certificate_serves_the_next_handshake, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(slow_handlers_do_not_hold_up_others, setup, teardown),
        cmocka_unit_test(a_request_that_comes_byte_by_byte_is_cut_off),
        cmocka_unit_test_setup_teardown(many_clients_at_once_get_their_own_answers, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(sec_33_answers_are_bounded_in_size_and_time, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(an_exchange_runs_without_a_socket, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
