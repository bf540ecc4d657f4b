/* Quote verifications per second of CPU time of one thread.
 *
 *   bench_verify [--peer PROGRAM]... [--rounds N] [--seconds S]
 *                [--only warm|platform|cold|young|parse|batch]
 *                QUOTE COLLATERAL NOW [ROOT.der]
 *
 * young: a verifier that has seen neither collateral nor platform, made for the one quote, in a
 * process that is new (the 200 verifications after its first); cold: the same in a process that has
 * verified a thousand; platform: collateral known, platform not; warm: both known, a thousand quotes
 * seen. Rounds of all measurements are interleaved and the lowest of each counts. Each peer is
 * run once per round in the same way; it takes QUOTE COLLATERAL NOW SECONDS and prints microseconds of
 * CPU per verification. batch: dstack_verifier_check_many over 4096 warm quotes with 1 to
 * 8 threads and one for each core, by the clock on the wall and by processor time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <dstack/verifier.h>

#include "base/auto.h"
#include "base/buf.h"
#include "base/cursor.h"
#include "base/file.h"
#include "crypto/ecdsa.h"
#include "verify/dcap/collateral.h"

#define MAX_PEERS 4

typedef struct bench {
    char *quote_path, *collateral_path, *now_text, *root_path, *only;
    char *peers[MAX_PEERS];
    double peer_us[MAX_PEERS];
    size_t peer_count;
    dstack_buf quote, root;
    dstack_collateral *collateral;
    int64_t now;
    double seconds;
    int rounds;
} bench;

static void die(const char *what, const dstack_error *err) {
    fprintf(stderr, "bench_verify: %s: %s\n", what, err == NULL ? "failed" : err->message);
    exit(1);
}

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static dstack_verifier *open_verifier(const bench *b) {
    const dstack_trust_root root = {"bench root", {b->root.data, b->root.len}};
    const dstack_verifier_options options = {
        .roots = &root,
        .root_count = b->root.len > 0 ? 1 : 0,
        .no_builtin_root = b->root.len > 0,
    };
    dstack_verifier *v = NULL;
    dstack_error err = {0};
    if (dstack_verifier_new(&v, &options, &err) != 0) {
        die("verifier", &err);
    }
    return v;
}

static void check(const bench *b, dstack_verifier *v, dstack_collateral *collateral) {
    dstack_quote_report report;
    dstack_error err = {0};
    if (dstack_verifier_check_with(v, bytes_of_buf(&b->quote), collateral, NULL, b->now, &report,
                                   &err) != 0) {
        die("check", &err);
    }
}

static void cold(const bench *b, void *state) {
    dstack_verifier *v = open_verifier(b);
    check(b, v, b->collateral);
    dstack_verifier_free(v);
}

static void warm(const bench *b, void *state) {
    check(b, state, b->collateral);
}

/* Certification data in ever new bytes: what stands behind the last block of the chain is nobody's,
 * and a verifier takes a platform for known by all bytes. */
typedef struct stranger {
    dstack_verifier *verifier;
    dstack_collateral *collateral; /* without a PCK chain, so that the quote's is used */
    dstack_buf quote;
    size_t at; /* two such bytes: the last one, and the one between the last two blocks */
    size_t other;
    unsigned count;
} stranger;

static void stranger_open(const bench *b, stranger *s) {
    static const char begin[] = "-----BEGIN";
    dstack_collateral_parts parts;
    dstack_quote q;
    dstack_error err = {0};
    *s = (stranger){.verifier = open_verifier(b)};
    dstack_collateral_get(b->collateral, &parts);
    parts.has_pck_certificate_chain = false;
    buf_put_bytes(&s->quote, bytes_of_buf(&b->quote));
    if (dstack_collateral_new(&s->collateral, &parts, &err) != 0 ||
        dstack_quote_parse(&q, bytes_of_buf(&s->quote), &err) != 0) {
        die("quote", &err);
    }
    s->at = (size_t)(q.cert_data.data - s->quote.data) + q.cert_data.len - 1;
    for (size_t i = 1; i + sizeof begin < q.cert_data.len; i++) {
        if (memcmp(q.cert_data.data + i, begin, sizeof begin - 1) == 0) {
            s->other = (size_t)(q.cert_data.data - s->quote.data) + i - 1;
        }
    }
}

static void stranger_close(stranger *s) {
    dstack_verifier_free(s->verifier);
    dstack_collateral_free(s->collateral);
    dstack_buf_clear(&s->quote);
}

