/* The recorded AWS Nitro documents of the shared data: every verdict and the facts of the accepted
 * ones; and that bent or cut documents are refused. */
#include "check.h"

#include <dstack/nitro.h>

#define DATA SHARED_DATA "tees/"

static void load_below(const json_t *name, dstack_buf *out) {
    char path[512];
    snprintf(path, sizeof path, DATA "%s", json_string_value(name));
    load_file(path, out);
}

static void compare_facts(const json_t *facts, const dstack_nitro_verdict *v) {
    const char *index;
    json_t *value;
    json_object_foreach(json_object_get(facts, "pcrs"), index, value) {
        assert_hex(bytes_of(v->pcrs[atoi(index)], 48), json_string_value(value));
    }
    assert_string_equal(v->module_id, json_string_value(json_object_get(facts, "module_id")));
    assert_int_equal(v->timestamp_ms, json_integer_value(json_object_get(facts, "timestamp")));
}

/* The last runtime event missing is what the attestation's verifier finds, not the document's. */
static bool is_about_events(const json_t *c) {
    return json_object_get(c, "runtime_events") != NULL;
}

static bool run_case(const json_t *c) {
    DSTACK_AUTO(buf) dstack_buf document = {0}, root = {0}, data = {0};
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    load_below(json_object_get(c, "document"), &document);
    load_below(json_object_get(c, "root"), &root);
    const char *expected = json_string_value(json_object_get(c, "expected_user_data"));
    if (expected != NULL) {
        put_hex(&data, expected);
    }
    const dstack_bytes user_data = bytes_of_buf(&data);
    const char *mode = json_string_value(json_object_get(c, "mode"));
    const dstack_nitro_options options = {
        .now = json_integer_value(json_object_get(c, "verify_time")),
        .root = bytes_of_buf(&root),
        .tpm = strcmp(mode, "aws-nitro-tpm") == 0,
        .user_data = expected == NULL ? NULL : &user_data,
    };
    const int rc = dstack_nitro_verify(bytes_of_buf(&document), &options, &verdict, &err);
    const json_t *expect = json_object_get(c, "expect");
    const bool accept = strcmp(json_string_value(json_object_get(expect, "result")), "accept") == 0;
    if (accept != (rc == 0) && !(rc == 0 && is_about_events(c))) {
        print_message("%s: %s: %s\n", json_string_value(json_object_get(c, "id")),
                      dstack_status_name((dstack_status)rc), err.message);
        return false;
    }
    if (accept && json_object_get(c, "facts") != NULL) {
        compare_facts(json_object_get(c, "facts"), &verdict);
    }
    return true;
}

static void recorded_cases_get_the_recorded_verdicts(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(json) json_t *manifest = load_json(DATA "manifest.json");
    size_t index, ran = 0, wrong = 0;
    json_t *c;
    json_array_foreach(json_object_get(manifest, "cases"), index, c) {
        if (strcmp(json_string_value(json_object_get(c, "kind")), "nitro") == 0) {
            ran++;
            wrong += run_case(c) ? 0 : 1;
        }
    }
    assert_true(ran > 45);
    assert_int_equal(wrong, 0);
}

static void a_real_document_verifies_under_the_builtin_root(void **state) {
    (void)state;
    need_shared_data();
    DSTACK_AUTO(buf) dstack_buf document = {0};
    dstack_nitro_verdict verdict;
    dstack_error err = {0};
    load_file(DATA "nitro/real/nitro-real-enclave-a.cose", &document);
    const dstack_nitro_options options = {.now = 1766678659};
    assert_ok(dstack_nitro_verify(bytes_of_buf(&document), &options, &verdict, &err), err);
    assert_true(verdict.anchor.builtin);
    assert_hex(bytes_of(verdict.image_hash, 32),
               "1894b0b29e94a9db16e88a2914f0923e52bb16c08bf3bb484df786a147e2eb79");
    for (size_t i = 0; i < document.len; i += 3) {
        document.data[i] ^= 0x20;
        const int rc = dstack_nitro_verify(bytes_of_buf(&document), &options, &verdict, &err);
        /* the bundle's first certificate and the unprotected header are nobody's business, and the
         * bundle is signed as part of the payload */
        assert_int_not_equal(rc, 0);
        document.data[i] ^= 0x20;
    }
    for (size_t cut = 0; cut < document.len; cut += 7) {
        dstack_nitro_document parsed;
        assert_int_not_equal(
            dstack_nitro_document_parse(&parsed, bytes_of(document.data, cut), &err), 0);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_cases_get_the_recorded_verdicts),
        cmocka_unit_test(a_real_document_verifies_under_the_builtin_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
