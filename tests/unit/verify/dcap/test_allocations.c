/* A quote of a known platform is verified without memory from the heap: none that this library asks
 * for. (libcrypto asks for some in every multiplication.) The allocator is replaced by one that
 * counts, and tells by the caller's address whether this program (with the library in it) or a
 * shared library asked. */
#include "made.h"

#include <dlfcn.h>
#include <malloc.h>

#include "crypto/ecdsa_backend.h"

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *old, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

#define EXPORTED __attribute__((visibility("default")))

extern const char __executable_start, etext; /* the linker's */

static bool counting;
static size_t own, foreign;

static void count(const void *caller) {
    if (counting) {
        bool here = (const char *)caller >= &__executable_start && (const char *)caller < &etext;
        own += here;
        foreign += !here;
    }
}

EXPORTED void *malloc(size_t size) {
    count(__builtin_return_address(0));
    return __libc_malloc(size);
}

EXPORTED void *calloc(size_t number, size_t size) {
    count(__builtin_return_address(0));
    return __libc_calloc(number, size);
}

EXPORTED void *realloc(void *old, size_t size) {
    count(__builtin_return_address(0));
    return __libc_realloc(old, size);
}

EXPORTED void *reallocarray(void *old, size_t number, size_t size) {
    count(__builtin_return_address(0));
    return size != 0 && number > SIZE_MAX / size ? NULL : __libc_realloc(old, number * size);
}

EXPORTED int posix_memalign(void **out, size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    *out = __libc_memalign(alignment, size);
    return *out == NULL ? 12 : 0;
}

EXPORTED void *aligned_alloc(size_t alignment, size_t size) {
    count(__builtin_return_address(0));
    return __libc_memalign(alignment, size);
}

static void check_many(dstack_verifier *v, const made *m, int times) {
    dstack_quote_report report;
    for (int i = 0; i < times; i++) {
        dstack_error err = {0};
        assert_ok(dstack_verifier_check(v, bytes_of_buf(&m->quote), NULL, MADE_NOW, &report, &err),
                  err);
        assert_ok(dstack_verifier_check_with(v, bytes_of_buf(&m->quote), m->collateral, NULL,
                                             MADE_NOW, &report, &err),
                  err);
    }
}

static void count_checks(dstack_verifier *v, const made *m) {
    own = foreign = 0;
    counting = true;
    check_many(v, m, 1);
    counting = false;
}

static void a_known_platform_needs_no_memory(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    assert_int_equal(dstack_verifier_add_collateral(v, m.collateral, NULL), 0);
    count_checks(v, &m);
    assert_true(own > 0); /* the first time there is something to keep, and counting works */
    count_checks(v, &m);
    assert_int_equal(own, 0);
    size_t before = foreign;
    check_many(v, &m, ECDSA_TABLE_AFTER / 2 + 1);
    count_checks(v, &m);
    assert_int_equal(own, 0);
    print_message("of %s's own in two verifications: %zu, later %zu\n", ecdsa_backend(), before,
                  foreign);
    assert_true(foreign <= before);
    dstack_verifier_free(v);
}

/* A refusal on the same path. */
static void neither_does_a_forged_quote_of_it(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    assert_int_equal(dstack_verifier_add_collateral(v, m.collateral, NULL), 0);
    check_many(v, &m, 1);
    m.quote.data[200] ^= 1;
    dstack_error err = {0};
    own = 0;
    counting = true;
    int rc = dstack_verifier_check(v, bytes_of_buf(&m.quote), NULL, MADE_NOW, NULL, &err);
    counting = false;
    assert_int_equal(rc, DSTACK_E_DCAP_QUOTE_SIGNATURE);
    assert_int_equal(own, 0);
    dstack_verifier_free(v);
}

static void parsing_a_quote_needs_no_memory(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    dstack_quote q;
    own = foreign = 0;
    counting = true;
    int rc = dstack_quote_parse(&q, bytes_of_buf(&m.quote), NULL);
    counting = false;
    assert_int_equal(rc, 0);
    assert_int_equal(own + foreign, 0);
}

/* ---- how much a verifier keeps ---- */

static size_t in_use(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* Makes ever new certification data of one quote: what stands between and behind the blocks of its
 * chain is nobody's, and a verifier takes a platform for known by all bytes. */
static void become_platform(made *m, unsigned number) {
    static const char begin[] = "-----BEGIN";
    dstack_quote q;
    assert_int_equal(dstack_quote_parse(&q, bytes_of_buf(&m->quote), NULL), 0);
    uint8_t *data = m->quote.data + (q.cert_data.data - m->quote.data);
    size_t last = 0;
    for (size_t i = 1; i + sizeof begin < q.cert_data.len; i++) {
        last = memcmp(data + i, begin, sizeof begin - 1) == 0 ? i : last;
    }
    data[last - 1] = (uint8_t)(number / 128 % 32);
    data[q.cert_data.len - 1] = (uint8_t)(number % 128);
}

enum { PLATFORMS = 4096, HOT = 8 };

static void four_thousand_platforms_take_less_than_16_mib(void **state) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    made_spec_init(&s);
    made_build(&s, &m);
    size_t before = in_use(), known = 0;
    dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
    assert_int_equal(dstack_verifier_add_collateral(v, m.collateral, NULL), 0);
    for (unsigned i = 0; i < PLATFORMS; i++) {
        become_platform(&m, i);
        check_many(v, &m, 1);
    }
    for (unsigned i = 0; i < HOT; i++) { /* all the tables a verifier makes */
        become_platform(&m, i);
        check_many(v, &m, ECDSA_TABLE_AFTER / 2 + 1);
    }
    size_t taken = in_use() - before;
    for (unsigned i = 0; i < PLATFORMS; i += 16) {
        become_platform(&m, i);
        count_checks(v, &m);
        known += own == 0;
    }
    print_message("%d platforms and their tables: %.1f MiB, %zu of %d still known\n", PLATFORMS,
                  (double)taken / (1 << 20), known, PLATFORMS / 16);
    assert_true(taken <= (size_t)16 << 20);
    assert_true(known >= PLATFORMS / 16 * 95 / 100);
    dstack_verifier_free(v);
    assert_true(in_use() <= before + 65536); /* nothing stays behind */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_known_platform_needs_no_memory),
        cmocka_unit_test(neither_does_a_forged_quote_of_it),
        cmocka_unit_test(parsing_a_quote_needs_no_memory),
        cmocka_unit_test(four_thousand_platforms_take_less_than_16_mib),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