static void platform(const bench *b, void *state) {
    stranger *s = state;
    dstack_quote_report report;
    dstack_error err = {0};
    s->quote.data[s->at] = (uint8_t)(s->count % 256);
    s->quote.data[s->other] = (uint8_t)(s->count / 256 % 32);
    s->count++;
    if (dstack_verifier_check_with(s->verifier, bytes_of_buf(&s->quote), s->collateral, NULL,
                                   b->now, &report, &err) != 0) {
        die("check", &err);
    }
}

static void parse(const bench *b, void *state) {
    dstack_quote q;
    dstack_error err = {0};
    if (dstack_quote_parse(&q, bytes_of_buf(&b->quote), &err) != 0) {
        die("parse", &err);
    }
}

/* Microseconds of CPU per call. */
static double measure(const bench *b, void (*call)(const bench *, void *), void *state) {
    double start = cpu_seconds();
    long count = 0;
    while (cpu_seconds() - start < b->seconds) {
        for (int i = 0; i < 20; i++) {
            call(b, state);
        }
        count += 20;
    }
    return (cpu_seconds() - start) / (double)count * 1e6;
}

/* The figure that another program prints. */
static double run_program(const char *program, char *const *args) {
    int ends[2];
    char text[64] = "";
    if (pipe(ends) != 0) {
        die("pipe", NULL);
    }
    pid_t pid = fork();
    if (pid == 0) {
        dup2(ends[1], 1);
        execv(program, args);
        _exit(127);
    }
    close(ends[1]);
    ssize_t got = read(ends[0], text, sizeof text - 1);
    close(ends[0]);
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0 || got <= 0) {
        die(program, NULL);
    }
    return strtod(text, NULL);
}

static double run_peer(bench *b, char *program) {
    char seconds[32];
    snprintf(seconds, sizeof seconds, "%g", b->seconds);
    char *args[] = {program, b->quote_path, b->collateral_path, b->now_text, seconds, NULL};
    return run_program(program, args);
}

/* What a new process does: the library has made no table of any key yet. */
static double measure_young(const bench *b) {
    enum { WARM_UP = 5, COUNT = 200 };
    double start = 0;
    for (int i = -WARM_UP; i < COUNT; i++) {
        start = i == 0 ? cpu_seconds() : start;
        cold(b, NULL);
    }
    return (cpu_seconds() - start) / COUNT * 1e6;
}

static double run_young(bench *b) {
    char *args[] = {"bench_verify",     "--young",   "1",          b->quote_path,
                    b->collateral_path, b->now_text, b->root_path, NULL};
    return run_program("/proc/self/exe", args);
}

static void lower(double *best, double value) {
    if (*best == 0 || value < *best) {
        *best = value;
    }
}

static bool wanted(const bench *b, const char *name) {
    return b->only == NULL || strcmp(b->only, name) == 0;
}

