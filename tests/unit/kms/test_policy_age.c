/* Policies that are too old to give keys by (row 30): an allow-list, and a webhook's. */
#include "check.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "auth.h"
#include "base/clock.h"
#include "service/http.h"
#include "settings.h"

#define ID "5bb4ff9a3837357f19dc176407a5709c62eb6c56"
#define INFO                                                                                       \
    "{\"tcbStatus\":\"UpToDate\",\"advisoryIds\":[],\"osImageHash\":\"" HASH "\",\"appId\":\"" ID  \
    "\",\"composeHash\":\"" HASH "\",\"deviceId\":\"" HASH "\"}"
#define HASH "a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"

static const char allow_list[] =
    "osImages: ['" HASH "']\n"
    "apps: {'" ID "': {composeHashes: ['" HASH "'], allowAnyDevice: true}}\n";

static service_config *configure(const char *auth) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    buf_put_fmt(&text, "core: {auth_api: %s}\n", auth);
    service_config *config = config_parse(bytes_of_buf(&text), NULL, kms_description.keys,
                                          kms_description.key_count, &err);
    if (config == NULL) {
        fail_msg("%s", err.message);
    }
    return config;
}

/* The decision, or the error's text; "" for an allowance. */
static const char *decide(const service_config *config) {
    static dstack_error err;
    kms_auth *auth = NULL;
    kms_decision decision;
    memset(&err, 0, sizeof err);
    assert_ok(kms_auth_open(&auth, config, "core.auth_api", NULL, &err), err);
    int rc = kms_auth_decide(auth, KMS_BOOT_APP, bytes_of_str(INFO), &decision, &err);
    kms_auth_free(auth);
    if (rc != 0) {
        assert_false(decision.allowed);
        return err.message;
    }
    assert_true(decision.allowed);
    return "";
}

static void sec_30_an_allow_list_older_than_its_limit_allows_nothing(void **state) {
    char path[] = "/tmp/dstack-allow-XXXXXX", auth[200];
    int fd = mkstemp(path);
    assert_int_equal(write(fd, allow_list, strlen(allow_list)), strlen(allow_list));
    snprintf(auth, sizeof auth, "{type: file, file: {path: '%s', max_age: 30m}}", path);
    DSTACK_AUTO(config) service_config *config = configure(auth);
    assert_string_equal(decide(config), "");
    struct timespec times[2] = {{.tv_sec = clock_unix() - 3600}, {.tv_sec = clock_unix() - 3600}};
    assert_int_equal(futimens(fd, times), 0);
    assert_non_null(strstr(decide(config), "the policy is stale: allow-list written 36"));
    snprintf(auth, sizeof auth, "{type: file, file: {path: '%s'}}", path);
    DSTACK_AUTO(config) service_config *lasting = configure(auth);
    assert_string_equal(decide(lasting), "");
    close(fd);
    unlink(path);
}

static void reply(http_request *request, http_response *response, void *user) {
    (void)request;
    http_response_bytes(response, 200, "application/json", bytes_of_str(user));
}

static void sec_30_a_webhook_s_policy_older_than_its_limit_allows_nothing(void **state) {
    static char answer[200];
    char auth[200];
    dstack_error err = {0};
    http_route route = {"*", "/**", reply, answer, 0, 0};
    http_server *server = http_server_new(&(http_server_config){.name = "auth", .workers = 1});
    http_listener_config listener = {
        .name = "a", .address = "127.0.0.1:0", .routes = &route, .route_count = 1};
    assert_ok(http_server_listen(server, &listener, &err), err);
    snprintf(auth, sizeof auth,
             "{type: webhook, webhook: {url: 'http://127.0.0.1:%u', timeout: 30s, max_age: 30m}}",
             http_server_port(server, "a"));
    DSTACK_AUTO(config) service_config *config = configure(auth);
    static const char form[] = "{\"isAllowed\":true,\"gatewayAppId\":\"\",\"reason\":\"\"%s%lld}";
    snprintf(answer, sizeof answer, form, ",\"policyTime\":", (long long)clock_unix() - 60);
    assert_string_equal(decide(config), "");
    snprintf(answer, sizeof answer, form, ",\"policyTime\":", (long long)clock_unix() - 3600);
    assert_non_null(strstr(decide(config), "the policy is stale: the webhook's is 36"));
    snprintf(answer, sizeof answer, form, ",\"other\":", 1LL);
    assert_non_null(strstr(decide(config), "does not say of when its policy is"));
    http_server_free(server);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_30_an_allow_list_older_than_its_limit_allows_nothing),
        cmocka_unit_test(sec_30_a_webhook_s_policy_older_than_its_limit_allows_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
