/* The gateway's data plane over real sockets: termination, passthrough, half-close, refusals. */
#include "check.h"

#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "crypto/ecdsa.h"
#include "label.h"
#include "proxy.h"
#include "x509/build.h"
#include "x509/pem.h"

#define BASE "gw.example.test"

static cert_store *certificates;
static dstack_buf chain_pem;
static dstack_secret *key_pem;
static gnutls_certificate_credentials_t app_credentials;
static proxy *plane;
static uint16_t plain_port, tls_port, closed_port;
static atomic_uint app_connections;

static void make_certificate(void) {
    dstack_error err = {0};
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    DSTACK_AUTO(buf) dstack_buf der = {0};
    assert_ok(ecdsa_private_generate(&key, ECDSA_P256, &err), err);
    assert_ok(ecdsa_private_pem(key, &key_pem, &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    const char *names[] = {"*." BASE};
    x509_build spec = {.subject = {.common_name = "test"},
                       .not_before = time(NULL) - 60,
                       .not_after = time(NULL) + 3600,
                       .spki = bytes_of_buf(&spki),
                       .alt_names = names,
                       .alt_name_count = 1,
                       .key_usage = X509_KU_DIGITAL_SIGNATURE,
                       .eku = X509_EKU_SERVER_AUTH};
    assert_ok(x509_cert_build(&spec, key, false, &der, &err), err);
    assert_ok(pem_append(&chain_pem, "CERTIFICATE", bytes_of_buf(&der), &err), err);
}

/* ---- apps: echo what comes, and end when the client ends -------------------------------------- */

static int listen_on_loopback(uint16_t *port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 64), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &len), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

struct peer {
    int fd;
    bool tls;
};

static void *echo(void *user) {
    struct peer peer = *(struct peer *)user;
    free(user);
    gnutls_session_t session = NULL;
    if (peer.tls) {
        gnutls_init(&session, GNUTLS_SERVER);
        gnutls_set_default_priority(session);
        gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, app_credentials);
        gnutls_transport_set_int(session, peer.fd);
        if (gnutls_handshake(session) < 0) {
            gnutls_deinit(session);
            close(peer.fd);
            return NULL;
        }
    }
    char data[16384];
    for (;;) {
        ssize_t got = peer.tls ? gnutls_record_recv(session, data, sizeof data)
                               : recv(peer.fd, data, sizeof data, 0);
        if (got <= 0) {
            break;
        }
        for (ssize_t done = 0; done < got;) {
            size_t left = (size_t)(got - done);
            ssize_t put = peer.tls ? gnutls_record_send(session, data + done, left)
                                   : send(peer.fd, data + done, left, MSG_NOSIGNAL);
            if (put <= 0) {
                break;
            }
            done += put;
        }
    }
    /* The client's end has arrived: a last word shows that the other direction still works. */
    if (peer.tls) {
        gnutls_record_send(session, "bye", 3);
        gnutls_bye(session, GNUTLS_SHUT_WR);
        gnutls_deinit(session);
    } else {
        send(peer.fd, "bye", 3, MSG_NOSIGNAL);
    }
    close(peer.fd);
    return NULL;
}

struct listener {
    int fd;
    bool tls;
};

