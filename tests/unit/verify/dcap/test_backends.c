/* libcrypto and GnuTLS behind one whole verification: every recorded case, and quotes and lists made
 * to confuse, get the same verdict and the same report from both. Each backend runs in a process of
 * its own, so that nothing that one has loaded serves the other; what they print is compared. */
#include "made.h"

#include <sys/wait.h>

#include <dstack/verifier.h>

#include "crypto/ecdsa_backend.h"
#include "verify/dcap/collateral.h"
#include "x509/der.h"

/* In place of the library's: see lib/crypto/ecdsa_choice.c. */
static const ecdsa_backend_ops *chosen = &ecdsa_libcrypto;

const ecdsa_backend_ops *ecdsa_backend_default(void) {
    return chosen;
}

/* ---- verdicts as text ---- */

static void put_verdict(FILE *out, const char *name, int rc, const dstack_quote_report *report,
                        const dstack_error *err) {
    DSTACK_AUTO(buf) dstack_buf text = {0};
    if (rc == 0 && dstack_quote_report_to_json(report, false, &text, NULL) == 0) {
        fprintf(out, "%s: %s\n", name, buf_text(&text));
    } else {
        fprintf(out, "%s: %s (%s)\n", name, dstack_status_name((dstack_status)rc), err->message);
    }
}

/* Cold, then warm. */
static void judge(FILE *out, const char *name, dstack_verifier *v, dstack_bytes quote,
                  dstack_collateral *collateral, int64_t now) {
    for (int round = 0; round < 2; round++) {
        dstack_quote_report report;
        dstack_error err = {0};
        int rc = dstack_verifier_check_with(v, quote, collateral, NULL, now, &report, &err);
        put_verdict(out, name, rc, &report, &err);
    }
}

