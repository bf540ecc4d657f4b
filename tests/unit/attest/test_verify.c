/* Whole attestations signed under test roots, with the verdicts of the reference system's verifier.
 * Where ours is stricter or more lenient, the table below says so and why. */
#include <dstack/measure.h>
#include <dstack/verifier.h>

#include "attest/verified.h"
#include "fixtures.h"
#include "mock.h"

static const struct {
    const char *name;
    bool accepted;
    const char *why;
} differences[] = {
    {"tdx-log-differs", false, "differs from the list"},
    {"tdx-log-acpi-only", false, "lacks runtime events"},
    {"tdx-duplicate-claim", false, "claimed 2 times"},
    {"tdx-pair-runtime-imr1", false, "register 1"},
    {"tdx-no-events", false, "was not measured"},
    {"tdx-app-id-3-bytes", false, "app-id of 3 bytes"},
    {"tdx-init-script-short", false, "init-script-hash"},
    {"tdx-init-script-six", false, "init-script-hash"},
    {"tdx-key-provider-garbage", false, "key-provider"},
    /* another machine than the measured one: the tables are recomputed, not believed */
    {"tdx-config-cpu", false, "ACPI loader mismatch"},
    /* names of firmware events are not measured: their order is, and decides */
    {"tdx-acpi-unnamed", true, NULL},
    /* a whole sys-config around the vm_config is read through */
    {"tdx-pair-sysconfig", true, NULL},
    {"tdx-config-sysconfig", true, NULL},
    /* a stripped event has no digest or preimage to compare; both are recomputed */
    {"tdx-v2-stripped", true, NULL},
    {"tdx-v2-no-preimage", true, NULL},
    {"tdx-v2-stripped-no-preimage", true, NULL},
    /* the purpose that TCG names for attestation keys; the other one is that of endorsement keys */
    {"gcp-eku-other", true, NULL},
};

/* The families of the recorded cases whose platforms are verified, and how many there are. */
static const struct {
    const char *name;
    size_t count;
} families[] = {{"tdx", 64}, {"snp", 36}, {"nitro", 23}, {"nitrotpm", 10}, {"gcp", 22}};

static dstack_buf snp_root, enclave_root, tpm_root, gcp_root;
static dstack_platform_roots platform_roots;

static void load_root(const char *name, dstack_buf *der, dstack_bytes *out) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    DSTACK_AUTO(pem_block) pem_block block = {0};
    pem_reader reader;
    bool found = false;
    dstack_error err = {0};
    load_file(name, &text);
    pem_reader_init(&reader, bytes_of_buf(&text));
    assert_ok(pem_next(&reader, &block, &found, &err), err);
    buf_put_bytes(der, bytes_of_buf(&block.der));
    *out = bytes_of_buf(der);
}

static dstack_verifier *verifier;
static bool require_mr_config;

static int set_up(void **state) {
    if (access(SHARED_DATA, R_OK) == 0) {
        make_verifier(true, &verifier);
        load_root(MOCK "roots/sev_snp_milan.pem", &snp_root, &platform_roots.snp_milan);
        load_root(MOCK "roots/aws_nitro_enclave.pem", &enclave_root, &platform_roots.nitro_enclave);
        load_root(MOCK "roots/aws_nitro_tpm.pem", &tpm_root, &platform_roots.nitro_tpm);
        load_root(MOCK "roots/gcp_tpm.pem", &gcp_root, &platform_roots.gcp_tpm);
    }
    return 0;
}

static int tear_down(void **state) {
    dstack_verifier_free(verifier);
    dstack_buf_clear(&snp_root);
    dstack_buf_clear(&enclave_root);
    dstack_buf_clear(&tpm_root);
    dstack_buf_clear(&gcp_root);
    return 0;
}

static const char *text_or(const json_t *object, const char *key, const char *fallback) {
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? fallback : text;
}

static int decode(const json_t *request, dstack_attestation **out, dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    const char *attestation = text_or(request, "attestation", NULL);
    if (attestation != NULL) {
        put_hex(&raw, attestation);
        return dstack_attestation_decode(bytes_of_buf(&raw), out, err);
    }
    put_hex(&raw, text_or(request, "quote", ""));
    return dstack_attestation_from_quote(bytes_of_buf(&raw),
                                         bytes_of_str(text_or(request, "event_log", "")), out, err);
}

static int verify(const json_t *item, const uint8_t *report_data, dstack_verified **out,
                  dstack_error *err) {
    const json_t *request = json_object_get(item, "request");
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    int rc = decode(request, &a, err);
    const dstack_attestation_options options = {
        .now = json_integer_value(json_object_get(item, "now")),
        .vm_config = text_or(request, "attestation", NULL) != NULL
                         ? NULL
                         : text_or(request, "vm_config", NULL),
        .report_data = report_data,
        .require_mr_config = require_mr_config,
        .image = dstack_measure_image_check,
        .roots = &platform_roots,
        .self_asserted_identity = true,
    };
    return rc == 0 ? dstack_attestation_verify(verifier, a, &options, out, err) : rc;
}