static void *serve(void *user) {
    struct listener *listener = user;
    for (;;) {
        int fd = accept(listener->fd, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        struct peer *peer = malloc(sizeof *peer);
        *peer = (struct peer){fd, listener->tls};
        pthread_t thread;
        pthread_create(&thread, NULL, echo, peer);
        pthread_detach(thread);
    }
}

static struct listener plain_listener, tls_listener;

/* ---- routing: app (terminate), app-s (passthrough), closed, first-closed ---------------------- */

static void set_target(proxy_plan *plan, size_t i, uint16_t port) {
    struct sockaddr_in *address = (struct sockaddr_in *)&plan->targets[i].address;
    *address = (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    plan->targets[i].len = sizeof *address;
    plan->targets[i].connections = &app_connections;
    plan->target_count = i + 1;
}

static int route(void *user, const char *sni, proxy_plan *plan, dstack_error *err) {
    (void)user;
    char name[256];
    snprintf(name, sizeof name, "%s", sni);
    char *dot = strchr(name, '.');
    host_label label;
    *plan = (proxy_plan){0};
    if (dot == NULL || strcmp(dot + 1, BASE) != 0) {
        return error_set(err, DSTACK_E_NOT_FOUND, "not ours");
    }
    *dot = '\0';
    int rc = host_label_parse(name, &label, err);
    if (rc != 0) {
        return rc;
    }
    plan->terminate = !label.passthrough;
    plan->h2 = label.h2;
    if (plan->terminate) {
        plan->certificate = cert_store_find(certificates, BASE);
    }
    uint16_t app_port = label.passthrough ? tls_port : plain_port;
    if (strcmp(label.id, "closed") == 0) {
        set_target(plan, 0, closed_port);
    } else if (strcmp(label.id, "second") == 0) {
        set_target(plan, 0, closed_port);
        set_target(plan, 1, app_port);
    } else {
        set_target(plan, 0, app_port);
    }
    return 0;
}

static int set_up(void **state) {
    (void)state;
    dstack_error err = {0};
    make_certificate();
    certificates = cert_store_new();
    dstack_bytes chain = bytes_of_buf(&chain_pem);
    assert_ok(cert_store_set(certificates, BASE, chain, key_pem, time(NULL), &err), err);
    gnutls_certificate_allocate_credentials(&app_credentials);
    gnutls_datum_t pem = {chain_pem.data, (unsigned)chain_pem.len};
    gnutls_datum_t key = {dstack_secret_data(key_pem), (unsigned)dstack_secret_len(key_pem)};
    assert_true(
        gnutls_certificate_set_x509_key_mem(app_credentials, &pem, &key, GNUTLS_X509_FMT_PEM) >= 0);
    plain_listener = (struct listener){listen_on_loopback(&plain_port), false};
    tls_listener = (struct listener){listen_on_loopback(&tls_port), true};
    close(listen_on_loopback(&closed_port));
    pthread_t thread;
    pthread_create(&thread, NULL, serve, &plain_listener);
    pthread_detach(thread);
    pthread_create(&thread, NULL, serve, &tls_listener);
    pthread_detach(thread);
    proxy_config config = {
        .listen = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
        .workers = 2,
        .handshake_ms = 600,
        .connect_ms = 2000,
        .idle_ms = 1500,
        .shutdown_ms = 1000,
        .total_ms = 60000,
        .route = route,
    };
    assert_ok(proxy_start(&plane, &config, &err), err);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    proxy_stop(plane, 0);
    shutdown(plain_listener.fd, SHUT_RDWR);
    shutdown(tls_listener.fd, SHUT_RDWR);
    cert_store_free(certificates);
    gnutls_certificate_free_credentials(app_credentials);
    dstack_secret_free(key_pem);
    dstack_buf_clear(&chain_pem);
    return 0;
}

/* ---- the client ------------------------------------------------------------------------------- */

typedef struct client {
    int fd;
    gnutls_session_t tls;
    gnutls_certificate_credentials_t credentials;
} client;

static int dial(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(proxy_port(plane)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    struct timeval limit = {10, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    return fd;
}

static int client_open(client *c, const char *name, const char *alpn) {
    *c = (client){.fd = dial()};
    gnutls_certificate_allocate_credentials(&c->credentials);
    gnutls_init(&c->tls, GNUTLS_CLIENT);
    gnutls_set_default_priority(c->tls);
    gnutls_credentials_set(c->tls, GNUTLS_CRD_CERTIFICATE, c->credentials);
    gnutls_server_name_set(c->tls, GNUTLS_NAME_DNS, name, strlen(name));
    if (alpn != NULL) {
        gnutls_datum_t protocol = {(unsigned char *)(uintptr_t)alpn, (unsigned)strlen(alpn)};
        gnutls_alpn_set_protocols(c->tls, &protocol, 1, 0);
    }
    gnutls_transport_set_int(c->tls, c->fd);
    gnutls_handshake_set_timeout(c->tls, 10000);
    return gnutls_handshake(c->tls);
}

static void client_close(client *c) {
    gnutls_deinit(c->tls);
    gnutls_certificate_free_credentials(c->credentials);
    close(c->fd);
}

static void send_all(client *c, const uint8_t *data, size_t len) {
    while (len > 0) {
        ssize_t put = gnutls_record_send(c->tls, data, len);
        assert_true(put > 0);
        data += put;
        len -= (size_t)put;
    }
}

static size_t receive(client *c, uint8_t *out, size_t len) {
    size_t have = 0;
    while (have < len) {
        ssize_t got = gnutls_record_recv(c->tls, out + have, len - have);
        if (got <= 0 && got != GNUTLS_E_AGAIN && got != GNUTLS_E_INTERRUPTED) {
            break;
        }
        have += got > 0 ? (size_t)got : 0;
    }
    return have;
}

struct transfer {
    client *c;
    const uint8_t *data;
    size_t len;
};

static void *send_thread(void *user) {
    struct transfer *t = user;
    send_all(t->c, t->data, t->len);
    gnutls_bye(t->c->tls, GNUTLS_SHUT_WR);
    return NULL;
}

/* Sends a few megabytes, ends its own direction, and expects them back with the app's last word. */
static void round_trip(const char *name) {
    static uint8_t data[3 << 20], back[(3 << 20) + 16];
    for (size_t i = 0; i < sizeof data; i++) {
        data[i] = (uint8_t)(i * 2654435761u >> 13);
    }
    client c;
    assert_int_equal(client_open(&c, name, NULL), 0);
    struct transfer transfer = {&c, data, sizeof data};
    pthread_t thread;
    pthread_create(&thread, NULL, send_thread, &transfer);
    size_t got = receive(&c, back, sizeof back);
    pthread_join(thread, NULL);
    assert_int_equal(got, sizeof data + 3);
    assert_memory_equal(back, data, sizeof data);
    assert_memory_equal(back + sizeof data, "bye", 3);
    client_close(&c);
}

static void a_terminated_connection_carries_every_byte_and_half_close(void **state) {
    (void)state;
    round_trip("app." BASE);
    round_trip("app-8080." BASE);
}

static void a_passed_connection_reaches_the_apps_own_tls(void **state) {
    (void)state;
    round_trip("app-s." BASE);
    round_trip("APP-8443s." BASE);
}

static void a_dead_instance_gives_way_to_the_next(void **state) {
    (void)state;
    round_trip("second." BASE);
    round_trip("second-s." BASE);
}

static void nothing_is_answered_for_names_that_are_not_ours(void **state) {
    (void)state;
    const char *names[] = {"app.other.test", "app-1-2." BASE, "app-gs." BASE, "localhost"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        client c;
        assert_true(client_open(&c, names[i], NULL) < 0);
        client_close(&c);
    }
    client c;
    assert_true(client_open(&c, "closed-s." BASE, NULL) < 0); /* closed before any TLS byte */
    client_close(&c);
    assert_int_equal(client_open(&c, "closed." BASE, NULL), 0); /* the handshake comes first */
    uint8_t byte;
    assert_int_equal(receive(&c, &byte, 1), 0);
    client_close(&c);
}

/* Bytes that a raw client gets before the gateway closes. */
static ssize_t raw_answer(const char *bytes, size_t len) {
    int fd = dial();
    send(fd, bytes, len, MSG_NOSIGNAL);
    char answer[64];
    ssize_t got = recv(fd, answer, sizeof answer, 0);
    close(fd);
    return got;
}

static void other_protocols_and_slow_clients_are_closed(void **state) {
    (void)state;
    assert_true(raw_answer("GET / HTTP/1.1\r\n\r\n", 18) <= 0);
    assert_true(raw_answer("", 0) <= 0);                 /* silence: the handshake limit */
    assert_true(raw_answer("\x16\x03\x01\x00", 4) <= 0); /* half a record header */
}

static void alpn_h2_is_demanded_where_the_label_says_so(void **state) {
    (void)state;
    client c;
    assert_int_equal(client_open(&c, "app-g." BASE, "h2"), 0);
    gnutls_datum_t chosen;
    assert_int_equal(gnutls_alpn_get_selected_protocol(c.tls, &chosen), 0);
    assert_int_equal(chosen.size, 2);
    client_close(&c);
    assert_true(client_open(&c, "app-g." BASE, "http/1.1") < 0);
    client_close(&c);
}

static void an_idle_connection_ends(void **state) {
    (void)state;
    client c;
    assert_int_equal(client_open(&c, "app." BASE, NULL), 0);
    uint8_t byte;
    time_t before = time(NULL);
    assert_int_equal(receive(&c, &byte, 1), 0);
    assert_true(time(NULL) - before < 8);
    client_close(&c);
}

static void connections_are_counted_and_uncounted(void **state) {
    (void)state;
    for (int i = 0; i < 50 && atomic_load(&proxy_statistics(plane)->open) > 0; i++) {
        nanosleep(&(struct timespec){0, 100000000}, NULL);
    }
    assert_int_equal(atomic_load(&proxy_statistics(plane)->open), 0);
    assert_int_equal(atomic_load(&app_connections), 0);
    assert_true(atomic_load(&proxy_statistics(plane)->terminated) >= 3);
    assert_true(atomic_load(&proxy_statistics(plane)->passed) >= 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_terminated_connection_carries_every_byte_and_half_close),
        cmocka_unit_test(a_passed_connection_reaches_the_apps_own_tls),
        cmocka_unit_test(a_dead_instance_gives_way_to_the_next),
        cmocka_unit_test(nothing_is_answered_for_names_that_are_not_ours),
        cmocka_unit_test(other_protocols_and_slow_clients_are_closed),
        cmocka_unit_test(alpn_h2_is_demanded_where_the_label_says_so),
        cmocka_unit_test(an_idle_connection_ends),
        cmocka_unit_test(connections_are_counted_and_uncounted),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
