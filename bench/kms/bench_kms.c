/* What one request costs a KMS: CPU time of its two processes (the one that speaks to the network and
 * its signer), by method; how long a thousand guests wait that boot at once; memory and start.
 *
 *   bench_kms [--requests N] [--rounds N] [--guests N] [--only METHOD] DSTACK_KMS
 *
 * A real dstack-kms under a simulation root, one client thread; guests show a certificate with a TDX
 * quote in it. Each figure is the lowest of the rounds, which are interleaved. For the guests the KMS
 * is kept to the first processor; every guest has a key and a quote of its own, made beforehand, and
 * a connection and a thread of its own. */
#include "../../tests/integration/kms_calls.h"

#include <sched.h>

#define GUEST_STACK ((size_t)512 << 10)

typedef struct caller_identity {
    dstack_secret *key;
    dstack_buf pem;
} caller_identity;

typedef struct method {
    const char *name, *path;
    const char *body; /* NULL: made at start */
    bool identified;
} method;

static method methods[] = {
    {"GetMeta", "/prpc/GetMeta?json", "null", false},
    {"GetAppEnvEncryptPubKey", "/prpc/GetAppEnvEncryptPubKey?json", NULL, false},
    {"GetAppKey", "/prpc/GetAppKey?json", NULL, true},
    {"SignCert", "/prpc/SignCert?json", NULL, false},
};
#define METHODS (sizeof methods / sizeof *methods)
static const char *only; /* name of the one method to measure; NULL: all */

static double now_ms(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* ---- the KMS's processes ---- */

static pid_t signer_of(pid_t parent) {
    char path[64];
    long child = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)parent, (int)parent);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%ld", &child) != 1) {
        fail_msg("%s names no signer", path);
    }
    fclose(file);
    return (pid_t)child;
}

static double cpu_of(pid_t pid) {
    clockid_t clock;
    struct timespec t;
    assert_int_equal(clock_getcpuclockid(pid, &clock), 0);
    assert_int_equal(clock_gettime(clock, &t), 0);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double cpu_us(const world *w) {
    return cpu_of(w->pid) + cpu_of(signer_of(w->pid));
}

static long resident_kib(pid_t pid) {
    char path[64];
    long size = 0, resident = 0;
    snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
    FILE *file = fopen(path, "r");
    if (file == NULL || fscanf(file, "%ld %ld", &size, &resident) != 2) {
        fail_msg("%s", path);
    }
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* From the start of the program to the line that says it serves. */
static double start(world *w) {
    double begin = now_ms();
    unlink(w->log);
    w->pid = world_spawn(w, true);
    for (int i = 0; i < 100000 && (w->port = world_find_port(w->log, "status=\"serving")) == 0;
         i++) {
        usleep(100);
    }
    double taken = now_ms() - begin;
    assert_true(w->port != 0);
    snprintf(w->url, sizeof w->url, "https://localhost:%u", w->port);
    return taken;
}

/* ---- requests ---- */

static http_client *connect_as(const world *w, const caller_identity *who) {
    dstack_error err = {0};
    http_client_config config = {.url = w->url, .trust = HTTP_CLIENT_TRUST_NONE};
    if (who != NULL) {
        config.certificate_pem = bytes_of_buf(&who->pem);
        config.key_pem = bytes_of(dstack_secret_peek(who->key), dstack_secret_len(who->key));
    }
    http_client *client = http_client_new(&config, &err);
    if (client == NULL) {
        fail_msg("%s", err.message);
    }
    return client;
}

static bool ask(http_client *client, const method *what, dstack_error *err) {
    DSTACK_AUTO(http_client_response) http_client_response answer = {0};
    const http_client_request request = {.method = "POST",
                                         .path = what->path,
                                         .content_type = "application/json",
                                         .body = bytes_of_str(what->body)};
    return http_client_send_ok(client, &request, &answer, err) == 0;
}

static void must_ask(http_client *client, const method *what) {
    dstack_error err = {0};
    if (!ask(client, what, &err)) {
        fail_msg("%s: %s", what->name, err.message);
    }
}

static void run(const world *w, const method *what, const caller_identity *who, int requests,
                bool kept) {
    DSTACK_AUTO(http_client) http_client *client = NULL;
    const caller_identity *owner = what->identified ? who : NULL;
    for (int i = 0; i < requests; i++) {
        if (!kept) {
            http_client_free(client);
            client = NULL;
        }
        if (client == NULL) {
            client = connect_as(w, owner);
        }
        must_ask(client, what);
    }
}

static void make_bodies(const world *w) {
    static char env[128], keys[16384], sign[65536];
    dstack_error err = {0};
    snprintf(env, sizeof env, "{\"app_id\":\"%s\"}", w->app_id);
    DSTACK_AUTO(json)
    json_t *asking = json_pack("{s:i,s:s}", "api_version", 1, "vm_config", w->image.vm_config);
    DSTACK_AUTO(buf) dstack_buf text = {0}, csr = {0}, signature = {0}, spki = {0}, body = {0};
    assert_ok(json_write(asking, false, &text, &err), err);
    snprintf(keys, sizeof keys, "%s", buf_text(&text));
    DSTACK_AUTO(attestation) dstack_attestation *evidence = NULL;
    dstack_secret *key = NULL;
    uint8_t report_data[DSTACK_REPORT_DATA_SIZE];
    assert_ok(dstack_cert_key_new(&key, &err), err);
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), report_data, &err), err);
    assert_ok(workload_attest(w->guest, report_data, &evidence, &err), err);
    dstack_csr_spec spec = {
        .subject = "bench", .server_auth = true, .client_auth = true, .with_quote = true};
    assert_ok(dstack_csr_build(&spec, key, evidence, DSTACK_ATTESTATION_V1, &csr, &signature, &err),
              err);
    DSTACK_AUTO(json)
    json_t *signing =
        json_pack("{s:i,s:o,s:o,s:s}", "api_version", 2, "csr", json_hex(bytes_of_buf(&csr)),
                  "signature", json_hex(bytes_of_buf(&signature)), "vm_config", w->image.vm_config);
    assert_ok(json_write(signing, false, &body, &err), err);
    snprintf(sign, sizeof sign, "%s", buf_text(&body));
    dstack_secret_free(key);
    methods[1].body = env;
    methods[2].body = keys;
    methods[3].body = sign;
}