/* What one backend says, in a process of its own. False where that process failed. */
static bool run(const ecdsa_backend_ops *backend, void (*speak)(FILE *out), dstack_buf *said) {
    FILE *out = tmpfile();
    assert_non_null(out);
    pid_t pid = fork();
    if (pid == 0) {
        chosen = backend;
        fprintf(out, "%d\n", strcmp(ecdsa_backend(), backend->name));
        speak(out);
        _exit(fflush(out) == 0 ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    rewind(out);
    char block[4096];
    for (size_t got; (got = fread(block, 1, sizeof block, out)) > 0;) {
        buf_put(said, block, got);
    }
    fclose(out);
    return status == 0;
}

static size_t compare(void (*speak)(FILE *out)) {
    DSTACK_AUTO(buf) dstack_buf first = {0}, second = {0};
    assert_true(run(&ecdsa_libcrypto, speak, &first));
    assert_true(run(&ecdsa_gnutls, speak, &second));
    char *rest1 = NULL, *rest2 = NULL;
    char *line1 = strtok_r((char *)(uintptr_t)buf_text(&first), "\n", &rest1);
    char *line2 = strtok_r((char *)(uintptr_t)buf_text(&second), "\n", &rest2);
    size_t count = 0;
    for (; line1 != NULL && line2 != NULL; count++) {
        if (strcmp(line1, line2) != 0) {
            fail_msg("libcrypto: %s\n  GnuTLS: %s", line1, line2);
        }
        line1 = strtok_r(NULL, "\n", &rest1);
        line2 = strtok_r(NULL, "\n", &rest2);
    }
    assert_true(line1 == NULL && line2 == NULL);
    return count - 1; /* the first line says which backend it was */
}

/* ---- recorded cases ---- */

#define DATA SHARED_DATA "dcap/"

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

static void load(const char *folder, const char *file, dstack_buf *out) {
    char path[512];
    snprintf(path, sizeof path, DATA "%s/%s", folder, file);
    load_file(path, out);
}

static void speak_case(FILE *out, const char *folder, const json_t *test) {
    DSTACK_AUTO(buf) dstack_buf quote = {0}, text = {0}, root = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    const char *root_file = text_of(test, "root_ca"), *name = text_of(test, "name");
    const json_t *names = json_object_get(test, "enforce_names");
    dstack_error err = {0};
    dstack_verifier *v = NULL;
    load(folder, text_of(test, "quote"), &quote);
    load(folder, text_of(test, "collateral"), &text);
    if (root_file != NULL) {
        load(folder, root_file, &root);
    }
    const dstack_trust_root own = {"test root", bytes_of_buf(&root)};
    const dstack_verifier_options options = {
        .roots = &own,
        .root_count = root_file != NULL ? 1 : 0,
        .no_builtin_root = root_file != NULL,
        .allow_debug = json_is_true(json_object_get(test, "allow_debug")),
        .allow_service_td = json_is_true(json_object_get(test, "allow_service_td")),
        .names = names == NULL         ? DSTACK_NAMES_DEFAULT
                 : json_is_true(names) ? DSTACK_NAMES_ENFORCE
                                       : DSTACK_NAMES_ANY,
    };
    int rc = dstack_collateral_parse(&collateral, bytes_of_buf(&text), &err);
    rc = rc != 0 ? rc : dstack_verifier_new(&v, &options, &err);
    if (rc != 0) {
        put_verdict(out, name, rc, NULL, &err);
    } else {
        judge(out, name, v, bytes_of_buf(&quote), collateral,
              json_integer_value(json_object_get(test, "now")));
    }
    dstack_verifier_free(v);
}

static void speak_recorded(FILE *out) {
    static const char *const folders[] = {"suite", "diverge", "real"};
    for (size_t f = 0; f < sizeof folders / sizeof *folders; f++) {
        DSTACK_AUTO(buf) dstack_buf text = {0};
        dstack_error err = {0};
        load(folders[f], "manifest.json", &text);
        DSTACK_AUTO(json)
        json_t *tests = json_parse(bytes_of_buf(&text), (size_t)16 << 20, folders[f], &err);
        size_t i;
        json_t *test;
        json_array_foreach(tests, i, test) {
            speak_case(out, folders[f], test);
        }
    }
}

static void every_recorded_case_gets_one_verdict(void **state) {
    need_shared_data();
    size_t count = compare(speak_recorded);
    print_message("%zu verdicts agree\n", count);
    assert_true(count >= 2 * 400);
}

/* ---- cases of our own ---- */

/* The order of P-256, one more, and other numbers that r or s must not be. */
static const char *const bad_scalars[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632552",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000001",
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632550",
};
/* Points that are none: off the curve, zero, a coordinate that is the field's prime. */
static const char *const bad_coordinates[] = {
    "0000000000000000000000000000000000000000000000000000000000000000",
    "ffffffff00000001000000000000000000000000ffffffffffffffffffffffff",
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
    "0000000000000000000000000000000000000000000000000000000000000001",
};

static void judge_changed(FILE *out, const made *m, const char *what, size_t at, const char *hex) {
    DSTACK_AUTO(buf) dstack_buf quote = {0};
    char name[128];
    buf_put_bytes(&quote, bytes_of_buf(&m->quote));
    hex_decode_bytes(bytes_of_str(hex), quote.data + at, 32, NULL);
    snprintf(name, sizeof name, "%s at %zu: %s", what, at, hex);
    dstack_verifier *v = made_verifier(m, (dstack_verifier_options){0});
    judge(out, name, v, bytes_of_buf(&quote), m->collateral, MADE_NOW);
    dstack_verifier_free(v);
}

static void speak_raw_signatures(FILE *out) {
    DSTACK_AUTO(made) made m;
    made_spec s;
    dstack_quote q;
    made_spec_init(&s);
    made_build(&s, &m);
    if (dstack_quote_parse(&q, bytes_of_buf(&m.quote), NULL) != 0) {
        return;
    }
    const uint8_t *places[] = {q.signature.data, q.qe_report_signature.data};
    for (size_t p = 0; p < 4; p++) {
        size_t at = (size_t)(places[p / 2] - m.quote.data) + 32 * (p % 2);
        for (size_t i = 0; i < sizeof bad_scalars / sizeof *bad_scalars; i++) {
            judge_changed(out, &m, "signature", at, bad_scalars[i]);
        }
    }
    for (size_t p = 0; p < 2; p++) {
        size_t at = (size_t)(q.attestation_key.data - m.quote.data) + 32 * p;
        for (size_t i = 0; i < sizeof bad_coordinates / sizeof *bad_coordinates; i++) {
            judge_changed(out, &m, "key", at, bad_coordinates[i]);
        }
    }
}

/* The list with another signature value in it. */
static void resign(dstack_bytes list, dstack_bytes signature, dstack_buf *out) {
    cursor outer = cursor_init(list);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    size_t mark = der_begin(out, DER_SEQUENCE);
    buf_put_bytes(out, der_take_whole(&inner, DER_SEQUENCE));
    buf_put_bytes(out, der_take_whole(&inner, DER_SEQUENCE));
    der_put_bit_string(out, signature);
    der_end(out, mark);
}

static dstack_bytes signature_of(dstack_bytes list) {
    cursor outer = cursor_init(list);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    (void)der_read(&inner);
    (void)der_read(&inner);
    return der_bit_string(&inner);
}

static void judge_list(FILE *out, const made *m, const char *name, dstack_bytes signature) {
    DSTACK_AUTO(buf) dstack_buf list = {0};
    DSTACK_AUTO(collateral) dstack_collateral *collateral = NULL;
    dstack_collateral_parts parts;
    dstack_collateral_get(m->collateral, &parts);
    resign(parts.pck_crl, signature, &list);
    parts.pck_crl = bytes_of_buf(&list);
    if (dstack_collateral_new(&collateral, &parts, NULL) == 0) {
        dstack_verifier *v = made_verifier(m, (dstack_verifier_options){0});
        judge(out, name, v, bytes_of_buf(&m->quote), collateral, MADE_NOW);
        dstack_verifier_free(v);
    }
}

/* SEQUENCE { r, s } with r and s as contents of their INTEGERs, and bytes after them. */
static void put_signature(dstack_buf *out, dstack_bytes r, dstack_bytes s, const char *after) {
    size_t mark = der_begin(out, DER_SEQUENCE);
    der_put(out, DER_INTEGER, r);
    der_put(out, DER_INTEGER, s);
    buf_put_str(out, after);
    der_end(out, mark);
}

static void speak_der_signatures(FILE *out) {
    DSTACK_AUTO(made) made m;
    made_spec spec;
    dstack_collateral_parts parts;
    made_spec_init(&spec);
    made_build(&spec, &m);
    dstack_collateral_get(m.collateral, &parts);
    dstack_bytes good = signature_of(parts.pck_crl);
    cursor outer = cursor_init(good);
    cursor inner = der_enter(&outer, DER_SEQUENCE);
    dstack_bytes r = der_integer(&inner), s = der_integer(&inner);
    judge_list(out, &m, "good", good);
    for (size_t len = 0; len < good.len; len++) {
        judge_list(out, &m, "cut", bytes_of(good.data, len));
    }
    for (int which = 0; which < 6; which++) {
        DSTACK_AUTO(buf) dstack_buf text = {0}, padded = {0};
        buf_put_u8(&padded, 0);
        buf_put_bytes(&padded, which % 2 == 0 ? r : s);
        dstack_bytes longer = bytes_of_buf(&padded);
        dstack_bytes stripped =
            bytes_of(r.data + 1, r.len - 1); /* maybe negative, surely another */
        switch (which) {
        case 0:
            put_signature(&text, longer, s, "");
            break;
        case 1:
            put_signature(&text, r, longer, "");
            break;
        case 2:
            put_signature(&text, stripped, s, "");
            break;
        case 3:
            put_signature(&text, r, s, "\x05");
            break;
        case 4: /* a length in long form where the short one does */
            buf_put_u8(&text, 0x30);
            buf_put_u8(&text, 0x81);
            buf_put(&text, good.data + 1, good.len - 1);
            break;
        default: /* something after the end */
            buf_put_bytes(&text, good);
            buf_put_u8(&text, 0);
        }
        char name[32];
        snprintf(name, sizeof name, "other form %d", which);
        judge_list(out, &m, name, bytes_of_buf(&text));
    }
    for (size_t i = 0; i < sizeof bad_scalars / sizeof *bad_scalars; i++) {
        for (int place = 0; place < 2; place++) {
            DSTACK_AUTO(buf) dstack_buf text = {0}, bad = {0};
            buf_put_u8(&bad, 0);
            hex_decode(bytes_of_str(bad_scalars[i]), &bad, NULL);
            dstack_bytes value = bytes_of_buf(&bad);
            while (value.len > 1 && value.data[0] == 0 && (value.data[1] & 0x80) == 0) {
                value = bytes_of(value.data + 1, value.len - 1);
            }
            put_signature(&text, place == 0 ? value : r, place == 1 ? value : s, "");
            judge_list(out, &m, bad_scalars[i], bytes_of_buf(&text));
        }
    }
}

static void speak_forgeries(FILE *out) {
    for (unsigned bit = 0; bit <= MADE_SIGNED_QUOTE; bit++) {
        DSTACK_AUTO(made) made m;
        made_spec s;
        char name[32];
        made_spec_init(&s);
        s.forged = MADE_BIT(bit);
        made_build(&s, &m);
        snprintf(name, sizeof name, "forged %u", bit);
        dstack_verifier *v = made_verifier(&m, (dstack_verifier_options){0});
        judge(out, name, v, bytes_of_buf(&m.quote), m.collateral, MADE_NOW);
        dstack_verifier_free(v);
    }
}

static void numbers_that_are_no_signature_or_key_get_one_verdict(void **state) {
    assert_int_equal(compare(speak_raw_signatures), 2 * (4 * 6 + 2 * 4));
}

static void other_forms_of_a_signature_get_one_verdict(void **state) {
    assert_true(compare(speak_der_signatures) > 2 * 70);
}

static void forged_parts_get_one_verdict(void **state) {
    assert_int_equal(compare(speak_forgeries), 2 * (MADE_SIGNED_QUOTE + 1));
}

/* That both agree on the good one, and refuse all the others, is seen once more from inside. */
static void only_the_canonical_signature_of_a_list_passes(void **state) {
    DSTACK_AUTO(buf) dstack_buf said = {0};
    assert_true(run(&ecdsa_libcrypto, speak_der_signatures, &said));
    size_t passed = 0, refused = 0;
    for (const char *at = buf_text(&said); (at = strchr(at, '\n')) != NULL; at++) {
        passed += strncmp(at + 1, "good: {", 7) == 0;
        refused += strstr(at, ": dcap.crl_") != NULL;
    }
    assert_int_equal(passed, 2);
    assert_true(refused > 0);
    assert_null(strstr(buf_text(&said), "cut: {"));
    assert_null(strstr(buf_text(&said), "form 0: {"));
    assert_null(strstr(buf_text(&said), "form 5: {"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_recorded_case_gets_one_verdict),
        cmocka_unit_test(numbers_that_are_no_signature_or_key_get_one_verdict),
        cmocka_unit_test(other_forms_of_a_signature_get_one_verdict),
        cmocka_unit_test(forged_parts_get_one_verdict),
        cmocka_unit_test(only_the_canonical_signature_of_a_list_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
