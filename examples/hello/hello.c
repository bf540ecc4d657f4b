/* The demo's app: a web page that shows what a confidential VM gives to a container.
 *
 * GET /      a page for people
 * GET /json  {"greeting", "key", "disk", "boots"}: the public key derived for this app, the random
 *            bytes that its first start wrote to its disk, and how often it has started
 *
 * It asks the guest agent on /var/run/dstack.sock for the key and keeps its file below /data. One
 * static program, so that its container image is this file and nothing else. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define AGENT_SOCKET "/var/run/dstack.sock"
#define DATA_FOLDER "/data"
#define PORT 8080
#define DISK_BYTES 16

struct facts {
    char key[140]; /* hex of the public key, or why there is none */
    char disk[64]; /* hex */
    int boots;
};

/* ---- the key ---------------------------------------------------------------------------------- */

static bool ask_agent(const char *request, char *answer, size_t size) {
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = AGENT_SOCKET};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0 ||
        write(fd, request, strlen(request)) != (ssize_t)strlen(request)) {
        if (fd >= 0) {
            close(fd);
        }
        return false;
    }
    size_t have = 0;
    for (ssize_t got; have < size - 1 && (got = read(fd, answer + have, size - 1 - have)) > 0;) {
        have += (size_t)got;
    }
    answer[have] = '\0';
    close(fd);
    return have > 0;
}

/* The derived key itself stays secret; its first signature link names the public key, so what the
 * page shows is a fingerprint that anybody may know: the chain's first signature. */
static void read_key(char *out, size_t size) {
    static const char body[] = "{\"path\":\"hello\",\"purpose\":\"demo\"}";
    char request[512], answer[4096];
    snprintf(request, sizeof request,
             "POST /GetKey HTTP/1.1\r\nHost: dstack\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
             sizeof body - 1, body);
    const char *at =
        ask_agent(request, answer, sizeof answer) ? strstr(answer, "signature_chain") : NULL;
    at = at == NULL ? NULL : strchr(at, '[');
    const char *start = at == NULL ? NULL : strchr(at, '"');
    const char *end = start == NULL ? NULL : strchr(start + 1, '"');
    if (end == NULL || (size_t)(end - start) >= size) {
        snprintf(out, size, "not available");
        return;
    }
    memcpy(out, start + 1, (size_t)(end - start - 1));
    out[end - start - 1] = '\0';
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

static void answer(int fd, struct facts *facts) {
    char request[2048], body[4096], head[256];
    ssize_t got = read(fd, request, sizeof request - 1);
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
    if (write(fd, head, (size_t)head_len) == head_len && write(fd, body, (size_t)len) != len) {
        perror("write");
    }
    shutdown(fd, SHUT_WR);
}

int main(void) {
    signal(SIGPIPE, SIG_IGN);
    struct facts facts = {0};
    mkdir(DATA_FOLDER, 0700);
    read_disk(&facts);
    read_key(facts.key, sizeof facts.key);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 64) != 0) {
        perror("listen");
        return 1;
    }
    printf("listening on port %d\n", PORT);
    fflush(stdout);
    struct timeval limit = {5, 0};
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
            answer(fd, &facts);
            close(fd);
        } else if (errno != EINTR) {
            perror("accept");
        }
    }
}
