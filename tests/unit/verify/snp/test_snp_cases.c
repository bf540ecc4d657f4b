/* The recorded SEV-SNP cases of the shared data: every verdict, product and status. */
#include "check.h"

#include <strings.h>

#include <dstack/attestation.h>

#include "verify/snp/snp.h"

#define DATA SHARED_DATA "tees/"

static void load_below(const json_t *name, dstack_buf *out) {
    char path[512];
    snprintf(path, sizeof path, DATA "%s", json_string_value(name));
    load_file(path, out);
}

typedef struct snp_inputs {
    dstack_buf report, roots[DSTACK_SNP_PRODUCTS], document;
    dstack_snp_certs certs;
    dstack_snp_options options;
    dstack_snp_tcb floor;
    uint8_t report_data[64], host_data[48];
} snp_inputs;

static void snp_inputs_clear(snp_inputs *in) {
    dstack_buf_clear(&in->report);
    dstack_buf_clear(&in->document);
    dstack_snp_certs_clear(&in->certs);
    for (size_t i = 0; i < DSTACK_SNP_PRODUCTS; i++) {
        dstack_buf_clear(&in->roots[i]);
    }
}
DSTACK_AUTO_DEFINE_CLEAR(snp_inputs, snp_inputs, snp_inputs_clear)

static uint8_t part(const json_t *floor, const char *key) {
    return (uint8_t)json_integer_value(json_object_get(floor, key));
}

static int load_chain(const json_t *list, snp_inputs *in, dstack_error *err) {
    dstack_buf blobs[8] = {0};
    dstack_bytes views[8];
    const size_t count = json_array_size(list);
    assert_true(count <= 8);
    for (size_t i = 0; i < count; i++) {
        load_below(json_array_get(list, i), &blobs[i]);
        views[i] = bytes_of_buf(&blobs[i]);
    }
    const int rc = dstack_snp_certs_from_blobs(views, count, &in->certs, err);
    for (size_t i = 0; i < count; i++) {
        dstack_buf_clear(&blobs[i]);
    }
    return rc;
}

static int load_case(const json_t *c, snp_inputs *in, dstack_error *err) {
    static const char *const products[] = {"milan", "genoa", "turin"};
    load_below(json_object_get(c, "report"), &in->report);
    for (size_t i = 0; i < DSTACK_SNP_PRODUCTS; i++) {
        const json_t *root = json_object_get(json_object_get(c, "roots"), products[i]);
        if (json_is_string(root)) {
            load_below(root, &in->roots[i]);
            in->options.roots[i] = bytes_of_buf(&in->roots[i]);
        }
    }
    in->options.now = json_integer_value(json_object_get(c, "verify_time"));
    const char *data = json_string_value(json_object_get(c, "expected_report_data"));
    if (data != NULL) {
        assert_ok(hex_decode_fixed(data, in->report_data, 64, err), *err);
        in->options.report_data = in->report_data;
    }
    const json_t *floor = json_object_get(c, "min_tcb");
    if (floor != NULL) {
        in->floor = (dstack_snp_tcb){.has_fmc = json_object_get(floor, "fmc") != NULL,
                                     .fmc = part(floor, "fmc"),
                                     .boot_loader = part(floor, "bl"),
                                     .tee = part(floor, "tee"),
                                     .snp = part(floor, "snp"),
                                     .microcode = part(floor, "ucode")};
        in->options.min_tcb = &in->floor;
    }
    if (json_object_get(c, "mr_config") != NULL) {
        load_below(json_object_get(c, "mr_config"), &in->document);
        dstack_mr_config_document_id(bytes_of_buf(&in->document), in->host_data);
        in->options.host_data = in->host_data + 1;
    }
    if (json_object_get(c, "cert_chain") != NULL) {
        return load_chain(json_object_get(c, "cert_chain"), in, err);
    }
    load_below(json_object_get(c, "ask"), &in->certs.ask);
    load_below(json_object_get(c, "vcek"), &in->certs.vcek);
    if (json_is_string(json_object_get(c, "crl"))) {
        load_below(json_object_get(c, "crl"), &in->certs.crl);
    }
    return 0;
}

static void compare_tcb(const json_t *want, const dstack_snp_tcb *have) {
    assert_int_equal(json_is_integer(json_object_get(want, "fmc")), have->has_fmc);
    assert_int_equal(part(want, "fmc"), have->fmc);
    assert_int_equal(part(want, "bl"), have->boot_loader);
    assert_int_equal(part(want, "tee"), have->tee);
    assert_int_equal(part(want, "snp"), have->snp);
    assert_int_equal(part(want, "ucode"), have->microcode);
}

static void compare_facts(const json_t *facts, const dstack_snp_report *r) {
    if (facts == NULL) {
        return;
    }
    assert_int_equal(json_integer_value(json_object_get(facts, "version")), r->version);
    compare_tcb(json_object_get(facts, "current_tcb"), &r->current_tcb);
    compare_tcb(json_object_get(facts, "reported_tcb"), &r->reported_tcb);
    compare_tcb(json_object_get(facts, "committed_tcb"), &r->committed_tcb);
    compare_tcb(json_object_get(facts, "launch_tcb"), &r->launch_tcb);
    assert_hex(bytes_of(r->measurement, 48),
               json_string_value(json_object_get(facts, "measurement")));
    assert_hex(bytes_of(r->chip_id, 64), json_string_value(json_object_get(facts, "chip_id")));
}

static bool run_case(const json_t *c) {
    DSTACK_AUTO(snp_inputs) snp_inputs in = {0};
    dstack_snp_verdict verdict;
    dstack_error err = {0};
    int rc = load_case(c, &in, &err);
    if (rc == 0) {
        rc = dstack_snp_verify(bytes_of_buf(&in.report), &in.certs, &in.options, &verdict, &err);
    }
    const char *id = json_string_value(json_object_get(c, "id"));
    const json_t *expect = json_object_get(c, "expect");
    const bool accept = strcmp(json_string_value(json_object_get(expect, "result")), "accept") == 0;
    if (accept != (rc == 0)) {
        print_message("%s: %s: %s\n", id, dstack_status_name((dstack_status)rc), err.message);
        return false;
    }
    if (accept) {
        const char *status = json_string_value(json_object_get(expect, "tcb_status"));
        const char *product = json_string_value(json_object_get(expect, "product"));
        assert_string_equal(dstack_tcb_status_name(verdict.status), status);
        assert_int_equal(strcasecmp(dstack_snp_product_name(verdict.product), product), 0);
        compare_facts(json_object_get(c, "facts"), &verdict.report);
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
        if (strcmp(json_string_value(json_object_get(c, "kind")), "snp") == 0) {
            ran++;
            wrong += run_case(c) ? 0 : 1;
        }
    }
    assert_true(ran > 90);
    assert_int_equal(wrong, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_cases_get_the_recorded_verdicts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
