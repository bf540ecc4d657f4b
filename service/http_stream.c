/* Answers whose end is not known when they start: a producer thread fills a bounded buffer, the
 * listener's thread empties it and suspends the connection while there is nothing to send. */
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/error.h"
#include "service/http_internal.h"

#define STREAM_BUFFER ((size_t)64 << 10)

struct http_stream {
    pthread_mutex_t lock;
    pthread_cond_t room;
    http_server *server;
    http_listener *listener;
    struct MHD_Connection *mhd;
    int fd;
    uint8_t data[STREAM_BUFFER];
    size_t start;
    size_t len;
    bool suspended; /* the connection waits for data */
    bool ended;     /* producer is done */
    bool gone;      /* client or connection is */
    unsigned references;
    void (*produce)(http_stream *stream, void *user);
    void (*done)(void *user);
    void *user;
};

static void stream_release(http_stream *stream) {
    pthread_mutex_lock(&stream->lock);
    bool last = --stream->references == 0;
    pthread_mutex_unlock(&stream->lock);
    if (last) {
        pthread_mutex_destroy(&stream->lock);
        pthread_cond_destroy(&stream->room);
        free(stream);
    }
}

void http_response_stream(http_response *response, int status, const char *content_type,
                          void (*produce)(http_stream *stream, void *user), void *user,
                          void (*done)(void *user)) {
    http_stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) {
        if (done != NULL) {
            done(user);
        }
        http_response_error(response, 503, "out of memory");
        return;
    }
    pthread_mutex_init(&stream->lock, NULL);
    pthread_cond_init(&stream->room, NULL);
    stream->produce = produce;
    stream->done = done;
    stream->user = user;
    stream->references = 1;
    stream->fd = -1;
    http_response_bytes(response, status, content_type, (dstack_bytes){0});
    response->stream = stream;
}

void http_stream_discard(http_stream *stream) {
    if (stream->done != NULL) {
        stream->done(stream->user);
    }
    stream_release(stream);
}

/* With the lock held. */
static void wake_connection(http_stream *stream) {
    if (stream->suspended && !stream->gone) {
        stream->suspended = false;
        MHD_resume_connection(stream->mhd);
    }
}

static bool client_hung_up(const http_stream *stream) {
    struct pollfd p = {.fd = stream->fd, .events = POLLRDHUP};
    return stream->fd >= 0 && poll(&p, 1, 0) > 0 &&
           (p.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

bool http_stream_closed(http_stream *stream) {
    pthread_mutex_lock(&stream->lock);
    bool closed = stream->gone || client_hung_up(stream);
    pthread_mutex_unlock(&stream->lock);
    return closed || http_server_draining(stream->server);
}

bool http_stream_write(http_stream *stream, dstack_bytes data) {
    size_t done = 0;
    bool open = !http_stream_closed(stream);
    pthread_mutex_lock(&stream->lock);
    while (open && done < data.len) {
        if (stream->gone) {
            open = false;
        } else if (stream->len == STREAM_BUFFER) {
            struct timespec until;
            clock_gettime(CLOCK_REALTIME, &until);
            until.tv_sec += 1;
            pthread_cond_timedwait(&stream->room, &stream->lock, &until);
            open = !http_server_draining(stream->server);
        } else {
            size_t end = (stream->start + stream->len) % STREAM_BUFFER;
            size_t run = end >= stream->start ? STREAM_BUFFER - end : stream->start - end;
            size_t use = data.len - done < run ? data.len - done : run;
            memcpy(stream->data + end, data.data + done, use);
            stream->len += use;
            done += use;
            wake_connection(stream);
        }
    }
    pthread_mutex_unlock(&stream->lock);
    return open;
}

static void *produce(void *user) {
    http_stream *stream = user;
    http_server *server = stream->server;
    http_listener *listener = stream->listener;
    stream->produce(stream, stream->user);
    if (stream->done != NULL) {
        stream->done(stream->user);
    }
    pthread_mutex_lock(&stream->lock);
    stream->ended = true;
    wake_connection(stream);
    pthread_mutex_unlock(&stream->lock);
    stream_release(stream);
    pthread_mutex_lock(&server->lock);
    listener->running_streams--;
    server->streams--;
    pthread_cond_broadcast(&server->streams_done);
    pthread_mutex_unlock(&server->lock);
    return NULL;
}

static ssize_t on_read(void *user, uint64_t pos, char *out, size_t room) {
    (void)pos;
    http_stream *stream = user;
    pthread_mutex_lock(&stream->lock);
    ssize_t n = 0;
    if (stream->len > 0) {
        size_t run = STREAM_BUFFER - stream->start;
        size_t use = stream->len < run ? stream->len : run;
        use = use < room ? use : room;
        memcpy(out, stream->data + stream->start, use);
        stream->start = (stream->start + use) % STREAM_BUFFER;
        stream->len -= use;
        n = (ssize_t)use;
        pthread_cond_signal(&stream->room);
    } else if (stream->ended) {
        n = MHD_CONTENT_READER_END_OF_STREAM;
    } else {
        stream->suspended = true;
        MHD_suspend_connection(stream->mhd);
    }
    pthread_mutex_unlock(&stream->lock);
    return n;
}

static void on_end(void *user) {
    http_stream *stream = user;
    pthread_mutex_lock(&stream->lock);
    stream->gone = true;
    stream->fd = -1;
    pthread_cond_broadcast(&stream->room);
    pthread_mutex_unlock(&stream->lock);
    stream_release(stream);
}

struct MHD_Response *http_stream_start(http_stream *stream, http_request *request) {
    http_listener *listener = request->connection->listener;
    http_server *server = listener->server;
    unsigned limit = listener->config.limits.streams != 0 ? listener->config.limits.streams : 32;
    stream->server = server;
    stream->listener = listener;
    stream->mhd = request->mhd;
    stream->fd = request->connection->fd;
    pthread_mutex_lock(&server->lock);
    bool free_place = listener->running_streams < limit && !server->draining;
    if (free_place) {
        listener->running_streams++;
        server->streams++;
    }
    pthread_mutex_unlock(&server->lock);
    if (!free_place) {
        return NULL;
    }
    struct MHD_Response *answer =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, on_read, stream, on_end);
    stream->references++; /* the producer's; ours went to the answer */
    pthread_t thread;
    if (answer != NULL && pthread_create(&thread, NULL, produce, stream) == 0) {
        pthread_detach(thread);
        return answer;
    }
    stream->references--;
    pthread_mutex_lock(&server->lock);
    listener->running_streams--;
    server->streams--;
    pthread_mutex_unlock(&server->lock);
    if (answer != NULL) {
        stream->references++; /* on_end gives one back, the discard of the caller the other */
        MHD_destroy_response(answer);
    }
    return NULL;
}
