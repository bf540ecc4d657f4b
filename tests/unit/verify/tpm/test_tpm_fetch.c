/* Collateral of vTPM keys over real HTTP, from a server that serves it soundly or does not. */
#include <stdatomic.h>

#include "check.h"

#include <dstack/tpm.h>

#include "crypto/ecdsa.h"
#include "service/http.h"
#include "verify/tpm/tpm.h"
#include "x509/build.h"
#include "x509/der.h"

#define NOW 1790000000
#define MAX_CERTS 10

typedef enum fault { SOUND, MISSING, HUGE_CERT, HUGE_CRL, REDIRECT, GARBAGE } fault;

static struct {
    http_server *server;
    char place[32]; /* host:port */
    dstack_buf certs[MAX_CERTS], crl;
    fault fault;
    atomic_uint requests;
} world;

static void serve(http_request *request, http_response *response, void *user) {
    const char *path = http_request_path(request);
    const bool crl = strncmp(path, "/crl", 4) == 0;
    static const char filler[1024];
    world.requests++;
    if (world.fault == REDIRECT) {
        http_response_header(response, "Location", "/other");
        http_response_bytes(response, 302, "text/plain", (dstack_bytes){0});
    } else if (world.fault == GARBAGE) {
        http_response_bytes(response, 200, "text/plain", bytes_of_str("this is no certificate"));
    } else if ((world.fault == HUGE_CERT && !crl) || (world.fault == HUGE_CRL && crl)) {
        DSTACK_AUTO(buf) dstack_buf body = {0};
        for (size_t i = 0; i < (crl ? 4097 : 65); i++) {
            buf_put(&body, filler, sizeof filler);
        }
        http_response_bytes(response, 200, "text/plain", bytes_of_buf(&body));
    } else if (crl) {
        http_response_bytes(response, 200, "text/plain", bytes_of_buf(&world.crl));
    } else if (world.fault != MISSING && strncmp(path, "/ca", 3) == 0) {
        const size_t index = (size_t)(path[3] - '0') % MAX_CERTS;
        http_response_bytes(response, 200, "text/plain", bytes_of_buf(&world.certs[index]));
    }
}

static const http_route routes[] = {{"GET", "/**", serve, NULL, 0, 0}};

/* ---- certificates ---- */

static void put_uri(dstack_buf *out, const char *path) {
    DSTACK_AUTO(buf) dstack_buf uri = {0};
    buf_put_fmt(&uri, "http://%s%s", world.place, path);
    der_put(out, DER_CONTEXT(6), bytes_of_buf(&uri));
}

static void put_access(dstack_buf *out, const char *path) {
    const size_t list = der_begin(out, DER_SEQUENCE), one = der_begin(out, DER_SEQUENCE);
    der_put_oid(out, DER_OID_BYTES(0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02));
    put_uri(out, path);
    der_end(out, one);
    der_end(out, list);
}

static void put_points(dstack_buf *out, const char *const *paths) {
    const size_t list = der_begin(out, DER_SEQUENCE);
    for (size_t i = 0; paths[i] != NULL; i++) {
        const size_t point = der_begin(out, DER_SEQUENCE);
        const size_t name = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
        const size_t full = der_begin(out, DER_CONTEXT_CONSTRUCTED(0));
        put_uri(out, paths[i]);
        der_end(out, full);
        der_end(out, name);
        der_end(out, point);
    }
    der_end(out, list);
}

/* issuer_path, crl_paths: NULL for none. All have one key: nothing is verified here. */
static void make(const char *subject, const char *issuer, const char *issuer_path,
                 const char *const *crl_paths, dstack_buf *der) {
    DSTACK_AUTO(ecdsa_private) ecdsa_private *key = NULL;
    DSTACK_AUTO(buf) dstack_buf spki = {0}, name = {0}, access = {0}, points = {0};
    static const uint8_t access_oid[] = {0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01};
    static const uint8_t points_oid[] = {0x55, 0x1d, 0x1f};
    x509_extension custom[2];
    size_t count = 0;
    uint8_t scalar[32];
    dstack_error err = {0};
    memset(scalar, 0x51, sizeof scalar);
    assert_ok(ecdsa_private_from_scalar(&key, ECDSA_P256, bytes_of(scalar, 32), &err), err);
    assert_ok(ecdsa_key_spki(ecdsa_private_public(key), &spki, &err), err);
    const x509_name_spec issuer_spec = {.common_name = issuer};
    assert_ok(x509_name_build(&issuer_spec, &name, &err), err);
    if (issuer_path != NULL) {
        put_access(&access, issuer_path);
        custom[count++] = (x509_extension){.oid = bytes_of(access_oid, sizeof access_oid),
                                           .value = bytes_of_buf(&access)};
    }
    if (crl_paths != NULL) {
        put_points(&points, crl_paths);
        custom[count++] = (x509_extension){.oid = bytes_of(points_oid, sizeof points_oid),
                                           .value = bytes_of_buf(&points)};
    }
    const x509_build build = {.subject = {.common_name = subject},
                              .issuer_der = bytes_of_buf(&name),
                              .not_before = NOW - 86400,
                              .not_after = NOW + 86400,
                              .spki = bytes_of_buf(&spki),
                              .path_len = -1,
                              .custom = custom,
                              .custom_count = count};
    buf_reset(der);
    assert_ok(x509_cert_build(&build, key, true, der, &err), err);
}

/* The leaf is certificate 0, its issuer 1; 2 is the root. */
static void make_path(void) {
    static const char *const crls[] = {"/gone", "/crl", NULL};
    make("leaf", "ca", "/ca1", NULL, &world.certs[0]);
    make("ca", "root", "/ca2", crls, &world.certs[1]);
    make("root", "root", NULL, NULL, &world.certs[2]);
}

