/* requirements.key_policy of the manifest. */
#include "check.h"

#include "manifest/manifest.h"

#define COMPOSE "\"services: {web: {image: a}, signer: {build: .}}\""
#define TEXT(policy)                                                                               \
    "{\"manifest_version\":\"3\",\"name\":\"t\",\"runner\":\"docker-compose\","                    \
    "\"docker_compose_file\":" COMPOSE ",\"requirements\":{\"key_policy\":" policy "}}"

static int parse(const char *text, dstack_manifest **out, dstack_error *err) {
    return dstack_manifest_parse(bytes_of_str(text), out, err);
}

static bool path_granted(const dstack_manifest *m, const char *service, const char *path) {
    const dstack_key_grant *grant = dstack_manifest_key_grant(m, service);
    return dstack_key_name_matches(grant->paths, grant->path_count, bytes_of_str(path));
}

static void without_a_policy_everything_is_granted(void **state) {
    (void)state;
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse("{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"bash\"}", &m, &err), err);
    assert_false(dstack_manifest_get(m)->has_key_policy);
    assert_null(dstack_manifest_key_grant(m, "web"));
}

static void sec_24_a_service_gets_its_own_grant_and_no_more(void **state) {
    (void)state;
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse(TEXT("{\"services\":{\"signer\":{\"paths\":[\"wallet\",\"eth/*\"],\"domains\":["
                         "\"*\"],\"sign\":true},\"web\":{\"certificates\":true,\"paths\":[]}}}"),
                    &m, &err),
              err);
    assert_true(path_granted(m, "signer", "wallet"));
    assert_true(path_granted(m, "signer", "eth/"));
    assert_true(path_granted(m, "signer", "eth/1"));
    assert_false(path_granted(m, "signer", "wallet2"));
    assert_false(path_granted(m, "signer", "walle"));
    assert_false(path_granted(m, "signer", "eth"));
    assert_false(path_granted(m, "signer", ""));
    assert_false(path_granted(m, "signer", "Wallet"));
    assert_false(path_granted(m, "web", "wallet"));
    assert_false(path_granted(m, "other", "wallet"));
    assert_false(path_granted(m, NULL, "wallet"));
    const dstack_key_grant *signer = dstack_manifest_key_grant(m, "signer");
    const dstack_key_grant *web = dstack_manifest_key_grant(m, "web");
    assert_true(signer->sign && !signer->certificates && !signer->attest);
    assert_true(web->certificates && !web->sign && !web->attest);
    assert_true(dstack_key_name_matches(signer->domains, signer->domain_count, (dstack_bytes){0}));
    const dstack_key_grant *other = dstack_manifest_key_grant(m, "other");
    assert_false(other->sign || other->certificates || other->attest);
    assert_int_equal(dstack_manifest_warning_count(m), 1); /* an image without its digest */
}

static void the_other_services_may_have_a_grant(void **state) {
    (void)state;
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse(TEXT("{\"services\":{\"signer\":{\"paths\":[\"*\"]}},"
                         "\"other_services\":{\"paths\":[\"\"],\"attest\":true}}"),
                    &m, &err),
              err);
    assert_true(path_granted(m, "web", ""));
    assert_false(path_granted(m, "web", "a"));
    assert_true(dstack_manifest_key_grant(m, "web")->attest);
    assert_false(dstack_manifest_key_grant(m, "signer")->attest);
}

/* A zero byte is a byte of a name like any other. */
static void names_are_compared_as_bytes(void **state) {
    (void)state;
    static const char *const patterns[] = {"k", "a/*"};
    assert_true(dstack_key_name_matches(patterns, 2, bytes_of("k", 1)));
    assert_false(dstack_key_name_matches(patterns, 2, bytes_of("k\0x", 3)));
    assert_true(dstack_key_name_matches(patterns, 2, bytes_of("a/\0x", 4)));
    assert_false(dstack_key_name_matches(patterns, 0, bytes_of("k", 1)));
}

