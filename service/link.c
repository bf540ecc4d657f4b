#include "service/link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/cursor.h"
#include "base/error.h"
#include "client/http_message.h"
#include "service/log.h"

#define FRAME_HEAD 12
#define FRAME_MAX ((size_t)1 << 20)
#define SERVING_MAX 16
#define WRITE_TIMEOUT_MS 10000
#define REOPEN_PAUSE_MS 200

static const uint8_t magic[4] = {'D', 'S', 'F', '1'};

/* A request of ours that waits for its answer. */
typedef struct waiter {
    struct waiter *next;
    uint32_t stream;
    dstack_buf answer;
    bool done;
} waiter;

struct service_link {
    int fd;
    int wake; /* eventfd that ends the reader */
    service_link_side side;
    char name[64];
    http_server *server;
    char *listener;
    void (*closed)(service_link *link, void *user);
    void *user;
    pthread_t reader;
    pthread_mutex_t lock; /* waiters, serving, alive */
    pthread_cond_t changed;
    pthread_mutex_t write_lock;
    waiter *waiters;
    uint32_t next_stream;
    unsigned serving;
    bool alive;
    atomic_bool stop;
};

/* ---- frames -----------------------------------------------------------------------------------
 */

static int write_all(service_link *link, dstack_bytes data, dstack_error *err) {
    int64_t deadline = clock_monotonic_ms() + WRITE_TIMEOUT_MS;
    size_t done = 0;
    while (done < data.len) {
        ssize_t n = write(link->fd, data.data + done, data.len - done);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_NETWORK, "writing to link %s", link->name);
        }
        struct pollfd p = {.fd = link->fd, .events = POLLOUT};
        int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0 || atomic_load(&link->stop)) {
            return error_set(err, DSTACK_E_TIMEOUT, "link %s takes no data", link->name);
        }
        poll(&p, 1, left < 1000 ? (int)left : 1000);
    }
    return 0;
}

static void mark_dead(service_link *link) {
    pthread_mutex_lock(&link->lock);
    link->alive = false;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
}

static int write_frame(service_link *link, uint32_t stream, dstack_bytes payload,
                       dstack_error *err) {
    if (payload.len > FRAME_MAX) {
        return error_set(err, DSTACK_E_LIMIT, "message for link %s is over 1 MiB", link->name);
    }
    dstack_buf frame = {0};
    buf_reserve(&frame, FRAME_HEAD + payload.len);
    buf_put(&frame, magic, sizeof magic);
    buf_put_u32be(&frame, stream);
    buf_put_u32be(&frame, (uint32_t)payload.len);
    buf_put_bytes(&frame, payload);
    int rc = buf_check(&frame, err);
    if (rc == 0) {
        pthread_mutex_lock(&link->write_lock);
        rc = write_all(link, bytes_of_buf(&frame), err);
        pthread_mutex_unlock(&link->write_lock);
    }
    buf_wipe(&frame);
    if (rc == DSTACK_E_NETWORK && link->side == SERVICE_LINK_HOST) {
        mark_dead(link); /* the reader will see it too, perhaps later */
    }
    return rc;
}

size_t service_link_next_frame(dstack_bytes input, uint32_t *stream, dstack_bytes *payload) {
    *payload = (dstack_bytes){0};
    *stream = 0;
    size_t skipped = 0;
    for (; skipped < input.len; skipped++) {
        size_t left = input.len - skipped;
        size_t compare = left < sizeof magic ? left : sizeof magic;
        if (memcmp(input.data + skipped, magic, compare) != 0) {
            continue;
        }
        cursor c = cursor_init(bytes_of(input.data + skipped, left));
        cursor_skip(&c, sizeof magic);
        *stream = cursor_u32be(&c);
        uint32_t len = cursor_u32be(&c);
        if (!cursor_ok(&c)) {
            break; /* the head is not all there yet */
        }
        if (len > FRAME_MAX || *stream == 0) {
            continue; /* not a frame: the magic stood inside something else */
        }
        *payload = cursor_take(&c, len);
        if (!cursor_ok(&c)) {
            *stream = 0;
            *payload = (dstack_bytes){0};
            break;
        }
        return skipped + FRAME_HEAD + len;
    }
    *stream = 0;
    return skipped;
}

/* ---- requests that come in --------------------------------------------------------------------
 */

typedef struct served {
    service_link *link;
    uint32_t stream;
    dstack_buf message;
} served;