static void assert_same_info(const char *name, const json_t *response, const dstack_verified *v) {
    const json_t *details = json_object_get(response, "details");
    const json_t *info = json_object_get(details, "app_info");
    DSTACK_AUTO(json) json_t *mine = attest_identity_json(dstack_verified_identity(v));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)info, key, value) {
        const json_t *found = json_object_get(mine, key);
        if (found != NULL && !json_equal(found, value)) {
            fail_msg("%s: %s is %s, expected %s", name, key, json_string_value(found),
                     json_string_value(value));
        }
    }
    assert_string_equal(dstack_verified_tcb_status(v), text_or(details, "tcb_status", ""));
}

static size_t family_of(const json_t *item) {
    size_t i = 0;
    const size_t count = sizeof families / sizeof *families;
    while (i < count && strcmp(text_or(item, "family", ""), families[i].name) != 0) {
        i++;
    }
    return i;
}

static void verdicts_equal_the_references_but_for_listed_differences(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    size_t i, failures = 0;
    size_t checked[sizeof families / sizeof *families + 1] = {0};
    json_t *item;
    json_array_foreach(cases, i, item) {
        const char *name = text_or(item, "name", "");
        checked[family_of(item)]++;
        if (family_of(item) == sizeof families / sizeof *families) {
            continue;
        }
        const json_t *response = json_object_get(item, "response");
        bool accepted = json_is_true(json_object_get(response, "is_valid"));
        const char *why = "";
        for (size_t d = 0; d < sizeof differences / sizeof *differences; d++) {
            if (strcmp(differences[d].name, name) == 0) {
                accepted = differences[d].accepted;
                why = differences[d].why == NULL ? "" : differences[d].why;
            }
        }
        dstack_error err = {0};
        DSTACK_AUTO(verified) dstack_verified *v = NULL;
        int rc = verify(item, NULL, &v, &err);
        if ((rc == 0) != accepted || strstr(err.message, why) == NULL) {
            print_message("%s: %s, expected %s: %s\n", name, err.message,
                          accepted ? "acceptance" : why, text_or(response, "reason", ""));
            failures++;
        } else if (rc == 0 && json_is_true(json_object_get(response, "is_valid"))) {
            assert_same_info(name, response, v);
        }
    }
    for (i = 0; i < sizeof families / sizeof *families; i++) {
        assert_int_equal(checked[i], families[i].count);
    }
    assert_int_equal(failures, 0);
}

static const json_t *find_case(const json_t *cases, const char *name) {
    size_t i;
    json_t *item;
    json_array_foreach((json_t *)cases, i, item) {
        if (strcmp(text_or(item, "name", ""), name) == 0) {
            return item;
        }
    }
    fail_msg("no case %s", name);
    return NULL;
}

static dstack_anchor anchor_of(const dstack_verified *v, const char *name) {
    dstack_attestation_claim claim;
    for (size_t i = 0; dstack_verified_claim(v, i, &claim); i++) {
        if (strcmp(claim.name, name) == 0) {
            return claim.anchor;
        }
    }
    fail_msg("no claim %s", name);
    return DSTACK_ANCHOR_NONE;
}

static void sec_26_every_claim_names_its_anchor(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    dstack_error err = {0};
    assert_ok(verify(find_case(cases, "tdx-v0"), NULL, &v, &err), err);
    assert_int_equal(anchor_of(v, "app_id"), DSTACK_ANCHOR_MEASURED);
    assert_int_equal(anchor_of(v, "compose_hash"), DSTACK_ANCHOR_MEASURED);
    /* the prover brought the document that its registers agree with */
    assert_int_equal(anchor_of(v, "os_image_hash"), DSTACK_ANCHOR_SELF_ASSERTED);
    assert_int_equal(dstack_verified_image_anchor(v), DSTACK_ANCHOR_SELF_ASSERTED);
    /* the operator pinned the root of this simulated hardware */
    assert_int_equal(anchor_of(v, "hardware_root"), DSTACK_ANCHOR_POLICY);
    assert_true(dstack_verified_external_root(v));
    DSTACK_AUTO(buf) dstack_buf boot = {0};
    assert_ok(dstack_verified_boot_info(v, &boot, &err), err);
    const json_t *response = json_object_get(find_case(cases, "tdx-v0"), "response");
    const json_t *expected = json_object_get(json_object_get(response, "details"), "boot_info");
    DSTACK_AUTO(json) json_t *mine = json_loads(buf_text(&boot), 0, NULL);
    assert_true(json_equal(mine, expected));
}

static void sec_13_simulated_evidence_is_refused_unless_its_root_is_pinned(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    dstack_verifier *pinned = verifier;
    make_verifier(false, &verifier);
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    int rc = verify(find_case(cases, "tdx-v0"), NULL, &v, NULL);
    dstack_verifier_free(verifier);
    verifier = pinned;
    assert_true(rc < 0);
    assert_null(v);
}

