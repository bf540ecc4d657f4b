/* The guest's side of the simulated TEE's channel. One connection per call, so that several
 * processes can take turns; every wait has the caller's deadline. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include <dstack/quote.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/error.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "tee/sim_protocol.h"
#include "tee/tee_ops.h"
#include "x509/pem.h"

#define READ_SIZE 65536
#define RETRY_MS 20
/* A request that is lost with the program that served it is asked again after this. */
#define ATTEMPT_MS 5000

typedef struct sim_client {
    char *path;
    bool is_socket;
    dstack_buf root; /* DER */
    int64_t timeout_ms;
} sim_client;

static void sim_close(void *self) {
    sim_client *client = self;
    free(client->path);
    dstack_buf_clear(&client->root);
    free(client);
}

static int connect_socket(const char *path, dstack_error *err) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        return error_set(err, DSTACK_E_ARGUMENT, "socket path is too long: %s", path);
    }
    strcpy(address.sun_path, path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        return error_set_errno(err, DSTACK_E_IO, "socket");
    }
    if (connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        /* A full backlog, or a socket whose server is about to come back. */
        const bool is_passing = errno == EAGAIN || errno == ECONNREFUSED;
        const int rc = error_set_errno(err, is_passing ? DSTACK_E_TIMEOUT : DSTACK_E_NOT_FOUND,
                                       "simulated TEE at %s", path);
        close(fd);
        return rc;
    }
    return fd;
}

/* The port admits one opener at a time, reads as ended while the host's side is away, and early in
 * the boot udev may not have named it yet. */
static int open_port(const char *path, dstack_error *err) {
    const int fd = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        const bool is_passing = errno == EBUSY || errno == ENOENT;
        return error_set_errno(err, is_passing ? DSTACK_E_TIMEOUT : DSTACK_E_NOT_FOUND,
                               "simulated TEE at %s", path);
    }
    return fd;
}

static void sleep_ms(int64_t ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

/* A file descriptor, or a negative status. Busy is waited for until the deadline. */
static int open_channel(const sim_client *client, int64_t deadline, dstack_error *err) {
    for (;;) {
        const int fd =
            client->is_socket ? connect_socket(client->path, err) : open_port(client->path, err);
        if (fd != DSTACK_E_TIMEOUT || clock_monotonic_ms() >= deadline) {
            return fd;
        }
        sleep_ms(RETRY_MS);
    }
}

/* Waits for an event; a port whose host side is away polls as hung up at once, so the wait is ours. */
static int wait_for(int fd, short events, int64_t deadline, dstack_error *err) {
    for (;;) {
        const int64_t left = deadline - clock_monotonic_ms();
        if (left <= 0) {
            return error_set(err, DSTACK_E_TIMEOUT, "the simulated TEE did not answer in time");
        }
        struct pollfd p = {.fd = fd, .events = events};
        const int ready = poll(&p, 1, left > 1000 ? 1000 : (int)left);
        if (ready > 0 && (p.revents & events) != 0) {
            return 0;
        }
        if (ready > 0) {
            sleep_ms(RETRY_MS);
        } else if (ready < 0 && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_IO, "poll");
        }
    }
}

static int send_all(int fd, dstack_bytes bytes, int64_t deadline, dstack_error *err) {
    while (bytes.len > 0) {
        const int rc = wait_for(fd, POLLOUT, deadline, err);
        if (rc != 0) {
            return rc;
        }
        const ssize_t sent = write(fd, bytes.data, bytes.len);
        if (sent > 0) {
            bytes = bytes_of(bytes.data + sent, bytes.len - (size_t)sent);
        } else if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_NETWORK, "asking the simulated TEE");
        }
    }
    return 0;
}

/* Appends what has arrived, at least a byte. */
static int receive(const sim_client *client, int fd, int64_t deadline, dstack_buf *in,
                   dstack_error *err) {
    for (;;) {
        int rc = wait_for(fd, POLLIN, deadline, err);
        if (rc != 0) {
            return rc;
        }
        buf_reserve(in, READ_SIZE);
        if ((rc = buf_check(in, err)) != 0) {
            return rc;
        }
        const ssize_t got = read(fd, in->data + in->len, READ_SIZE);
        if (got > 0) {
            in->len += (size_t)got;
            return 0;
        }
        if (got == 0 && client->is_socket) {
            return error_set(err, DSTACK_E_NETWORK, "the simulated TEE closed the connection");
        }
        if (got < 0 && errno != EAGAIN && errno != EINTR) {
            return error_set_errno(err, DSTACK_E_NETWORK, "reading from the simulated TEE");
        }
        sleep_ms(RETRY_MS);
    }
}

/* Drops what an earlier opener of the port left unread. */
static void drain(int fd) {
    uint8_t block[4096];
    for (int i = 0; i < 1024 && read(fd, block, sizeof block) > 0; i++) {
    }
}

