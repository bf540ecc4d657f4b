#include <pthread.h>
#include <sys/socket.h>

#include "attest/fixtures.h"
#include "cert/tls.h"

#define TIMEOUT 10000

typedef struct party {
    dstack_secret *key;
    dstack_buf cert;
    dstack_tls_identity *identity;
} party;

static int64_t now;
static dstack_secret *ca_key;
static dstack_buf ca_cert;
static dstack_ca *ca;
static party kms, app, attested, plain, expired;

static dstack_attestation *bound(const dstack_secret *key) {
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    dstack_td_report td = {0};
    dstack_error err = {0};
    assert_ok(dstack_cert_key_public(key, &spki, &err), err);
    assert_ok(dstack_cert_report_data(bytes_of_buf(&spki), td.report_data, &err), err);
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    put_form_quote(&quote, &td);
    DSTACK_AUTO(event_log) dstack_event_log *log = boot_events(1);
    dstack_attestation *a = NULL;
    assert_ok(dstack_attestation_new_tdx(bytes_of_buf(&quote), log, log, "{}", &a, &err), err);
    return a;
}

static void make_party(party *p, const char *usage, bool signed_by_ca, bool evidence, int64_t from,
                       int64_t until) {
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&p->key, &err), err);
    DSTACK_AUTO(attestation) dstack_attestation *a = evidence ? bound(p->key) : NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(dstack_cert_key_public(p->key, &spki, &err), err);
    const char *const names[] = {"kms.example.com"};
    dstack_cert_spec spec = {.subject = "x",
                             .alt_names = names,
                             .alt_name_count = 1,
                             .not_before = from,
                             .not_after = until,
                             .usage = usage,
                             .attestation = a};
    assert_ok(signed_by_ca ? dstack_ca_sign(ca, &spec, bytes_of_buf(&spki), &p->cert, &err)
                           : dstack_cert_self_signed(&spec, p->key, &p->cert, &err),
              err);
    assert_ok(dstack_tls_identity_new(bytes_of_buf(&p->cert), p->key, &p->identity, &err), err);
}

static void clear_party(party *p) {
    dstack_secret_free(p->key);
    dstack_buf_clear(&p->cert);
    dstack_tls_identity_free(p->identity);
}

static int set_up(void **state) {
    now = time(NULL);
    dstack_error err = {0};
    assert_ok(dstack_cert_key_new(&ca_key, &err), err);
    dstack_cert_spec spec = {
        .subject = "CA", .is_ca = true, .path_len = 1, .not_after = now + 3600};
    assert_ok(dstack_cert_self_signed(&spec, ca_key, &ca_cert, &err), err);
    assert_ok(dstack_ca_new(bytes_of_buf(&ca_cert), ca_key, &ca, &err), err);
    make_party(&kms, DSTACK_USAGE_KMS_RPC, true, false, now - 60, now + 3600);
    make_party(&app, DSTACK_USAGE_APP_CUSTOM, true, false, now - 60, now + 3600);
    make_party(&attested, NULL, false, true, now - 60, now + 3600);
    make_party(&plain, NULL, false, false, now - 60, now + 3600);
    make_party(&expired, NULL, false, true, now - 7200, now - 3600);
    return 0;
}

static int tear_down(void **state) {
    party *parties[] = {&kms, &app, &attested, &plain, &expired};
    for (size_t i = 0; i < 5; i++) {
        clear_party(parties[i]);
    }
    dstack_ca_free(ca);
    dstack_buf_clear(&ca_cert);
    dstack_secret_free(ca_key);
    return 0;
}

/* One exchange: the client sends "ping", the server answers "pong" and tells what it saw. */
typedef struct exchange {
    dstack_tls_server server;
    const dstack_tls_identity *identity;
    int fd;
    int server_rc;
    ssize_t received;
    bool client_cert;
    uint8_t binding[32];
} exchange;

