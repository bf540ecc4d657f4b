/* Name constraints of a CA: each form, each way, and what is not evaluated. */
#include "check.h"

#include "x509/build.h"
#include "x509/chain.h"
#include "x509/der.h"
#include "x509/path.h"

#define NOW 1764000000
#define DAY 86400

typedef struct keys {
    ecdsa_private *root, *ca, *leaf;
} keys;

static ecdsa_private *fresh_key(void) {
    ecdsa_private *key = NULL;
    dstack_error err = {0};
    assert_ok(ecdsa_private_generate(&key, ECDSA_P256, &err), err);
    return key;
}

static void issue(x509_build build, const ecdsa_private *subject_key, const x509_cert *issuer,
                  const ecdsa_private *signer, dstack_buf *der, x509_cert *cert) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf spki = {0};
    assert_ok(ecdsa_key_spki(ecdsa_private_public(subject_key), &spki, &err), err);
    build.spki = bytes_of_buf(&spki);
    build.not_before = NOW - DAY;
    build.not_after = NOW + DAY;
    if (issuer != NULL) {
        build.issuer_der = issuer->subject;
    }
    assert_ok(x509_cert_build(&build, signer, false, der, &err), err);
    assert_ok(x509_cert_parse(cert, bytes_of_buf(der), &err), err);
}

/* A subtree: "+dns:", "-dns:", "+ip:" and "-ip:" with hex, "+dn:" with an organisation, "-dn:",
 * "+uri:" (a form that is not evaluated), "+min" (a distance), "!" (an empty list). */
static void put_base(dstack_buf *out, const char *text) {
    dstack_error err = {0};
    DSTACK_AUTO(buf) dstack_buf value = {0};
    if (strncmp(text, "dns:", 4) == 0) {
        der_put(out, DER_CONTEXT(2), bytes_of_str(text + 4));
    } else if (strncmp(text, "ip:", 3) == 0) {
        assert_ok(hex_decode(bytes_of_str(text + 3), &value, &err), err);
        der_put(out, DER_CONTEXT(7), bytes_of_buf(&value));
    } else if (strncmp(text, "dn:", 3) == 0) {
        const x509_name_spec name = {.organization = text + 3};
        assert_ok(x509_name_build(&name, &value, &err), err);
        der_put(out, DER_CONTEXT_CONSTRUCTED(4), bytes_of_buf(&value));
    } else if (strncmp(text, "uri:", 4) == 0) {
        der_put(out, DER_CONTEXT(6), bytes_of_str(text + 4));
    } else {
        const uint8_t one = 1;
        der_put(out, DER_CONTEXT(2), bytes_of_str("example.test"));
        der_put(out, DER_CONTEXT(0), bytes_of(&one, 1)); /* minimum */
    }
}

static void put_list(dstack_buf *out, const char *const *bases, char sign, unsigned tag) {
    bool any = false;
    for (size_t i = 0; bases[i] != NULL; i++) {
        any = any || bases[i][0] == sign;
    }
    if (!any) {
        return;
    }
    size_t list = der_begin(out, (uint8_t)DER_CONTEXT_CONSTRUCTED(tag));
    for (size_t i = 0; bases[i] != NULL; i++) {
        if (bases[i][0] == sign && bases[i][1] != '!') {
            size_t subtree = der_begin(out, DER_SEQUENCE);
            put_base(out, bases[i] + 1);
            der_end(out, subtree);
        }
    }
    der_end(out, list);
}

typedef struct sample {
    const char *bases[4];
    const char *organization; /* of the leaf's subject */
    const char *names[3];     /* its alternative names */
    bool at_anchor;           /* the constraints stand in the root, not in the CA */
    bool holds;
} sample;

static int verify(const keys *k, const sample *s, bool plain) {
    static const uint8_t oid[] = {0x55, 0x1d, 0x1e};
    DSTACK_AUTO(buf) dstack_buf value = {0}, root = {0}, ca = {0}, leaf = {0};
    x509_cert root_cert, ca_cert, leaf_cert;
    size_t all = der_begin(&value, DER_SEQUENCE);
    put_list(&value, s->bases, '+', 0);
    put_list(&value, s->bases, '-', 1);
    der_end(&value, all);
    const x509_extension extension = {bytes_of(oid, sizeof oid), bytes_of_buf(&value), true};
    const x509_build authority = {.subject = {.organization = "Good", .common_name = "CA"},
                                  .key_usage = X509_KU_CERT_SIGN,
                                  .with_basic_constraints = true,
                                  .is_ca = true,
                                  .path_len = -1};
    x509_build top = authority, middle = authority;
    top.subject.common_name = "root";
    x509_build *holder = s->at_anchor ? &top : &middle;
    holder->custom = &extension;
    holder->custom_count = 1;
    size_t names = 0;
    while (names < 3 && s->names[names] != NULL) {
        names++;
    }
    const x509_build end = {.subject = {.organization = s->organization, .common_name = "leaf"},
                            .key_usage = X509_KU_DIGITAL_SIGNATURE,
                            .alt_names = s->names,
                            .alt_name_count = names};
    issue(top, k->root, NULL, k->root, &root, &root_cert);
    issue(middle, k->ca, &root_cert, k->root, &ca, &ca_cert);
    issue(end, k->leaf, &ca_cert, k->ca, &leaf, &leaf_cert);
    int rc;
    if (plain) {
        x509_chain chain;
        const x509_chain_options how = {.now = NOW};
        rc = x509_chain_verify(&leaf_cert, &ca_cert, 1, &root_cert, &how, &chain, NULL);
    } else {
        x509_path path = {0};
        const x509_path_options how = {.now = NOW};
        rc = x509_path_verify(&leaf_cert, &ca_cert, 1, &root_cert, &how, &path, NULL);
        x509_path_clear(&path);
    }
    return rc;
}

