/* What one request costs an agent: CPU time of its process, by method and number of connections.
 *
 *   bench_agent [--requests N] [--rounds N] [--only METHOD] [--soak N] AGENT DATA  (runs `AGENT simulate`)
 *   bench_agent [--requests N] [--rounds N] [--only METHOD] --pid PID SOCKET       (a server that runs)
 *
 * DATA holds appkeys.json, app-compose.json, sys-config.json and attestation.bin. Each figure is the
 * lowest of the rounds, which are interleaved: user and system time of the server's process by its
 * CPU clock, divided by the answers of status 200. Report data differs from request to request, so
 * that no quote is shared. --soak sends that many requests afterwards and shows what memory they
 * leave. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 64
#define READY_TRIES 20000

typedef struct method {
    const char *name, *path, *body;
} method;

/* "########" in a body becomes the request's number. */
static const method methods[] = {
    {"Version", "/Version", "{}"},
    {"GetKey", "/GetKey",
     "{\"path\":\"########\",\"purpose\":\"signing\",\"algorithm\":\"secp256k1\"}"},
    {"Sign", "/Sign", "{\"algorithm\":\"secp256k1\",\"data\":\"########\"}"},
    {"Info", "/Info", "{}"},
    {"Attest", "/Attest", "{\"report_data\":\"########\"}"},
    {"GetQuote", "/GetQuote", "{\"report_data\":\"########\"}"},
    {"GetKey same", "/GetKey",
     "{\"path\":\"wallet\",\"purpose\":\"signing\",\"algorithm\":\"secp256k1\"}"},
    {"GetTlsKey", "/GetTlsKey", "{\"subject\":\"b########\",\"usage_server_auth\":true}"},
};
#define METHODS (sizeof methods / sizeof *methods)
static const char *only; /* name of the one method to measure; NULL: all */
static const int connection_counts[] = {1, 8};
#define COUNTS 2

typedef struct load {
    const char *socket;
    const method *what;
    atomic_int left, failed;
    double *latencies_ms; /* NULL: not wanted; else one per request */
    atomic_int answered;
} load;