static void serve(served *work) {
    service_link *link = work->link;
    dstack_buf answer = {0};
    dstack_error err = {0};
    http_peer peer = {.kind = HTTP_PEER_LINK, .pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
    snprintf(peer.address, sizeof peer.address, "%s", link->name);
    int rc = link->server != NULL
                 ? http_server_exchange(link->server, link->listener, bytes_of_buf(&work->message),
                                        &peer, &answer, &err)
                 : DSTACK_E_NOT_FOUND;
    if (rc != 0) {
        buf_reset(&answer);
        buf_put_fmt(&answer, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n",
                    rc == DSTACK_E_NOT_FOUND ? "404 Not Found" : "400 Bad Request");
    }
    if (write_frame(link, work->stream, bytes_of_buf(&answer), &err) != 0) {
        LOG_WARN("answer not sent", "link", link->name, "reason", err.message);
    }
    buf_wipe(&answer);
}

static void *serve_thread(void *user) {
    served *work = user;
    service_link *link = work->link;
    serve(work);
    buf_wipe(&work->message);
    free(work);
    pthread_mutex_lock(&link->lock);
    link->serving--;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    return NULL;
}

static void start_serving(service_link *link, uint32_t stream, dstack_bytes payload) {
    served *work = calloc(1, sizeof *work);
    if (work == NULL) {
        return;
    }
    work->link = link;
    work->stream = stream;
    buf_put_bytes(&work->message, payload);
    pthread_mutex_lock(&link->lock);
    /* A peer that floods waits here: its frames stay in the port's own buffer meanwhile. */
    while (link->serving >= SERVING_MAX && !atomic_load(&link->stop)) {
        pthread_cond_wait(&link->changed, &link->lock);
    }
    link->serving++;
    pthread_mutex_unlock(&link->lock);
    pthread_t thread;
    if (pthread_create(&thread, NULL, serve_thread, work) == 0) {
        pthread_detach(thread);
    } else {
        serve_thread(work);
    }
}

static void take_answer(service_link *link, uint32_t stream, dstack_bytes payload) {
    pthread_mutex_lock(&link->lock);
    for (waiter *w = link->waiters; w != NULL; w = w->next) {
        if (w->stream == stream && !w->done) {
            buf_put_bytes(&w->answer, payload);
            w->done = true;
            pthread_cond_broadcast(&link->changed);
            break;
        }
    }
    pthread_mutex_unlock(&link->lock);
}

/* ---- the reader -------------------------------------------------------------------------------
 */

static void take_frames(service_link *link, dstack_buf *input) {
    for (;;) {
        uint32_t stream;
        dstack_bytes payload;
        size_t used = service_link_next_frame(bytes_of_buf(input), &stream, &payload);
        if (stream != 0) {
            bool ours = (stream % 2 == 1) == (link->side == SERVICE_LINK_GUEST);
            if (ours) {
                take_answer(link, stream, payload);
            } else {
                start_serving(link, stream, payload);
            }
        }
        memmove(input->data, input->data + used, input->len - used);
        input->len -= used;
        if (stream == 0) {
            return;
        }
    }
}

/* A guest's port reads as ended while the host end is closed; only sockets end for good. */
static bool read_some(service_link *link, dstack_buf *input) {
    struct pollfd p[2] = {{.fd = link->fd, .events = POLLIN}, {.fd = link->wake, .events = POLLIN}};
    poll(p, 2, -1);
    if (atomic_load(&link->stop)) {
        return false;
    }
    buf_reserve(input, 65536);
    if (input->failed) {
        return false;
    }
    ssize_t n = read(link->fd, input->data + input->len, 65536);
    if (n > 0) {
        input->len += (size_t)n;
        return true;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n == 0 && link->side == SERVICE_LINK_GUEST) {
        buf_reset(input);
        poll(&p[1], 1, REOPEN_PAUSE_MS);
        return !atomic_load(&link->stop);
    }
    return false;
}

static void *read_loop(void *user) {
    service_link *link = user;
    dstack_buf input = {0};
    while (read_some(link, &input)) {
        take_frames(link, &input);
    }
    buf_wipe(&input);
    mark_dead(link);
    if (link->closed != NULL && !atomic_load(&link->stop)) {
        link->closed(link, link->user);
    }
    return NULL;
}

/* ---- life -------------------------------------------------------------------------------------
 */

service_link *service_link_new(int fd, const service_link_config *config, dstack_error *err) {
    service_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        close(fd);
        error_set(err, DSTACK_E_MEMORY, "out of memory");
        return NULL;
    }
    link->fd = fd;
    link->side = config->side;
    link->server = config->server;
    link->listener = config->listener != NULL ? strdup(config->listener) : NULL;
    link->closed = config->closed;
    link->user = config->user;
    link->next_stream = (uint32_t)config->side;
    link->alive = true;
    snprintf(link->name, sizeof link->name, "%s", config->name);
    pthread_mutex_init(&link->lock, NULL);
    pthread_mutex_init(&link->write_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&link->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    link->wake = eventfd(0, EFD_CLOEXEC);
    if (link->wake < 0 || pthread_create(&link->reader, NULL, read_loop, link) != 0) {
        error_set(err, DSTACK_E_IO, "starting link %s", link->name);
        close(link->fd);
        if (link->wake >= 0) {
            close(link->wake);
        }
        free(link->listener);
        free(link);
        return NULL;
    }
    return link;
}

service_link *service_link_open(const char *path, const service_link_config *config,
                                dstack_error *err) {
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd < 0) {
        error_set_errno(err, errno == ENOENT ? DSTACK_E_NOT_FOUND : DSTACK_E_IO, "opening %s",
                        path);
        return NULL;
    }
    return service_link_new(fd, config, err);
}

