/* Attestation results: what is claimed of which verdict, and which tokens are believed. */
#include <dstack/ear.h>

#include "attest/verified.h"
#include "check.h"

#define NOW 1800000000
#define IMAGE "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define COMPOSE "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define DEVICE "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc"
#define ROOT "dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"

DSTACK_AUTO_DEFINE(policy, dstack_attestation_policy, dstack_attestation_policy_free)
DSTACK_AUTO_DEFINE(decision, dstack_attestation_decision, dstack_attestation_decision_free)
DSTACK_AUTO_DEFINE(signer, dstack_ear_signer, dstack_ear_signer_free)

static dstack_verified *result_of(dstack_tcb_status status, bool builtin, dstack_anchor image) {
    dstack_verified *v = calloc(1, sizeof *v);
    dstack_error err = {0};
    v->variant = DSTACK_TEE_TDX;
    v->quote.status = status;
    v->quote.body_type = DSTACK_QUOTE_BODY_TD10;
    strcpy(v->quote.anchor.name, builtin ? "intel-sgx-root-ca" : "pinned");
    v->quote.anchor.builtin = builtin;
    memset(v->quote.anchor.cert_sha256, 0xdd, 32);
    v->identity.compose_hash.len = v->identity.os_image_hash.len = v->identity.device_id.len = 32;
    memset(v->identity.compose_hash.data, 0xaa, 32);
    memset(v->identity.os_image_hash.data, 0xbb, 32);
    memset(v->identity.device_id.data, 0xcc, 32);
    v->image_anchor = image;
    v->image_checked = true;
    assert_ok(verified_list_claims(v, &err), err);
    return v;
}

static json_t *claims_of(const dstack_ear_result *result) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_error err = {0};
    assert_ok(dstack_ear_claims(result, &text, &err), err);
    json_t *claims = json_parse(bytes_of_buf(&text), SIZE_MAX, "claims", &err);
    assert_non_null(claims);
    return claims;
}

typedef struct row {
    dstack_tcb_status status;
    bool builtin;
    dstack_anchor image;
    const char *policy; /* rules, or NULL */
    const char *overall;
    const char *vector; /* compact, sorted */
} row;

