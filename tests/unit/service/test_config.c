#include "check.h"

#include "service/config.h"
#include "service/http.h"

static const config_key keys[] = {
    {"rpc.address", CONFIG_STR, "127.0.0.1:8000", "where"},
    {"rpc.count", CONFIG_INT, "3", "how many"},
    {"rpc.on", CONFIG_BOOL, "false", "whether"},
    {"wait", CONFIG_DURATION, "5s", "how long"},
    {"size", CONFIG_SIZE, "32K", "how much"},
    {"names", CONFIG_LIST, "a,b", "which"},
    {"tree", CONFIG_TREE, NULL, "anything"},
    {"dir", CONFIG_PATH, "data", "folder"},
    CONFIG_HTTP_LIMITS("limits"),
};
#define KEYS keys, sizeof keys / sizeof keys[0]

static void defaults_fill_what_the_file_leaves_out(void **state) {
    dstack_error err = {0};
    DSTACK_AUTO(config) service_config *c = config_parse(bytes_of_str(""), "/etc/x", KEYS, &err);
    if (c == NULL) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(config_str(c, "rpc.address"), "127.0.0.1:8000");
    assert_int_equal(config_int(c, "rpc.count"), 3);
    assert_false(config_bool(c, "rpc.on"));
    assert_int_equal(config_duration_ms(c, "wait"), 5000);
    assert_int_equal(config_size(c, "size"), 32768);
    const char *const *names;
    assert_int_equal(config_list(c, "names", &names), 2);
    assert_string_equal(names[1], "b");
    assert_true(json_is_null(config_tree(c, "tree")));
    assert_string_equal(config_str(c, "dir"), "/etc/x/data");
    assert_false(config_is_set(c, "size"));
    http_limits limits;
    config_http_limits(c, "limits", &limits);
    assert_int_equal(limits.body, 10 << 20);
    assert_int_equal(limits.idle_timeout_s, 60);
}

static void a_file_sets_keys_and_print_config_loads_to_the_same(void **state) {
    const char *text =
        "# comment\nrpc:\n  address: 'unix:/x'\n  count: -7\n  on: true\nwait: never\n"
        "size: 1G\nnames: [x, 'y z', \"q\"]\ntree:\n  a: [1, {b: null}]\ndir: /abs\n"
        "limits: {body: 100, idle_timeout: 2m}\n";
    dstack_error err = {0};
    DSTACK_AUTO(config) service_config *c = config_parse(bytes_of_str(text), NULL, KEYS, &err);
    if (c == NULL) {
        fail_msg("%s", err.message);
    }
    assert_string_equal(config_str(c, "rpc.address"), "unix:/x");
    assert_int_equal(config_int(c, "rpc.count"), -7);
    assert_int_equal(config_duration_ms(c, "wait"), -1);
    assert_int_equal(config_size(c, "size"), 1 << 30);
    DSTACK_AUTO(buf) dstack_buf once = {0};
    DSTACK_AUTO(buf) dstack_buf twice = {0};
    assert_ok(config_print(c, &once, &err), err);
    DSTACK_AUTO(config) service_config *again = config_parse(bytes_of_buf(&once), NULL, KEYS, &err);
    if (again == NULL) {
        fail_msg("%s in\n%s", err.message, buf_text(&once));
    }
    assert_ok(config_print(again, &twice, &err), err);
    assert_string_equal(buf_text(&once), buf_text(&twice));
    assert_string_equal(config_str(again, "dir"), "/abs");
}

static void wrong_configuration_is_refused_by_the_name_of_its_key(void **state) {
    static const struct {
        const char *text;
        const char *says;
    } cases[] = {
        {"rpc: {adress: x}", "unknown key rpc.adress"},
        {"nothing: 1", "unknown key nothing"},
        {"nothing: {}", "unknown key nothing"},
        {"rpc: {count: x}", "rpc.count must be"},
        {"rpc: {address: 5}", "rpc.address must be"},
        {"rpc: {on: yes}", "rpc.on must be"},
        {"rpc: 5", "unknown key rpc"},
        {"wait: 5", "wait must be"},
        {"wait: 5 parsecs", "is not a duration"},
        {"size: -1", "size must be"},
        {"names: x", "names must be"},
        {"rpc: {count: 1}\nrpc: {count: 2}", ""},
        {"a: &x 1\nsize: *x", ""},
        {"size: !!int 5", "tags"},
        {"- 1", "not a mapping"},
        {"{", "not valid YAML"},
        {"%\xe1", "not UTF-8"}, /* the parser below would never return */
        {"\xef\xbb\xbf%\xe1", "not UTF-8"},
        {"%YAML 1.2\n---\na: 1", "directives"},
        {"a: 1\n%TAG", "directives"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        dstack_error err = {0};
        service_config *c = config_parse(bytes_of_str(cases[i].text), NULL, KEYS, &err);
        if (c != NULL || strstr(err.message, cases[i].says) == NULL) {
            fail_msg("%s: %s", cases[i].text, err.message);
        }
    }
}

static void a_required_key_is_asked_for(void **state) {
    static const config_key required[] = {{"must", CONFIG_STR, NULL, "the thing"}};
    dstack_error err = {0};
    assert_null(config_parse(bytes_of_str(""), NULL, required, 1, &err));
    assert_string_equal(err.message, "must is required: the thing");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_what_the_file_leaves_out),
        cmocka_unit_test(a_file_sets_keys_and_print_config_loads_to_the_same),
        cmocka_unit_test(wrong_configuration_is_refused_by_the_name_of_its_key),
        cmocka_unit_test(a_required_key_is_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
