/* Clients that are slow, greedy or mad: none may crash the agent, fill its memory or delay others. */
#include "agent_world.h"

#include <dirent.h>

#include "base/clock.h"
#include "config.h"
#include "raw_http.h"
#include "memory.h"

#define S "dstack.sock"
#define VERSION_CALL "GET /Version HTTP/1.1\r\nHost: x\r\n\r\n"
/* A version's answer takes well under a millisecond; other load on the machine is not our matter. */
#define PROMPT_MS 2000

static size_t open_files(void) {
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    while (readdir(dir) != NULL) {
        count++;
    }
    closedir(dir);
    return count;
}

static size_t resident_kib(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size = 0, resident = 0;
    assert_int_equal(fscanf(file, "%lu %lu", &size, &resident), 2);
    fclose(file);
    return resident * 4;
}

static int64_t version_ms(const char *dir) {
    int64_t begin = clock_monotonic_ms();
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    assert_int_equal(raw_call(dir, S, "GET", "/Version", NULL, bytes_of(NULL, 0), &answer), 200);
    return clock_monotonic_ms() - begin;
}

/* Sends and reads until the server closes or says nothing for `patience_ms`. */
static int answer_within(const char *dir, dstack_bytes request, int patience_ms,
                         dstack_buf *answer) {
    DSTACK_AUTO(fd) int fd = raw_connect(dir, S);
    const struct timeval patience = {.tv_sec = patience_ms / 1000,
                                     .tv_usec = patience_ms % 1000 * 1000};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    raw_send(fd, request);
    raw_receive_all(fd, answer);
    return raw_status(answer);
}

/* For requests that end their connection. */
static int answer_to(const char *dir, dstack_bytes request, dstack_buf *answer) {
    return answer_within(dir, request, 20000, answer);
}

static void bytes_that_are_no_request_get_no_success(void **state) {
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {"\0\0\0\0\0\0\0\0", 8},
        {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11},
        {"\x82\x87\x05\r\n\r\n", 7},
        {"GET\r\n\r\n", 7},
        {"GET /Version\r\n\r\n", 16},
        {"GET /Version HTTP/9.9\r\n\r\n", 25},
        {" / HTTP/1.1\r\n\r\n", 15},
        {"GET /Ver\0sion HTTP/1.1\r\nHost: x\r\n\r\n", 36},
        {"POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}", 57},
        {"POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: 1x\r\n\r\n{}", 57},
        {"POST /GetKey HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 67},
    };
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DSTACK_AUTO(buf) dstack_buf answer = {0};
        int status = answer_within(w.dir, bytes_of(rows[i].bytes, rows[i].len), 200, &answer);
        if (status == 200) {
            fail_msg("row %zu: %.*s", i, (int)answer.len, (const char *)answer.data);
        }
        assert_true(version_ms(w.dir) < PROMPT_MS);
    }
    world_end(&w);
}

static void a_body_over_the_limit_is_refused_and_not_kept(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    memory_settle();
    version_ms(w.dir);
    size_t before = resident_kib();
    const size_t size = (size_t)11 << 20;
    DSTACK_AUTO(buf) dstack_buf request = {0};
    DSTACK_AUTO(buf) dstack_buf announced = {0};
    buf_put_fmt(&request,
                "POST /GetKey?json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                "Transfer-Encoding: chunked\r\n\r\n%zx\r\n",
                size);
    buf_put_zeros(&request, size);
    buf_put_str(&request, "\r\n0\r\n\r\n");
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    assert_int_equal(answer_to(w.dir, bytes_of_buf(&request), &answer), 413);
    assert_non_null(strstr(buf_text(&answer), "payload too large"));
    /* An announced length is believed at once: nothing has to be sent. */
    buf_put_fmt(&announced,
                "POST /GetKey?json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                "Content-Length: %zu\r\n\r\n",
                size);
    buf_put_zeros(&announced, size);
    buf_reset(&answer);
    assert_int_equal(answer_to(w.dir, bytes_of_buf(&announced), &answer), 413);
    dstack_buf_clear(&request);
    dstack_buf_clear(&announced);
    size_t after = resident_kib();
    /* Sanitizers keep what was freed. */
    assert_true(DSTACK_INSTRUMENTED || after < before + 2048);
    world_end(&w);
}

static void a_head_over_the_limit_is_refused(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    DSTACK_AUTO(buf) dstack_buf many = {0};
    DSTACK_AUTO(buf) dstack_buf target = {0};
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    buf_put_str(&many, "GET /Version HTTP/1.1\r\n");
    for (int i = 0; i < 20000; i++) {
        buf_put_fmt(&many, "X-%d: y\r\n", i);
    }
    buf_put_str(&many, "\r\n");
    int status = answer_within(w.dir, bytes_of_buf(&many), 200, &answer);
    assert_true(status == 0 || status == 431 || status == 413);
    buf_put_str(&target, "GET /GetKey?path=");
    for (int i = 0; i < 100000; i++) {
        buf_put_str(&target, "a");
    }
    buf_put_str(&target, " HTTP/1.1\r\nHost: x\r\n\r\n");
    buf_reset(&answer);
    status = answer_within(w.dir, bytes_of_buf(&target), 200, &answer);
    assert_true(status == 0 || status == 414 || status == 431);
    assert_true(version_ms(w.dir) < PROMPT_MS);
    world_end(&w);
}