/* Reads frames until the one that answers the request; its bytes stand in `in`. */
static int read_answer(const sim_client *client, int fd, const sim_request *request,
                       int64_t deadline, dstack_buf *in, sim_answer *answer, dstack_error *err) {
    size_t start = 0;
    for (;;) {
        cursor c = cursor_init(bytes_of(in->data + start, in->len - start));
        uint32_t size = 0;
        if (cursor_left(&c) >= SIM_FRAME_HEAD) {
            size = cursor_u32le(&c);
            if (size > SIM_MAX_ANSWER) {
                return error_set(err, DSTACK_E_FORMAT, "answer of %u bytes is too long", size);
            }
        }
        if (c.pos < SIM_FRAME_HEAD || cursor_left(&c) < size) {
            const int rc = receive(client, fd, deadline, in, err);
            if (rc != 0) {
                return rc;
            }
            continue;
        }
        dstack_error why = {0};
        const int rc = sim_answer_read(cursor_take(&c, size), request->call, answer, &why);
        if (answer->id == request->id) {
            return rc == 0 ? 0 : error_set(err, (dstack_status)rc, "%s", why.message);
        }
        /* another client's answer */
        start += c.pos;
    }
}

static int ask_once(const sim_client *client, const sim_request *request, int64_t deadline,
                    dstack_buf *in, sim_answer *answer, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf message = {0}, frame = {0};
    sim_request_write(request, &message);
    sim_frame_write(bytes_of_buf(&message), &frame);
    int rc = message.failed ? buf_check(&message, err) : buf_check(&frame, err);
    if (rc != 0) {
        return rc;
    }
    DSTACK_AUTO(fd) int fd = open_channel(client, deadline, err);
    if (fd < 0) {
        return fd;
    }
    if (!client->is_socket) {
        drain(fd);
    }
    if ((rc = send_all(fd, bytes_of_buf(&frame), deadline, err)) != 0 ||
        (rc = read_answer(client, fd, request, deadline, in, answer, err)) != 0) {
        return rc;
    }
    if (!answer->ok) {
        return error_set(err, DSTACK_E_PEER, "the simulated TEE refused %s: %.*s",
                         sim_call_name(request->call), (int)answer->error.len,
                         (const char *)answer->error.data);
    }
    return 0;
}

/* No answer, or one that broke off: the server may have gone in the middle. */
static bool is_lost(int rc) {
    return rc == DSTACK_E_TIMEOUT || rc == DSTACK_E_NETWORK || rc == DSTACK_E_FORMAT;
}