static void die(const char *what) {
    fprintf(stderr, "bench_agent: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static double cpu_us(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0) {
        die("CPU clock of the server");
    }
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static long resident_kib(pid_t pid) {
    char path[64];
    long size = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2) {
        die(path);
    }
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static int try_connect(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* One request on a kept connection; false unless it was answered with 200. */
static bool call(int fd, const method *what, unsigned number, char *buffer, size_t size) {
    char body[256], request[512], digits[16];
    snprintf(body, sizeof body, "%s", what->body);
    char *mark = strstr(body, "########");
    if (mark != NULL) {
        snprintf(digits, sizeof digits, "%08x", number);
        memcpy(mark, digits, 8);
    }
    int len = snprintf(request, sizeof request,
                       "POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       what->path, strlen(body), body);
    if (send(fd, request, (size_t)len, MSG_NOSIGNAL) != len) {
        return false;
    }
    size_t got = 0, want = size;
    while (got < want) {
        ssize_t n = recv(fd, buffer + got, size - 1 - got, 0);
        if (n <= 0) {
            return false;
        }
        got += (size_t)n;
        buffer[got] = 0;
        char *end = want == size ? strstr(buffer, "\r\n\r\n") : NULL;
        if (end != NULL) {
            char *length = strcasestr(buffer, "content-length:");
            if (length == NULL || length > end) {
                return false;
            }
            want = (size_t)(end - buffer) + 4 + strtoul(length + 15, NULL, 10);
        }
    }
    return strncmp(buffer, "HTTP/1.1 200", 12) == 0;
}

static void *client(void *user) {
    load *l = user;
    const size_t size = 1 << 20;
    char *buffer = malloc(size);
    int fd = try_connect(l->socket), number;
    if (fd < 0 || buffer == NULL) {
        die(l->socket);
    }
    while ((number = atomic_fetch_sub(&l->left, 1)) > 0) {
        double begin = l->latencies_ms != NULL ? now_ms() : 0;
        if (!call(fd, l->what, (unsigned)number, buffer, size)) {
            atomic_fetch_add(&l->failed, 1);
        } else if (l->latencies_ms != NULL) {
            l->latencies_ms[atomic_fetch_add(&l->answered, 1)] = now_ms() - begin;
        }
    }
    close(fd);
    free(buffer);
    return NULL;
}

static void run(const char *socket, const method *what, int connections, int requests,
                double *latencies_ms) {
    load l = {.socket = socket, .what = what, .left = requests, .latencies_ms = latencies_ms};
    pthread_t threads[CONNECTIONS_MAX];
    for (int i = 0; i < connections; i++) {
        if (pthread_create(&threads[i], NULL, client, &l) != 0) {
            die("thread");
        }
    }
    for (int i = 0; i < connections; i++) {
        pthread_join(threads[i], NULL);
    }
    if (l.failed > 0) {
        fprintf(stderr, "bench_agent: %d of %d %s failed\n", (int)l.failed, requests, what->name);
        exit(1);
    }
}

static bool is_wanted(const method *what) {
    return only == NULL || strcmp(only, what->name) == 0;
}

static void measure(pid_t pid, const char *socket, int requests, int rounds) {
    double best[METHODS][COUNTS];
    for (int r = 0; r < rounds + 1; r++) { /* the first one warms up */
        for (size_t m = 0; m < METHODS; m++) {
            for (size_t c = 0; c < COUNTS && is_wanted(&methods[m]); c++) {
                int n = r == 0 ? requests / 10 + 1 : requests;
                double before = cpu_us(pid);
                run(socket, &methods[m], connection_counts[c], n, NULL);
                double each = (cpu_us(pid) - before) / n;
                if (r <= 1 || each < best[m][c]) {
                    best[m][c] = each;
                }
            }
        }
    }
    printf("%-12s %12s %12s\n", "us of CPU", "1 connection", "8");
    for (size_t m = 0; m < METHODS; m++) {
        if (is_wanted(&methods[m])) {
            printf("%-12s %12.1f %12.1f\n", methods[m].name, best[m][0], best[m][1]);
        }
    }
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static void measure_latency(const char *socket, const char *name, int requests) {
    size_t m = 0;
    while (strcmp(methods[m].name, name) != 0) {
        m++;
    }
    double *ms = calloc((size_t)requests, sizeof *ms);
    if (ms == NULL) {
        die("memory");
    }
    run(socket, &methods[m], 64, requests, ms);
    qsort(ms, (size_t)requests, sizeof *ms, by_value);
    printf("%s, 64 clients: p50 %.2f ms, p99 %.2f ms\n", name, ms[requests / 2],
           ms[(long)requests * 99 / 100]);
    free(ms);
}

static pid_t start(char **argv, const char *socket, double *ready_ms) {
    double begin = now_ms();
    pid_t pid = fork();
    if (pid == 0) {
        execv(argv[0], argv);
        _exit(127);
    }
    char buffer[4096];
    for (int i = 0; i < READY_TRIES; i++) {
        int fd = try_connect(socket);
        if (fd >= 0) {
            bool answered = call(fd, &methods[0], 0, buffer, sizeof buffer);
            close(fd);
            if (answered) {
                *ready_ms = now_ms() - begin;
                return pid;
            }
        }
        usleep(200);
    }
    die("the agent does not answer");
    return -1;
}

static void stop(pid_t pid) {
    kill(pid, SIGTERM);
    waitpid(pid, NULL, 0);
}

int main(int argc, char **argv) {
    int requests = 2000, rounds = 3, soak = 0, at = 1;
    pid_t pid = 0;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        int value = atoi(argv[at + 1]);
        if (strcmp(argv[at], "--requests") == 0) {
            requests = value;
        } else if (strcmp(argv[at], "--rounds") == 0) {
            rounds = value;
        } else if (strcmp(argv[at], "--soak") == 0) {
            soak = value;
        } else if (strcmp(argv[at], "--only") == 0) {
            only = argv[at + 1];
        } else if (strcmp(argv[at], "--pid") == 0) {
            pid = value;
        }
    }
    if (argc - at != (pid > 0 ? 1 : 2) || requests < 1 || rounds < 1) {
        fprintf(stderr, "usage: bench_agent [--requests N] [--rounds N] [--soak N] AGENT DATA\n"
                        "       bench_agent [--requests N] [--rounds N] --pid PID SOCKET\n");
        return 2;
    }
    if (pid > 0) {
        measure(pid, argv[at], requests, rounds);
        measure_latency(argv[at], "GetKey", requests);
        measure_latency(argv[at], "GetKey same", requests);
        printf("resident: %ld KiB\n", resident_kib(pid));
        return 0;
    }
    char dir[] = "/tmp/bench-agent-XXXXXX", socket[64];
    if (mkdtemp(dir) == NULL) {
        die("directory");
    }
    snprintf(socket, sizeof socket, "%s/dstack.sock", dir);
    char *command[] = {argv[at], "simulate", "--data", argv[at + 1], "--dir", dir, NULL};
    double best_ready = 0, ready;
    for (int i = 0; i < 5; i++) {
        stop(start(command, socket, &ready));
        best_ready = i == 0 || ready < best_ready ? ready : best_ready;
    }
    pid = start(command, socket, &ready);
    usleep(500000);
    printf("ready: %.1f ms\nresident, fresh: %ld KiB\n", best_ready, resident_kib(pid));
    measure(pid, socket, requests, rounds);
    measure_latency(socket, "GetKey", requests);
    measure_latency(socket, "GetKey same", requests);
    printf("resident, after these: %ld KiB\n", resident_kib(pid));
    if (soak > 0) {
        for (size_t m = 0; m < METHODS; m++) {
            run(socket, &methods[m], 8, soak / (int)METHODS, NULL);
        }
        printf("resident, after %d more: %ld KiB\n", soak, resident_kib(pid));
    }
    stop(pid);
    rmdir(dir);
    return 0;
}