bool service_link_alive(const service_link *link) {
    service_link *own = (service_link *)link;
    pthread_mutex_lock(&own->lock);
    bool alive = own->alive;
    pthread_mutex_unlock(&own->lock);
    return alive;
}

static void enlist(service_link *link, waiter *w) {
    pthread_mutex_lock(&link->lock);
    w->stream = link->next_stream;
    link->next_stream += 2;
    if (link->next_stream < 2) { /* wrapped */
        link->next_stream = (uint32_t)link->side;
    }
    w->next = link->waiters;
    link->waiters = w;
    pthread_mutex_unlock(&link->lock);
}

/* Waits, and takes the waiter off the list. */
static int await(service_link *link, waiter *w, int timeout_ms, dstack_error *err) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += timeout_ms / 1000;
    until.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    pthread_mutex_lock(&link->lock);
    int timed_out = 0;
    while (!w->done && link->alive && timed_out == 0) {
        timed_out = pthread_cond_timedwait(&link->changed, &link->lock, &until);
    }
    waiter **at = &link->waiters;
    while (*at != w) {
        at = &(*at)->next;
    }
    *at = w->next;
    bool done = w->done;
    bool alive = link->alive;
    pthread_mutex_unlock(&link->lock);
    if (done) {
        return 0;
    }
    return alive ? error_set(err, DSTACK_E_TIMEOUT, "link %s: no answer within %d ms", link->name,
                             timeout_ms)
                 : error_set(err, DSTACK_E_NETWORK, "link %s has ended", link->name);
}

int service_link_send(service_link *link, const http_client_request *request, int timeout_ms,
                      http_client_response *response, dstack_error *err) {
    dstack_buf message = {0};
    waiter w = {0};
    http_client_response_clear(response);
    buf_reserve(&message, request->body.len + 1024);
    int rc = http_client_request_write(request, "link", NULL, &message, err);
    if (rc == 0) {
        enlist(link, &w);
        rc = write_frame(link, w.stream, bytes_of_buf(&message), err);
        int waited = await(link, &w, rc == 0 ? timeout_ms : 0, rc == 0 ? err : NULL);
        rc = rc != 0 ? rc : waited;
    }
    if (rc == 0) {
        rc = http_client_response_parse(bytes_of_buf(&w.answer), FRAME_MAX, response, err);
    }
    buf_wipe(&message);
    buf_wipe(&w.answer);
    return rc;
}

void service_link_free(service_link *link) {
    if (link == NULL) {
        return;
    }
    atomic_store(&link->stop, true);
    uint64_t one = 1;
    if (write(link->wake, &one, sizeof one) < 0) {
        LOG_WARN("waking the reader failed", "link", link->name);
    }
    pthread_mutex_lock(&link->lock);
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
    pthread_join(link->reader, NULL);
    pthread_mutex_lock(&link->lock);
    while (link->serving > 0) {
        pthread_cond_wait(&link->changed, &link->lock);
    }
    pthread_mutex_unlock(&link->lock);
    close(link->fd);
    close(link->wake);
    pthread_mutex_destroy(&link->lock);
    pthread_mutex_destroy(&link->write_lock);
    pthread_cond_destroy(&link->changed);
    free(link->listener);
    free(link);
}
