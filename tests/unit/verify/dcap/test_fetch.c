/* Fetching collateral from a server on the loopback interface that answers like Intel's service. */
#include "made.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "config.h"
#include "verify/dcap/fetch.h"
#include "verify/dcap/fetch_text.h"

/* Every test runs over each transport. */
static const fetch_transport *over;

/* ---- the server ---- */

#define MAX_ANSWERS 16

typedef struct server {
    int fd;
    char url[64];
    pthread_t thread;
    struct {
        const char *target;
        dstack_buf answer; /* a whole HTTP/1.1 answer */
    } answers[MAX_ANSWERS];
    size_t answer_count;
    char requests[32][1200]; /* targets, in order */
    size_t request_count;
    size_t failing; /* this many requests are answered with 503 */
    bool silent;    /* requests are read and never answered */
} server;

static void serve(server *s, int fd) {
    char text[4096];
    size_t len = 0;
    while (len + 1 < sizeof text) {
        ssize_t got = read(fd, text + len, sizeof text - 1 - len);
        if (got <= 0) {
            return;
        }
        len += (size_t)got;
        text[len] = '\0';
        if (strstr(text, "\r\n\r\n") != NULL) {
            break;
        }
    }
    char target[1200] = "";
    (void)sscanf(text, "GET %1199s HTTP/1.1", target);
    if (s->request_count < 32) {
        memcpy(s->requests[s->request_count++], target, sizeof target);
    }
    static const char missing[] = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
    static const char failing[] = "HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n";
    dstack_bytes answer = bytes_of_str(missing);
    if (s->silent) {
        while (read(fd, text, sizeof text) > 0) { /* until the client gives up */
        }
        return;
    }
    for (size_t i = 0; i < s->answer_count; i++) {
        if (strcmp(s->answers[i].target, target) == 0) {
            answer = bytes_of_buf(&s->answers[i].answer);
        }
    }
    if (s->failing > 0) {
        s->failing--;
        answer = bytes_of_str(failing);
    }
    while (answer.len > 0) {
        ssize_t put = write(fd, answer.data, answer.len);
        if (put <= 0) {
            return;
        }
        answer = bytes_of(answer.data + put, answer.len - (size_t)put);
    }
}

static void *server_main(void *arg) {
    server *s = arg;
    for (int fd; (fd = accept(s->fd, NULL, NULL)) >= 0;) {
        serve(s, fd);
        close(fd);
    }
    return NULL;
}

static void server_start(server *s) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(s->fd >= 0);
    assert_int_equal(bind(s->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s->fd, 8), 0);
    assert_int_equal(getsockname(s->fd, (struct sockaddr *)&address, &size), 0);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(pthread_create(&s->thread, NULL, server_main, s), 0);
}

static void server_stop(server *s) {
    shutdown(s->fd, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->fd);
    for (size_t i = 0; i < s->answer_count; i++) {
        dstack_buf_clear(&s->answers[i].answer);
    }
}

static dstack_buf *server_add(server *s, const char *target) {
    assert_true(s->answer_count < MAX_ANSWERS);
    s->answers[s->answer_count].target = target;
    return &s->answers[s->answer_count++].answer;
}