static void sec_09_an_unset_launch_binding_is_shown_and_refused_where_required(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    size_t i, bound = 0, unbound = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        DSTACK_AUTO(verified) dstack_verified *v = NULL;
        if (strcmp(text_or(item, "family", ""), "tdx") != 0 || verify(item, NULL, &v, NULL) != 0) {
            continue;
        }
        bool measured = anchor_of(v, "mr_config_id") == DSTACK_ANCHOR_MEASURED;
        bound += measured;
        unbound += !measured;
        DSTACK_AUTO(verified) dstack_verified *strict = NULL;
        require_mr_config = true;
        assert_int_equal(verify(item, NULL, &strict, NULL), measured ? 0 : DSTACK_E_REFUSED);
        require_mr_config = false;
    }
    print_message("%zu bound, %zu unbound\n", bound, unbound);
    assert_true(unbound > 0);
}

static void evidence_for_other_report_data_is_refused(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    const json_t *item = find_case(cases, "tdx-v0");
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    dstack_error err = {0};
    assert_ok(verify(item, NULL, &v, &err), err);
    uint8_t report_data[64];
    memcpy(report_data, dstack_verified_report_data(v).data, sizeof report_data);
    DSTACK_AUTO(verified) dstack_verified *same = NULL;
    assert_ok(verify(item, report_data, &same, &err), err);
    for (size_t i = 0; i < sizeof report_data; i++) {
        DSTACK_AUTO(verified) dstack_verified *other = NULL;
        report_data[i] ^= 0x80;
        assert_int_equal(verify(item, report_data, &other, NULL), DSTACK_E_REFUSED);
        assert_null(other);
        report_data[i] ^= 0x80;
    }
}

static void sec_13_no_platform_takes_test_roots_that_nobody_pinned(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cases.json");
    const dstack_platform_roots pinned = platform_roots;
    size_t i;
    json_t *item;
    platform_roots = (dstack_platform_roots){0};
    json_array_foreach(cases, i, item) {
        if (strcmp(text_or(item, "family", ""), "tdx") == 0) {
            continue;
        }
        DSTACK_AUTO(verified) dstack_verified *v = NULL;
        assert_true(verify(item, NULL, &v, NULL) < 0);
        assert_null(v);
    }
    platform_roots = pinned;
}

static void real_snp_evidence_verifies_offline_with_its_image(void **state) {
    need_shared_data();
    DSTACK_AUTO(json)
    json_t *request = load_json(SHARED_DATA "attestation/verifier/sev-snp-attestation.json");
    DSTACK_AUTO(json) json_t *expected = load_json(SHARED_DATA "attestation/expected.json");
    DSTACK_AUTO(attestation) dstack_attestation *a = NULL;
    DSTACK_AUTO(verified) dstack_verified *v = NULL;
    dstack_error err = {0};
    assert_ok(decode(request, &a, &err), err);
    const dstack_attestation_options options = {.now = 1785000000,
                                                .image = dstack_measure_image_check};
    assert_ok(dstack_attestation_verify(verifier, a, &options, &v, &err), err);
    assert_string_equal(dstack_verified_tcb_status(v), "OutOfDate");
    assert_false(dstack_verified_external_root(v));
    assert_null(dstack_verified_quote(v));
    assert_non_null(dstack_verified_snp(v));
    assert_int_equal(anchor_of(v, "measurement"), DSTACK_ANCHOR_MEASURED);
    assert_int_equal(anchor_of(v, "os_image_hash"), DSTACK_ANCHOR_SELF_ASSERTED);
    const dstack_identity *id = dstack_verified_identity(v);
    assert_hex(attest_value(&id->os_image_hash),
               "f69c8e5031ec2b269bbc08839ce02cb98ee255d695626f941f4b37b95946d352");
    const json_t *info =
        json_object_get(json_object_get(expected, "verifier/sev-snp-attestation.json"), "app_info");
    DSTACK_AUTO(json) json_t *mine = attest_identity_json(id);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)info, key, value) {
        if (json_object_get(mine, key) != NULL && !json_equal(json_object_get(mine, key), value)) {
            fail_msg("%s differs", key);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_equal_the_references_but_for_listed_differences),
        cmocka_unit_test(sec_26_every_claim_names_its_anchor),
        cmocka_unit_test(sec_13_simulated_evidence_is_refused_unless_its_root_is_pinned),
        cmocka_unit_test(sec_09_an_unset_launch_binding_is_shown_and_refused_where_required),
        cmocka_unit_test(evidence_for_other_report_data_is_refused),
        cmocka_unit_test(sec_13_no_platform_takes_test_roots_that_nobody_pinned),
        cmocka_unit_test(real_snp_evidence_verifies_offline_with_its_image),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