static void sec_24_policies_that_are_unclear_are_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *word;
    } cases[] = {
        {TEXT("[]"), "key_policy"},
        {TEXT("{}"), "services"},
        {TEXT("{\"services\":[]}"), "services"},
        {TEXT("{\"services\":{},\"service\":{}}"), "unknown key \"service\""},
        {TEXT("{\"services\":{\"web\":{\"path\":[]}}}"), "unknown key \"path\""},
        {TEXT("{\"services\":{\"web\":[]}}"), "web"},
        {TEXT("{\"services\":{\"web\":{\"paths\":\"a\"}}}"), "paths"},
        {TEXT("{\"services\":{\"web\":{\"paths\":[1]}}}"), "paths"},
        {TEXT("{\"services\":{\"web\":{\"domains\":[\"a*b\"]}}}"), "only stand at the end"},
        {TEXT("{\"services\":{\"web\":{\"paths\":[\"**\"]}}}"), "only stand at the end"},
        {TEXT("{\"services\":{\"web\":{\"sign\":1}}}"), "sign"},
        {TEXT("{\"services\":{\"we b\":{}}}"), "no name of a service"},
        {TEXT("{\"services\":{\"\":{}}}"), "no name of a service"},
        {TEXT("{\"services\":{\"wep\":{}}}"), "service wep"},
        {TEXT("{\"services\":{},\"other_services\":{\"x\":1}}"), "other_services"},
        {"{\"manifest_version\":2,\"name\":\"t\",\"runner\":\"docker-compose\",\"requirements\":{"
         "\"key_policy\":{\"services\":{}}}}",
         "manifest_version"},
        {"{\"manifest_version\":\"3\",\"name\":\"t\",\"runner\":\"bash\",\"requirements\":{"
         "\"key_policy\":{\"services\":{}}}}",
         "runner docker-compose"},
        {"{\"manifest_version\":\"3\",\"name\":\"t\",\"runner\":\"nerdctl-compose\","
         "\"requirements\":{\"key_policy\":{\"services\":{}}}}",
         "runner docker-compose"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
        dstack_error err = {0};
        if (parse(cases[i].text, &m, &err) == 0 || strstr(err.message, cases[i].word) == NULL) {
            fail_msg("case %zu: %s", i, err.message);
        }
    }
}

/* Evidence of the app is what its KMS answers with keys: a grant of it is worth a word. */
static void a_way_around_the_policy_is_warned_of(void **state) {
    (void)state;
    static const char text[] =
        "{\"manifest_version\":\"3\",\"name\":\"t\",\"runner\":\"docker-compose\","
        "\"kms_enabled\":true,\"docker_compose_file\":" COMPOSE
        ",\"requirements\":{\"key_policy\":{"
        "\"services\":{\"web\":{\"attest\":true},\"signer\":{\"paths\":[\"*\"]}},"
        "\"other_services\":{\"certificates\":true}}}}";
    DSTACK_AUTO(manifest) dstack_manifest *m = NULL;
    dstack_error err = {0};
    assert_ok(parse(text, &m, &err), err);
    size_t found = 0;
    for (size_t i = 0; i < dstack_manifest_warning_count(m); i++) {
        found += strstr(dstack_manifest_warning(m, i), "ask that for all keys") != NULL;
        assert_null(strstr(dstack_manifest_warning(m, i), "key_policy: signer"));
    }
    assert_int_equal(found, 2);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_policy_everything_is_granted),
        cmocka_unit_test(sec_24_a_service_gets_its_own_grant_and_no_more),
        cmocka_unit_test(the_other_services_may_have_a_grant),
        cmocka_unit_test(names_are_compared_as_bytes),
        cmocka_unit_test(sec_24_policies_that_are_unclear_are_refused),
        cmocka_unit_test(a_way_around_the_policy_is_warned_of),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