/* An answer with an issuer chain in a header, percent-encoded where it must be. */
static void put_answer(dstack_buf *out, const char *header, dstack_bytes chain, dstack_bytes body) {
    buf_put_fmt(out, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\nConnection: close\r\n", body.len);
    if (header != NULL) {
        buf_put_fmt(out, "%s: ", header);
        for (size_t i = 0; i < chain.len; i++) {
            uint8_t c = chain.data[i];
            if (c == '\n' || c == ' ' || c == '=' || c == '/') {
                buf_put_fmt(out, "%%%02X", c);
            } else {
                buf_put_u8(out, c);
            }
        }
        buf_put_str(out, "\r\n");
    }
    buf_put_str(out, "\r\n");
    buf_put_bytes(out, body);
}

static void put_signed(dstack_buf *out, const char *header, dstack_bytes chain, const char *member,
                       dstack_bytes text, dstack_bytes signature) {
    DSTACK_AUTO(buf) dstack_buf body = {0};
    buf_put_fmt(&body, "{\"%s\":", member);
    buf_put_bytes(&body, text);
    buf_put_str(&body, ",\"signature\":\"");
    buf_put_hex(&body, signature);
    buf_put_str(&body, "\"}");
    put_answer(out, header, chain, bytes_of_buf(&body));
}

/* Answers of a cache for made collateral. */
static void serve_made(server *s, const made *m, bool with_root_list) {
    dstack_collateral_parts p;
    dstack_collateral_get(m->collateral, &p);
    put_answer(server_add(s, "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"),
               "sgx-pck-crl-issuer-chain", p.pck_crl_issuer_chain, p.pck_crl);
    put_signed(server_add(s, "/tdx/certification/v4/tcb?fmspc=00906EA10000"),
               "TCB-Info-Issuer-Chain", p.tcb_info_issuer_chain, "tcbInfo", p.tcb_info,
               p.tcb_info_signature);
    put_signed(server_add(s, "/tdx/certification/v4/qe/identity?update=standard"),
               "SGX-Enclave-Identity-Issuer-Chain", p.qe_identity_issuer_chain, "enclaveIdentity",
               p.qe_identity, p.qe_identity_signature);
    if (with_root_list) {
        DSTACK_AUTO(buf) dstack_buf hex = {0};
        buf_put_hex(&hex, p.root_ca_crl);
        put_answer(server_add(s, "/sgx/certification/v4/rootcacrl"), NULL, (dstack_bytes){0},
                   bytes_of_buf(&hex));
    }
}

static int fetch(const dstack_buf *quote, const char *const *urls, size_t count,
                 dstack_collateral **out, dstack_error *err) {
    const dstack_collateral_servers servers = {
        .urls = urls, .url_count = count, .timeout_ms = 5000, .now = MADE_NOW};
    return fetch_collateral(out, bytes_of_buf(quote), &servers, over, err);
}

/* ---- tests ---- */

static void fetched_collateral_verifies_the_quote_it_was_fetched_for(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    server s = {0};
    serve_made(&s, &m, true);
    server_start(&s);
    char with_slash[96];
    snprintf(with_slash, sizeof with_slash, "%s/sgx/certification/v4/", s.url);
    const char *urls[] = {with_slash};
    dstack_error err = {0};
    assert_ok(fetch(&m.quote, urls, 1, &c, &err), err);
    server_stop(&s);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    assert_ok(dstack_verifier_check_with(v, bytes_of_buf(&m.quote), c, NULL, MADE_NOW, NULL, &err),
              err);
    dstack_verifier_free(v);
    assert_int_equal(s.request_count, 4);
    assert_string_equal(s.requests[3], "/sgx/certification/v4/rootcacrl");
}

static void collateral_is_fetched_again_without_a_quote(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(collateral) dstack_collateral *first = NULL, *again = NULL;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    server s = {0};
    serve_made(&s, &m, true);
    server_start(&s);
    const char *urls[] = {s.url};
    const dstack_collateral_servers servers = {
        .urls = urls, .url_count = 1, .timeout_ms = 5000, .now = MADE_NOW};
    dstack_error err = {0};
    assert_ok(fetch(&m.quote, urls, 1, &first, &err), err);
    assert_ok(refetch_collateral(&again, first, &servers, over, &err), err);
    server_stop(&s);
    assert_true(bytes_equal(dstack_collateral_id(first), dstack_collateral_id(again)));
    assert_int_equal(s.request_count, 8);
    for (size_t i = 0; i < 4; i++) {
        assert_string_equal(s.requests[i], s.requests[4 + i]);
    }
}

static void the_next_server_is_asked_when_one_fails(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    server empty = {0}, good = {0};
    serve_made(&good, &m, true);
    server_start(&empty);
    server_start(&good);
    const char *urls[] = {"http://127.0.0.1:1", empty.url, good.url};
    dstack_error err = {0};
    assert_int_equal(fetch(&m.quote, urls, 1, &c, &err), DSTACK_E_NETWORK);
    assert_int_equal(fetch(&m.quote, urls, 2, &c, &err), DSTACK_E_DCAP_COLLATERAL_FETCH);
    assert_ok(fetch(&m.quote, urls, 3, &c, &err), err);
    server_stop(&empty);
    server_stop(&good);
}

static void the_root_list_comes_from_where_the_root_says_when_a_cache_lacks_it(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    made_spec spec;
    char point[96];
    server s = {0};
    server_start(&s); /* its address goes into the root certificate */
    snprintf(point, sizeof point, "%s/root.crl", s.url);
    made_spec_init(&spec);
    dstack_error err = {0};
    made_build(&spec, &m);
    serve_made(&s, &m, false);
    const char *urls[] = {s.url};
    assert_int_equal(fetch(&m.quote, urls, 1, &c, &err), DSTACK_E_DCAP_COLLATERAL_FETCH);
    made_clear(&m);

    spec.root_crl_uri = point;
    made_build(&spec, &m);
    for (size_t i = 0; i < s.answer_count; i++) {
        dstack_buf_clear(&s.answers[i].answer);
    }
    s.answer_count = 0;
    serve_made(&s, &m, false);
    dstack_collateral_parts p;
    dstack_collateral_get(m.collateral, &p);
    put_answer(server_add(&s, "/root.crl"), NULL, (dstack_bytes){0}, p.root_ca_crl);
    assert_ok(fetch(&m.quote, urls, 1, &c, &err), err);
    server_stop(&s);
    dstack_collateral_parts have;
    dstack_collateral_get(c, &have);
    assert_true(bytes_equal(have.root_ca_crl, p.root_ca_crl));
}

static void answers_that_are_not_what_they_must_be_are_refused(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    for (size_t spoiled = 0; spoiled < 4; spoiled++) {
        DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
        server s = {0};
        serve_made(&s, &m, true);
        dstack_buf *answer = &s.answers[spoiled].answer;
        const char *text = buf_text(answer);
        char *at = strstr((char *)(uintptr_t)text, spoiled == 0   ? "sgx-pck"
                                                   : spoiled == 3 ? "\r\n\r\n30"
                                                                  : "\"signature\"");
        assert_non_null(at);
        at[spoiled == 3 ? 5 : 2] = '!';
        server_start(&s);
        const char *urls[] = {s.url};
        dstack_error err = {0};
        assert_int_equal(fetch(&m.quote, urls, 1, &c, &err), DSTACK_E_DCAP_COLLATERAL_FETCH);
        server_stop(&s);
    }
}

static void sec_33_a_server_that_never_answers_is_given_up(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    server s = {.silent = true};
    server_start(&s);
    const char *urls[] = {s.url};
    const dstack_collateral_servers servers = {
        .urls = urls, .url_count = 1, .timeout_ms = 150, .now = MADE_NOW};
    dstack_error err = {0};
    assert_int_equal(fetch_collateral(&c, bytes_of_buf(&m.quote), &servers, over, &err),
                     DSTACK_E_TIMEOUT);
    server_stop(&s);
}

static void sec_33_an_answer_without_end_is_cut_off(void **state) {
    DSTACK_AUTO(made) made m;
    DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    server s = {0};
    dstack_buf *answer = server_add(&s, "/sgx/certification/v4/pckcrl?ca=platform&encoding=der");
    buf_put_str(answer, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    buf_put_zeros(answer, ((size_t)8 << 20) + 1);
    server_start(&s);
    const char *urls[] = {s.url};
    dstack_error err = {0};
    signal(SIGPIPE, SIG_IGN);
    assert_int_equal(fetch(&m.quote, urls, 1, &c, &err), DSTACK_E_LIMIT);
    server_stop(&s);
}

static void sec_33_a_server_that_is_away_for_a_moment_is_asked_again(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    for (unsigned retries = 0; retries < 2; retries++) {
        DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
        server s = {.failing = 1};
        serve_made(&s, &m, true);
        server_start(&s);
        const char *urls[] = {s.url};
        const dstack_collateral_servers servers = {
            .urls = urls, .url_count = 1, .timeout_ms = 5000, .retries = retries, .now = MADE_NOW};
        dstack_error err = {0};
        assert_int_equal(fetch_collateral(&c, bytes_of_buf(&m.quote), &servers, over, &err),
                         retries == 0 ? DSTACK_E_NETWORK : 0);
        server_stop(&s);
    }
}

static void a_redirect_is_followed_and_a_circle_given_up(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec spec;
    made_spec_init(&spec);
    made_build(&spec, &m);
    for (int circle = 0; circle < 2; circle++) {
        DSTACK_AUTO(collateral) dstack_collateral *c = NULL;
        server other = {0}, s = {0};
        serve_made(&other, &m, true);
        server_start(&other);
        server_start(&s);
        static const char *const targets[] = {
            "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
            "/tdx/certification/v4/tcb?fmspc=00906EA10000",
            "/tdx/certification/v4/qe/identity?update=standard",
            "/sgx/certification/v4/rootcacrl",
        };
        for (size_t i = 0; i < 4; i++) {
            buf_put_fmt(server_add(&s, targets[i]),
                        "HTTP/1.1 307 There\r\nContent-Length: 0\r\nConnection: close\r\n"
                        "Location: %s%s\r\n\r\n",
                        circle ? "" : other.url, targets[i]);
        }
        const char *urls[] = {s.url};
        dstack_error err = {0};
        int rc = fetch(&m.quote, urls, 1, &c, &err);
        server_stop(&s);
        server_stop(&other);
        assert_int_equal(rc, circle ? DSTACK_E_NETWORK : 0);
        assert_int_equal(other.request_count, circle ? 0 : 4);
    }
}

static void a_server_url_is_taken_with_and_without_the_interfaces_own_path(void **state) {
    static const char *const urls[][2] = {
        {"http://a", "http://a"},
        {"http://a///", "http://a"},
        {"http://a/sgx/certification/v4/", "http://a"},
        {"http://a/tdx/certification/v4", "http://a"},
        {"http://a/x/sgx/certification/v4", "http://a/x"},
    };
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        DSTACK_AUTO(buf) dstack_buf base = {0};
        fetch_base_url(urls[i][0], &base);
        assert_string_equal(buf_text(&base), urls[i][1]);
    }
    assert_true(fetch_is_intel("https://api.trustedservices.intel.com"));
    assert_false(fetch_is_intel("https://pccs.example"));
}

static void percent_decoding_leaves_plus_signs_alone(void **state) {
    DSTACK_AUTO(buf) dstack_buf out = {0};
    dstack_error err = {0};
    assert_ok(fetch_percent_decode(bytes_of_str("a+b%0A%2F%2b"), &out, &err), err);
    assert_string_equal(buf_text(&out), "a+b\n/+");
    assert_int_equal(fetch_percent_decode(bytes_of_str("%0"), &out, NULL),
                     DSTACK_E_DCAP_COLLATERAL_FETCH);
    assert_int_equal(fetch_percent_decode(bytes_of_str("%zz"), &out, NULL),
                     DSTACK_E_DCAP_COLLATERAL_FETCH);
}

/* Recorded exchanges: the requests in their order, and the bundle they must end in. */
static void recorded_exchanges_give_the_recorded_bundle(void **state) {
    need_shared_data();
#define PCS SHARED_DATA "dcap/pcs/"
    DSTACK_AUTO(json) json_t *index = load_json(PCS "index.json");
    server s = {0};
    size_t i;
    json_t *answer, *client;
    char path[512];
    json_array_foreach(json_object_get(index, "responses"), i, answer) {
        snprintf(path, sizeof path, PCS "%s", json_string_value(json_object_get(answer, "file")));
        load_file(path, server_add(&s, json_string_value(json_object_get(answer, "target"))));
    }
    server_start(&s);
    const char *urls[] = {s.url}, *name;
    json_object_foreach(json_object_get(index, "clients"), name, client) {
        DSTACK_AUTO(buf) dstack_buf quote = {0}, text = {0};
        DSTACK_AUTO(collateral) dstack_collateral *c = NULL, *want = NULL;
        dstack_error err = {0};
        snprintf(path, sizeof path, PCS "%s", json_string_value(json_object_get(client, "quote")));
        load_file(path, &quote);
        snprintf(path, sizeof path, PCS "%s",
                 json_string_value(json_object_get(client, "collateral")));
        load_file(path, &text);
        assert_ok(dstack_collateral_parse(&want, bytes_of_buf(&text), &err), err);
        int64_t expires;
        assert_ok(dstack_collateral_expires(want, &expires, &err), err);
        const dstack_collateral_servers servers = {
            .urls = urls, .url_count = 1, .now = expires - 1};
        s.request_count = 0;
        assert_ok(fetch_collateral(&c, bytes_of_buf(&quote), &servers, over, &err), err);
        const json_t *order = json_object_get(client, "requests_in_order");
        assert_int_equal(s.request_count, json_array_size(order));
        for (size_t r = 0; r < s.request_count; r++) {
            assert_string_equal(s.requests[r], json_string_value(json_array_get(order, r)));
        }
        assert_true(bytes_equal(dstack_collateral_id(c), dstack_collateral_id(want)));
    }
    server_stop(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fetched_collateral_verifies_the_quote_it_was_fetched_for),
        cmocka_unit_test(collateral_is_fetched_again_without_a_quote),
        cmocka_unit_test(the_next_server_is_asked_when_one_fails),
        cmocka_unit_test(the_root_list_comes_from_where_the_root_says_when_a_cache_lacks_it),
        cmocka_unit_test(answers_that_are_not_what_they_must_be_are_refused),
        cmocka_unit_test(sec_33_a_server_that_never_answers_is_given_up),
        cmocka_unit_test(sec_33_an_answer_without_end_is_cut_off),
        cmocka_unit_test(sec_33_a_server_that_is_away_for_a_moment_is_asked_again),
        cmocka_unit_test(a_redirect_is_followed_and_a_circle_given_up),
        cmocka_unit_test(a_server_url_is_taken_with_and_without_the_interfaces_own_path),
        cmocka_unit_test(percent_decoding_leaves_plus_signs_alone),
        cmocka_unit_test(recorded_exchanges_give_the_recorded_bundle),
    };
    int failed = 0;
#if DSTACK_HAVE_CURL
    over = &fetch_transport_curl;
    failed += cmocka_run_group_tests_name("libcurl", tests, NULL, NULL);
#endif
    over = &fetch_transport_http;
    failed += cmocka_run_group_tests_name("own client", tests, NULL, NULL);
    return failed;
}
