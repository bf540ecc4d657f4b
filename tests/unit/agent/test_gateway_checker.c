/* When the guest registers with the gateway again. */
#include "../check.h"

#include <sys/stat.h>

#include "net/gateway_checker.h"
#include "net/gateway_link.h"

typedef struct outcome {
    int forced, periodic;
    int64_t first_forced;
} outcome;

/* Polls every 10 s for 900 s; every refresh succeeds. Time begins at 1000: 0 means no handshake. */
#define EPOCH 1000
static outcome replay(int64_t (*handshake)(int64_t t)) {
    gateway_checker checker = {0};
    outcome out = {.first_forced = -1};
    for (int64_t t = 0; t < 900; t += GATEWAY_POLL_S) {
        gateway_action action = gateway_checker_next(&checker, EPOCH + t, true, handshake(t));
        if (action != GATEWAY_NOTHING) {
            gateway_checker_done(&checker, EPOCH + t, action, true);
        }
        out.periodic += action == GATEWAY_PERIODIC;
        out.forced += action == GATEWAY_FORCED;
        if (action == GATEWAY_FORCED && out.first_forced < 0) {
            out.first_forced = t;
        }
    }
    return out;
}

static int64_t always(int64_t t) {
    return EPOCH + t;
}
static int64_t never(int64_t t) {
    return 0;
}
static int64_t frozen(int64_t t) {
    return EPOCH;
}
static int64_t frozen_at_180(int64_t t) {
    return EPOCH + (t < 180 ? t : 180);
}
static int64_t from_540(int64_t t) {
    return t < 540 ? 0 : EPOCH + t;
}

static void a_live_tunnel_is_never_forced(void **state) {
    assert_int_equal(replay(always).forced, 0);
    assert_true(replay(always).periodic >= 4);
}

static void a_dead_tunnel_is_forced_once_per_180_seconds(void **state) {
    assert_int_equal(replay(never).forced, 4);
    assert_int_equal(replay(never).first_forced, 180);
    assert_int_equal(replay(frozen).forced, 4);
    assert_int_equal(replay(frozen_at_180).forced, 3);
    assert_int_equal(replay(frozen_at_180).first_forced, 360);
    assert_int_equal(replay(from_540).forced, 2);
    assert_true(replay(from_540).periodic >= 1);
}

static void a_missing_tunnel_is_retried_with_back_off(void **state) {
    static const int64_t delays[] = {30, 60, 120, 120};
    gateway_checker checker = {0};
    int64_t now = EPOCH;
    assert_int_equal(gateway_checker_next(&checker, now, false, 0), GATEWAY_FORCED);
    for (size_t i = 0; i < 4; i++) {
        gateway_checker_done(&checker, now, GATEWAY_FORCED, false);
        assert_int_equal(gateway_checker_next(&checker, now + delays[i] - 1, false, 0),
                         GATEWAY_NOTHING);
        now += delays[i];
        assert_int_equal(gateway_checker_next(&checker, now, false, 0), GATEWAY_FORCED);
    }
}

static void after_the_boot_s_registration_the_clock_starts(void **state) {
    gateway_checker checker = {0};
    gateway_checker_done(&checker, EPOCH, GATEWAY_PERIODIC, true);
    assert_int_equal(gateway_checker_next(&checker, EPOCH + 10, true, 0), GATEWAY_NOTHING);
    assert_int_equal(gateway_checker_next(&checker, EPOCH + 170, true, 0), GATEWAY_NOTHING);
    assert_int_equal(gateway_checker_next(&checker, EPOCH + 180, true, 0), GATEWAY_PERIODIC);
    gateway_checker_done(&checker, EPOCH + 180, GATEWAY_PERIODIC, true);
    assert_int_equal(gateway_checker_next(&checker, EPOCH + 190, true, 0), GATEWAY_FORCED);
}

static void sec_18_the_gateway_cache_is_for_root_alone(void **state) {
    char dir[] = "/tmp/dstack-gw-XXXXXX", path[80];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/cache.json", dir);
    uint8_t key[32] = {5};
    DSTACK_AUTO(gateway_cache) gateway_cache cache = {0}, back = {0};
    cache.wg_key = dstack_secret_copy(key, sizeof key);
    cache.tls_key = dstack_secret_copy((const uint8_t *)"pem", 3);
    cache.chain = strdup("chain");
    cache.not_after = 77;
    dstack_error err = {0};
    assert_ok(gateway_cache_save(&cache, path, &err), err);
    struct stat info;
    assert_int_equal(stat(path, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_ok(gateway_cache_load(path, &back, &err), err);
    assert_true(dstack_secret_equal(cache.wg_key, back.wg_key));
    assert_string_equal(back.chain, "chain");
    assert_int_equal(back.not_after, 77);
    unlink(path);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_live_tunnel_is_never_forced),
        cmocka_unit_test(a_dead_tunnel_is_forced_once_per_180_seconds),
        cmocka_unit_test(a_missing_tunnel_is_retried_with_back_off),
        cmocka_unit_test(after_the_boot_s_registration_the_clock_starts),
        cmocka_unit_test(sec_18_the_gateway_cache_is_for_root_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
