#include "check.h"

#include "label.h"

static void labels_give_id_port_and_mode(void **state) {
    (void)state;
    static const struct {
        const char *label, *id;
        unsigned port;
        bool passthrough, h2;
    } good[] = {
        {"app", "app", 80, false, false},       {"app-8080", "app", 8080, false, false},
        {"app-s", "app", 443, true, false},     {"app-8443s", "app", 8443, true, false},
        {"app-g", "app", 80, false, true},      {"app-50051g", "app", 50051, false, true},
        {"app-", "app", 80, false, false},      {"apps", "apps", 80, false, false},
        {"app-+0080", "app", 80, false, false}, {"app-0", "app", 0, false, false},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        host_label label;
        dstack_error err = {0};
        assert_ok(host_label_parse(good[i].label, &label, &err), err);
        assert_string_equal(label.id, good[i].id);
        assert_int_equal(label.port, good[i].port);
        assert_int_equal(label.passthrough, good[i].passthrough);
        assert_int_equal(label.h2, good[i].h2);
    }
}

static void malformed_labels_are_refused(void **state) {
    (void)state;
    static const char *bad[] = {"",    "-80",       "app-443sg", "app-gs", "app-1-2",
                                "a--", "app-65536", "app-8x",    "app-+",  "app- 80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        host_label label;
        assert_int_equal(host_label_parse(bad[i], &label, NULL), DSTACK_E_FORMAT);
    }
    char long_id[LABEL_ID_SIZE + 1];
    memset(long_id, 'a', LABEL_ID_SIZE);
    long_id[LABEL_ID_SIZE] = '\0';
    host_label label;
    assert_int_equal(host_label_parse(long_id, &label, NULL), DSTACK_E_FORMAT);
}

static void the_recorded_labels_agree(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(SHARED_DATA "gateway/hostname-vectors.json");
    size_t i;
    json_t *one;
    assert_true(json_array_size(cases) > 10);
    json_array_foreach(cases, i, one) {
        const char *text = json_string_value(json_object_get(one, "label"));
        bool ok = json_is_true(json_object_get(one, "ok"));
        host_label label;
        int rc = host_label_parse(text, &label, NULL);
        if ((rc == 0) != ok) {
            fail_msg("label \"%s\": expected %s", text, ok ? "success" : "refusal");
        }
        if (ok) {
            const json_t *want = json_object_get(one, "parsed");
            assert_string_equal(label.id, json_string_value(json_object_get(want, "id")));
            assert_int_equal(label.port, json_integer_value(json_object_get(want, "port")));
            assert_int_equal(label.passthrough,
                             json_is_true(json_object_get(want, "tls_passthrough")));
            assert_int_equal(label.h2, json_is_true(json_object_get(want, "h2")));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_give_id_port_and_mode),
        cmocka_unit_test(malformed_labels_are_refused),
        cmocka_unit_test(the_recorded_labels_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