static bool is_wanted(const method *what) {
    return only == NULL || strcmp(only, what->name) == 0;
}

static void measure(const world *w, const caller_identity *who, int requests, int rounds) {
    double best[METHODS][2];
    for (int r = 0; r < rounds + 1; r++) { /* the first one warms up */
        for (size_t m = 0; m < METHODS; m++) {
            for (int kept = 0; kept < 2 && is_wanted(&methods[m]); kept++) {
                int n = r == 0 ? requests / 10 + 1 : requests;
                double before = cpu_us(w);
                run(w, &methods[m], who, n, kept != 0);
                double each = (cpu_us(w) - before) / n;
                if (r <= 1 || each < best[m][kept]) {
                    best[m][kept] = each;
                }
            }
        }
    }
    printf("%-24s %16s %16s\n", "us of CPU per request", "kept connection", "a new one each");
    for (size_t m = 0; m < METHODS; m++) {
        if (is_wanted(&methods[m])) {
            printf("%-24s %16.0f %16.0f\n", methods[m].name, best[m][1], best[m][0]);
        }
    }
}

/* ---- many guests at once ---- */

typedef struct guest {
    const world *w;
    caller_identity who;
    pthread_barrier_t *line;
    double waited_ms;
    dstack_error err;
    bool good;
} guest;

static void *boot(void *user) {
    guest *g = user;
    DSTACK_AUTO(http_client) http_client *client = connect_as(g->w, &g->who);
    pthread_barrier_wait(g->line);
    double begin = now_ms();
    g->good = ask(client, &methods[2], &g->err);
    g->waited_ms = now_ms() - begin;
    return NULL;
}

static int by_wait(const void *a, const void *b) {
    double x = ((const guest *)a)->waited_ms, y = ((const guest *)b)->waited_ms;
    return x < y ? -1 : x > y;
}

static void keep_to_first_processor(pid_t pid) {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    char path[64];
    snprintf(path, sizeof path, "taskset -acp 0 %d >/dev/null", (int)pid);
    if (system(path) != 0) { /* every thread that there is */
        fail_msg("taskset");
    }
    assert_int_equal(sched_setaffinity(pid, sizeof one, &one), 0);
}

