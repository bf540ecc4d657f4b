/* GET /logs/<container>: streams what the app's containers print, where the manifest allows it. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "base/json.h"
#include "serve/log_format.h"
#include "serve/pages.h"
#include "service/metrics.h"

#define ERROR_MAX 16384
#define READ_SIZE ((size_t)32 << 10)
#define SILENCE_MS 600000
#define POLL_MS 1000

/* One stream: its question to the engine, and how to show the answer. */
typedef struct log_job {
    log_options options;
    char container[129];
    const char *engine;
    metrics_series *running;
    int fd;
    dstack_buf in;
} log_job;

static void job_free(void *user) {
    log_job *job = user;
    if (job->fd >= 0) {
        close(job->fd);
    }
    metrics_add(job->running, -1);
    dstack_buf_clear(&job->in);
    free(job);
}

/* Waits for bytes and appends them. 1: some came, 0: the end, negative: an error or silence. */
static int more(log_job *job, http_stream *stream, dstack_error *err) {
    for (int64_t until = clock_monotonic_ms() + SILENCE_MS; clock_monotonic_ms() < until;) {
        struct pollfd p = {.fd = job->fd, .events = POLLIN};
        if (http_stream_closed(stream)) {
            return error_set(err, DSTACK_E_STATE, "the reader is gone");
        }
        if (poll(&p, 1, POLL_MS) <= 0) {
            continue;
        }
        buf_reserve(&job->in, READ_SIZE);
        ssize_t got = job->in.failed ? -1 : read(job->fd, job->in.data + job->in.len, READ_SIZE);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return error_set(err, DSTACK_E_IO, "the engine broke off");
        }
        job->in.len += (size_t)got;
        return got > 0;
    }
    return error_set(err, DSTACK_E_TIMEOUT, "no log output for 600 s");
}

/* HTTP/1.0, so that the answer is neither chunked nor kept alive: it ends with the connection. */
static int ask(log_job *job, dstack_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool fits = snprintf(address.sun_path, sizeof address.sun_path, "%s", job->engine) <
                (int)sizeof address.sun_path;
    job->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (!fits || job->fd < 0 ||
        connect(job->fd, (struct sockaddr *)&address, sizeof address) != 0) {
        return error_set(err, DSTACK_E_NETWORK, "Socket not found: /var/run/docker.sock");
    }
    DSTACK_AUTO(buf) dstack_buf request = {0};
    buf_put_str(&request, "GET ");
    log_engine_path(job->container, &job->options, &request);
    buf_put_str(&request, " HTTP/1.0\r\nHost: docker\r\n\r\n");
    if (request.failed ||
        send(job->fd, request.data, request.len, MSG_NOSIGNAL) != (ssize_t)request.len) {
        return error_set(err, DSTACK_E_NETWORK, "the engine does not take the question");
    }
    return 0;
}

/* What the engine says where it does not give a log. */
static int engine_error(log_job *job, int status, http_stream *stream, dstack_error *err) {
    while (job->in.len < ERROR_MAX && more(job, stream, NULL) > 0) {
    }
    DSTACK_AUTO(json) json_t *body = json_parse(bytes_of_buf(&job->in), ERROR_MAX * 8, "x", NULL);
    const char *text = json_string_value(json_object_get(body, "message"));
    return error_set(err, DSTACK_E_PEER, "Docker responded with status code %d: %s", status,
                     text != NULL ? text : "");
}

/* Takes status line and headers off; an error answer becomes an error. */
static int head_take(log_job *job, http_stream *stream, log_head *head, dstack_error *err) {
    int rc;
    while ((rc = log_head_parse(bytes_of_buf(&job->in), head, err)) == 0 && head->len == 0) {
        if ((rc = more(job, stream, err)) <= 0) {
            return rc < 0 ? rc : error_set(err, DSTACK_E_IO, "the engine broke off");
        }
    }
    if (rc != 0) {
        return rc;
    }
    memmove(job->in.data, job->in.data + head->len, job->in.len - head->len);
    job->in.len -= head->len;
    return head->status == 200 ? 0 : engine_error(job, head->status, stream, err);
}

/* Says whether frames come, once enough has come to tell. Containers with a terminal have none. */
static int framed_find(log_job *job, http_stream *stream, const log_head *head, bool *out,
                       dstack_error *err) {
    int rc = 1;
    while (!head->multiplexed && job->in.len < 4 && (rc = more(job, stream, err)) > 0) {
    }
    *out = head->multiplexed || log_is_framed(bytes_of_buf(&job->in));
    return rc < 0 ? rc : 0;
}

