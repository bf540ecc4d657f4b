/* Attested certificates of the shared data, with the verdicts of the reference system. */
#include "attest/mock.h"
#include "attest/verified.h"
#include "cert/cert.h"

/* Ours says otherwise, or says nothing about it: certificate profiles (names, key usages, who
 * signed) are a policy of the reference's one-shot verifier, not of evidence. */
static const struct {
    const char *name;
    bool accepted;
} differences[] = {
    {"ca-issued", true},
    {"no-san", true},
    {"no-eku", true},
    {"eku-other", true},
    {"no-ku", true},
    {"ku-no-ds", true},
    /* a stripped event has nothing to compare with; it is recomputed */
    {"v2-upstream", true},
    /* an issuer's claim or a configuration that cannot be read is not passed over */
    {"app-info-junk", false},
    {"config-garbage", false},
    {"snp", false},
};

static void verdicts_equal_the_references_but_for_listed_differences(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(MOCK "cert-cases.json");
    dstack_verifier *verifier = NULL;
    make_verifier(true, &verifier);
    size_t i, failures = 0;
    json_t *item;
    json_array_foreach(cases, i, item) {
        const char *name = json_string_value(json_object_get(item, "name"));
        bool accepted = json_integer_value(json_object_get(item, "exit")) == 0;
        for (size_t d = 0; d < sizeof differences / sizeof *differences; d++) {
            if (strcmp(differences[d].name, name) == 0) {
                assert_int_not_equal(accepted, differences[d].accepted);
                accepted = differences[d].accepted;
            }
        }
        DSTACK_AUTO(cert) dstack_cert *cert = NULL;
        DSTACK_AUTO(verified) dstack_verified *verified = NULL;
        const dstack_cert_check check = {.now = 1795267944, .require_attestation = true};
        dstack_error err = {0};
        int rc = dstack_cert_parse(bytes_of_str(json_string_value(json_object_get(item, "pem"))),
                                   &cert, &err);
        if (rc == 0) {
            rc = dstack_cert_verify(verifier, cert, &check, &verified, &err);
        }
        if ((rc == 0) != accepted) {
            print_message("%s: %s\n", name, rc == 0 ? "accepted" : err.message);
            failures++;
        }
    }
    dstack_verifier_free(verifier);
    assert_int_equal(i, 25);
    assert_int_equal(failures, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(verdicts_equal_the_references_but_for_listed_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