static void *serve(void *data) {
    exchange *x = data;
    dstack_tls *tls = NULL;
    x->server_rc = dstack_tls_accept(x->fd, &x->server, x->identity, TIMEOUT, &tls, NULL);
    if (x->server_rc == 0) {
        char text[16];
        dstack_cert *cert = NULL;
        x->client_cert = dstack_tls_peer_cert(dstack_tls_session(tls), &cert, NULL) == 0;
        dstack_cert_free(cert);
        dstack_tls_channel_binding(dstack_tls_session(tls), x->binding, NULL);
        x->received = dstack_tls_read(tls, text, sizeof text, TIMEOUT, NULL);
        if (x->received > 0) {
            dstack_tls_write(tls, bytes_of_str("pong"), TIMEOUT, NULL);
        }
    }
    dstack_tls_free(tls);
    return NULL;
}

static int run(exchange *x, const dstack_tls_client *client, dstack_error *err) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    x->fd = pair[1];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, serve, x), 0);
    dstack_tls *tls = NULL;
    int rc = dstack_tls_connect(pair[0], client, TIMEOUT, &tls, err);
    if (rc == 0) {
        char text[16];
        uint8_t binding[32] = {0};
        rc = dstack_tls_write(tls, bytes_of_str("ping"), TIMEOUT, err);
        ssize_t n = rc == 0 ? dstack_tls_read(tls, text, sizeof text, TIMEOUT, err) : rc;
        rc = n == 4 && memcmp(text, "pong", 4) == 0 ? 0 : n < 0 ? (int)n : DSTACK_E_NETWORK;
        if (rc == 0) {
            assert_int_equal(dstack_tls_channel_binding(dstack_tls_session(tls), binding, NULL), 0);
            pthread_join(thread, NULL);
            assert_memory_equal(binding, x->binding, sizeof binding);
            dstack_tls_free(tls);
            return 0;
        }
        dstack_tls_free(tls);
    }
    pthread_join(thread, NULL);
    return rc;
}

static dstack_tls_client to_kms(void) {
    return (dstack_tls_client){
        .host = "kms.example.com", .root = bytes_of_buf(&ca_cert), .usage = DSTACK_USAGE_KMS_RPC};
}

static void a_server_under_the_root_with_the_usage_is_accepted(void **state) {
    exchange x = {.identity = kms.identity};
    dstack_tls_client client = to_kms();
    dstack_error err = {0};
    assert_ok(run(&x, &client, &err), err);
    assert_int_equal(x.received, 4);
    assert_false(x.client_cert);
}

static void sec_25_an_app_posing_as_the_kms_gets_no_request_bytes(void **state) {
    exchange x = {.identity = app.identity};
    dstack_tls_client client = to_kms();
    dstack_error err = {0};
    assert_int_equal(run(&x, &client, &err), DSTACK_E_REFUSED);
    assert_non_null(strstr(err.message, "usage"));
    assert_true(x.received <= 0);
}

static void a_server_under_another_root_or_name_is_refused(void **state) {
    exchange x = {.identity = plain.identity};
    dstack_tls_client client = to_kms();
    assert_true(run(&x, &client, NULL) < 0);
    assert_true(x.received <= 0);
    exchange y = {.identity = kms.identity};
    client.host = "other.example.com";
    assert_int_equal(run(&y, &client, NULL), DSTACK_E_REFUSED);
    assert_true(y.received <= 0);
    exchange z = {.identity = kms.identity};
    client.skip_host_check = true;
    assert_int_equal(run(&z, &client, NULL), 0);
}

static int verdict;
static bool asked;

static int judge(void *user, const dstack_cert *cert, dstack_error *err) {
    asked = true;
    assert_ptr_equal(user, &verdict);
    return verdict == 0 ? 0 : error_set(err, DSTACK_E_REFUSED, "by the callback");
}