static int set_up(void **state) {
    dstack_error err = {0};
    world.server = http_server_new(&(http_server_config){.name = "ca", .workers = 1});
    const http_listener_config listener = {
        .name = "ca", .address = "127.0.0.1:0", .routes = routes, .route_count = 1};
    assert_ok(http_server_listen(world.server, &listener, &err), err);
    snprintf(world.place, sizeof world.place, "127.0.0.1:%u",
             (unsigned)http_server_port(world.server, "ca"));
    buf_put_str(&world.crl, "a list");
    return 0;
}

static int tear_down(void **state) {
    http_server_free(world.server);
    for (size_t i = 0; i < MAX_CERTS; i++) {
        dstack_buf_clear(&world.certs[i]);
    }
    dstack_buf_clear(&world.crl);
    return 0;
}

static dstack_tpm_fetcher *fetcher_for(const char *host) {
    dstack_tpm_fetcher *f = NULL;
    dstack_error err = {0};
    const dstack_tpm_fetcher_options options = {
        .hosts = &host, .host_count = host == NULL ? 0 : 1, .timeout_ms = 30000};
    assert_ok(dstack_tpm_fetcher_new(&f, &options, &err), err);
    return f;
}

static void expect(const char *host, fault served, const char *why) {
    dstack_tpm_fetcher *f = fetcher_for(host);
    dstack_tpm_collateral out = {0};
    dstack_error err = {0};
    world.fault = served;
    int rc = dstack_tpm_collateral_fetch(f, bytes_of_buf(&world.certs[0]), &out, &err);
    world.fault = SOUND;
    dstack_tpm_collateral_clear(&out);
    dstack_tpm_fetcher_free(f);
    if (why == NULL) {
        assert_ok(rc, err);
    } else if (rc == 0 || strstr(err.message, why) == NULL) {
        fail_msg("\"%s\" where \"%s\" is due", err.message, why);
    }
}

static void a_path_is_followed_to_the_root_and_kept(void **state) {
    dstack_tpm_fetcher *f = fetcher_for(world.place);
    dstack_error err = {0};
    make_path();
    world.requests = 0;
    for (int round = 0; round < 3; round++) {
        dstack_tpm_collateral out = {0};
        assert_ok(dstack_tpm_collateral_fetch(f, bytes_of_buf(&world.certs[0]), &out, &err), err);
        assert_int_equal(out.chain_count, 1);
        assert_true(bytes_equal(bytes_of_buf(&out.chain[0]), bytes_of_buf(&world.certs[1])));
        assert_int_equal(out.crl_count, 1); /* from the second address: the first has none */
        assert_true(bytes_equal(bytes_of_buf(&out.crls[0]), bytes_of_buf(&world.crl)));
        dstack_tpm_collateral_clear(&out);
    }
    assert_int_equal(world.requests, 4); /* issuer, two lists, root: once each */
    dstack_tpm_fetcher_free(f);
}

static void sec_33_what_failed_is_not_asked_for_again_at_once(void **state) {
    dstack_tpm_fetcher *f = fetcher_for(world.place);
    make_path();
    world.requests = 0;
    world.fault = MISSING;
    for (int round = 0; round < 5; round++) {
        dstack_tpm_collateral out = {0};
        assert_true(dstack_tpm_collateral_fetch(f, bytes_of_buf(&world.certs[0]), &out, NULL) < 0);
        dstack_tpm_collateral_clear(&out);
    }
    world.fault = SOUND;
    assert_int_equal(world.requests, 1);
    dstack_tpm_fetcher_free(f);
}

static void sec_15_answers_and_paths_have_bounds(void **state) {
    make_path();
    expect(world.place, HUGE_CERT, "issuer");
    expect(world.place, HUGE_CRL, "revocation list");
    expect(world.place, GARBAGE, "issuer");
    expect(world.place, SOUND, NULL);
    for (int i = 0; i < MAX_CERTS - 1; i++) {
        const char subject[] = {(char)('a' + i), '\0'}, issuer[] = {(char)('b' + i), '\0'};
        const char path[] = {'/', 'c', 'a', (char)('1' + i), '\0'};
        make(subject, issuer, path, NULL, &world.certs[i]);
    }
    expect(world.place, SOUND, "more than 6 intermediates");
}

/* The addresses are an unknown sender's: a verifier must not be made to knock at its own network. */
static void sec_23_hosts_that_are_not_listed_are_not_asked(void **state) {
    make_path();
    world.requests = 0;
    expect(NULL, SOUND, "not a host that is asked");
    expect("127.0.0.1:1", SOUND, "not a host that is asked");
    expect(".0.0.1", SOUND, "not a host that is asked");
    assert_int_equal(world.requests, 0);
    expect(world.place, REDIRECT, "HTTP status 302");
    assert_int_equal(world.requests, 1);
}

static void certificates_without_addresses_need_nothing(void **state) {
    dstack_tpm_fetcher *f = fetcher_for(NULL);
    dstack_tpm_collateral out = {0};
    dstack_error err = {0};
    make("leaf", "root", NULL, NULL, &world.certs[0]);
    assert_ok(dstack_tpm_collateral_fetch(f, bytes_of_buf(&world.certs[0]), &out, &err), err);
    assert_int_equal(out.chain_count + out.crl_count, 0);
    dstack_tpm_fetcher_free(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_followed_to_the_root_and_kept),
        cmocka_unit_test(sec_33_what_failed_is_not_asked_for_again_at_once),
        cmocka_unit_test(sec_15_answers_and_paths_have_bounds),
        cmocka_unit_test(sec_23_hosts_that_are_not_listed_are_not_asked),
        cmocka_unit_test(certificates_without_addresses_need_nothing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
