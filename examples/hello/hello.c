/* The demo's app: a web page that shows what a confidential VM gives to a container.
 *
 * GET /      a page for people
 * GET /json  {"greeting", "key", "disk", "boots"}: the public key derived for this app, the random
 *            bytes that its first start wrote to its disk, and how often it has started
 *
 * It asks the guest agent on /var/run/dstack.sock for the key and keeps its file below /data. Port
 * 8080 is plain (a gateway ends TLS before it), port 8443 speaks TLS with a certificate that proves
 * this guest. One static program, so that its container image is this file and nothing else. */
#include "agent.h"
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define DATA_FOLDER "/data"
#define PORT 8080
#define TLS_PORT 8443
#define DISK_BYTES 16

struct facts {
    char key[140]; /* hex of the public key, or why there is none */
    char disk[64]; /* hex */
    int boots;
};

/* ---- the key ---------------------------------------------------------------------------------- */

/* The derived key itself stays secret; its first signature link names the public key, so what the
 * page shows is a fingerprint that anybody may know: the chain's first signature. */
static void read_key(char *out, size_t size) {
    char answer[4096];
    if (!agent_call("GetKey", "{\"path\":\"hello\",\"purpose\":\"demo\"}", answer, sizeof answer) ||
        agent_string(answer, "signature_chain", out, size) == NULL) {
        snprintf(out, size, "not available");
    }
}

/* ---- the disk --------------------------------------------------------------------------------- */

static bool read_small(const char *path, char *out, size_t size) {
    int fd = open(path, O_RDONLY);
    ssize_t got = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0) {
        close(fd);
    }
    out[got > 0 ? got : 0] = '\0';
    return got > 0;
}

static void write_small(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd >= 0) {
        if (write(fd, text, strlen(text)) < 0 || fsync(fd) != 0) {
            perror(path);
        }
        close(fd);
    }
}

static void read_disk(struct facts *facts) {
    char text[64];
    if (!read_small(DATA_FOLDER "/first-start", facts->disk, sizeof facts->disk)) {
        unsigned char raw[DISK_BYTES];
        if (getrandom(raw, sizeof raw, 0) != sizeof raw) {
            exit(1);
        }
        for (size_t i = 0; i < sizeof raw; i++) {
            snprintf(facts->disk + 2 * i, 3, "%02x", raw[i]);
        }
        write_small(DATA_FOLDER "/first-start", facts->disk);
    }
    facts->boots = 1 + (read_small(DATA_FOLDER "/starts", text, sizeof text) ? atoi(text) : 0);
    snprintf(text, sizeof text, "%d", facts->boots);
    write_small(DATA_FOLDER "/starts", text);
}

/* ---- the page --------------------------------------------------------------------------------- */

static const char *greeting(void) {
    const char *text = getenv("GREETING");
    return text != NULL && text[0] != '\0' && strpbrk(text, "<>&\"\\") == NULL
               ? text
               : "Hello from a confidential VM";
}

static int page(const struct facts *facts, char *out, size_t size) {
    return snprintf(
        out, size,
        "<!doctype html><html lang=en><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'><title>hello</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;"
        "padding:0 1rem}code{word-break:break-all;background:#eee;padding:.1rem .3rem}</style>"
        "<h1>%s</h1><p>Key link of this app, the same on every machine:<br><code>%s</code>"
        "<p>Written to its encrypted disk by its first start:<br><code>%s</code>"
        "<p>Starts so far: %d</html>\n",
        greeting(), facts->key, facts->disk, facts->boots);
}

static int json(const struct facts *facts, char *out, size_t size) {
    return snprintf(out, size,
                    "{\"greeting\":\"%s\",\"key\":\"%s\",\"disk\":\"%s\",\"boots\":%d}\n",
                    greeting(), facts->key, facts->disk, facts->boots);
}

/* A connection: plain, or TLS that ends here. */
struct stream {
    int fd;
    SSL *tls; /* NULL: plain */
};

static ssize_t stream_read(const struct stream *stream, void *out, size_t size) {
    return stream->tls == NULL ? read(stream->fd, out, size)
                               : SSL_read(stream->tls, out, (int)size);
}

static bool stream_write(const struct stream *stream, const char *text, int len) {
    return stream->tls == NULL ? write(stream->fd, text, (size_t)len) == len
                               : SSL_write(stream->tls, text, len) == len;
}

static void answer(const struct stream *stream, struct facts *facts) {
    char request[2048], body[4096], head[256];
    ssize_t got = stream_read(stream, request, sizeof request - 1);
    if (got <= 0) {
        return;
    }
    request[got] = '\0';
    if (facts->key[0] == '\0' || strcmp(facts->key, "not available") == 0) {
        read_key(facts->key, sizeof facts->key);
    }
    bool as_json = strncmp(request, "GET /json ", 10) == 0;
    bool known = as_json || strncmp(request, "GET / ", 6) == 0;
    int len = !known    ? snprintf(body, sizeof body, "not found\n")
              : as_json ? json(facts, body, sizeof body)
                        : page(facts, body, sizeof body);
    int head_len = snprintf(head, sizeof head,
                            "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n"
                            "Connection: close\r\n\r\n",
                            known ? "200 OK" : "404 Not Found",
                            as_json ? "application/json"
                            : known ? "text/html"
                                    : "text/plain",
                            len);
    if (!stream_write(stream, head, head_len) || !stream_write(stream, body, len)) {
        fprintf(stderr, "the client left before its answer\n");
    }
}

static void serve(int fd, bool with_tls, struct facts *facts) {
    struct timeval limit = {5, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    struct stream stream = {fd, with_tls ? tls_accept(fd) : NULL};
    if (!with_tls || stream.tls != NULL) {
        answer(&stream, facts);
    }
    if (stream.tls != NULL) {
        SSL_shutdown(stream.tls);
        SSL_free(stream.tls);
    }
    shutdown(fd, SHUT_WR);
    close(fd);
}

static int listen_on(uint16_t port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 64) != 0) {
        perror("listen");
        exit(1);
    }
    return fd;
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    struct facts facts = {0};
    mkdir(DATA_FOLDER, 0700);
    read_disk(&facts);
    read_key(facts.key, sizeof facts.key);
    struct pollfd listeners[] = {{listen_on(PORT), POLLIN, 0}, {listen_on(TLS_PORT), POLLIN, 0}};
    printf("listening on ports %d and %d (TLS)\n", PORT, TLS_PORT);
    fflush(stdout);
    for (;;) {
        if (poll(listeners, 2, -1) < 0 && errno != EINTR) {
            perror("poll");
            return 1;
        }
        for (int i = 0; i < 2; i++) {
            int fd = listeners[i].revents == 0 ? -1 : accept(listeners[i].fd, NULL, NULL);
            if (fd >= 0) {
                serve(fd, i == 1, &facts);
            }
        }
    }
}