/* A request that ends too early is no request: what came of it is not acted on. */
static void a_truncated_request_is_not_served(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    const char whole[] = "POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                         "Content-Length: 14\r\n\r\n{\"path\":\"abc\"}";
    for (size_t len = 0; len < sizeof whole - 1; len += 7) {
        DSTACK_AUTO(buf) dstack_buf answer = {0};
        assert_int_not_equal(answer_within(w.dir, bytes_of(whole, len), 50, &answer), 200);
    }
    assert_true(version_ms(w.dir) < PROMPT_MS);
    world_end(&w);
}

static void chunked_and_pipelined_requests_are_served_in_order(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    DSTACK_AUTO(buf) dstack_buf request = {0};
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    for (int i = 0; i < 50; i++) {
        buf_put_str(&request, i % 2 == 0 ? "POST /GetKey HTTP/1.1\r\nHost: x\r\n"
                                           "Content-Type: application/json\r\n"
                                           "Transfer-Encoding: chunked\r\n\r\n"
                                           "3\r\n{\"p\r\n5\r\nath\":\r\n4\r\n\"a\"}\r\n0\r\n\r\n"
                                         : VERSION_CALL);
    }
    buf_put_str(&request, "GET /Nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(answer_to(w.dir, bytes_of_buf(&request), &answer), 200);
    const char *at = buf_text(&answer);
    for (int i = 0; i < 50; i++) {
        at = strstr(at, i % 2 == 0 ? "\"signature_chain\"" : "\"version\"");
        assert_non_null(at);
    }
    assert_non_null(strstr(at, "Service not found: Nope"));
    world_end(&w);
}

/* Two lengths for one body: a proxy in front could see another request than the agent. */
static void a_request_with_two_lengths_serves_no_second_request(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    DSTACK_AUTO(buf) dstack_buf answer = {0};
    const char request[] = "POST /Version HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
                           "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                           "GET /GetKey HTTP/1.1\r\nHost: x\r\n\r\n";
    assert_int_equal(answer_to(w.dir, bytes_of(request, sizeof request - 1), &answer), 400);
    assert_null(strstr(buf_text(&answer), "signature_chain"));
    world_end(&w);
}

#define SLOW_CLIENTS 200

static void slow_clients_delay_nobody(void **state) {
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    version_ms(w.dir);
    size_t before = open_files();
    int fds[SLOW_CLIENTS];
    for (int i = 0; i < SLOW_CLIENTS; i++) {
        /* Half a head, half a body, and answers that nobody reads. */
        static const char *const starts[] = {
            "GET /Ver", "POST /GetKey HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            "GET /Info HTTP/1.1\r\nHost: x\r\n\r\nGET /Info HTTP/1.1\r\nHost: x\r\n\r\n"};
        fds[i] = raw_connect(w.dir, S);
        raw_send(fds[i], bytes_of_str(starts[i % 3]));
    }
    for (int i = 0; i < 20; i++) {
        assert_true(version_ms(w.dir) < PROMPT_MS);
    }
    for (int i = 0; i < SLOW_CLIENTS; i++) {
        close(fds[i]);
    }
    for (int i = 0; i < 500 && open_files() > before; i++) {
        usleep(10000);
    }
    assert_true(open_files() <= before);
    world_end(&w);
}

/* Memory after many requests of every kind is what it was after some. */
static void many_requests_leave_nothing_behind(void **state) {
    static const char *const targets[] = {
        "/GetKey?path=a",           "/Info",
        "/GetQuote?report_data=00", "/Nope",
        "/GetKey?path=%zz",         "/Sign?algorithm=ed25519&data=00"};
    world w;
    world_begin(&w, "");
    raw_listen(&w.f, w.dir);
    size_t begin = 0, files = 0;
    for (int round = 0; round < 40; round++) {
        for (size_t i = 0; i < sizeof targets / sizeof *targets; i++) {
            DSTACK_AUTO(http_client_response) http_client_response answer = {0};
            raw_call(w.dir, S, "GET", targets[i], NULL, bytes_of(NULL, 0), &answer);
        }
        if (round == 9) {
            begin = resident_kib();
            files = open_files();
        }
    }
    assert_true(DSTACK_INSTRUMENTED || resident_kib() < begin + 2048);
    assert_true(begin > 0);
    assert_in_range(open_files(), 1, files + 2);
    world_end(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_that_are_no_request_get_no_success),
        cmocka_unit_test(a_body_over_the_limit_is_refused_and_not_kept),
        cmocka_unit_test(a_head_over_the_limit_is_refused),
        cmocka_unit_test(a_truncated_request_is_not_served),
        cmocka_unit_test(chunked_and_pipelined_requests_are_served_in_order),
        cmocka_unit_test(a_request_with_two_lengths_serves_no_second_request),
        cmocka_unit_test(slow_clients_delay_nobody),
        cmocka_unit_test(many_requests_leave_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
