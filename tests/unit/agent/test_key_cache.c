/* Keys that the agent keeps are those it would derive. */
#include "../check.h"

#include "serve/key_cache.h"

static dstack_secret *root_make(void) {
    uint8_t bytes[32] = {0};
    bytes[31] = 9;
    return dstack_secret_copy(bytes, sizeof bytes);
}

static void assert_same(const dstack_app_key *a, const dstack_app_key *b) {
    assert_true(dstack_secret_equal(a->secret, b->secret));
    assert_int_equal(a->public_key_len, b->public_key_len);
    assert_memory_equal(a->public_key, b->public_key, a->public_key_len);
    assert_memory_equal(a->link, b->link, sizeof a->link);
}

static void ask(key_cache *cache, const dstack_secret *root, const key_question *question) {
    dstack_error err = {0};
    dstack_app_key kept = {0}, derived = {0};
    assert_ok(key_cache_get(cache, root, question, &kept, &err), err);
    if (question->version == 0) {
        assert_ok(dstack_app_key_derive(root, question->name, question->purpose,
                                        question->algorithm, &derived, &err),
                  err);
    } else {
        assert_ok(
            dstack_app_key_derive_v1(root, question->name, question->algorithm, &derived, &err),
            err);
    }
    assert_same(&kept, &derived);
    dstack_app_key_clear(&kept);
    dstack_app_key_clear(&derived);
}

/* Questions that differ in one thing each, and whose texts joined are alike. */
static void every_question_gets_its_own_key(void **state) {
    (void)state;
    DSTACK_AUTO(secret) dstack_secret *root = root_make();
    key_cache *cache = key_cache_new();
    const key_question questions[] = {
        {0, DSTACK_KEY_SECP256K1, bytes_of_str("ab"), bytes_of_str("c")},
        {0, DSTACK_KEY_SECP256K1, bytes_of_str("a"), bytes_of_str("bc")},
        {0, DSTACK_KEY_SECP256K1, bytes_of_str("abc"), bytes_of_str("")},
        {0, DSTACK_KEY_SECP256K1, bytes_of_str(""), bytes_of_str("abc")},
        {0, DSTACK_KEY_ED25519, bytes_of_str("ab"), bytes_of_str("c")},
        {1, DSTACK_KEY_SECP256K1, bytes_of_str("abc"), bytes_of_str("")},
        {1, DSTACK_KEY_ED25519, bytes_of_str("abc"), bytes_of_str("")},
        {1, DSTACK_KEY_ED25519, bytes_of("a\0c", 3), bytes_of_str("")},
        {1, DSTACK_KEY_ED25519, bytes_of("a", 1), bytes_of_str("")},
    };
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
            ask(cache, root, &questions[i]);
        }
    }
    key_cache_free(cache);
}

static void more_questions_than_places_are_answered_as_well(void **state) {
    (void)state;
    DSTACK_AUTO(secret) dstack_secret *root = root_make();
    key_cache *cache = key_cache_new();
    for (int i = 0; i < 3 * KEY_CACHE_SIZE; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%d", i % (KEY_CACHE_SIZE + 5));
        const key_question question = {1, DSTACK_KEY_ED25519, bytes_of_str(name), bytes_of_str("")};
        ask(cache, root, &question);
    }
    key_cache_free(cache);
}

/* What cannot be derived is refused every time, and keeps nothing. */
static void refusals_are_not_kept(void **state) {
    (void)state;
    uint8_t zero[32] = {0};
    DSTACK_AUTO(secret) dstack_secret *bad = dstack_secret_copy(zero, sizeof zero);
    DSTACK_AUTO(secret) dstack_secret *root = root_make();
    key_cache *cache = key_cache_new();
    dstack_app_key key = {0};
    const key_question question = {1, DSTACK_KEY_ED25519, bytes_of_str("x"), bytes_of_str("")};
    assert_int_equal(key_cache_get(cache, bad, &question, &key, NULL), DSTACK_E_CRYPTO);
    assert_null(key.secret);
    ask(cache, root, &question);
    key_cache_free(cache);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_question_gets_its_own_key),
        cmocka_unit_test(more_questions_than_places_are_answered_as_well),
        cmocka_unit_test(refusals_are_not_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
