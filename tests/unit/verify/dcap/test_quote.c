#include "check.h"

#include <dstack/quote.h>

#include "crypto/hash.h"
#include "verify/dcap/quote_build.h"

static void fill(void *out, size_t len, uint8_t first) {
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)out)[i] = (uint8_t)(first + i);
    }
}

/* A TDX quote with recognisable bytes in every field; its signatures are not real. */
static void made_quote(uint16_t version, bool td15, dstack_buf *out) {
    dstack_td_report td;
    dstack_td_report_15 added;
    dstack_enclave_report qe;
    uint8_t user[20], signature[64], key[64], qe_signature[64], auth[32];
    fill(&td, sizeof td, 1);
    fill(&added, sizeof added, 2);
    fill(&qe, sizeof qe, 3);
    fill(user, sizeof user, 4);
    fill(signature, sizeof signature, 5);
    fill(key, sizeof key, 6);
    fill(qe_signature, sizeof qe_signature, 7);
    fill(auth, sizeof auth, 8);
    quote_build_signed_part(version, user, &td, td15 ? &added : NULL, out);
    quote_build_auth data = {
        .signature = signature,
        .attestation_key = key,
        .qe_report = &qe,
        .qe_report_signature = qe_signature,
        .qe_auth_data = bytes_of(auth, sizeof auth),
        .pck_chain = bytes_of_str("-----BEGIN CERTIFICATE-----\n"),
    };
    quote_build_signature_data(&data, out);
}

static int parse(const dstack_buf *raw, dstack_quote *quote) {
    dstack_error err = {0};
    return dstack_quote_parse(quote, bytes_of_buf(raw), &err);
}

static void every_part_of_a_version_4_quote_stands_at_its_published_offset(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    made_quote(4, false, &raw);
    dstack_quote q;
    assert_int_equal(parse(&raw, &q), 0);
    assert_int_equal(q.version, 4);
    assert_int_equal(q.signed_bytes.len, QUOTE_V4_SIGNED_SIZE);
    assert_ptr_equal(q.td->mr_td, raw.data + 184);
    assert_ptr_equal(q.td->rt_mr[0], raw.data + 376);
    assert_ptr_equal(q.td->rt_mr[3], raw.data + 520);
    assert_ptr_equal(q.td->report_data, raw.data + 568);
    assert_ptr_equal(q.signature.data, raw.data + QUOTE_V4_SIGNATURE_AT);
    assert_ptr_equal(q.attestation_key.data, raw.data + QUOTE_V4_KEY_AT);
    assert_ptr_equal(q.qe_report, raw.data + QUOTE_V4_QE_REPORT_AT);
    assert_ptr_equal(q.qe_report_signature.data, raw.data + QUOTE_V4_QE_SIGNATURE_AT);
    assert_ptr_equal(q.qe_auth_data.data, raw.data + QUOTE_V4_QE_AUTH_AT);
    assert_ptr_equal(q.cert_data.data, raw.data + QUOTE_V4_CERT_DATA_AT);
    assert_int_equal(q.cert_type, DSTACK_QUOTE_CERT_PCK_CHAIN);
    assert_int_equal(q.cert_data.len, 29);
    assert_int_equal(q.outer_type, 6);
    assert_null(q.td15);
    assert_null(q.enclave);
    assert_string_equal(dstack_quote_tee_name(&q), "TDX");
}

static void a_version_5_quote_carries_a_body_descriptor_and_perhaps_a_td_1_5_report(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    made_quote(5, true, &raw);
    dstack_quote q;
    assert_int_equal(parse(&raw, &q), 0);
    assert_int_equal(q.signed_bytes.len, 702);
    assert_int_equal(q.body_type, DSTACK_QUOTE_BODY_TD15);
    assert_ptr_equal(q.td->mr_td, raw.data + 54 + 136);
    assert_ptr_equal(q.td15->tee_tcb_svn2, raw.data + 54 + 584);
    assert_ptr_equal(q.td15->mr_service_td, raw.data + 54 + 600);
    assert_ptr_equal(q.signature.data, raw.data + QUOTE_V4_SIGNATURE_AT + 70);
    dstack_buf_clear(&raw);
    made_quote(5, false, &raw);
    assert_int_equal(parse(&raw, &q), 0);
    assert_int_equal(q.signed_bytes.len, 638);
    assert_null(q.td15);
}