static void the_vector_says_no_more_than_was_established(void **state) {
    static const row rows[] = {
        {DSTACK_TCB_UP_TO_DATE, true, DSTACK_ANCHOR_SELF_ASSERTED, NULL, "warning",
         "{\"executables\":33,\"hardware\":2,\"runtime-opaque\":2}"},
        {DSTACK_TCB_UP_TO_DATE, true, DSTACK_ANCHOR_REFERENCE_IMAGE, NULL, "affirming",
         "{\"executables\":3,\"file-system\":2,\"hardware\":2,\"runtime-opaque\":2}"},
        {DSTACK_TCB_OUT_OF_DATE, true, DSTACK_ANCHOR_REFERENCE_IMAGE, NULL, "warning",
         "{\"executables\":3,\"file-system\":2,\"hardware\":32,\"runtime-opaque\":2}"},
        {DSTACK_TCB_UP_TO_DATE, true, DSTACK_ANCHOR_SELF_ASSERTED,
         "os_image_hashes: [" IMAGE "]\ncompose_hashes: [" COMPOSE "]\ndevice_ids: [" DEVICE "]",
         "affirming",
         "{\"configuration\":2,\"executables\":2,\"file-system\":2,\"hardware\":2,"
         "\"instance-identity\":2,\"runtime-opaque\":2}"},
        {DSTACK_TCB_UP_TO_DATE, true, DSTACK_ANCHOR_SELF_ASSERTED, "os_image_hashes: [" COMPOSE "]",
         "contraindicated",
         "{\"configuration\":96,\"executables\":33,\"hardware\":2,\"runtime-opaque\":2}"},
        {DSTACK_TCB_UP_TO_DATE, false, DSTACK_ANCHOR_REFERENCE_IMAGE, NULL, "contraindicated",
         "{\"executables\":3,\"file-system\":2,\"hardware\":97}"},
        {DSTACK_TCB_UP_TO_DATE, false, DSTACK_ANCHOR_REFERENCE_IMAGE, "hardware_roots: [" ROOT "]",
         "warning", "{\"configuration\":2,\"executables\":3,\"file-system\":2,\"hardware\":-33}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        DSTACK_AUTO(verified)
        dstack_verified *v = result_of(rows[i].status, rows[i].builtin, rows[i].image);
        DSTACK_AUTO(policy) dstack_attestation_policy *policy = NULL;
        DSTACK_AUTO(decision) dstack_attestation_decision *decision = NULL;
        DSTACK_AUTO(buf) dstack_buf text = {0};
        dstack_error err = {0};
        if (rows[i].policy != NULL) {
            buf_put_fmt(&text, "version: 1\nid: p\n%s\n", rows[i].policy);
            assert_ok(dstack_attestation_policy_parse(&policy, bytes_of_buf(&text), &err), err);
            (void)dstack_attestation_policy_decide(policy, v, &decision, &err);
        }
        const dstack_ear_result result = {.verified = v, .decision = decision, .now = NOW};
        DSTACK_AUTO(json) json_t *claims = claims_of(&result);
        const json_t *submod = json_object_get(json_object_get(claims, "submods"), "cpu0");
        char *vector = json_dumps(json_object_get(submod, "ear.trustworthiness-vector"),
                                  JSON_COMPACT | JSON_SORT_KEYS);
        assert_string_equal(vector, rows[i].vector);
        free(vector);
        assert_string_equal(json_string_value(json_object_get(submod, "ear.status")),
                            rows[i].overall);
        assert_string_equal(json_string_value(json_object_get(submod, "ear.appraisal-policy-id")),
                            rows[i].policy != NULL ? "p" : "dstack:verification");
    }
}

static void expect_failure(dstack_ear_failure failure, const char *overall, int hardware) {
    const dstack_ear_result result = {.failure = failure, .reason = "why", .now = NOW};
    DSTACK_AUTO(json) json_t *claims = claims_of(&result);
    const json_t *submod = json_object_get(json_object_get(claims, "submods"), "cpu0");
    const json_t *vector = json_object_get(submod, "ear.trustworthiness-vector");
    assert_string_equal(json_string_value(json_object_get(submod, "ear.status")), overall);
    assert_int_equal(json_integer_value(json_object_get(vector, "hardware")), hardware);
    assert_int_equal(json_object_size(json_object_get(submod, "ear.dstack.claims")), 0);
}

static void refused_evidence_is_contraindicated_and_no_verdict_says_nothing(void **state) {
    expect_failure(DSTACK_EAR_EVIDENCE_REFUSED, "contraindicated", 99);
    expect_failure(DSTACK_EAR_IMAGE_REFUSED, "contraindicated", 99);
    expect_failure(DSTACK_EAR_NO_VERDICT, "none", -1);
    /* a result that is not filled in affirms nothing */
    expect_failure(DSTACK_EAR_NOT_FAILED, "contraindicated", 99);
    DSTACK_AUTO(verified)
    dstack_verified *v = result_of(DSTACK_TCB_UP_TO_DATE, true, DSTACK_ANCHOR_SELF_ASSERTED);
    const dstack_ear_result result = {
        .verified = v, .failure = DSTACK_EAR_IMAGE_REFUSED, .now = NOW};
    DSTACK_AUTO(json) json_t *claims = claims_of(&result);
    const json_t *submod = json_object_get(json_object_get(claims, "submods"), "cpu0");
    assert_string_equal(json_string_value(json_object_get(submod, "ear.status")),
                        "contraindicated");
}

static void the_ietf_form_says_the_same_by_other_names(void **state) {
    DSTACK_AUTO(verified)
    dstack_verified *v = result_of(DSTACK_TCB_UP_TO_DATE, true, DSTACK_ANCHOR_SELF_ASSERTED);
    const dstack_ear_result result = {.verified = v,
                                      .reason = "why",
                                      .now = NOW,
                                      .insecure_dev = true,
                                      .form = DSTACK_EAR_FORM_IETF};
    dstack_ear_result dotted = result;
    dotted.form = DSTACK_EAR_FORM_TRUSTEE;
    DSTACK_AUTO(json) json_t *claims = claims_of(&result);
    DSTACK_AUTO(json) json_t *old = claims_of(&dotted);
    const json_t *submod = json_object_get(json_object_get(claims, "submods"), "cpu0");
    const json_t *before = json_object_get(json_object_get(old, "submods"), "cpu0");
    static const char *const same[][2] = {
        {"ear_status", "ear.status"},
        {"ear_trustworthiness_vector", "ear.trustworthiness-vector"},
        {"ear_dstack_claims", "ear.dstack.claims"},
        {"ear_dstack_refusal", "ear.dstack.refusal"}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        assert_non_null(json_object_get(submod, same[i][0]));
        assert_true(
            json_equal(json_object_get(submod, same[i][0]), json_object_get(before, same[i][1])));
    }
    const json_t *policies = json_object_get(submod, "ear_appraisal_policy_ids");
    assert_int_equal(json_array_size(policies), 1);
    assert_string_equal(json_string_value(json_array_get(policies, 0)), "dstack:verification");
    assert_string_equal(json_string_value(json_object_get(claims, "eat_profile")),
                        "tag:ietf.org,2026:rats/ear#04");
    assert_non_null(json_object_get(claims, "ear_verifier_id"));
    assert_true(json_is_true(json_object_get(claims, "ear_dstack_insecure_dev")));
    const char *key; /* no name of the other form is left */
    json_t *value;
    json_object_foreach((json_t *)submod, key, value) {
        assert_null(strchr(key, '.'));
    }
    json_object_foreach(claims, key, value) {
        assert_null(strchr(key, '.'));
    }
    dotted.form = (dstack_ear_form)7;
    DSTACK_AUTO(buf) dstack_buf text = {0};
    assert_int_equal(dstack_ear_claims(&dotted, &text, NULL), DSTACK_E_ARGUMENT);
}

static void tokens_of_either_form_are_verified(void **state) {
    DSTACK_AUTO(buf) dstack_buf keys = {0};
    dstack_ear_signer *signer = NULL;
    dstack_error err = {0};
    assert_ok(dstack_ear_signer_new(&signer, NULL, &err), err);
    assert_ok(dstack_ear_signer_jwks(signer, &keys, &err), err);
    for (int form = DSTACK_EAR_FORM_TRUSTEE; form <= DSTACK_EAR_FORM_IETF; form++) {
        DSTACK_AUTO(buf) dstack_buf token = {0}, claims = {0};
        const dstack_ear_result result = {
            .failure = DSTACK_EAR_EVIDENCE_REFUSED, .now = NOW, .form = (dstack_ear_form)form};
        assert_ok(dstack_ear_sign(signer, &result, &token, &err), err);
        assert_ok(dstack_ear_verify(bytes_of_buf(&token), bytes_of_buf(&keys), NOW, &claims, &err),
                  err);
    }
    dstack_ear_signer_free(signer);
}

static void a_nonce_is_8_to_64_bytes(void **state) {
    static const uint8_t bytes[65];
    DSTACK_AUTO(buf) dstack_buf text = {0};
    dstack_ear_result result = {.failure = DSTACK_EAR_EVIDENCE_REFUSED, .now = NOW};
    result.nonce = bytes_of(bytes, 7);
    assert_int_equal(dstack_ear_claims(&result, &text, NULL), DSTACK_E_ARGUMENT);
    result.nonce = bytes_of(bytes, 65);
    assert_int_equal(dstack_ear_claims(&result, &text, NULL), DSTACK_E_ARGUMENT);
    result.nonce = bytes_of(bytes, 9);
    DSTACK_AUTO(json) json_t *claims = claims_of(&result);
    assert_string_equal(json_string_value(json_object_get(claims, "eat_nonce")), "AAAAAAAAAAAA");
}

/* ---- tokens --------------------------------------------------------------------------------------
 */

typedef struct pair {
    dstack_buf token, keys;
} pair;

static void pair_clear(pair *p) {
    dstack_buf_clear(&p->token);
    dstack_buf_clear(&p->keys);
}
DSTACK_AUTO_DEFINE_CLEAR(pair, pair, pair_clear)

static void make(pair *p, int64_t lifetime) {
    DSTACK_AUTO(signer) dstack_ear_signer *signer = NULL;
    dstack_error err = {0};
    const dstack_ear_result result = {
        .failure = DSTACK_EAR_EVIDENCE_REFUSED, .now = NOW, .lifetime = lifetime};
    assert_ok(dstack_ear_signer_new(&signer, NULL, &err), err);
    assert_ok(dstack_ear_sign(signer, &result, &p->token, &err), err);
    assert_ok(dstack_ear_signer_jwks(signer, &p->keys, &err), err);
}

static int believe(const pair *p, int64_t now) {
    DSTACK_AUTO(buf) dstack_buf claims = {0};
    return dstack_ear_verify(bytes_of_buf(&p->token), bytes_of_buf(&p->keys), now, &claims, NULL);
}

static void a_token_holds_for_its_time_and_under_its_key(void **state) {
    DSTACK_AUTO(pair) pair p = {0};
    DSTACK_AUTO(pair) pair other = {0};
    make(&p, 300);
    make(&other, 300);
    assert_int_equal(believe(&p, NOW), 0);
    assert_int_equal(believe(&p, NOW - 60), 0);
    assert_int_equal(believe(&p, NOW - 61), DSTACK_E_REFUSED);
    assert_int_equal(believe(&p, NOW + 300), 0);
    assert_int_equal(believe(&p, NOW + 301), DSTACK_E_REFUSED);
    const pair crossed = {p.token, other.keys};
    assert_int_equal(believe(&crossed, NOW), DSTACK_E_NOT_FOUND);
}

static void a_token_that_was_touched_anywhere_is_not_believed(void **state) {
    DSTACK_AUTO(pair) pair p = {0};
    make(&p, 0);
    for (size_t i = 0; i < p.token.len; i++) {
        uint8_t was = p.token.data[i];
        p.token.data[i] = was == 'A' ? 'B' : 'A';
        if (believe(&p, NOW) == 0) {
            fail_msg("byte %zu of %zu", i, p.token.len);
        }
        p.token.data[i] = was;
    }
    assert_int_equal(believe(&p, NOW), 0);
}

static void put_part(dstack_buf *out, const char *text) {
    base64_encode(bytes_of_str(text), BASE64_URL_NOPAD, out);
}

static void other_algorithms_and_forms_are_refused(void **state) {
    static const char *const headers[] = {"{\"alg\":\"none\"}",
                                          "{\"alg\":\"HS256\"}",
                                          "{}",
                                          "[]",
                                          "{\"alg\":\"ES256\",\"crit\":[\"b64\"]}",
                                          "{\"alg\":1}"};
    DSTACK_AUTO(pair) pair p = {0};
    make(&p, 0);
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        DSTACK_AUTO(pair) pair forged = {0};
        buf_put_bytes(&forged.keys, bytes_of_buf(&p.keys));
        put_part(&forged.token, headers[i]);
        buf_put_str(&forged.token, ".e30.");
        put_part(&forged.token, "x");
        assert_int_equal(believe(&forged, NOW), DSTACK_E_FORMAT);
    }
    static const char *const shapes[] = {"", ".", "..", "a.b", "a.b.c.d", "e30.e30.", "e30..e30"};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const pair bad = {{(uint8_t *)(uintptr_t)shapes[i], strlen(shapes[i]), 0, false}, p.keys};
        assert_int_equal(believe(&bad, NOW), DSTACK_E_FORMAT);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_vector_says_no_more_than_was_established),
        cmocka_unit_test(refused_evidence_is_contraindicated_and_no_verdict_says_nothing),
        cmocka_unit_test(the_ietf_form_says_the_same_by_other_names),
        cmocka_unit_test(tokens_of_either_form_are_verified),
        cmocka_unit_test(a_nonce_is_8_to_64_bytes),
        cmocka_unit_test(a_token_holds_for_its_time_and_under_its_key),
        cmocka_unit_test(a_token_that_was_touched_anywhere_is_not_believed),
        cmocka_unit_test(other_algorithms_and_forms_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