static void boot_guests(const world *w, int count) {
    guest *all = calloc((size_t)count, sizeof *all);
    pthread_t *threads = calloc((size_t)count, sizeof *threads);
    pthread_barrier_t line;
    pthread_attr_t attr;
    int failed = 0;
    assert_non_null(all);
    assert_non_null(threads);
    pthread_barrier_init(&line, NULL, (unsigned)count);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, GUEST_STACK);
    keep_to_first_processor(w->pid);
    keep_to_first_processor(signer_of(w->pid));
    for (int i = 0; i < count; i++) {
        all[i] = (guest){.w = w, .line = &line};
        call_certificate(w, SHOW_EVIDENCE, &all[i].who.key, &all[i].who.pem);
    }
    double before = cpu_us(w), begin = now_ms();
    for (int i = 0; i < count; i++) {
        assert_int_equal(pthread_create(&threads[i], &attr, boot, &all[i]), 0);
    }
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
    }
    double all_ms = now_ms() - begin, cpu_ms = (cpu_us(w) - before) / 1e3;
    for (int i = 0; i < count; i++) {
        if (!all[i].good && failed++ < 5) {
            printf("failed: %s\n", all[i].err.message);
        }
        dstack_secret_free(all[i].who.key);
        dstack_buf_clear(&all[i].who.pem);
    }
    qsort(all, (size_t)count, sizeof *all, by_wait);
    printf("%d guests at once, KMS on one processor: %d failed, p50 %.0f ms, p99 %.0f ms, "
           "all in %.0f ms, %.0f ms of CPU\n",
           count, failed, all[count / 2].waited_ms, all[(long)count * 99 / 100].waited_ms, all_ms,
           cpu_ms);
    printf("resident, after them: %ld KiB, signer %ld KiB\n", resident_kib(w->pid),
           resident_kib(signer_of(w->pid)));
    free(all);
    free(threads);
}

int main(int argc, char **argv) {
    int requests = 500, rounds = 3, guests = 1000, at = 1;
    for (; at + 1 < argc && strncmp(argv[at], "--", 2) == 0; at += 2) {
        int value = atoi(argv[at + 1]);
        if (strcmp(argv[at], "--requests") == 0) {
            requests = value;
        } else if (strcmp(argv[at], "--rounds") == 0) {
            rounds = value;
        } else if (strcmp(argv[at], "--guests") == 0) {
            guests = value;
        } else if (strcmp(argv[at], "--only") == 0) {
            only = argv[at + 1];
        }
    }
    if (argc - at != 1 || requests < 1 || rounds < 1 || guests < 0) {
        fprintf(stderr, "usage: bench_kms [--requests N] [--rounds N] [--guests N] [--only METHOD] "
                        "DSTACK_KMS\n");
        return 2;
    }
    kms_program = argv[at];
    void *state = NULL;
    world_setup(&state);
    world *w = state;
    /* All requests come from one address. */
    char unlimited[256];
    snprintf(unlimited, sizeof unlimited, "sed -i 's/public_rate: 1000/public_rate: 0/' '%s'",
             w->config);
    assert_int_equal(system(unlimited), 0);
    double best_ready = 0;
    for (int i = 0; i < 6; i++) { /* the first makes the root keys */
        double ready = start(w);
        best_ready = i <= 1 || ready < best_ready ? ready : best_ready;
        if (i < 5) {
            world_kill(w, SIGTERM);
        }
    }
    usleep(500000);
    printf("ready: %.1f ms\nresident, idle: %ld KiB, signer %ld KiB\n", best_ready,
           resident_kib(w->pid), resident_kib(signer_of(w->pid)));
    caller_identity who = {0};
    call_certificate(w, SHOW_EVIDENCE, &who.key, &who.pem);
    make_bodies(w);
    measure(w, &who, requests, rounds);
    printf("resident, after these: %ld KiB, signer %ld KiB\n", resident_kib(w->pid),
           resident_kib(signer_of(w->pid)));
    if (guests > 0) {
        boot_guests(w, guests);
    }
    dstack_secret_free(who.key);
    dstack_buf_clear(&who.pem);
    world_teardown(&state);
    return 0;
}
