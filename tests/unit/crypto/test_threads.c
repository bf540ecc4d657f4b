/* Keys and contexts that headers call shared, used by several threads from their first use on. */
#include "check.h"

#include <pthread.h>

#include "crypto/ecdsa.h"
#include "crypto/ecdsa_backend.h"
#include "crypto/k256.h"

#define THREADS 4
#define ROUNDS 60

typedef struct shared {
    ecdsa_private *key;
    ecdsa_key *loaded[2];
} shared;

/* NULL where everything that this thread made verified. */
static void *work(void *argument) {
    const shared *s = argument;
    uint8_t digest[32] = {1}, raw[64], secret[32] = {2}, signature[65], signer[33], expected[33];
    int failed = 0;
    for (int i = 0; i < ROUNDS; i++) {
        digest[1] = (uint8_t)i;
        dstack_bytes d = bytes_of(digest, 32);
        failed |= i % 2 == 0 ? ecdsa_sign_raw(s->key, d, raw, NULL)
                             : ecdsa_sign_deterministic(s->key, d, raw, NULL);
        failed |= ecdsa_verify_raw(s->loaded[0], d, bytes_of(raw, 64), NULL);
        failed |= ecdsa_verify_raw(s->loaded[1], d, bytes_of(raw, 64), NULL);
        failed |= k256_public(secret, expected, NULL);
        failed |= k256_sign_recoverable(secret, digest, signature, NULL);
        failed |= k256_recover(digest, bytes_of(signature, 65), signer, NULL);
        failed |= memcmp(expected, signer, 33);
    }
    return failed != 0 ? argument : NULL;
}

static void shared_keys_serve_many_threads(void **state) {
    (void)state;
    dstack_error err = {0};
    shared s = {0};
    pthread_t threads[THREADS];
    assert_ok(ecdsa_private_generate(&s.key, ECDSA_P256, &err), err);
    dstack_bytes point = ecdsa_key_point(ecdsa_private_public(s.key));
    assert_ok(ecdsa_key_load(&s.loaded[0], &ecdsa_libcrypto, ECDSA_P256, point, &err), err);
    assert_ok(ecdsa_key_load(&s.loaded[1], &ecdsa_gnutls, ECDSA_P256, point, &err), err);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, work, &s), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        void *result = &s;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_null(result);
    }
    ecdsa_private_free(s.key);
    ecdsa_key_free(s.loaded[0]);
    ecdsa_key_free(s.loaded[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shared_keys_serve_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