static void sec_32_names_below_a_ca_are_those_that_it_may_vouch_for(void **state) {
    static const sample samples[] = {
        {{"+dns:example.test"}, NULL, {"example.test"}, false, true},
        {{"+dns:example.test"}, NULL, {"a.b.example.test", "EXAMPLE.Test"}, false, true},
        {{"+dns:example.test"}, NULL, {"badexample.test"}, false, false},
        {{"+dns:example.test"}, NULL, {"a.example.test", "other.test"}, false, false},
        {{"+dns:example.test"}, NULL, {"test"}, false, false},
        {{"+dns:.example.test"}, NULL, {"a.example.test"}, false, true},
        {{"+dns:.example.test"}, NULL, {"example.test"}, false, false},
        {{"+dns:example.test", "+dns:other.test"}, NULL, {"x.other.test"}, false, true},
        {{"+dns:example.test", "-dns:secret.example.test"},
         NULL,
         {"a.secret.example.test"},
         false,
         false},
        {{"-dns:secret.example.test"}, NULL, {"a.example.test"}, false, true},
        {{"-dns:secret.example.test"}, NULL, {"*.example.test"}, false, false},
        {{"+dns:example.test"}, NULL, {"*.example.test"}, false, true},
        {{"-dns:"}, NULL, {"any.test"}, false, false},
        {{"-dns:"}, NULL, {NULL}, false, true},                   /* no name of that form */
        {{"+dns:example.test"}, NULL, {"10.0.0.1"}, false, true}, /* the form is not constrained */
        {{"+dns:example.test"}, NULL, {"x.test"}, true, false},   /* the anchor's hold as well */
        {{"+dns:example.test"}, NULL, {"x.example.test"}, true, true},
        {{"+ip:0a000000ff000000"}, NULL, {"10.1.2.3"}, false, true},
        {{"+ip:0a000000ff000000"}, NULL, {"11.1.2.3"}, false, false},
        {{"+ip:0a000000ff000000"}, NULL, {"fd00::1"}, false, false},
        {{"-ip:0a000000ff000000"}, NULL, {"10.1.2.3"}, false, false},
        {{"-ip:0a000000ff000000"}, NULL, {"11.1.2.3"}, false, true},
        {{"+ip:fd000000000000000000000000000000ff000000000000000000000000000000"},
         NULL,
         {"fd12::1"},
         false,
         true},
        {{"+dn:Good"}, "Good", {"any.test"}, false, true},
        {{"+dn:Good"}, "gOOd ", {NULL}, false, true},
        {{"+dn:Good"}, "Bad", {NULL}, false, false},
        {{"+dn:Good"}, NULL, {NULL}, false, false},
        {{"-dn:Bad"}, "Good", {NULL}, false, true},
        {{"-dn:Bad"}, " bAD", {NULL}, false, false}, /* no way around by spelling */
        {{"-dn:Bad"},
         "B\xc3\xa4"
         "d",
         {NULL},
         false,
         false}, /* nor by letters not compared here */
        {{"+dn:Bad"},
         "B\xc3\xa4"
         "d",
         {NULL},
         false,
         false},
        {{"+uri:example.test"}, NULL, {"example.test"}, false, false}, /* a form not evaluated */
        {{"+dns:example.test", "-uri:x"}, NULL, {"example.test"}, false, false},
        {{"+min"}, NULL, {"example.test"}, false, false},                 /* a distance */
        {{"+!"}, NULL, {"example.test"}, false, false},                   /* an empty list */
        {{NULL}, NULL, {"example.test"}, false, false},                   /* neither list */
        {{"+ip:0a0000"}, NULL, {"example.test"}, false, false},           /* no range */
        {{"+ip:0a000000ff00ff00"}, NULL, {"example.test"}, false, false}, /* holes in the mask */
    };
    keys k = {fresh_key(), fresh_key(), fresh_key()};
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        for (int plain = 0; plain < 2; plain++) {
            int rc = verify(&k, &samples[i], plain != 0);
            if (rc != (samples[i].holds ? 0 : DSTACK_E_X509_PATH)) {
                fail_msg("sample %zu: %s", i, dstack_status_name((dstack_status)rc));
            }
        }
    }
    ecdsa_private_free(k.root);
    ecdsa_private_free(k.ca);
    ecdsa_private_free(k.leaf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sec_32_names_below_a_ca_are_those_that_it_may_vouch_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
