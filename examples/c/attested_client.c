/* A TLS client that talks to attested peers alone: the server's certificate must carry evidence that
 * binds its key, and that evidence must satisfy a policy. All of it is judged inside the handshake,
 * before a byte of the request is sent; no certificate authority and no name is trusted.
 *
 *     cc attested_client.c -o attested_client $(pkg-config --cflags --libs dstack)
 *     ./attested_client HOST PORT policy.yaml [collateral.json [pinned-root.der]]
 *
 * Without a collateral file it is fetched from Intel's or a caching service. */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <dstack/dstack.h>

#define TIMEOUT_MS 10000

typedef struct judge {
    dstack_verifier *verifier;
    dstack_attestation_policy *policy;
} judge;

static dstack_bytes read_file(const char *path) {
    static uint8_t room[3][1 << 20];
    static int next;
    FILE *file = fopen(path, "rb");
    if (file == NULL || next == 3) {
        perror(path);
        exit(3);
    }
    uint8_t *data = room[next++];
    size_t len = fread(data, 1, sizeof room[0], file);
    fclose(file);
    return (dstack_bytes){data, len};
}

static int fetch(void *user, dstack_verifier *verifier, dstack_bytes quote, dstack_error *err) {
    (void)user;
    dstack_collateral *collateral = NULL;
    int rc = dstack_collateral_fetch(&collateral, quote, NULL, err);
    rc = rc != 0 ? rc : dstack_verifier_add_collateral(verifier, collateral, err);
    dstack_collateral_free(collateral);
    return rc;
}

/* Runs inside the handshake; any other answer than 0 ends it. */
static int judge_server(void *user, const dstack_cert *cert, dstack_error *err) {
    const judge *j = user;
    const dstack_attestation_options options = {
        .now = time(NULL), .collateral = fetch, .image = dstack_measure_image_check};
    dstack_verified *verified = NULL;
    int rc = dstack_cert_verify_attestation(j->verifier, cert, &options, &verified, err);
    rc = rc != 0 ? rc : dstack_attestation_policy_decide(j->policy, verified, NULL, err);
    dstack_attestation_claim claim;
    for (size_t i = 0; rc == 0 && dstack_verified_claim(verified, i, &claim); i++) {
        fprintf(stderr, "%-16s %s [%s]\n", claim.name, claim.value,
                dstack_anchor_name(claim.anchor));
    }
    dstack_verified_free(verified);
    return rc;
}

static int open_judge(judge *j, int argc, char **argv, dstack_error *err) {
    dstack_trust_root root = {.name = "pinned root"};
    dstack_verifier_options options = {0};
    if (argc > 5) {
        root.cert = read_file(argv[5]);
        options =
            (dstack_verifier_options){.roots = &root, .root_count = 1, .no_builtin_root = true};
    }
    int rc = dstack_attestation_policy_parse(&j->policy, read_file(argv[3]), err);
    rc = rc != 0 ? rc : dstack_verifier_new(&j->verifier, &options, err);
    if (rc == 0 && argc > 4) {
        dstack_collateral *collateral = NULL;
        rc = dstack_collateral_parse(&collateral, read_file(argv[4]), err);
        rc = rc != 0 ? rc : dstack_verifier_add_collateral(j->verifier, collateral, err);
        dstack_collateral_free(collateral);
    }
    return rc;
}

static int connect_to(const char *host, const char *port) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &list) != 0) {
        return -1;
    }
    for (const struct addrinfo *at = list; fd < 0 && at != NULL; at = at->ai_next) {
        fd = socket(at->ai_family, at->ai_socktype, 0);
        if (fd >= 0 && connect(fd, at->ai_addr, at->ai_addrlen) != 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static int talk(dstack_tls *tls, const char *host, dstack_error *err) {
    char request[512], answer[4096];
    int len = snprintf(request, sizeof request,
                       "GET / HTTP/1.1\r\nHost: %.200s\r\nConnection: close\r\n\r\n", host);
    int rc =
        dstack_tls_write(tls, (dstack_bytes){(uint8_t *)request, (size_t)len}, TIMEOUT_MS, err);
    ssize_t got = 1;
    while (rc == 0 && got > 0) {
        got = dstack_tls_read(tls, answer, sizeof answer, TIMEOUT_MS, err);
        rc = got < 0 ? (int)got : 0;
        fwrite(answer, 1, got > 0 ? (size_t)got : 0, stdout);
    }
    return rc;
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 6) {
        fprintf(stderr, "usage: attested_client HOST PORT POLICY [COLLATERAL [ROOT]]\n");
        return 2;
    }
    dstack_error err = {0};
    judge j = {0};
    dstack_tls *tls = NULL;
    int rc = open_judge(&j, argc, argv, &err);
    int fd = rc == 0 ? connect_to(argv[1], argv[2]) : -1;
    if (rc == 0 && fd < 0) {
        fprintf(stderr, "%s:%s cannot be reached\n", argv[1], argv[2]);
        return 3;
    }
    const dstack_tls_client client = {
        .host = argv[1], .skip_host_check = true, .verify = judge_server, .user = &j};
    rc = rc != 0 ? rc : dstack_tls_connect(fd, &client, TIMEOUT_MS, &tls, &err);
    rc = rc != 0 ? rc : talk(tls, argv[1], &err);
    if (rc != 0) {
        fprintf(stderr, "refused: %s\n", err.message);
    }
    dstack_tls_free(tls);
    dstack_attestation_policy_free(j.policy);
    dstack_verifier_free(j.verifier);
    return rc == 0 ? 0 : 1;
}