static void fields_are_found_by_their_json_name(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    made_quote(5, true, &raw);
    dstack_quote q;
    assert_int_equal(parse(&raw, &q), 0);
    assert_ptr_equal(dstack_quote_field(&q, "rt_mr2").data, q.td->rt_mr[2]);
    assert_int_equal(dstack_quote_field(&q, "rt_mr2").len, 48);
    assert_ptr_equal(dstack_quote_field(&q, "mr_service_td").data, q.td15->mr_service_td);
    assert_null(dstack_quote_field(&q, "mr_enclave").data);
    assert_ptr_equal(dstack_quote_report_data(&q).data, q.td->report_data);
    assert_ptr_equal(dstack_quote_qe_id(&q).data, raw.data + 28);
    assert_true(dstack_quote_td_attributes(&q) == 0x807f7e7d7c7b7a79);
    assert_true(dstack_quote_is_debug(&q));
}

static void zero_bytes_after_the_signature_data_are_padding_and_others_are_refused(void **state) {
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    made_quote(4, false, &raw);
    buf_put_zeros(&raw, 70);
    dstack_quote q;
    assert_int_equal(parse(&raw, &q), 0);
    assert_int_equal(q.padding.len, 70);
    raw.data[raw.len - 1] = 1;
    assert_int_equal(parse(&raw, &q), DSTACK_E_DCAP_QUOTE_FORMAT);
}

static void a_quote_cut_anywhere_is_refused(void **state) {
    for (int form = 0; form < 3; form++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        made_quote(form == 0 ? 4 : 5, form == 2, &raw);
        for (size_t len = 0; len < raw.len; len++) {
            dstack_quote q;
            uint8_t *exact = malloc(len + 1); /* its own allocation: a sanitizer sees reads past */
            memcpy(exact, raw.data, len);
            dstack_error err = {0};
            assert_int_equal(dstack_quote_parse(&q, bytes_of(exact, len), &err),
                             DSTACK_E_DCAP_QUOTE_FORMAT);
            free(exact);
        }
    }
}

static void put32(dstack_buf *raw, size_t at, uint32_t value) {
    for (int i = 0; i < 4; i++) {
        raw->data[at + (size_t)i] = (uint8_t)(value >> 8 * i);
    }
}

static void a_length_field_that_says_more_than_is_there_is_refused(void **state) {
    static const size_t places[] = {632, 766, 1254};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        made_quote(4, false, &raw);
        dstack_quote q;
        assert_int_equal(parse(&raw, &q), 0);
        uint32_t right = (uint32_t)(i == 0   ? q.signature_data.len
                                    : i == 1 ? q.outer_data.len
                                             : q.cert_data.len);
        uint32_t wrong[] = {right + 1, 0xffffffff, (1u << 20) + 1, 0};
        for (size_t w = 0; w < 4; w++) {
            put32(&raw, places[i], wrong[w]);
            if (i == 2 && wrong[w] == 0) {
                continue; /* what follows would be slack that is not zero; tested elsewhere */
            }
            assert_int_equal(parse(&raw, &q), DSTACK_E_DCAP_QUOTE_FORMAT);
        }
    }
    DSTACK_AUTO(buf) dstack_buf raw = {0};
    made_quote(4, false, &raw);
    dstack_quote q;
    raw.data[1218] = 0xff;
    raw.data[1219] = 0xff;
    assert_int_equal(parse(&raw, &q), DSTACK_E_DCAP_QUOTE_FORMAT);
}