static int run(log_job *job, http_stream *stream, dstack_error *err) {
    log_head head;
    bool framed;
    int rc;
    if ((rc = ask(job, err)) != 0 || (rc = head_take(job, stream, &head, err)) != 0 ||
        (rc = framed_find(job, stream, &head, &framed, err)) != 0) {
        return rc;
    }
    for (bool last = false;;) {
        DSTACK_AUTO(buf) dstack_buf out = {0};
        rc = framed ? log_frames_format(&job->in, &job->options, &out, err)
                    : log_console_format(&job->in, last, &job->options, &out, err);
        if (rc != 0) {
            return rc;
        }
        if (out.len > 0 && !http_stream_write(stream, bytes_of_buf(&out))) {
            return 0;
        }
        if (last) {
            return 0;
        }
        if ((rc = more(job, stream, err)) < 0) {
            return rc;
        }
        last = rc == 0;
    }
}

static void produce(http_stream *stream, void *user) {
    dstack_error err = {0};
    if (run(user, stream, &err) != 0) {
        DSTACK_AUTO(json) json_t *error = json_pack("{s:s}", "error", err.message);
        DSTACK_AUTO(buf) dstack_buf text = {0};
        if (json_write(error, false, &text, NULL) == 0) {
            http_stream_write(stream, bytes_of_buf(&text));
        }
    }
}

/* A switch: present without value, on, yes, true; off, no, false. False for another value. */
static bool flag_read(http_request *request, const char *name, bool *out) {
    const char *value = http_request_arg(request, name);
    static const char *const on[] = {"", "on", "yes", "true"};
    static const char *const off[] = {"off", "no", "false"};
    *out = false;
    if (value == NULL) {
        return true;
    }
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        if (strcmp(value, on[i]) == 0) {
            *out = true;
            return true;
        }
    }
    for (size_t i = 0; i < sizeof off / sizeof *off; i++) {
        if (strcmp(value, off[i]) == 0) {
            return true;
        }
    }
    return false;
}

static bool tail_read(const char *text, char out[12]) {
    bool digits = text[0] != '\0' && strspn(text, "0123456789") == strlen(text);
    if (strlen(text) > 10 || (!digits && strcmp(text, "all") != 0)) {
        return false;
    }
    strcpy(out, text);
    return true;
}

/* 0 when the query is good, else the status of the refusal and *wrong what is wrong with it. */
static int options_read(http_request *request, log_options *out, const char **wrong) {
    const char *since = http_request_arg(request, "since");
    const char *until = http_request_arg(request, "until");
    const char *tail = http_request_arg(request, "tail");
    if (!log_time_parse(since != NULL ? since : "", clock_unix(), &out->since)) {
        *wrong = "Invalid since";
        return 400;
    }
    if (!log_time_parse(until != NULL ? until : "", clock_unix(), &out->until)) {
        *wrong = "Invalid until";
        return 400;
    }
    if (!tail_read(tail != NULL ? tail : "1000", out->tail)) {
        *wrong = "Invalid tail";
        return 400;
    }
    *wrong = "Invalid flag";
    bool good = flag_read(request, "follow", &out->follow) &&
                flag_read(request, "text", &out->text) && flag_read(request, "bare", &out->bare) &&
                flag_read(request, "timestamps", &out->timestamps) &&
                flag_read(request, "ansi", &out->ansi);
    return good ? 0 : 422;
}

void page_logs(http_request *request, http_response *response, void *user) {
    const agent *a = user;
    const char *container = http_request_capture(request, 0);
    if (!a->app->public_logs || container == NULL || !log_name_valid(container)) {
        return;
    }
    log_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        http_response_error(response, 503, "out of memory");
        return;
    }
    job->fd = -1;
    job->engine = a->engine;
    job->running = metrics_get(a->metrics, METRICS_GAUGE, "dstack_guest_log_streams", "",
                               "Container logs being read.");
    metrics_add(job->running, 1);
    snprintf(job->container, sizeof job->container, "%s", container);
    const char *wrong = NULL;
    int refusal = options_read(request, &job->options, &wrong);
    if (refusal != 0) {
        job_free(job);
        http_response_error(response, refusal, wrong);
        return;
    }
    http_response_stream(response, 200, "text/plain; charset=utf-8", produce, job, job_free);
}