static int64_t sooner(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* For calls that change nothing: asks until the deadline. */
static int ask(const sim_client *client, sim_request *request, int64_t deadline, dstack_buf *in,
               sim_answer *answer, dstack_error *err) {
    for (;;) {
        const int64_t attempt = sooner(deadline, clock_monotonic_ms() + ATTEMPT_MS);
        random_fill(&request->id, sizeof request->id);
        buf_reset(in);
        const int rc = ask_once(client, request, attempt, in, answer, err);
        if (!is_lost(rc) || clock_monotonic_ms() >= deadline) {
            return rc;
        }
        sleep_ms(RETRY_MS);
    }
}

static int64_t deadline_of(const sim_client *client) {
    return clock_monotonic_ms() + client->timeout_ms;
}

static int read_info(const sim_client *client, int64_t deadline, dstack_tee_info *out,
                     dstack_error *err) {
    sim_request request = {.call = SIM_INFO};
    sim_answer answer;
    DSTACK_AUTO(buf) dstack_buf in = {0};
    const int rc = ask(client, &request, deadline, &in, &answer, err);
    if (rc == 0) {
        *out = answer.info;
    }
    return rc;
}

static int sim_info(void *self, dstack_tee_info *out, dstack_error *err) {
    const sim_client *client = self;
    return read_info(client, deadline_of(client), out, err);
}

/* Sends one extension. When its answer is lost, the register tells whether it happened: the channel
 * keeps its order, so whatever was still on its way has arrived before the register is read. */
static int extend_once(const sim_client *client, sim_request *request, int64_t deadline,
                       uint8_t rtmr[DSTACK_TEE_REGISTER_SIZE], dstack_error *err) {
    sim_answer answer;
    DSTACK_AUTO(buf) dstack_buf in = {0};
    const int64_t attempt = sooner(deadline, clock_monotonic_ms() + ATTEMPT_MS);
    random_fill(&request->id, sizeof request->id);
    int rc = ask_once(client, request, attempt, &in, &answer, err);
    if (rc == 0) {
        memcpy(rtmr, answer.rtmr, DSTACK_TEE_REGISTER_SIZE);
    } else if (is_lost(rc)) {
        dstack_tee_info info;
        rc = read_info(client, deadline, &info, err);
        if (rc == 0) {
            memcpy(rtmr, info.rtmr[request->index], DSTACK_TEE_REGISTER_SIZE);
        }
    }
    return rc;
}

static int sim_extend(void *self, uint32_t index, const uint8_t digest[DSTACK_TEE_REGISTER_SIZE],
                      const char *event, dstack_error *err) {
    const sim_client *client = self;
    const int64_t deadline = deadline_of(client);
    dstack_tee_info before;
    int rc = read_info(client, deadline, &before, err);
    if (rc != 0) {
        return rc;
    }
    uint8_t expected[DSTACK_TEE_REGISTER_SIZE], rtmr[DSTACK_TEE_REGISTER_SIZE];
    const dstack_bytes parts[] = {bytes_of(before.rtmr[index], sizeof before.rtmr[index]),
                                  bytes_of(digest, DSTACK_TEE_REGISTER_SIZE)};
    hash_parts(HASH_SHA384, parts, 2, expected);
    sim_request request = {.call = SIM_EXTEND, .index = index, .event = bytes_of_str(event)};
    memcpy(request.digest, digest, sizeof request.digest);
    do {
        rc = extend_once(client, &request, deadline, rtmr, err);
    } while (rc == 0 && memcmp(rtmr, before.rtmr[index], sizeof rtmr) == 0);
    if (rc == 0 && memcmp(rtmr, expected, sizeof expected) != 0) {
        return error_set(err, DSTACK_E_STATE, "RTMR%u was extended by somebody else", index);
    }
    return rc;
}

/* The last certificate of the quote's chain is the root it stands under. */
static int check_root(dstack_bytes quote_bytes, dstack_bytes root, dstack_error *err) {
    dstack_quote quote;
    int rc = dstack_quote_parse(&quote, quote_bytes, err);
    if (rc != 0) {
        return rc;
    }
    if (quote.cert_type != DSTACK_QUOTE_CERT_PCK_CHAIN) {
        return error_set(err, DSTACK_E_FORMAT, "simulated quote carries no certificate chain");
    }
    pem_reader reader;
    pem_block block = {0};
    pem_reader_init(&reader, quote.cert_data);
    bool found = true, matches = false;
    for (int i = 0; i < 16 && rc == 0 && found; i++) {
        rc = pem_next(&reader, &block, &found, err);
        if (rc == 0 && found) {
            matches = bytes_equal(bytes_of_buf(&block.der), root);
        }
    }
    pem_block_clear(&block);
    if (rc == 0 && !matches) {
        rc = error_set(err, DSTACK_E_REFUSED,
                       "the simulated TEE answers under another root than the pinned one");
    }
    return rc;
}

static int sim_quote(void *self, const uint8_t report_data[DSTACK_TEE_REPORT_DATA_SIZE],
                     dstack_buf *out, dstack_error *err) {
    const sim_client *client = self;
    sim_request request = {.call = SIM_QUOTE};
    memcpy(request.report_data, report_data, sizeof request.report_data);
    sim_answer answer;
    DSTACK_AUTO(buf) dstack_buf in = {0};
    int rc = ask(client, &request, deadline_of(client), &in, &answer, err);
    if (rc != 0 || (rc = check_root(answer.bytes, bytes_of_buf(&client->root), err)) != 0) {
        return rc;
    }
    buf_put_bytes(out, answer.bytes);
    return buf_check(out, err);
}

static int sim_boot_log(void *self, dstack_buf *out, dstack_error *err) {
    sim_request request = {.call = SIM_CCEL};
    sim_answer answer;
    DSTACK_AUTO(buf) dstack_buf in = {0};
    const sim_client *client = self;
    const int rc = ask(client, &request, deadline_of(client), &in, &answer, err);
    if (rc != 0) {
        return rc;
    }
    buf_put_bytes(out, answer.bytes);
    return buf_check(out, err);
}

const tee_ops tee_sim_ops = {
    .provider = "sim",
    .simulated = true,
    .info = sim_info,
    .extend = sim_extend,
    .quote = sim_quote,
    .boot_log = sim_boot_log,
    .close = sim_close,
};

int tee_sim_open(const char *path, bool is_socket, dstack_bytes root, int64_t timeout_ms,
                 void **self, dstack_error *err) {
    sim_client *client = calloc(1, sizeof *client);
    if (client == NULL || (client->path = strdup(path)) == NULL) {
        free(client);
        return error_set(err, DSTACK_E_MEMORY, "out of memory");
    }
    client->is_socket = is_socket;
    client->timeout_ms = timeout_ms;
    buf_put_bytes(&client->root, root);
    dstack_tee_info info;
    int rc = buf_check(&client->root, err);
    if (rc == 0) {
        rc = sim_info(client, &info, err);
    }
    if (rc != 0) {
        sim_close(client);
        return rc;
    }
    *self = client;
    return 0;
}