static const char *name_of(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* With the rate as a multiple of each peer's. */
static void report(const bench *b, const char *name, double us) {
    if (us == 0) {
        return;
    }
    printf("%-20s %9.2f us  %9.0f per CPU second", name, us, 1e6 / us);
    for (size_t i = 0; i < b->peer_count; i++) {
        printf("  %6.2f", b->peer_us[i] / us);
    }
    printf("\n");
}

enum { BATCH = 4096 };

/* One batch: by the clock on the wall, and the time that all its threads took of the processors. On a
 * loaded machine only the second tells how it scales: what threads cost each other shows there. */
typedef struct batch_time {
    double wall, cpu; /* seconds */
} batch_time;

static double seconds_of(clockid_t clock) {
    struct timespec at;
    clock_gettime(clock, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static batch_time measure_batch(const bench *b, dstack_verifier *v, unsigned threads) {
    dstack_quote_check *checks = calloc(BATCH, sizeof *checks);
    dstack_error err = {0};
    for (size_t i = 0; checks != NULL && i < BATCH; i++) {
        checks[i].quote = bytes_of_buf(&b->quote);
        checks[i].collateral = b->collateral;
    }
    batch_time t = {seconds_of(CLOCK_MONOTONIC), seconds_of(CLOCK_PROCESS_CPUTIME_ID)};
    if (checks == NULL ||
        dstack_verifier_check_many(v, checks, BATCH, b->now, threads, &err) != 0) {
        die("batch", &err);
    }
    t.wall = seconds_of(CLOCK_MONOTONIC) - t.wall;
    t.cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - t.cpu;
    free(checks);
    return t;
}

static void keep_least(batch_time *least, batch_time t) {
    least->wall = least->wall == 0 || t.wall < least->wall ? t.wall : least->wall;
    least->cpu = least->cpu == 0 || t.cpu < least->cpu ? t.cpu : least->cpu;
}

static void run_batches(const bench *b, dstack_verifier *v) {
    static const unsigned threads[] = {1, 2, 4, 8, 0};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        batch_time least = {0};
        char name[32];
        for (int round = 0; round < b->rounds; round++) {
            keep_least(&least, measure_batch(b, v, threads[i]));
        }
        snprintf(name, sizeof name, threads[i] == 0 ? "batch, all cores" : "batch, threads: %u",
                 threads[i]);
        printf("%-20s %9.2f us of CPU, %9.0f per second by the clock\n", name,
               1e6 * least.cpu / BATCH, BATCH / least.wall);
    }
}

static void run(bench *b) {
    double youngs = 0, colds = 0, platforms = 0, warms = 0, parses = 0;
    stranger strangers;
    stranger_open(b, &strangers);
    dstack_verifier *known = open_verifier(b);
    check(b, known, b->collateral);
    for (int round = 0; round < b->rounds; round++) {
        if (wanted(b, "warm")) {
            lower(&warms, measure(b, warm, known));
        }
        for (size_t i = 0; i < b->peer_count; i++) {
            lower(&b->peer_us[i], run_peer(b, b->peers[i]));
        }
        if (wanted(b, "young")) {
            lower(&youngs, run_young(b));
        }
        if (wanted(b, "cold")) {
            lower(&colds, measure(b, cold, NULL));
        }
        if (wanted(b, "platform")) {
            lower(&platforms, measure(b, platform, &strangers));
        }
        if (wanted(b, "parse")) {
            lower(&parses, measure(b, parse, NULL));
        }
    }
    stranger_close(&strangers);
    printf("signatures by %s; lowest of %d interleaved rounds of %g s; last columns: rate, as a "
           "multiple of each peer's\n",
           ecdsa_backend(), b->rounds, b->seconds);
    for (size_t i = 0; i < b->peer_count; i++) {
        report(b, name_of(b->peers[i]), b->peer_us[i]);
    }
    report(b, "cold, young", youngs);
    report(b, "cold", colds);
    report(b, "platform", platforms);
    report(b, "warm", warms);
    report(b, "parse", parses);
    if (wanted(b, "batch")) {
        run_batches(b, known);
    }
    dstack_verifier_free(known);
}

static void load(bench *b, char **args, int count) {
    dstack_buf text = {0};
    dstack_error err = {0};
    b->quote_path = args[0];
    b->collateral_path = args[1];
    b->now_text = args[2];
    b->root_path = count > 3 ? args[3] : NULL;
    b->now = strtoll(args[2], NULL, 10);
    if (file_read(args[0], DSTACK_QUOTE_MAX_SIZE, &b->quote, &err) != 0 ||
        file_read(args[1], DSTACK_COLLATERAL_MAX_SIZE, &text, &err) != 0 ||
        dstack_collateral_parse(&b->collateral, bytes_of_buf(&text), &err) != 0 ||
        (count > 3 && file_read(args[3], 65536, &b->root, &err) != 0)) {
        die("input", &err);
    }
    dstack_buf_clear(&text);
}

int main(int argc, char **argv) {
    bench b = {.seconds = 1, .rounds = 6};
    bool young = false;
    int at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        if (strcmp(argv[at], "--peer") == 0 && b.peer_count < MAX_PEERS) {
            b.peers[b.peer_count++] = argv[at + 1];
        } else if (strcmp(argv[at], "--young") == 0) {
            young = true; /* as run_young calls it */
        } else if (strcmp(argv[at], "--only") == 0) {
            b.only = argv[at + 1];
        } else if (strcmp(argv[at], "--rounds") == 0) {
            b.rounds = atoi(argv[at + 1]);
        } else if (strcmp(argv[at], "--seconds") == 0) {
            b.seconds = strtod(argv[at + 1], NULL);
        } else {
            break;
        }
    }
    if (argc - at < 3 || argc - at > 4 || b.rounds < 1) {
        fprintf(stderr,
                "usage: bench_verify [--peer PROGRAM]... [--rounds N] [--seconds S] "
                "[--only warm|platform|cold|young|parse|batch] QUOTE COLLATERAL NOW [ROOT.der]\n");
        return 2;
    }
    load(&b, argv + at, argc - at);
    if (young) {
        printf("%.3f\n", measure_young(&b));
    } else {
        run(&b);
    }
    dstack_collateral_free(b.collateral);
    dstack_buf_clear(&b.quote);
    dstack_buf_clear(&b.root);
    return 0;
}