static void unknown_versions_tee_types_and_bodies_are_refused(void **state) {
    static const struct {
        uint16_t form;
        size_t at;
        uint8_t value;
    } edits[] = {
        {4, 0, 0},  {4, 0, 1},  {4, 0, 2},   {4, 0, 6},   {4, 1, 4},  {4, 4, 0x82},
        {4, 5, 1},  {4, 7, 1},  {4, 0, 3},   {5, 48, 0},  {5, 48, 1}, {5, 48, 4},
        {5, 50, 0}, {5, 52, 1}, {4, 764, 5}, {4, 764, 4},
    };
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        DSTACK_AUTO(buf) dstack_buf raw = {0};
        made_quote(edits[i].form, false, &raw);
        raw.data[edits[i].at] = edits[i].value;
        dstack_quote q;
        bool taken = edits[i].at == 764 && edits[i].value == 5;
        assert_int_equal(parse(&raw, &q), taken ? 0 : DSTACK_E_DCAP_QUOTE_FORMAT);
    }
}

static void the_key_hash_is_sha_256_of_key_and_authentication_data(void **state) {
    DSTACK_AUTO(buf) dstack_buf key = {0}, auth = {0};
    put_hex(&key, "c78ac5859b9f567238fad82ad63202bc516ee7ad14ec1d9adfc633e4cf5f71f7"
                  "3d6138ce76d0d9c1443f695464d1ed419c37ce696e70e95a5b317894a5897907");
    put_hex(&auth, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f");
    uint8_t hash[32];
    quote_build_key_hash(key.data, bytes_of_buf(&auth), hash);
    assert_hex(bytes_of(hash, 32),
               "c936492a774946af9b588f6b3bd8beddc5957d1761ded2c0bb61d7b64de5b324");
}

static void assert_subset(const json_t *want, const json_t *have, const char *where) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)want, key, value) {
        json_t *found = json_object_get(have, key);
        if (!json_equal(value, found)) {
            char *a = json_dumps(value, JSON_ENCODE_ANY);
            char *b = found == NULL ? NULL : json_dumps(found, JSON_ENCODE_ANY);
            fail_msg("%s: %s is %s, not %s", where, key, b == NULL ? "absent" : b, a);
        }
    }
}

static void quotes_of_real_machines_give_the_recorded_values(void **state) {
    need_shared_data();
    DSTACK_AUTO(json) json_t *cases = load_json(SHARED_DATA "dcap/real/parse.json");
    size_t i;
    json_t *want;
    json_array_foreach(cases, i, want) {
        char path[256];
        snprintf(path, sizeof path, SHARED_DATA "dcap/real/%s",
                 json_string_value(json_object_get(want, "file")));
        DSTACK_AUTO(buf) dstack_buf raw = {0}, text = {0};
        load_file(path, &raw);
        dstack_quote q;
        dstack_error err = {0};
        assert_ok(dstack_quote_parse(&q, bytes_of_buf(&raw), &err), err);
        assert_ok(dstack_quote_to_json(&q, false, &text, &err), err);
        DSTACK_AUTO(json) json_t *have = json_parse(bytes_of_buf(&text), 1 << 20, "quote", &err);
        assert_non_null(have);
        DSTACK_AUTO(json) json_t *flat = json_copy(want);
        json_object_del(flat, "name");
        json_object_del(flat, "file");
        assert_subset(json_object_get(flat, "pck"), json_object_get(have, "pck"), path);
        json_object_del(flat, "pck");
        json_t *report = json_object_get(flat, "report");
        const char *type = json_string_value(json_object_get(flat, "report_type"));
        assert_subset(report, json_object_get(json_object_get(have, "report"), type), path);
        json_object_del(flat, "report");
        assert_subset(flat, have, path);
    }
    assert_true(i >= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_part_of_a_version_4_quote_stands_at_its_published_offset),
        cmocka_unit_test(a_version_5_quote_carries_a_body_descriptor_and_perhaps_a_td_1_5_report),
        cmocka_unit_test(fields_are_found_by_their_json_name),
        cmocka_unit_test(zero_bytes_after_the_signature_data_are_padding_and_others_are_refused),
        cmocka_unit_test(a_quote_cut_anywhere_is_refused),
        cmocka_unit_test(a_length_field_that_says_more_than_is_there_is_refused),
        cmocka_unit_test(unknown_versions_tee_types_and_bodies_are_refused),
        cmocka_unit_test(the_key_hash_is_sha_256_of_key_and_authentication_data),
        cmocka_unit_test(quotes_of_real_machines_give_the_recorded_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