static void sec_27_evidence_is_judged_on_the_connection_that_carries_the_request(void **state) {
    for (verdict = 0; verdict < 2; verdict++) {
        exchange x = {.identity = attested.identity};
        dstack_tls_client client = {.host = "kms.example.com", .verify = judge, .user = &verdict};
        dstack_error err = {0};
        asked = false;
        int rc = run(&x, &client, &err);
        assert_true(asked);
        assert_int_equal(rc, verdict == 0 ? 0 : DSTACK_E_REFUSED);
        if (verdict != 0) {
            assert_string_equal(err.message, "by the callback");
            assert_true(x.received <= 0);
        }
    }
}

static void sec_11_client_certificates_need_validity_and_evidence(void **state) {
    static const struct {
        const party *client;
        dstack_tls_client_certs certs;
        bool accepted;
    } cases[] = {
        {&attested, DSTACK_TLS_CLIENT_ATTESTED, true},
        {&plain, DSTACK_TLS_CLIENT_ATTESTED, false},
        {&expired, DSTACK_TLS_CLIENT_ATTESTED, false},
        {NULL, DSTACK_TLS_CLIENT_ATTESTED, true},
        {NULL, DSTACK_TLS_CLIENT_REQUIRED, false},
        {&attested, DSTACK_TLS_CLIENT_REQUIRED, true},
        {&app, DSTACK_TLS_CLIENT_ROOT, true},
        {&attested, DSTACK_TLS_CLIENT_ROOT, false},
        {&plain, DSTACK_TLS_CLIENT_NONE, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        exchange x = {.identity = kms.identity,
                      .server = {.client_certs = cases[i].certs, .root = bytes_of_buf(&ca_cert)}};
        dstack_tls_client client = to_kms();
        client.identity = cases[i].client == NULL ? NULL : cases[i].client->identity;
        int rc = run(&x, &client, NULL);
        if ((rc == 0) != cases[i].accepted || (x.server_rc == 0) != cases[i].accepted) {
            fail_msg("case %zu: client %d, server %d", i, rc, x.server_rc);
        }
        if (cases[i].accepted) {
            assert_int_equal(x.client_cert,
                             cases[i].client != NULL && cases[i].certs != DSTACK_TLS_CLIENT_NONE);
        }
    }
}

static void a_client_that_judges_by_nothing_is_a_mistake(void **state) {
    int pair[2];
    dstack_tls *tls = NULL;
    dstack_tls_client client = {.host = "x"};
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(dstack_tls_connect(pair[0], &client, TIMEOUT, &tls, NULL), DSTACK_E_ARGUMENT);
    assert_null(tls);
    close(pair[1]);
    exchange x = {.identity = plain.identity};
    client.insecure = true;
    assert_int_equal(run(&x, &client, NULL), 0);
}

static void a_silent_peer_runs_into_the_deadline(void **state) {
    int pair[2];
    dstack_tls *tls = NULL;
    dstack_tls_client client = to_kms();
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    assert_int_equal(dstack_tls_connect(pair[0], &client, 50, &tls, NULL), DSTACK_E_TIMEOUT);
    close(pair[1]);
}

static void a_key_of_another_certificate_is_refused(void **state) {
    dstack_tls_identity *identity = NULL;
    assert_int_equal(dstack_tls_identity_new(bytes_of_buf(&kms.cert), app.key, &identity, NULL),
                     DSTACK_E_ARGUMENT);
    assert_null(identity);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_server_under_the_root_with_the_usage_is_accepted),
        cmocka_unit_test(sec_25_an_app_posing_as_the_kms_gets_no_request_bytes),
        cmocka_unit_test(a_server_under_another_root_or_name_is_refused),
        cmocka_unit_test(sec_27_evidence_is_judged_on_the_connection_that_carries_the_request),
        cmocka_unit_test(sec_11_client_certificates_need_validity_and_evidence),
        cmocka_unit_test(a_client_that_judges_by_nothing_is_a_mistake),
        cmocka_unit_test(a_silent_peer_runs_into_the_deadline),
        cmocka_unit_test(a_key_of_another_certificate_is_refused),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
